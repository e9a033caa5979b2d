#!/bin/sh
# SPDX-License-Identifier: MIT
# The README's firmware example is tests/example.c, word for word.
cd "$(dirname "$0")/.."
block=$(mktemp)
trap 'rm -f "$block"' EXIT
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md > "$block"
diff -u tests/example.c "$block" && echo "check_readme: the example is the one that was built"
