# SPDX-License-Identifier: MIT
"""The engine as one file: every file of src/ in a row, each header once.

What is private to a file (an anonymous namespace, `static`) would meet its like of another file, so
such names get the file's name behind them where another file knows the name, too. Kernel files for an
instruction set are compiled for it by pragmas, with the flags that their line `// Compiled with:`
has. Headers with templates come again in each, under names of their own: what they make of a vector
type must be compiled for that type's instructions, and stay away from other machines.
"""
import re
from pathlib import Path

TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/|\\\n)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.'])*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<mark>::|->|\[\[|\]\]|.)""",
    re.S | re.X,
)
INCLUDE = re.compile(r'^#\s*include "([^"]+)".*\n', re.M)
GUARD = re.compile(r"^#ifndef (THIMBLE_\w+_H)\n#define \1\n(.*)^#endif\n*\Z", re.M | re.S)
SPDX = re.compile(r"\A// SPDX-License-Identifier: MIT\n")
COMPILED_WITH = re.compile(r"^// Compiled with: (.*)$", re.M)
PROTOTYPE = re.compile(r"^(?!static|inline|template|using|return)[a-z][\w ]*[\w*&] \w+\([^;{}()]*\);\n", re.M)
KEYWORDS = set(
    """alignas auto bool char class const constexpr decltype double else enum explicit extern false float for if
    inline int long mutable namespace nullptr operator return short signed sizeof static static_assert struct
    switch template this true typedef typename union unsigned using void volatile while __attribute__
    __asm__""".split()
)


def tokens(text):
    return [(m.lastgroup, m.group()) for m in TOKEN.finditer(text)]


def without_directives(text):
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*\n", "\n", text, flags=re.M)


def without_template(words):
    """A statement without `template <...>` in front."""
    while words[:1] == ["template"]:
        depth, i = 0, 1
        while i < len(words):
            depth += {"<": 1, ">": -1}.get(words[i], 0)
            i += 1
            if depth == 0:
                break
        words = words[i:]
    return words


def is_function(statement):
    head = statement[: statement.index("(")] if "(" in statement else ["="]
    return "=" not in head


def names_of_statement(words):
    """What a statement at namespace scope declares; what braces enclose is left out of it."""
    words = [w for w in words if w not in ("inline", "static", "constexpr", "extern", "const")]
    if not words or words[0] in ("static_assert", "namespace"):
        return []
    if words[0] in ("struct", "class", "enum", "union"):
        is_scoped = words[1:2] in (["class"], ["struct"])
        head = words[1 + is_scoped :]
        if "(" not in head or head.index("(") > 2:
            found = head[:1]
            if words[0] == "enum" and not is_scoped and "{" in words:  # the enumerators; their values are left as they are
                inside = words[words.index("{") + 1 :]
                found += [w for w, before in zip(inside, ["{"] + inside) if before in "{,"]
            return [w for w in found if re.match(r"[A-Za-z_]\w*\Z", w)]
    if words[0] == "using":
        return words[1:2] if "=" in words else []
    found, depth, last = [], 0, None
    for i, word in enumerate(words):
        if word in ("<", "["):
            if depth == 0 and word == "[" and last:
                found.append(last)
                last = None
            depth += 1
        elif word in (">", "]"):
            depth -= 1
        elif depth == 0 and word in ("(", "=", ",", ";", "{"):
            if last == "__attribute__":
                depth_in, last = 0, None
                continue
            if last:
                found.append(last)
            if word in ("(", "{"):
                break
            last = None
            if word == "=":
                rest, level = words[i:], 0
                for j, w in enumerate(rest):  # further declarators behind an initialiser
                    level += {"(": 1, "{": 1, ")": -1, "}": -1}.get(w, 0)
                    if level == 0 and w == "," and j + 1 < len(rest):
                        found.append(rest[j + 1])
                break
        elif depth == 0 and re.match(r"[A-Za-z_]\w*\Z", word):
            last = word if word not in KEYWORDS or word == "__attribute__" else None
    return found


