#!/bin/sh
# SPDX-License-Identifier: MIT
# The code in the README is that of files that the tests build and run, word for word.
set -e
cd "$(dirname "$0")/.."
block=$(mktemp)
trap 'rm -f "$block"' EXIT
same() { # LANGUAGE FILE
  awk -v start="\`\`\`$1" '$0 == start { on = 1; next } /^```$/ { on = 0 } on' README.md > "$block"
  diff -u "$2" "$block"
}
same c tests/example.c
same cpp tests/attention_walk.cpp
echo "check_readme: the code is what was built"
