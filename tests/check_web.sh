#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The engine as WebAssembly, and its page: check_web.sh PROGRAM. Both modules are below 64 KiB; under
# Node every kernel, fma and chain gives the reference's bits, and models of every family tell what
# `thimble run` tells, and are refused when damaged; then the page in a headless Chromium
# (web/browser.js). Builds them with `make web web-tests`. Wants clang, lld, nodejs and chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:?usage: check_web.sh PROGRAM}
folder=$(dirname "$program")/web
most=65536
chromium=""
for name in chromium chromium-browser google-chrome; do
  [ -n "$chromium" ] || chromium=$(command -v $name || true)
done

for tool in "${WASM_CXX:-clang++}" "${WASM_LD:-wasm-ld}" node; do
  command -v "$tool" >/dev/null || { echo "the web: skipped: no $tool here"; exit 0; }
done
env -u MAKEFLAGS -u MFLAGS make -s BUILD="$(dirname "$program")" \
  MODEL=models/story.thimble web web-tests
work=$folder/work
mkdir -p $work/families

for module in $folder/plain.wasm $folder/simd128.wasm; do
  bytes=$(stat -c %s $module)
  echo "$(basename $module): $bytes bytes, at most $most"
  [ $bytes -le $most ] || { echo "$module: found $bytes bytes, expected $most at most"; exit 1; }
done
for isa in plain simd128; do
  node tests/web/program.js $folder/$isa/kernels.wasm
  node tests/web/program.js $folder/$isa/numbers.wasm
done

# PROMPT TOKENS TEMPERATURE TOP_P SEED CACHE MODEL: a job for both modules, and what the host says.
: >$work/jobs
: >$work/expected
job() {
  local isa
  for isa in plain simd128; do
    printf '%s\t' $folder/$isa.wasm "$7" "$1" "$2" "$3" "$4" "$5" "$6" >>$work/jobs
    echo >>$work/jobs
  done
  $program run "$7" -p "$1" -n $2 -t $3 --top-p $4 --seed $5 --kv $6 --hash 2>/dev/null >$work/told
  cat $work/told $work/told >>$work/expected
}
refused() { # FILE SENTENCE
  printf '%s\t' $folder/simd128.wasm "$1" "" 8 0 0 0 f32 >>$work/jobs
  echo >>$work/jobs
  echo "refused: $2" >>$work/expected
}

story=models/story.thimble
for cache in f32 q8; do
  job "" 256 0 0.9 0 $cache $story
  job "Once upon a time" 200 0.7 0.9 33 $cache $story
  job $'Caf\xc3\xa9 \xe2\x98\x83, he said' 40 2 0 18446744073709551615 $cache $story
done
"$(dirname "$program")/family_models" $work/families >$work/families/list
while read -r model; do
  cache=f32
  [[ $model == *-f32* ]] || cache=q8
  job "a" 60 0.9 0.95 5 $cache $work/families/$model
done <$work/families/list

head -c 5000 $story >$work/cut.thimble
whole=$(stat -c %s $story)
refused $work/cut.thimble "cut.thimble: the length is not the one that the header states: length of the file: found 5000, expected $whole (at byte 24)"
cp $story $work/damaged.thimble
chmod u+w $work/damaged.thimble
printf '\1\2\3\4' | dd of=$work/damaged.thimble bs=1 seek=100000 conv=notrunc status=none
sums=$($program run $work/damaged.thimble 2>&1 | sed 's/.*checksum of the data: //' || true)
refused $work/damaged.thimble "damaged.thimble: weights or tables are damaged: checksum of the data: $sums"
head -c 1000 /dev/zero >$work/zeros.thimble
refused $work/zeros.thimble "zeros.thimble: not a Thimble model; thimble convert makes models"

node tests/web/texts.js $work/jobs >$work/found
diff $work/expected $work/found
echo "node: $(grep -c ^logits-hash $work/found) texts as on the host, $(grep -c ^refused: $work/found) refusals"

if [ -z "$chromium" ]; then
  echo "the page: skipped: no chromium here"
  exit 0
fi
node tests/web/browser.js "$chromium" $folder/thimble.html "$program" $work/families/gpt-2-q4.thimble \
  $work/damaged.thimble $work
