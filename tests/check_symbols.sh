#!/bin/sh
# SPDX-License-Identifier: MIT
# What the engine needs from outside, and whether it keeps global state: check_symbols.sh LIBRARY
# Good are memcpy, memset, memmove and memcmp, and no byte that could be written. NM, LD and SIZE
# name other tools, for a cross compiler's library.
set -eu
library=${1:?usage: check_symbols.sh LIBRARY}
if [ ! -r "$library" ]; then
  echo "check_symbols: $library: cannot be read" >&2
  exit 1
fi
whole=$(mktemp)
trap 'rm -f "$whole"' EXIT

# All objects in one, so that what one of them gives to another does not count.
"${LD:-ld}" -r --whole-archive "$library" -o "$whole"

if "${NM:-nm}" "$whole" | grep -qE '__(asan|ubsan|tsan|msan)_'; then
  echo "check_symbols: $library is built with sanitizers: nothing to check"
  exit 0
fi

# _GLOBAL_OFFSET_TABLE_ is a place that the linker fills in, not something to provide.
undefined=$("${NM:-nm}" -u "$whole" | awk '{ print $NF }' | grep -vx '_GLOBAL_OFFSET_TABLE_' | sort -u || true)
surplus=$(echo "$undefined" | grep -vxE 'memcpy|memset|memmove|memcmp|' || true)

# Constants with addresses in them lie in .data.rel.ro where code can be moved: written by the
# loader, then read-only. Names, sizes: "name section bytes".
writable=$("${NM:-nm}" --format=sysv "$whole" | awk -F'|' '
    NF >= 7 { for (i = 1; i <= NF; ++i) gsub(/ /, "", $i) }
    NF >= 7 && $7 ~ /^(\.data|\.bss|\.tdata|\.tbss|\.sdata|\.sbss|\*COM\*)/ &&
    $7 !~ /^\.data\.rel\.ro/ && $4 != "SECTION" { print $1, $7 }')
# What has no symbol is still a part of its section.
bytes=$("${SIZE:-size}" -A "$whole" | awk '
    $1 ~ /^(\.data|\.bss|\.tdata|\.tbss|\.sdata|\.sbss)/ && $1 !~ /^\.data\.rel\.ro/ { n += $2 }
    END { print n + 0 }')

echo "check_symbols: $library"
echo "  undefined: $(echo $undefined)"
echo "  writable:  $bytes bytes ${writable:+($(echo $writable))}"
failed=0
if [ -n "$surplus" ]; then
  echo "check_symbols: found undefined symbols other than memcpy, memset, memmove, memcmp:" $surplus >&2
  failed=1
fi
if [ -n "$writable" ] || [ "$bytes" -ne 0 ]; then
  echo "check_symbols: found $bytes bytes of writable global data, expected none:" $writable >&2
  failed=1
fi
exit $failed
