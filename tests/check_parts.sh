#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a build leaves out is refused by its name, and nothing else is: check_parts.sh PROGRAM FAMILIES
# One build a part that can be left out, and one model of each family (family_models.cpp), of which
# `thimble embed --needs` tells what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1 families=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "check_parts: $1"; exit 1; }

mkdir "$work/models"
"$families" "$work/models" | grep -e -q8 -e llama-q4 >"$work/names"
while read -r name; do
  "$program" embed "$work/models/$name" --needs "$work/$name.h" 2>/dev/null
done <"$work/names"
parts=$(sed -n 's/^#ifndef \(THIMBLE_[A-Z0-9_]*\)  *.*/\1/p; s/^#ifndef \(THIMBLE_[A-Z0-9_]*\)$/\1/p' src/parts.h |
  grep -v -e _SRC_ -e _NEEDS -e _CHAT -e _SINKS -e _DRAFT -e _LORA -e _PACK -e _RULES -e _STREAM -e _SHARES -e _CALLERS)  # models open without these, too

build() { # NAME DEFINES...: the files that open a model, and the program
  local name=$1
  shift
  ${CXX:-g++} -std=c++17 -O0 -Iinclude -Isrc "$@" src/header.cpp src/model.cpp "$work/crc32.o" \
    "$work/open_model.o" -o "$work/$name"
}
${CXX:-g++} -std=c++17 -O0 -Iinclude -Isrc -c src/crc32.cpp -o "$work/crc32.o"
${CXX:-g++} -std=c++17 -O0 -Iinclude -Isrc -c tests/open_model.cpp -o "$work/open_model.o"

check() { # PART
  local name found expected needed=0
  build "$1" "-D$1=0"
  while read -r name; do
    expected=good
    if grep -q "^#define $1 1" "$work/$name.h"; then expected="left out: $1" needed=1; fi
    found=$(basename "$("$work/$1" "$work/models/$name")")
    [ "$found" = "$name: $expected" ] || fail "$1=0: $found; expected $expected"
  done <"$work/names"
  [ $needed = 1 ] || fail "$1: no family needs it"
}

for part in $parts; do
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
  (check "$part") >"$work/$part.log" 2>&1 &
done
wait
failed=0
for part in $parts; do
  [ ! -s "$work/$part.log" ] || { cat "$work/$part.log"; failed=1; }
done
[ $failed = 0 ] || exit 1

# A build for a model opens it; left out together, parts do not hide each other.
while read -r name; do
  build needs "-DTHIMBLE_NEEDS=\"$work/$name.h\""
  count=$(grep "^#define THIMBLE_" "$work/$name.h" | grep -vc -e _CHAT -e _SINKS -e _DRAFT -e _LORA -e _PACK -e _RULES -e _STREAM -e _SHARES -e _CALLERS)
  [ "$count" = "$(echo "$parts" | wc -l)" ] || fail "the header of needs for $name has $count parts"
  [ "$(basename "$("$work/needs" "$work/models/$name")")" = "$name: good" ] ||
    fail "a build for $name refuses it: $("$work/needs" "$work/models/$name")"
done <"$work/names"
echo "check_parts: $(echo "$parts" | wc -l) parts left out of $(wc -l <"$work/names") families: each refused by its name"
