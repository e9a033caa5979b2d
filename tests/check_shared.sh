#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The shared library from outside: check_shared.sh BUILD_FOLDER
#   - exported are the functions of thimble.h and nothing else, with their versions, and the public
#     structures look as abi.txt says (64-bit machines)
#   - it has its name, and needs the C library alone
#   - a C++ program and, where there is a python3, one in Python (ctypes) tell what `thimble run` tells
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
build=${1:?usage: check_shared.sh BUILD_FOLDER}
library=$build/libthimble.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "check_shared: $1"; exit 1; }

nm -D --defined-only "$library" | awk '$2 != "A" { print "function " $3 }' | sort >"$work/found"
[ "$(getconf LONG_BIT)" = 64 ] && "$build/abi" >>"$work/found"
[ "$(getconf LONG_BIT)" = 64 ] && cp tests/abi.txt "$work/expected" || grep ^function tests/abi.txt >"$work/expected"
diff -u "$work/expected" "$work/found" || fail "not what tests/abi.txt says: what was there must stay as it is \
(\"Shared library\" in thimble.h), what is new belongs into src/libthimble.map and tests/abi.txt"
awk '/^struct/ { may_grow = $2 == "thimble_config" || $2 == "thimble_sampling" } /\(gap\)/ && may_grow' \
  "$work/found" >"$work/gaps"
[ ! -s "$work/gaps" ] || fail "a structure that may grow has bytes that are no field's: $(cat "$work/gaps")"
nm --defined-only -g "$build/libthimble.a" 2>/dev/null | sed -n 's/^.* T \(thimble_.*\)/function \1@@/p' | sort >"$work/all"
sed -n 's/@@.*/@@/; /^function/p' "$work/found" | diff "$work/all" - ||
  fail "the library of objects has other functions than the shared one: see src/libthimble.map"

needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | xargs)
soname=$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[ "$needed" = libc.so.6 ] || [ -z "$needed" ] || fail "it needs $needed, not the C library alone"
[ "$soname" = libthimble.so.0 ] || fail "its name is $soname, not libthimble.so.0"

run=("$build/thimble" run models/story.thimble -p "Once upon a time" -t 0.7 --top-p 0.9 --top-k 40 --seed 7
  --ctx 256 --kv q8 --candidates 40 --hash)
"${run[@]}" >"$work/told" 2>/dev/null
diff <(sed '$d' "$work/told") <("$build/example_cpp" models/story.thimble) || fail "example.cpp tells something else"
status=0
"$build/example_cpp" README.md >"$work/refused" 2>&1 || status=$?
[ "$status: $(cat "$work/refused")" = "1: not a Thimble model" ] || fail "README.md as a model: $status: $(cat "$work/refused")"

functions="$(grep -c ^function "$work/found") functions"
if python=$(command -v python3) && "$python" -c 'import ctypes' 2>/dev/null; then
  diff "$work/told" <("$python" tests/example.py "$library" models/story.thimble) || fail "example.py tells something else"
  refused=$("$python" tests/example.py "$library" README.md 2>&1) && fail "example.py takes README.md for a model"
  [ "$refused" = "README.md: not a Thimble model" ] || fail "example.py of README.md: $refused"
  echo "check_shared: $functions; C++ and Python tell the story that thimble run tells"
else
  echo "skipped: example.py: no python3 with ctypes"
  echo "check_shared: $functions; C++ tells the story that thimble run tells"
fi
