#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Model figures: what llvm-mca makes of the inner loops of the matrix products on Arm cores. No chip
# has run them: llvm-mca knows each core's units and latencies and assumes that every load hits the
# first cache. A line a loop: its multiply-accumulates, instructions and cycles a multiply-accumulate.
# Wants g++-aarch64-linux-gnu, gcc-arm-none-eabi and llvm.
set -eu
cd "$(dirname "$0")/.."
work=build/model-cycles
mkdir -p $work
common="-std=c++17 -Iinclude -Isrc -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno -S"

# ASSEMBLER: the loops of matrix products, into files $work/loop-N.s, and a line for each: N,
# multiply-accumulates, instructions, what. A loop lies between a label and a branch back to it, and
# neither calls nor holds another label.
loops_of() {
  rm -f $work/loop-*.s
  awk -v work=$work '
    function macs(line) {
      if (line ~ /^sdot/) return 16
      if (line ~ /^smull2? .*b$/ || line ~ /^smlal2? .*b$/) return 8
      if (line ~ /^fmla .*4s/) return 4
      if (line ~ /^smla[dt]d? /) return 2
      if (line ~ /^vfma\.f32/) return 1
      return 0
    }
    function what(   type, how) {
      type = name ~ /Q4Columns|_q4/ ? "q4" : name ~ /Q8Columns|_q8/ ? "q8" : "f32"
      how = name ~ /DotPairs/ ? " by pairs" : ""
      return type how (name ~ /ELj4ELj1E/ ? ", one token" : name ~ /block_|lanes|columns/ ? ", many tokens" : "")
    }
    function loop(from,   i, n, m, file) {
      for (i = from + 1; i <= at; ++i) if (text[i] ~ /:$/ || text[i] ~ /^blx? /) return
      for (i = from + 1; i <= at; ++i) { ++n; m += macs(text[i]) }
      if (m < 2) return
      file = work "/loop-" ++count ".s"
      for (i = from + 1; i <= at; ++i) if (text[i] !~ /^(b|cb|tb)/) print "\t" text[i] >file
      close(file)
      print count, m, n, what()
    }
    { gsub(/[ \t]+/, " "); sub(/^ /, ""); sub(/ ?(@|\/\/).*/, "") }
    /^_Z.*:$/ { name = $1; at = start = 0; split("", place) }
    /^[.#]?$/ || /^\.[a-z]/ || /^#/ { next }
    name !~ /matmul|block_|multiply_/ || name ~ /8_columns/ { next }
    /^[0-9]+: / { text[++at] = $1; place[substr($1, 1, length($1) - 1)] = start = at; sub(/^[0-9]+: /, "") }
    { text[++at] = $0 }
    /:$/ { start = at }
    /^(\.L[0-9]+|[0-9]+):$/ { key = $1; sub(/:/, "", key); place[key] = at }
    /^(b[a-z.]*|cbn?z|tbn?z) / {
      target = $NF
      if (target ~ /^[0-9]+b$/) sub(/b$/, "", target)
      if (target in place) loop(place[target])
    }' $1
}

# ASSEMBLER TRIPLE CORE...: of each kind of loop the one with the most multiply-accumulates.
show() {
  local assembler=$1 triple=$2 core loop n m what cycles line
  shift 2
  loops_of $assembler | sort -k4 -k2,2nr | awk '{ key = $0; sub(/^[0-9]+ [0-9]+ [0-9]+ /, "", key) } !(key in seen) { seen[key]; print }' |
    while read -r loop m n what; do
      line=$(printf '  %-26s %4d a turn: %s instructions' "$what" $m $(awk "BEGIN { printf \"%.3f\", $n / $m }"))
      for core in "$@"; do
        # The dot product is Armv8.2's, and a core that has it needs no pairs.
        case "$what, $core" in q?" by pairs"*a55 | q?" by pairs"*a76 | q?,*a53 | q?,*a72) continue ;; esac
        cycles=$(llvm-mca -mtriple=$triple -mcpu=$core ${attributes:+-mattr=$attributes} -iterations=200 $work/loop-$loop.s 2>$work/mca.err |
          awk '/^Total Cycles/ { print $3 / 200 }')
        line="$line, $core $([ -z "$cycles" ] && echo unknown || awk "BEGIN { printf \"%.3f\", $cycles / $m }")"
      done
      echo "$line cycles"
    done
}

aarch64-linux-gnu-g++ $common -O3 src/kernels/arm_neon.cpp -o $work/neon.s
echo "AArch64, a multiply-accumulate; q8 and q4 are by the dot product of Armv8.2, or by pairs without it"
show $work/neon.s aarch64-linux-gnu cortex-a53 cortex-a55 cortex-a72 cortex-a76
echo "Cortex-M with DSP"
arm-none-eabi-g++ $common -Os -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 src/kernels/arm_dsp.cpp \
  -o $work/dsp.s
show $work/dsp.s thumbv7em-none-eabihf cortex-m4 cortex-m7
