#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every manifest of `make dist` against the rules of its ecosystem: check_manifests.py FOLDER
Each rule is from the ecosystem's published specification or its tool's own checks. Then each manifest is
damaged in a few ways, which must be found. PACK_XSD=FILE has xmllint check the pack against CMSIS's schema."""
import configparser
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as xml
import zipfile
from pathlib import Path

try:
    import jsonschema
    import yaml
except ImportError as missing:
    print(f"skipped: no Python module {missing.name} here")
    sys.exit(0)
try:
    import kconfiglib
except ImportError:
    kconfiglib = None
    print("skipped: a parser of Kconfig (no Python module kconfiglib here)")

FOLDER = Path(sys.argv[1])
VERSION = r"^\d+\.\d+\.\d+$"
URL = r"^https?://[^\s]+$"
TEXT = {"type": "string", "minLength": 1}


def matching(pattern, longest=1000):
    return {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": longest}


def map_of(required, properties):
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def schema_faults(name, data, schema):
    validator = jsonschema.Draft7Validator(schema)
    return [f"{name}: {'/'.join(map(str, e.path)) or 'root'}: {e.message}" for e in validator.iter_errors(data)]


def missing(name, files, wanted):
    return [f"{name}: names {file}, which is not in the package" for file in wanted if file not in files]


def engine_of(files, folder):
    return {name for name in files if name.startswith(folder) and name.endswith(".cpp")}


def unlisted(name, listed, there):
    """A manifest lists the engine's files, all of them."""
    return [f"{name}: lists {f}, which is not there" for f in sorted(listed - there)] + [
        f"{name}: does not list {f}" for f in sorted(there - listed)
    ]


# ---- Arduino: library specification 1.5 rev. 2.2, and what arduino-lint holds against a library --------------

ARDUINO = map_of(
    ["name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures", "includes"],
    {
        "name": {**matching(r"^(?!Arduino)[A-Za-z][A-Za-z0-9_.-]*$", 16), "not": {"pattern": "[Ll]ibrary"}},
        "version": matching(VERSION),
        "author": TEXT,
        "maintainer": {**TEXT, "not": {"pattern": "[Aa]rduino"}},
        "sentence": TEXT,
        "paragraph": TEXT,
        "category": {
            "enum": ["Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing",
                     "Data Storage", "Data Processing", "Other"]
        },
        "url": matching(URL),
        "architectures": matching(r"^(\*|[A-Za-z0-9_]+)(,[A-Za-z0-9_]+)*$"),
        "includes": matching(r"^[\w.]+\.h(,\s*[\w.]+\.h)*$"),
        "depends": TEXT,
        "dot_a_linkage": {"enum": ["true", "false"]},
        "precompiled": {"enum": ["true", "full", "false"]},
        "ldflags": TEXT,
    },
)


def arduino(files):
    root = "Thimble/"
    name = "library.properties"
    lines = [line for line in files[root + name].decode().splitlines() if line and not line.startswith("#")]
    faults = [f"{name}: found '{line}', expected key=value" for line in lines if "=" not in line]
    properties = dict(line.split("=", 1) for line in lines if "=" in line)
    faults += schema_faults(name, properties, ARDUINO)
    if properties.get("sentence") and properties["sentence"] in properties.get("paragraph", ""):
        faults.append(f"{name}: the paragraph repeats the sentence, which is shown before it")
    faults += missing(name, files, [f"{root}src/{h.strip()}" for h in properties.get("includes", "").split(",")])
    for sketch in [f for f in files if f.endswith(".ino")]:
        if Path(sketch).stem != Path(sketch).parent.name:
            faults.append(f"{sketch}: a sketch has the name of its folder")
    if not any(f.startswith(root + "examples/") and f.endswith(".ino") for f in files):
        faults.append("no example sketch")
    faults += missing("a library", files, [root + "LICENSE", root + "README.md"])
    top = {f.split("/")[1] for f in files if not f.startswith(root)} | {
        f.split("/")[1] for f in files if f.startswith(root)
    } - {"library.properties", "keywords.txt", "src", "examples", "extras", "README.md", "LICENSE", "CHANGELOG.md"}
    faults += [f"{f}: does not belong into a library of the 1.5 layout" for f in sorted(top)]
    for line in files[root + "keywords.txt"].decode().splitlines():
        if not re.match(r"^\w+\t(KEYWORD[123]|LITERAL[12])$", line):
            faults.append(f"keywords.txt: found '{line}', expected a word, a tabulator and a kind")
    return faults


# ---- PlatformIO: library.json, by the checks of its package manager ------------------------------------------

NAMES = {"anyOf": [matching(r"^([a-z\d_-]+|\*)$", 50), {"type": "array", "items": matching(r"^([a-z\d_-]+|\*)$", 50)}]}
PLATFORMIO = map_of(
    ["name", "version", "description", "keywords", "license"],
    {
        "name": matching(r"^[^:;/,@<>]+$", 100),
        "version": matching(VERSION, 50),
        "description": matching(".", 1000),
        "keywords": {"type": "array", "items": matching(r"^[a-z\d+. -]+$", 50)},
        "authors": {
            "type": "array",
            "items": map_of(["name"], {
                "name": matching(".", 50), "email": matching(r"^[^@\s]+@[^@\s]+$", 50),
                "maintainer": {"type": "boolean"}, "url": matching(URL, 255),
            }),
        },
        "homepage": matching(URL, 255),
        "license": {"const": "MIT"},
        "frameworks": NAMES,
        "platforms": NAMES,
        "headers": {"type": "array", "items": TEXT},
        "examples": {
            "type": "array",
            "items": map_of(["name", "base", "files"], {
                "name": matching(r"^[a-zA-Z\d_/-]+$", 100), "base": TEXT,
                "files": {"type": "array", "items": TEXT, "minItems": 1},
            }),
        },
        "build": map_of([], {
            "srcDir": TEXT, "includeDir": TEXT, "flags": {"type": "array", "items": TEXT},
            "unflags": {"type": "array", "items": TEXT},
        }),
    },
)


def platformio(files):
    name = "library.json"
    try:
        data = json.loads(files[name])
    except ValueError as fault:
        return [f"{name}: {fault}"]
    faults = schema_faults(name, data, PLATFORMIO)
    build = data.get("build", {})
    faults += missing(name, files, [f"{build.get('includeDir')}/{h}" for h in data.get("headers", [])])
    for example in data.get("examples", []):
        faults += missing(name, files, [f"{example.get('base')}/{f}" for f in example.get("files", [])])
    if not engine_of(files, build.get("srcDir", "src") + "/"):
        faults.append(f"{name}: no sources below srcDir")
    return faults


# ---- Kconfig, as both of the next two read it ------------------------------------------------------------------


def parsed_kconfig(name, text):
    """What a parser of the whole language says, if there is one."""
    if kconfiglib is None:
        return []
    with tempfile.NamedTemporaryFile("w", suffix="Kconfig") as file:
        file.write(text)
        file.flush()
        try:
            return [f"{name}: {told}" for told in kconfiglib.Kconfig(file.name, warn_to_stderr=False).warnings]
        except kconfiglib.KconfigError as fault:
            return [f"{name}: {fault}"]


def kconfig(name, text, parts):
    """Its blocks close, and every part of the engine has a switch with a type, a prompt and a default."""
    faults, open_blocks, configs, last = parsed_kconfig(name, text), [], {}, None
    in_help = False
    for number, line in enumerate(text.splitlines(), 1):
        if in_help and (not line.strip() or line.startswith("\t  ")):
            continue
        in_help = False
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("menu", "choice", "if") and not line.startswith("\t"):
            open_blocks.append(words[0])
        elif words[0].startswith("end"):
            if not open_blocks or open_blocks.pop() != words[0][3:]:
                faults.append(f"{name}:{number}: {words[0]} closes nothing")
        elif words[0] in ("config", "menuconfig"):
            last = configs.setdefault(words[1], set())
            if not re.match(r"^[A-Z][A-Z0-9_]*$", words[1]):
                faults.append(f"{name}:{number}: found {words[1]}, expected capitals")
        elif words[0] in ("bool", "string", "default", "prompt", "depends", "select", "help"):
            if last is not None:
                last.add(words[0])
            in_help = words[0] == "help"
            if words[0] in ("bool", "string") and line.count('"') % 2:
                faults.append(f"{name}:{number}: a quotation mark is missing")
        else:
            faults.append(f"{name}:{number}: found '{words[0]}', which is no entry of Kconfig")
    faults += [f"{name}: {block} is never closed" for block in open_blocks]
    faults += [f"{name}: {c} has no type" for c, lines in configs.items() if not lines & {"bool", "string"}]
    faults += [f"{name}: no switch for {part}" for part in sorted(parts - set(configs))]
    return faults, set(configs)


def parts_of(files):
    text = next(data for name, data in files.items() if name.endswith("src/parts.h")).decode()
    return {p for p in re.findall(r"^#ifndef (THIMBLE_\w+)", text, re.M) if not p.startswith("THIMBLE_SRC_")}


def kconfig_and_cmake(files, root, kconfig_name, cmake_name):
    faults, configs = kconfig(kconfig_name, files[root + kconfig_name].decode(), parts_of(files))
    cmake = files[root + cmake_name].decode()
    for used in set(re.findall(r"\bCONFIG_(\w+)", cmake)) - configs:
        faults.append(f"{cmake_name}: asks for CONFIG_{used}, which Kconfig does not have")
    listed = {root + f for f in re.findall(r"src/[\w/]+\.cpp", cmake)}
    faults += unlisted(cmake_name, listed, engine_of(files, root + "src/"))
    if cmake.count("(") != cmake.count(")"):
        faults.append(f"{cmake_name}: parentheses do not match")
    return faults


# ---- ESP-IDF: idf_component.yml, by the component manager's reference -------------------------------------------

IDF = map_of(
    ["version", "description", "url", "license"],
    {
        "version": matching(r"^\d+\.\d+\.\d+(~\d+)?$"),
        "description": TEXT,
        "url": matching(URL),
        "repository": TEXT, "documentation": matching(URL), "issues": matching(URL), "discussion": matching(URL),
        "license": {"const": "MIT"},
        "maintainers": {"type": "array", "items": matching(r"^[^<>]+ <[^@\s]+@[^@\s]+>$"), "uniqueItems": True},
        "tags": {"type": "array", "items": matching(r"^[A-Za-z0-9_-]{3,32}$"), "uniqueItems": True},
        "targets": {"type": "array", "items": matching(r"^(linux|esp32[a-z0-9]*)$"), "uniqueItems": True},
        "dependencies": {"type": "object"},
        "files": {"type": "object"},
        "examples": {"type": "array"},
    },
)


def esp_idf(files):
    root, name = "thimble/", "idf_component.yml"
    faults = schema_faults(name, yaml.safe_load(files[root + name]), IDF)
    faults += kconfig_and_cmake(files, root, "Kconfig", "CMakeLists.txt")
    example = root + "examples/story/"
    faults += missing("the example", files, [example + f for f in ("CMakeLists.txt", "main/CMakeLists.txt")])
    sources = re.findall(r'"([\w.]+\.c)"', files[example + "main/CMakeLists.txt"].decode())
    faults += missing("the example", files, [example + "main/" + f for f in sources])
    override = yaml.safe_load(files[example + "main/" + name])["dependencies"]["thimble"]["override_path"]
    if os.path.normpath(f"{example}main/{override}") + "/" != root:
        faults.append(f"the example's {name}: override_path does not lead to the component")
    return faults + missing("a component", files, [root + "LICENSE", root + "README.md"])


# ---- Zephyr: module.yml, by the build system's schema ------------------------------------------------------------

PATHS = {"type": "array", "items": TEXT}
ZEPHYR = map_of(
    [],
    {
        "name": TEXT,
        "build": map_of([], {
            "cmake": TEXT, "kconfig": TEXT, "cmake-ext": {"type": "boolean"}, "kconfig-ext": {"type": "boolean"},
            "sysbuild-cmake": TEXT, "sysbuild-kconfig": TEXT, "depends": PATHS,
            "settings": map_of([], {f"{k}_root": TEXT for k in ("board", "dts", "soc", "arch", "module_ext", "sca", "snippet")}),
        }),
        "tests": PATHS, "samples": PATHS, "boards": PATHS, "blobs": {"type": "array"},
    },
)
SAMPLE = {
    "type": "object",
    "required": ["sample", "tests"],
    "properties": {
        "sample": {"type": "object", "required": ["name"]},
        "tests": {"type": "object", "propertyNames": {"pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)+$"}, "minProperties": 1},
    },
}


def zephyr(files):
    root, name = "thimble/", "zephyr/module.yml"
    data = yaml.safe_load(files[root + name])
    faults = schema_faults(name, data, ZEPHYR)
    build = data.get("build", {})
    faults += missing(name, files, [f"{root}{build.get('cmake')}/CMakeLists.txt", root + str(build.get("kconfig"))])
    for samples in data.get("samples", []):
        found = [f for f in files if f.startswith(f"{root}{samples}/") and f.endswith("/sample.yaml")]
        faults += [] if found else [f"{name}: no sample below {samples}"]
        for sample in found:
            faults += schema_faults(sample, yaml.safe_load(files[sample]), SAMPLE)
            folder = sample.removesuffix("sample.yaml")
            sources = re.findall(r"src/[\w.]+\.c", files[folder + "CMakeLists.txt"].decode())
            faults += missing(sample, files, [folder + f for f in sources + ["prj.conf"]])
            for line in files[folder + "prj.conf"].decode().splitlines():
                if line and not re.match(r"^(#|CONFIG_[A-Z0-9_]+=(y|n|\d+|\".*\")$)", line):
                    faults.append(f"prj.conf: found '{line}'")
    return faults + kconfig_and_cmake(files, root, "zephyr/Kconfig", "zephyr/CMakeLists.txt")


# ---- CMSIS-Pack: the order, attributes and values of PACK.xsd that a software pack uses --------------------------

PACK_ORDER = ["vendor", "name", "description", "url", "supportContact", "license", "licenseSets", "dominate", "releases",
              "keywords", "generators", "devices", "boards", "taxonomy", "apis", "requirements", "conditions", "components",
              "examples", "csolution"]
CATEGORIES = {"doc", "header", "include", "library", "object", "source", "sourceC", "sourceCpp", "sourceAsm",
              "linkerScript", "utility", "image", "other", "preIncludeGlobal", "preIncludeLocal"}


def cmsis(files):
    name = "Thimble.Thimble.pdsc"
    try:
        package = xml.fromstring(files[name])
    except xml.ParseError as fault:
        return [f"{name}: {fault}"]
    faults = []
    order = [child.tag for child in package]
    known = [tag for tag in order if tag in PACK_ORDER]
    faults += [f"{name}: no element {tag} there" for tag in set(order) - set(PACK_ORDER)]
    if known != sorted(known, key=PACK_ORDER.index):
        faults.append(f"{name}: the elements are not in the order of PACK.xsd")
    for tag in ("vendor", "name", "description", "url", "releases"):
        if not (package.findtext(tag) or "").strip() and not len(package.find(tag) or []):
            faults.append(f"{name}: {tag} is missing")
    if f"{package.findtext('vendor')}.{package.findtext('name')}.pdsc" != name:
        faults.append(f"{name}: is not named vendor.name.pdsc")
    if not re.match(URL, package.findtext("url") or ""):
        faults.append(f"{name}: url: found {package.findtext('url')}")
    for release in package.iter("release"):
        if not re.match(VERSION, release.get("version", "")) or not re.match(r"^\d{4}-\d\d-\d\d$", release.get("date", "")):
            faults.append(f"{name}: release: found {release.attrib}")
    conditions = {c.get("id") for c in package.iter("condition")}
    listed = set()
    for component in package.iter("component"):
        for key in ("Cclass", "Cgroup", "Cversion"):
            if not component.get(key):
                faults.append(f"{name}: component: no {key}")
        if component.get("condition") not in conditions:
            faults.append(f"{name}: component: condition '{component.get('condition')}' is not defined")
        for file in component.iter("file"):
            path = file.get("name", "")
            if file.get("category") not in CATEGORIES:
                faults.append(f"{name}: {path}: no category '{file.get('category')}'")
            if path.endswith("/"):
                faults += [] if any(f.startswith(path) for f in files) else [f"{name}: names {path}, which is empty"]
            else:
                faults += missing(name, files, [path])
            if file.get("attr", "config") not in ("config", "template", "interface"):
                faults.append(f"{name}: {path}: no attr '{file.get('attr')}'")
            if file.get("category") == "sourceCpp":
                listed.add(path)
    faults += unlisted(name, listed, engine_of(files, "src/"))
    faults += missing(name, files, [package.findtext("license") or "a licence"])
    if os.environ.get("PACK_XSD"):
        told = subprocess.run(["xmllint", "--noout", "--schema", os.environ["PACK_XSD"], "-"], input=files[name],
                              capture_output=True)
        faults += [] if told.returncode == 0 else told.stderr.decode().splitlines()
    return faults


# ---- Meson's wrap and its patch -----------------------------------------------------------------------------------


def meson(files):
    name = "thimble.wrap"
    wrap = configparser.ConfigParser(interpolation=None)
    wrap.read_string(files[name].decode())
    faults = []
    if wrap.sections() != ["wrap-file", "provide"]:
        faults.append(f"{name}: found sections {wrap.sections()}, expected wrap-file and provide")
        return faults
    for what in ("source", "patch"):
        file = wrap["wrap-file"].get(f"{what}_filename", "")
        faults += missing(name, files, [file])
        if file in files and hashlib.sha256(files[file]).hexdigest() != wrap["wrap-file"].get(f"{what}_hash"):
            faults.append(f"{name}: {what}_hash is not that of {file}")
    inner = {n: d for f, d in files.items() if f.endswith("_patch.zip") for n, d in read_zip(d_bytes=d).items()}
    folder = wrap["wrap-file"].get("directory", "") + "/"
    faults += missing("the patch", inner, [folder + "meson.build", folder + "meson_options.txt"])
    if faults:
        return faults
    build = inner[folder + "meson.build"].decode()
    there = {n.removeprefix(folder) for n in read_tar(FOLDER / wrap["wrap-file"]["source_filename"])}
    faults += unlisted("meson.build", set(re.findall(r"src/[\w/]+\.cpp", build)), engine_of(there, "src/"))
    options = set(re.findall(r"^option\('(\w+)'", inner[folder + "meson_options.txt"].decode(), re.M))
    parts = {part.lower() for part in re.findall(r"^  '(THIMBLE_\w+)',", build, re.M)}
    return faults + [f"meson_options.txt: no option {part}" for part in sorted(parts - options)]


# ---- All of them ---------------------------------------------------------------------------------------------------


def read_zip(path=None, d_bytes=None):
    import io

    with zipfile.ZipFile(path or io.BytesIO(d_bytes)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_tar(path):
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}


def read_folder(path):
    return {p.name: p.read_bytes() for p in path.iterdir() if p.suffix in (".wrap", ".zip", ".gz")}


# Ecosystem, archive, how to read it, its check, and damage that must be found: (file, old, new).
ROWS = [
    ("Arduino", "thimble-arduino-*.zip", read_zip, arduino, [
        ("Thimble/library.properties", "version=", "version=v"),
        ("Thimble/library.properties", "Data Processing", "Language"),
        ("Thimble/library.properties", "includes=Thimble.h", "includes=Thimbles.h"),
        ("Thimble/keywords.txt", "\t", " "),
    ]),
    ("PlatformIO", "thimble-platformio-*.tar.gz", read_tar, platformio, [
        ("library.json", '"version"', '"vresion"'),
        ("library.json", '"story.c", ', '"storey.c", '),
        ("library.json", '"language model"', '"Language Model!"'),
        ("library.json", "}", ""),
    ]),
    ("ESP-IDF", "thimble-esp-idf-*.tar.gz", read_tar, esp_idf, [
        ("thimble/idf_component.yml", "license:", "licence:"),
        ("thimble/CMakeLists.txt", "src/api.cpp", "src/apis.cpp"),
        ("thimble/Kconfig", "config THIMBLE_PACK", "config THIMBLE_PACKS"),
        ("thimble/Kconfig", "endchoice", ""),
        ("thimble/examples/story/main/idf_component.yml", "../../../", "../../"),
    ]),
    ("Zephyr", "thimble-zephyr-*.tar.gz", read_tar, zephyr, [
        ("thimble/zephyr/module.yml", "kconfig:", "Kconfig:"),
        ("thimble/zephyr/module.yml", "cmake: zephyr", "cmake: ."),
        ("thimble/zephyr/Kconfig", "\tbool", "\tboolean"),
        ("thimble/samples/story/prj.conf", "CONFIG_CPP=y", "CPP=y"),
    ]),
    ("CMSIS-Pack", "Thimble.Thimble.*.pack", read_zip, cmsis, [
        ("Thimble.Thimble.pdsc", "sourceCpp", "sourceCxx"),
        ("Thimble.Thimble.pdsc", 'condition="GCC', 'condition="ICC'),
        ("Thimble.Thimble.pdsc", "src/api.cpp", "src/apis.cpp"),
        ("Thimble.Thimble.pdsc", "</files>", ""),
    ]),
    ("Meson wrap", ".", read_folder, meson, [
        ("thimble.wrap", "source_hash = ", "source_hash = 0"),
        ("thimble.wrap", "patch_filename = thimble", "patch_filename = thimbles"),
        ("thimble.wrap", "[provide]", "[provides]"),
    ]),
]

failed = False
for ecosystem, pattern, read, check, damages in ROWS:
    archives = [FOLDER] if pattern == "." else sorted(FOLDER.glob(pattern))
    if len(archives) != 1:
        print(f"{ecosystem}: found {len(archives)} of {pattern}, expected one")
        failed = True
        continue
    files = read(archives[0])
    faults = check(files)
    for fault in faults:
        print(f"{ecosystem}: {fault}")
    for name, old, new in damages:
        text = files[name].decode()
        if old not in text:
            faults.append("damage")
            print(f"{ecosystem}: {name}: found no '{old}' to damage")
        elif not check({**files, name: text.replace(old, new, 1).encode()}):
            faults.append("damage")
            print(f"{ecosystem}: {name}: '{new}' for '{old}' was not found")
    failed |= bool(faults)
    if not faults:
        print(f"{ecosystem}: the manifest keeps to the rules; {len(damages)} damaged ones are refused")
sys.exit(failed)