def declared(text):
    """Names at namespace scope: (those that are private to the file, all that are defined here)."""
    private, every = set(), set()
    scopes, statement, depth = [], [], 0
    words = [t for kind, t in tokens(without_directives(text)) if kind != "space"]
    words = [w for w in re.sub(r"__attribute__ \( \( .*? \) \) ", "", " ".join(words)).split(" ") if w]

    def finish():
        nonlocal statement
        statement = without_template(statement)
        names = names_of_statement(statement)
        if not (statement[-1] == ";" and is_function(statement)):  # no prototype
            every.update(names)
        if "" in scopes or "static" in statement[: statement.index("(") if "(" in statement else None]:
            private.update(names)
        statement = []

    is_enum = False
    for word in words:
        if depth == 0 and word == "}":
            scopes.pop()
            statement = []
        elif depth == 0 and word == "{" and statement[:1] == ["namespace"]:
            scopes.append("".join(statement[1:]))
            statement = []
        elif depth == 0 and word == "{" and statement[:2] == ["extern", '"C"'] and len(statement) == 2:
            scopes.append("C")
            statement = []
        elif word == "{":
            if depth == 0:
                is_enum = "enum" in statement[:1]
                statement.append(word)
            depth += 1
        elif word == "}":
            depth -= 1
            if depth == 0:
                is_enum = False
                statement.append(word)
                if is_function(without_template(statement)):  # its body ends the statement
                    finish()
        elif depth == 0 and word == ";":
            statement.append(word)
            finish()
        elif depth == 0 or (is_enum and depth == 1):
            statement.append(word)
    return private, every


def renamed(text, names, suffix):
    """The text with those names longer by the suffix, but for members that are called so, too: behind
    a dot, and anywhere in a class that declares one."""
    found = tokens(text)
    code = [i for i, (kind, _) in enumerate(found) if kind != "space"]
    words = [found[i][1] for i in code] + [""]
    members, scopes, statement = {}, [], []  # of each class, by its brace; what each open brace is of
    uses = []
    for at, i in enumerate(code):
        word, before, behind = words[at], words[at - 1] if at else "", words[at + 1]
        if found[i][0] == "name" and word in names:
            kind, brace = scopes[-1] if scopes else ("", 0)
            if kind == "class" and is_declared(statement, before, behind):
                members.setdefault(brace, set()).add(word)
            is_member = (
                before in (".", "->")
                or (before == "::" and words[at - 2] != "thimble")
                or words[at - 4 : at - 2] == ["offsetof", "("]
                or (kind == "enum class" and before in ("{", ","))
            )
            if not is_member:
                uses.append((i, word, [brace for _, brace in scopes]))
        if word == "{":
            head = without_template(statement)
            is_class = {"struct", "class"} & set(head) and "(" not in head
            kind = "enum class" if is_class and "enum" in head else "class" if is_class else ""
            scopes.append((kind, at))
        elif word == "}":
            scopes[-1:] = []
        statement = [] if word in ("{", "}", ";") else statement + [word]
    out = [token for _, token in found]
    for i, word, braces in uses:
        if not any(word in members.get(brace, ()) for brace in braces):
            out[i] += suffix
    return "".join(out)


def is_declared(statement, before, behind):
    """Whether a name in a class is that of a member being declared."""
    return (
        statement.count("(") == statement.count(")")
        and behind in (";", ",", "=", "[", "{", "(")
        and (before in ("*", "&", ">", ",") or re.match(r"[A-Za-z_]", before))
        and before not in ("struct", "class", "return", "using", "sizeof")
    )


