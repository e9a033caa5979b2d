# SPDX-License-Identifier: MIT
"""Templates: `@NAME@` is a fact; lines between `@each ROWS` and `@end` come once for each row of facts;
`@include FILE` is a template of this folder."""
import re
from pathlib import Path

EACH = re.compile(r"^@each (\w+)\n(.*?)^@end\n", re.M | re.S)
INCLUDE = re.compile(r"^@include (\S+)\n", re.M)


def fill(text, facts, where):
    """`where` names the template if it asks for what nobody knows."""

    def known(name, row):
        if not isinstance(row.get(name), str):
            raise SystemExit(f"{where}: found @{name}@, expected one of {', '.join(sorted(row))}")
        return row[name]

    def lines(block, row):
        return re.sub(r"@([A-Z][A-Z_0-9]*)@", lambda m: known(m[1], row), block)

    def rows(match):
        if match[1] not in facts["rows"]:
            raise SystemExit(f"{where}: found @each {match[1]}, expected one of {', '.join(facts['rows'])}")
        return "".join(lines(match[2], {**facts, **row}) for row in facts["rows"][match[1]])

    text = INCLUDE.sub(lambda m: (Path(__file__).parent / m[1]).read_text(), text)
    return lines(EACH.sub(rows, text), facts)
