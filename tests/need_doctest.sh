#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes sure that doctest's header is there: need_doctest.sh COMPILER
found() { echo '#include <doctest/doctest.h>' | "$1" -x c++ -E - >/dev/null 2>&1; }

found "$1" && exit 0
echo "doctest's header is missing; installing the distribution's package doctest-dev ..." >&2
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null 2>&1; then
  $as_root apt-get install -y -qq doctest-dev >/dev/null 2>&1 || {
    $as_root apt-get update -qq >/dev/null 2>&1
    $as_root apt-get install -y -qq doctest-dev >/dev/null 2>&1
  }
fi
found "$1" && exit 0
cat >&2 <<'TEXT'
The tests need doctest, and it could not be installed. Install it and try again:
  Debian, Ubuntu:  apt-get install doctest-dev
  Fedora:          dnf install doctest-devel
  Arch:            pacman -S doctest
TEXT
exit 1
