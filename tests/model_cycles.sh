#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Model figures: what llvm-mca makes of the inner loops of the matrix products on Arm cores. No chip
# has run them: llvm-mca knows each core's units and latencies and assumes that every load hits the
# first cache. A line a loop: its multiply-accumulates, instructions and cycles a multiply-accumulate.
# Wants g++-aarch64-linux-gnu, gcc-arm-none-eabi and llvm; of the M55 llvm has a model from 16 on.
set -eu
cd "$(dirname "$0")/.."
work=build/model-cycles
mkdir -p $work
common="-std=c++17 -Iinclude -Isrc -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno -S"

# ASSEMBLER: the loops of matrix products, into files $work/loop-N.s, and a line for each: N,
# multiply-accumulates, instructions, what. A loop lies between a label and a branch back to it, and
# neither calls nor holds another one.
loops_of() {
  rm -f $work/loop-*.s
  awk -v work=$work '
    function macs(line) {
      if (line ~ /^sdot/) return 16
      if (line ~ /^vmladava?\.s8/) return 16
      if (line ~ /^smull2? .*b$/ || line ~ /^smlal2? .*b$/ || line ~ /^vmlal?dava?\.s16/) return 8
      if (line ~ /^fmla .*4s/ || line ~ /^smlal2? .*4s/ || line ~ /^vfma\.f32 q/) return 4
      if (line ~ /^sm(la|ua)dx? /) return 2
      if (line ~ /^vfma\.f32/ || line ~ /^smla[bt][bt] /) return 1
      return 0
    }
    # Many tokens go by panels of int8, whatever the weights are.
    function what(   type, how) {
      if (name ~ /mix/) return name ~ /q8|mix_four/ ? "values of an int8 cache" : "values of an f32 cache"
      if (name ~ /8_columns|short_rows/) return "keys of an int8 cache, narrow heads"
      how = name ~ /DotPairs/ ? " by pairs" : ""
      if (name ~ /add_groups|add_part/) return "q8 and q4" how ", many tokens"
      type = name ~ /Q4Columns|_q4/ ? "q4" : name ~ /Q8Columns|_q8/ ? "q8" : "f32"
      if (name ~ /LongBlocks|over_rows/ || name ~ /block_f32.*ELj[23]E/) return type how ", many tokens"
      if (name ~ /[0-9]rows_q|multiply_rows_q4/) return type ", tiles of 8 and 16 rows"
      return type how (name ~ /block_|lanes|columns|row_q8/ ? ", one token" : "")
    }
    function loop(from,   i, n, m, file) {
      for (i = from + 1; i <= at; ++i) if (i in begins || text[i] ~ /^blx? /) return
      for (i = from + 1; i <= at; ++i) if (text[i] !~ /:$/) { ++n; m += macs(text[i]) }
      if (m < 2) return
      begins[from]
      file = work "/loop-" ++count ".s"
      for (i = from + 1; i <= at; ++i) if (text[i] !~ /:$|^(b|cb|tb|let?p? )/ || text[i] ~ /^bfc/) print "\t" text[i] >file
      close(file)
      print count, m, n, name ~ /mix/ ? n / m : -m, what()
    }
    { gsub(/[ \t]+/, " "); sub(/^ /, ""); sub(/ ?(@|\/\/).*/, "") }
    /^_Z.*:$/ { name = $1; at = start = 0; split("", place); split("", begins) }
    /^[.#]?$/ || /^\.[a-z]/ || /^#/ { next }
    name !~ /matmul|block_|Blocks|add_groups|add_part|multiply_|rows?_q|over_rows|mix_/ { next }
    name ~ /matmul_columns|mix_rows|mix_block/ { next } # copies of the others, the cache of a prefill
    /^[0-9]+: / { text[++at] = $1; place[substr($1, 1, length($1) - 1)] = start = at; sub(/^[0-9]+: /, "") }
    { text[++at] = $0 }
    /:$/ { start = at }
    /^(\.L[0-9]+|[0-9]+):$/ { key = $1; sub(/:/, "", key); place[key] = at }
    /^(b[a-z.]*|cbn?z|tbn?z|letp|le) / {
      target = $NF
      if (target ~ /^[0-9]+b$/) sub(/b$/, "", target)
      if (target in place) loop(place[target])
    }' $1
}

# ASSEMBLER TRIPLE CORE...: of each kind of loop the one with the most multiply-accumulates; of values
# of a cache, of which some loops have conditions, that with the fewest instructions for them.
show() {
  local assembler=$1 triple=$2 core loop n m what cycles line
  shift 2
  loops_of $assembler | sort -k5 -k4,4n -k3,3n | awk '{ key = $0; sub(/^[^ ]+ [^ ]+ [^ ]+ [^ ]+ /, "", key) } !(key in seen) { seen[key]; print }' |
    while read -r loop m n _ what; do
      line=$(printf '  %-26s %4d a turn: %s instructions' "$what" $m $(awk "BEGIN { printf \"%.3f\", $n / $m }"))
      for core in "$@"; do
        # The dot product is Armv8.2's, and a core that has it needs no pairs.
        case "$what, $core" in
          q*" by pairs"*a55 | q*" by pairs"*a76) continue ;;
          q*" by pairs"*) ;;
          q*token*a53 | q*token*a72) continue ;;
        esac
        cycles=$($mca -mtriple=$triple -mcpu=$core ${attributes:+-mattr=$attributes} -iterations=200 $work/loop-$loop.s 2>$work/mca.err |
          awk '/^Total Cycles/ { print $3 / 200 }')
        line="$line, $core $([ -z "$cycles" ] && echo unknown || awk "BEGIN { printf \"%.3f\", $cycles / $m }")"
      done
      echo "$line cycles"
    done
}

mca=llvm-mca
aarch64-linux-gnu-g++ $common -O3 src/kernels/arm_neon.cpp -o $work/neon.s
echo "AArch64, a multiply-accumulate; q8 and q4 are by the dot product of Armv8.2, or by pairs without it"
show $work/neon.s aarch64-linux-gnu cortex-a53 cortex-a55 cortex-a72 cortex-a76
echo "Cortex-M with DSP"
arm-none-eabi-g++ $common -Os -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 src/kernels/arm_dsp.cpp \
  -o $work/dsp.s
show $work/dsp.s thumbv7em-none-eabihf cortex-m4 cortex-m7
for version in "" -16 -17 -18 -19 -20 -21 -22; do
  mca=llvm-mca$version
  echo "vldrh.u16 q0, [r0, q1, uxtw #1]" | $mca -mtriple=thumbv8.1m.main-none-eabihf -mcpu=cortex-m55 >/dev/null 2>&1 && break
  mca=""
done
if [ -z "$mca" ]; then
  echo "Cortex-M55: skipped: no llvm-mca here has a model of it"
  exit
fi
echo "Cortex-M55, by $mca, which takes a gather as a load"
arm-none-eabi-g++ $common -Os -mcpu=cortex-m55 -mthumb -mfloat-abi=hard src/kernels/arm_helium.cpp -o $work/helium.s
show $work/helium.s thumbv8.1m.main-none-eabihf cortex-m55
