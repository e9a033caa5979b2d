#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# How small a model packs a text, beside what knows no model: measure_pack.sh PROGRAM MODEL TEXT
# The whole text, and its records between <|endoftext|> marks each by itself, in bytes and in bits a
# byte; what `thimble eval` says; and the speed of this machine. A tool that is missing is left out.
set -euo pipefail
program=$1 model=$2 text=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/records"
LC_ALL=C awk -v RS='<[|]endoftext[|]>\n?' -v folder="$work/records" \
  'length > 0 { file = sprintf("%s/%06d", folder, NR); printf "%s", $0 >file; close(file) }' "$text"

packed_with() { # NAME FILE: how many bytes it becomes; every tool writes to the standard output
  case $1 in
    gzip) gzip -9 -n <"$2" ;;
    xz) xz -9 <"$2" ;;
    zstd) zstd --ultra -22 -q -c "$2" ;;
    brotli) brotli -q 11 -c <"$2" ;;
    thimble) "$program" pack "$model" "$2" -o - 2>/dev/null ;;
  esac | wc -c
}

whole=$(wc -c <"$text")
each=$(cat "$work/records/"* | wc -c)
count=$(find "$work/records" -type f | wc -l)
printf '%-8s %10s %8s %12s %8s\n' "" whole "bits/B" "each of $count" "bits/B"
printf '%-8s %10d %8s %12d %8s\n' text "$whole" 8 "$each" 8
for tool in gzip xz zstd brotli thimble; do
  [ $tool = thimble ] || command -v $tool >/dev/null || continue
  all=$(packed_with $tool "$text") sum=0
  for record in "$work/records/"*; do sum=$((sum + $(packed_with $tool "$record"))); done
  awk -v tool=$tool -v all="$all" -v whole="$whole" -v sum=$sum -v each="$each" 'BEGIN {
    printf "%-8s %10d %8.3f %12d %8.3f\n", tool, all, 8 * all / whole, sum, 8 * sum / each }'
done
"$program" eval "$model" "$text" | grep -e bits_per_byte -e records
"$program" pack "$model" "$text" -o "$work/packed" --stats 2>&1 | sed -n 's/^speed/pack/p'
"$program" unpack "$model" "$work/packed" -o "$work/again" --stats 2>&1 | sed -n 's/^speed/unpack/p'
cmp "$text" "$work/again"