class Amalgamation:
    def __init__(self, root):
        self.root, self.src = root, root / "src"
        self.texts = {}
        files = sorted(self.src.glob("*.cpp")) + sorted(self.src.glob("kernels/*.cpp"))
        # attention.hpp is a header of its own; the engine does without.
        self.files = [f for f in files if f.name != "attention_forms.cpp"]
        self.shared = set()  # headers that are in already

    def text(self, path):
        if path not in self.texts:
            text = SPDX.sub("", path.read_text())
            guard = GUARD.search(text)
            self.texts[path] = text[: guard.start()] + guard[2] if guard else text
        return self.texts[path]

    def header(self, includer, name):
        for folder in (includer.parent, self.src):
            path = (folder / name).resolve()
            if path.exists():
                return path
        return None  # the public header, or what a define names

    def for_instructions(self, path):
        """A kernel file that compiles to nothing elsewhere."""
        code = re.sub(r"\A(?://[^\n]*\n|\s)*", "", self.text(path))
        return path.parent.name == "kernels" and code.startswith("#if")

    def is_private(self, header):
        return "template <" in self.text(header) or "namespace {" in self.text(header)

    def inlined(self, path, is_private_file, seen):
        def include(match):
            header = self.header(path, match[1])
            if header is None:
                return ""
            if is_private_file and self.is_private(header):
                if header in seen:
                    return ""
                seen.add(header)
                self.again |= declared(self.text(header))[1]
                # What other files define is declared already, for any machine.
                return PROTOTYPE.sub("", self.inlined(header, True, seen))
            if header not in self.shared:
                self.shared.add(header)
                self.common.append(
                    f"// ---- src/{header.relative_to(self.src)}\n" + self.inlined(header, False, seen)
                )
            return ""

        return INCLUDE.sub(include, self.text(path))

    def source(self):
        parts, headers = [], []
        for path in self.files:
            self.common, self.again = [], set()
            private = self.for_instructions(path)
            text = self.inlined(path, private, set())
            headers += self.common
            parts.append((path, text, declared(text)[0] | self.again))
        known = [set(t for k, t in tokens(text) if k == "name") for _, text, _ in parts]
        shared_names = declared("".join(headers))[1]
        out = ["".join(headers)]
        for i, (path, text, mine) in enumerate(parts):
            others = set().union(shared_names, *(k for j, k in enumerate(known) if j != i))
            label = str(path.relative_to(self.src))
            body = renamed(text, mine & others, "_" + path.stem)
            defines = sorted(set(re.findall(r"^#define (THIMBLE_\w+)", text, re.M)))
            body += "".join(f"#undef {d}\n" for d in defines)
            flags = COMPILED_WITH.search(text)
            out.append(f"// ---- src/{label}\n" + (for_flags(body, flags[1].split()) if flags else body))
        return "".join(out)


def for_flags(body, flags):
    features = [f[2:] for f in flags]
    target = ",".join(features)
    macros = ["__" + f.upper().replace(".", "_") + "__" for f in features]
    return (
        "#if defined(__x86_64__)\n"
        "#if defined(__clang__)\n"
        f'#pragma clang attribute push(__attribute__((target("{target}"))), apply_to = function)\n'
        "#else\n"
        "#pragma GCC push_options\n"
        f'#pragma GCC target("{target}")\n'
        "#endif\n"
        "#pragma GCC diagnostic push\n"
        + "".join(f"#if !defined({m})\n#define {m} 1\n#define THIMBLE_SET{m}\n#endif\n" for m in macros)
        + body
        + "".join(
            f"#if defined(THIMBLE_SET{m})\n#undef {m}\n#undef THIMBLE_SET{m}\n#endif\n" for m in macros
        )
        + "#pragma GCC diagnostic pop\n"
        "#if defined(__clang__)\n"
        "#pragma clang attribute pop\n"
        "#else\n"
        "#pragma GCC pop_options\n"
        "#endif\n"
        "#endif\n"
    )


def amalgamate(root):
    """(thimble.h, thimble.cpp) as texts."""
    root = Path(root).resolve()
    header = (root / "include/thimble/thimble.h").read_text()
    version = re.search(r'THIMBLE_VERSION "(.*)"', header)[1]
    licence = (root / "LICENSE").read_text().strip()
    source = (
        "// SPDX-License-Identifier: MIT\n"
        f"// Thimble {version}, the whole engine in one file, made by `make dist` of the files that its\n"
        "// lines `// ---- src/...` name. Compile it as C++17 beside your program, which includes thimble.h;\n"
        "// it needs no other flags. -Os -ffunction-sections -fdata-sections and the linker's --gc-sections make\n"
        "// it small.\n//\n"
        + "".join(f"// {line}".rstrip() + "\n" for line in licence.split("\n"))
        + '#include "thimble.h"\n\n'
        "#if defined(__GNUC__)  // each kernel takes what it needs of the headers\n"
        "#pragma GCC diagnostic push\n"
        '#pragma GCC diagnostic ignored "-Wunused-function"\n'
        "#if defined(__clang__)\n"
        '#pragma GCC diagnostic ignored "-Wunused-const-variable"\n'
        "#endif\n#endif\n\n"
        + Amalgamation(root).source()
        + "\n#if defined(__GNUC__)\n#pragma GCC diagnostic pop\n#endif\n"
    )
    return header, re.sub(r"\n{3,}", "\n\n", source)
