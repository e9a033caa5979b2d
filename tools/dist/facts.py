# SPDX-License-Identifier: MIT
"""What the tree says of itself, for the templates: version, date, files, what a build can leave out."""
import email.utils
import os
import re
import subprocess
import time

# Stand-ins until the project has an address of its own.
HOMEPAGE = "https://thimble.example/"
AUTHORS = "The Thimble authors"
EMAIL = "maintainers@thimble.example"

SENTENCE = "Small language models in firmware, with the same bits on every chip."
PARAGRAPH = (
    "Runs causal transformers of 100 thousand to about a billion parameters: plain C++ without dependencies, one flat "
    "model file that is read where it lies, all memory in one block that you give, no heap after start-up."
)


def found(pattern, text, what):
    match = re.search(pattern, text, re.M)
    if not match:
        raise SystemExit(f"{what}: found no match, expected {pattern}")
    return match[1]


def epoch_of(root):
    """SOURCE_DATE_EPOCH, the last commit's date, or that of the unpacked CHANGELOG.md."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return int(os.environ["SOURCE_DATE_EPOCH"])
    if (root / ".git").exists():
        git = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
        told = subprocess.run(git, capture_output=True, text=True)
        if told.returncode == 0:
            return int(told.stdout)
    return int((root / "CHANGELOG.md").stat().st_mtime)


def facts_of(root):
    header = (root / "include/thimble/thimble.h").read_text()
    parts_h = (root / "src/parts.h").read_text()
    version = found(r'^#define THIMBLE_VERSION "(.*)"', header, "thimble.h")
    epoch = epoch_of(root)
    files = sorted((root / "src").glob("*.cpp")) + sorted((root / "src/kernels").glob("*.cpp"))

    sources, instructions, tables = [], [], []
    for path in files:
        name = path.relative_to(root / "src").as_posix()
        text = path.read_text()
        flags = re.search(r"^// Compiled with: (.*)$", text, re.M)
        row = {"SOURCE": name, "STEM": path.stem}
        sources.append(row)
        if flags:
            quoted = ", ".join(f"'{flag}'" for flag in flags[1].split())
            instructions.append({**row, "FLAGS": flags[1], "FLAG_LIST": quoted})
        elif path.parent.name == "kernels" and path.stem != "select":
            for table in sorted(set(re.findall(r"^(?:extern )?const Kernels k(Kernels\w+)", text, re.M))):
                short = table.removeprefix("Kernels")
                tables.append({"TABLE": "k" + table, "NAME": short.upper(), "TEXT": f"{short} (src/{name})"})
    plain = [row for row in sources if row["SOURCE"] not in {r["SOURCE"] for r in instructions}]

    parts = []
    for name, text in re.findall(r"^#ifndef (THIMBLE_\w+)(?: *// (.*))?$", parts_h, re.M):
        if not name.startswith("THIMBLE_SRC_"):
            plain_name = name.removeprefix("THIMBLE_").replace("_", " ").lower()
            text = (text or plain_name).replace('"', "'")
            text = re.sub(r"^(?!thimble_)\w", lambda m: m[0].upper(), text)
            quoted = text.replace("'", "\\'")
            parts.append({"PART": name, "OPTION": name.lower(), "TEXT": text, "QUOTED": quoted})

    return {
        "VERSION": version,
        "EPOCH": str(epoch),
        "DATE": time.strftime("%Y-%m-%d", time.gmtime(epoch)),
        "RFC_DATE": email.utils.formatdate(epoch),
        "YEAR": time.strftime("%Y", time.gmtime(epoch)),
        "HOMEPAGE": HOMEPAGE,
        "AUTHORS": AUTHORS,
        "EMAIL": EMAIL,
        "SENTENCE": SENTENCE,
        "PARAGRAPH": PARAGRAPH,
        "rows": {
            "sources": sources,
            "plain": plain,
            "instructions": instructions,
            "tables": tables,
            "parts": parts,
        },
    }
