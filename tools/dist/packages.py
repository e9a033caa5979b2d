# SPDX-License-Identifier: MIT
"""One row for each file of each package. A package is a template folder of tools/dist/, which becomes
its root, and files of the tree."""
from dataclasses import dataclass, field

ENGINE = ["src/*.cpp", "src/*.h", "src/kernels/*.cpp", "src/kernels/*.h"]
HEADERS = ["include/thimble/*"]
PAPERS = ["README.md", "CHANGELOG.md", "LICENSE"]
STORY = ["story.c", "model.c"]  # made: tests/example.c and models/story.thimble


@dataclass
class Package:
    archive: str  # its name, with @VERSION@
    template: str = ""  # the folder
    root: str = ""  # the folder that the archive unpacks to
    files: list = field(default_factory=list)  # (patterns, where to, what of their path goes)


# The files of the tree as they are: for CMake, make install, Meson and Debian.
SOURCE = Package(
    "thimble-@VERSION@.tar.gz",
    root="thimble-@VERSION@",
    files=[
        (["Makefile", ".ci/*", ".clang-format", ".clang-tidy", ".gitignore"] + PAPERS, "", ""),
        (["include/**/*", "src/**/*", "tools/**/*", "models/**/*", "tests/**/*"], "", ""),
    ],
)

PACKAGES = [
    SOURCE,
    Package(
        "thimble-arduino-@VERSION@.zip",
        template="arduino",
        root="Thimble",
        # Below engine/, so that a sketch's own "model.h" does not meet the engine's.
        files=[
            (ENGINE, "src/engine", "src"),
            (HEADERS, "src", "include"),
            (STORY, "examples/Story", ""),
            (PAPERS, "", ""),
        ],
    ),
    Package(
        "thimble-platformio-@VERSION@.tar.gz",
        template="platformio",
        files=[
            (ENGINE, "src/engine", "src"),
            (HEADERS, "include", "include"),
            (["tools/dist/arduino/src/Thimble.h"], "include", "tools/dist/arduino/src"),
            (["tools/dist/arduino/examples/Story/Story.ino"], "", "tools/dist/arduino"),
            (STORY, "examples/Story", ""),
            (PAPERS, "", ""),
        ],
    ),
    Package(
        "thimble-esp-idf-@VERSION@.tar.gz",
        template="esp-idf",
        root="thimble",
        files=[(ENGINE + HEADERS + PAPERS, "", ""), (STORY, "examples/story/main", "")],
    ),
    Package(
        "thimble-zephyr-@VERSION@.tar.gz",
        template="zephyr",
        root="thimble",
        files=[(ENGINE + HEADERS + PAPERS, "", ""), (STORY, "samples/story/src", "")],
    ),
    Package(
        "Thimble.Thimble.@VERSION@.pack",
        template="cmsis",
        files=[(ENGINE + HEADERS + PAPERS, "", ""), (STORY, "examples", "")],
    ),
    Package("thimble-amalgamation-@VERSION@.zip", files=[(["thimble.h", "thimble.cpp"], "", "")]),
]
