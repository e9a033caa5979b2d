#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tokens a second of WebAssembly under Node beside this machine's own kernels: measure_web.sh PROGRAM
# [MODEL...]. Greedy, of 20 rounds the fastest (under Node of each token). Wants what `make web` does.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:?usage: measure_web.sh PROGRAM [MODEL...]}
shift
[ $# -gt 0 ] || set -- models/story.thimble
folder=$(dirname "$program")/web
work=$folder/work
rounds=20
mkdir -p $work
for model in "$@"; do
  for cache in f32 q8; do
    echo "$model, $cache cache"
    best=0
    for _ in $(seq $rounds); do
      rate=$($program run "$model" -t 0 -n 256 --kv $cache --stats 2>&1 >/dev/null |
        sed -n 's/^decode: .* tokens, \([0-9]*\) tokens\/s.*/\1/p')
      [ $rate -le $best ] || best=$rate
    done
    echo "  host: $best a second"
    for isa in simd128 plain; do
      printf '%s\t' $folder/$isa.wasm "$model" "" 256 0 0.9 0 $cache >$work/measured
      node tests/web/texts.js $work/measured $rounds 2>&1 >/dev/null | sed 's/^/  /'
    done
  done
done
