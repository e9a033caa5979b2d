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

# same NAME HASH: the first hash under a name is what all later ones must be.
declare -A first
same() {
  if [ -z "$2" ]; then echo "  no hash  $3"; failed=1; return; fi
  if [ -z "${first[$1]:-}" ]; then first[$1]=$2; fi
  if [ "${first[$1]}" = "$2" ]; then echo "  $2  $3"; else
    echo "  $2  $3  DIFFERS from ${first[$1]}"; failed=1
  fi
}
hash_of() { # PROGRAM MODEL OPTIONS...: greedy, so that a different bit would change what follows
  local program=$1 file=$2
  shift 2
  "$program" run "$file" -p "Once upon a time, there was a little dog named" -n 40 -t 0 --hash "$@" \
    2>/dev/null | sed -n 's/^logits-hash //p'
}

echo "compilers and optimisation:"
for cxx in g++ clang++; do
  command -v $cxx >/dev/null || { echo "  skipped: no $cxx here"; continue; }
  for config in release debug; do
    dir=build/$cxx-$config
    # Where `make` and `.ci/run` have built already.
    case $dir in build/g++-release) dir=build ;; build/clang++-release) dir=build/clang ;; esac
    env -u MAKEFLAGS make -s CXX=$cxx config=$config BUILD=$dir all >/dev/null
    for isa in avx512vbmi avx512vnni avx512 avxvnni avx2 sse41 scalar reference; do
      if ! THIMBLE_ISA=$isa $dir/thimble run $model -n 1 >/dev/null 2>&1; then
        echo "  skipped: this machine has no $isa"; continue
      fi
      same story "$(THIMBLE_ISA=$isa hash_of $dir/thimble $model)" "$cxx $config $isa"
    done
  done
done

thimble=build/thimble
isas=""  # what this machine has; from here on no hash may be missing
for isa in reference scalar sse41 avx2 avxvnni avx512 avx512vnni avx512vbmi; do
  if THIMBLE_ISA=$isa $thimble run $model -n 1 >/dev/null 2>&1; then isas="$isas $isa"; fi
done
echo "ways of feeding:"
for how in "--feed 1" "--feed 3" "--feed 17" "--feed all" "--batch 1" "--batch 5" "--budget 1000" \
           "--budget 100000" "--open mmap" "--open memory"; do
  # shellcheck disable=SC2086
  same story "$(hash_of $thimble $model $how)" "$how"
done

if [ -d $shared ]; then
  echo "row tiles and groups (stories260K):"
  for weights in "f32" "q8 --group 32" "q8 --group 64" "q8 --group 128" "q8 --group row"; do
    for tile in 1 2 4 8 16; do
      # shellcheck disable=SC2086
      $thimble convert $shared/stories260K.bin --tokenizer $shared/tok512.bin --weights $weights \
        --tile $tile -o "$work/m.thimble" 2>/dev/null
      for isa in $isas; do
        hash=$(THIMBLE_ISA=$isa hash_of $thimble "$work/m.thimble")
        same "$weights" "$hash" "$weights, tile $tile, $isa"
        hash=$(THIMBLE_ISA=$isa hash_of $thimble "$work/m.thimble" --feed 3 --budget 5000)
        same "$weights" "$hash" "  the same in feeds of 3, in slices"
      done
    done
  done
else
  echo "row tiles and groups: skipped: ../shared is absent"
fi
[ $failed = 0 ] && echo "all equal"
exit $failed
