#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One logits hash for everything: compilers, optimisation, kernels, ways of feeding a prompt, row tiles,
# mapped or loaded. Prints each hash; exit code 1 if two differ.
set -eu
cd "$(dirname "$0")/.."
model=models/story.thimble
shared=../shared/models/stories260K
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# What is asked in the background, as many at a time as there are processors: of the Nth question, its
# name, label, and the file $work/N with the hash.
names=() labels=()
ask() { # NAME LABEL ISA PROGRAM MODEL OPTIONS...
  local file=$work/${#names[@]} isa=$3
  names+=("$1") labels+=("$2")
  shift 3
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
  THIMBLE_ISA=$isa hash_of "$@" >"$file" &
}
# The first hash under a name is what all later ones must be.
declare -A first
compare() {
  local i hash name
  wait
  for i in "${!names[@]}"; do
    hash=$(cat "$work/$i") name=${names[i]}
    if [ -z "$hash" ]; then echo "  no hash  ${labels[i]}"; failed=1; continue; fi
    : "${first[$name]:=$hash}"
    if [ "${first[$name]}" = "$hash" ]; then echo "  $hash  ${labels[i]}"; else
      echo "  $hash  ${labels[i]}  DIFFERS from ${first[$name]}"; failed=1
    fi
  done
  names=() labels=()
}
hash_of() { # PROGRAM MODEL OPTIONS...: greedy, so that a different bit would change what follows
  local program=$1 file=$2
  shift 2
  "$program" run "$file" -p "Once upon a time, there was a little dog named" -n 40 -t 0 --hash "$@" \
    2>/dev/null | sed -n 's/^logits-hash //p'
}

thimble=build/thimble
make_here() { env -u MAKEFLAGS make -s "$@" >/dev/null; }
make_here all
isas=$(THIMBLE_ISA=none $thimble run $model 2>&1 | sed -n 's/.*this machine has //p' | tr -d ,)
echo "this machine has $isas"

echo "compilers and optimisation:"
engine=(src/*.cpp src/kernels/*.cpp) tools=(tools/*.cpp tools/{constrain,intents,readers,train}/*.cpp)
engine=("${engine[@]/%.cpp/.o}") tools=("${tools[@]/%.cpp/.o}")
for cxx in g++ clang++; do
  command -v $cxx >/dev/null || { echo "  skipped: no $cxx here"; continue; }
  # Where `make` and `.ci/run` have built already.
  release=build
  [ $cxx = g++ ] || release=build/clang
  make_here CXX=$cxx BUILD=$release all
  # The engine without optimisation, before release's tools: of a function in both, its own is linked.
  debug=build/$cxx-debug
  make_here CXX=$cxx config=debug BUILD=$debug $debug/libthimble.a
  $cxx -pthread -o $debug/thimble "${engine[@]/#/$debug/obj/}" "${tools[@]/#/$release/obj/}"
  for isa in $isas; do
    ask story "$cxx release $isa" "$isa" $release/thimble $model
    ask story "$cxx debug $isa" "$isa" $debug/thimble $model
  done
done
compare

echo "ways of feeding:"
for how in "--feed 1" "--feed 3" "--feed 17" "--feed all" "--batch 1" "--batch 5" "--budget 1000" \
           "--budget 100000" "--open mmap" "--open memory"; do
  # shellcheck disable=SC2086
  ask story "$how" "${isas%% *}" $thimble $model $how
done
compare

if [ -d $shared ]; then
  echo "row tiles and groups (stories260K):"
  for weights in "f32" "q8 --group 32" "q8 --group 64" "q8 --group 128" "q8 --group row"; do
    for tile in 1 2 4 8 16; do
      file="$work/$weights $tile.thimble"
      # shellcheck disable=SC2086
      $thimble convert $shared/stories260K.bin --tokenizer $shared/tok512.bin --weights $weights \
        --tile $tile -o "$file" 2>/dev/null
      for isa in $isas; do
        ask "$weights" "$weights, tile $tile, $isa" "$isa" $thimble "$file"
        ask "$weights" "  the same in feeds of 3, in slices" "$isa" $thimble "$file" --feed 3 --budget 5000
      done
    done
  done
  compare
else
  echo "row tiles and groups: skipped: ../shared is absent"
fi
[ $failed = 0 ] && echo "all equal"
exit $failed
