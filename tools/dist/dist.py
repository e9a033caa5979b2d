#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One package for each ecosystem, from the one tree: dist.py --program build/thimble --out build/dist
Twice from the same commit gives the same archives to the bit. packages.py says what is in them."""
import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
import amalgamate
import archive
import facts as tree
from packages import PACKAGES, SOURCE
from template import fill

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODEL = "models/story.thimble"
STORY_PLAN = ["--ctx", "128", "--kv", "q8", "--candidates", "40"]


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def replaced(text, old, new, where):
    if len(re.findall(old, text)) != 1:
        raise SystemExit(f"{where}: found {len(re.findall(old, text))} of '{old}', expected one")
    return re.sub(old, new, text)


def story_of(arena):
    """The README's example as a function that a platform's own main calls, in RAM that boards have."""
    text = (ROOT / "tests/example.c").read_text()
    text = replaced(text, r"int main\(void\)", "int tell_story(void)", "example.c")
    text = replaced(text, r"\nstatic int fail", r"\nint tell_story(void);\n\nstatic int fail", "example.c")
    text = replaced(text, r"arena\[\d+\]", f"arena[{arena}]", "example.c")
    text = replaced(text, r"\.n_ctx = 256", ".n_ctx = 128", "example.c")
    return replaced(text, r"--ctx 256", "--ctx 128", "example.c")


def made_files(program):
    """What is not in the tree, by name; and the bytes of the example's arena."""
    arena = json.loads(run(program, "plan", MODEL, *STORY_PLAN, "--json"))["ram"]["arena"]
    with tempfile.TemporaryDirectory() as folder:
        run(program, "embed", MODEL, "-o", f"{folder}/model.c", "--name", "model_image")
        model = Path(f"{folder}/model.c").read_bytes()
    header, source = amalgamate.amalgamate(ROOT)
    texts = {"story.c": story_of(arena), "thimble.h": header, "thimble.cpp": source}
    return {**{name: text.encode() for name, text in texts.items()}, "model.c": model}, str(arena)


def template_files(folder, facts):
    """The files of a template folder, filled."""
    files = {}
    for path in sorted((HERE / folder).rglob("*")):
        if path.is_file():
            text = fill(path.read_text(), facts, path.relative_to(ROOT))
            files[path.relative_to(HERE / folder).as_posix()] = (text.encode(), path.name == "rules")
    return files


def tree_files(pattern, made):
    if pattern in made:
        return {pattern: (made[pattern], False)}
    found = {}
    for path in sorted(ROOT.glob(pattern)):
        if path.is_file() and "__pycache__" not in path.parts:
            found[path.relative_to(ROOT).as_posix()] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    if not found:
        raise SystemExit(f"packages.py: found no file {pattern}")
    return found


def package_files(package, facts, made):
    files = template_files(package.template, facts) if package.template else {}
    for patterns, to, without in package.files:
        for pattern in patterns:
            for name, (data, runs) in tree_files(pattern, made).items():
                if name.startswith("tools/dist/") and package is not SOURCE:  # a template, too
                    data = fill(data.decode(), facts, name).encode()
                short = name.removeprefix(without).lstrip("/")
                files[f"{to}/{short}" if to else short] = (data, runs)
    root = fill(package.root, facts, "packages.py")
    return {f"{root}/{name}" if root else name: data for name, data in files.items()}


def sum_of(kind, data):
    return hashlib.new(kind, data).hexdigest()


def meson(facts, source):
    """A wrap beside the source: {name: bytes}."""
    version = facts["VERSION"]
    files = template_files("meson", facts | {"SOURCE_HASH": "", "PATCH_HASH": ""})
    del files["thimble.wrap"]
    patch_name = f"thimble_{version}-1_patch.zip"
    files = {f"thimble-{version}/{name}": data for name, data in files.items()}
    patch = archive.make(patch_name, files, int(facts["EPOCH"]))
    sums = {"SOURCE_HASH": sum_of("sha256", source), "PATCH_HASH": sum_of("sha256", patch)}
    wrap = fill((HERE / "meson/thimble.wrap").read_text(), facts | sums, "thimble.wrap")
    return {patch_name: patch, "thimble.wrap": wrap.encode()}


def debian(facts, source):
    """A source package, as dpkg-source -b makes it: {name: bytes}."""
    version = facts["VERSION"]
    files = {f"debian/{name}": data for name, data in template_files("debian", facts).items()}
    stem = f"thimble_{version}"
    parts = {
        f"{stem}.orig.tar.gz": source,
        f"{stem}-1.debian.tar.xz": archive.make(".tar.xz", files, int(facts["EPOCH"])),
    }
    control = files["debian/control"][0].decode()
    value = lambda field: tree.found(rf"^{field}: (.*)$", control, "debian/control")
    stanzas = control.split("\n\n")[1:]
    names = [tree.found(r"^Package: (.*)$", s, "debian/control") for s in stanzas]
    sections = [(re.search(r"^Section: (.*)$", s, re.M) or [0, value("Section")])[1] for s in stanzas]
    profiles = [re.search(r"^Build-Profiles: <(.*)>$", s, re.M) for s in stanzas]
    dsc = "Format: 3.0 (quilt)\nSource: thimble\n"
    dsc += f"Binary: {', '.join(names)}\nArchitecture: any\nVersion: {version}-1\n"
    for field in ("Maintainer", "Homepage", "Standards-Version", "Build-Depends"):
        dsc += f"{field}: {value(field)}\n"
    dsc += "Package-List:\n"
    for name, section, profile in sorted(zip(names, sections, profiles), key=lambda row: row[0]):
        dsc += f" {name} deb {section} {value('Priority')} arch=any"
        dsc += f" profile={profile[1]}\n" if profile else "\n"
    for field, kind in (("Checksums-Sha1", "sha1"), ("Checksums-Sha256", "sha256"), ("Files", "md5")):
        dsc += f"{field}:\n"
        dsc += "".join(f" {sum_of(kind, data)} {len(data)} {name}\n" for name, data in parts.items())
    return {**parts, f"{stem}-1.dsc": dsc.encode()}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--program", required=True, type=Path, help="the program thimble")
    options.add_argument("--out", required=True, type=Path, help="the folder to write to")
    given = options.parse_args()
    facts = tree.facts_of(ROOT)
    made, facts["ARENA"] = made_files(given.program.resolve())
    outputs = {}
    for package in PACKAGES:
        name = fill(package.archive, facts, "packages.py")
        outputs[name] = archive.make(name, package_files(package, facts, made), int(facts["EPOCH"]))
    source = outputs[fill(SOURCE.archive, facts, "packages.py")]
    outputs |= meson(facts, source) | debian(facts, source)
    outputs["Thimble.Thimble.pdsc"] = template_files("cmsis", facts)["Thimble.Thimble.pdsc"][0]
    outputs["SHA256SUMS"] = "".join(
        f"{sum_of('sha256', data)}  {name}\n" for name, data in sorted(outputs.items())
    ).encode()

    given.out.mkdir(parents=True, exist_ok=True)
    for old in set(path.name for path in given.out.iterdir()) - set(outputs):
        if (given.out / old).is_file():
            (given.out / old).unlink()  # of another version
    for name, data in sorted(outputs.items()):
        beside = given.out / f".{name}.new"
        beside.write_bytes(data)
        beside.replace(given.out / name)
        print(f"{len(data):9} bytes  {given.out / name}")


main()
