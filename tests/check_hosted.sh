#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The same bits from every kernel table of this machine, and from Linux programs for other
# processors: check_hosted.sh PROGRAM
# Cross builds the program and the kernels' tests, static, and runs both under user emulation, on
# processors with and without the instructions that select.cpp asks for. Big-endian targets must be
# refused while compiling. Wants the distribution's g++-aarch64-linux-gnu, g++-arm-linux-gnueabihf,
# g++-riscv64-linux-gnu, qemu-user-static and gcc-arm-none-eabi; what is missing is skipped, by name.
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/thimble}
work=build/hosted
shared=../shared/models/stories260K
failed=0
fail() { echo "$1"; failed=1; }

# Cross compilers do not search /usr/include: a folder that holds only doctest is lent to them.
mkdir -p $work/include
doctest=$(echo '#include <doctest/doctest.h>' | ${CXX:-g++} -x c++ -M - 2>/dev/null |
  grep -o '/[^ ]*/doctest/doctest.h' || true)
if [ -n "$doctest" ]; then
  ln -sfn "$(dirname "$doctest")" $work/include/doctest
else
  echo "kernels' tests: skipped: no doctest here"
fi
export CPLUS_INCLUDE_PATH=$PWD/$work/include

tokens=64
# MODEL: those of the families have room for 40.
tokens_of() { case $1 in */families/*) tokens=40 ;; *) tokens=64 ;; esac }

hash_of() { # COMMAND...: of 64 tokens, greedy, so that a different bit would change what follows
  "$@" -t 0 -n $tokens --hash 2>/dev/null | sed -n 's/^logits-hash //p'
}

models=(models/story.thimble)
if [ -d $shared ]; then
  for weights in "f32" "q8 --group 32" "q8 --group row" "q4 --group 32"; do
    file=$work/stories260K-$(echo "$weights" | tr -d " -").thimble
    # shellcheck disable=SC2086
    "$program" convert $shared/stories260K.bin --tokenizer $shared/tok512.bin --weights $weights \
      -o "$file" 2>/dev/null
    models+=("$file")
  done
else
  echo "stories260K: skipped: ../shared is absent"
fi
mkdir -p $work/families
while read -r file; do
  models+=("$work/families/$file")
done < <("$(dirname "$program")/family_models" $work/families)
declare -A expected # of a model and a type of cache
for model in "${models[@]}"; do
  tokens_of "$model"
  for kv in f32 q8; do expected[$model $kv]=$(hash_of "$program" run "$model" --kv $kv); done
done

same_hashes() { # TABLE PROGRAM...: every model, both caches
  local isa=$1 model kv found
  shift
  for model in "${models[@]}"; do
    tokens_of "$model"
    for kv in f32 q8; do
      found=$(THIMBLE_ISA=$isa hash_of "$@" run "$model" --kv $kv)
      [ -n "$found" ] && [ "$found" = "${expected[$model $kv]}" ] && continue
      fail "  ${found:-no hash}  $(basename "$model") $isa, $kv cache DIFFERS from ${expected[$model $kv]}"
      return
    done
  done
  echo "  $isa: ${#models[@]} models, f32 and q8 cache, as on the host"
}

echo "this machine:"
for isa in $(THIMBLE_ISA=none "$program" run models/story.thimble 2>&1 |
    sed -n 's/.*this machine has //p' | tr -d ,); do
  same_hashes "$isa" "$program"
done

build() { # NAME TOOLS FLAGS: the program and, with doctest, the kernels' tests
  local name=$1 tools=$2 flags=$3 programs="$work/$1/thimble"
  [ -z "$doctest" ] || programs="$programs $work/$name/test_kernels"
  # -Wno-psabi: g++'s notes on a calling convention that changed in its version 7.
  # shellcheck disable=SC2086
  env -u MAKEFLAGS make -s CXX="$tools-g++" AR="$tools-ar" BUILD="$work/$name" EXTRA="-Wno-psabi $flags" \
    LDFLAGS=-static $programs
}

run() { # NAME "QEMU -cpu CPU" TABLES...: the kernel tables that this processor must have
  local name=$1 emulator=$2
  shift 2
  local found wanted="$*"
  wanted=${wanted// /, }
  # shellcheck disable=SC2086
  found=$(THIMBLE_ISA=none $emulator $work/$name/thimble run models/story.thimble 2>&1 |
    sed -n 's/.*this machine has //p')
  [ "$found" = "$wanted" ] || fail "  has tables $found; EXPECTED $wanted"
  # shellcheck disable=SC2086
  for isa in "$@"; do same_hashes "$isa" $emulator $work/$name/thimble; done
  if [ -n "$doctest" ]; then
    # Without the 23 million values of exp: its accuracy is the host's to test, its bits are here.
    # shellcheck disable=SC2086
    if found=$($emulator $work/$name/test_kernels -tce="exp is within*" 2>&1); then
      echo "  kernels' tests: $(echo "$found" | sed -n 's/.*assertions: *\([0-9]*\).*/\1/p') assertions hold"
    else
      fail "$found"
    fi
  fi
}

target() { # NAME TOOLS QEMU FLAGS; then `on` for each processor
  name=$1 tools=$2 qemu=$3 flags=$4 ready=no
  for tool in "$tools-g++" "$qemu"; do
    command -v "$tool" >/dev/null || { echo "$name: skipped: no $tool here"; return 0; }
  done
  if build "$name" "$tools" "$flags"; then ready=yes; else fail "$name: does not build"; fi
}
on() { # CPU TABLES...
  [ $ready = yes ] || return 0
  local cpu=$1
  shift
  echo "$name on $cpu:"
  run "$name" "$qemu -cpu $cpu" "$@"
}

# -O1 where it builds faster than it runs slower.
target aarch64 aarch64-linux-gnu qemu-aarch64-static ""
on cortex-a53 neon scalar reference
on neoverse-n1 neondot neon scalar reference
target armv7 arm-linux-gnueabihf qemu-arm-static "-march=armv7-a -mfpu=neon-vfpv4 -O1"
on cortex-a15 neon dsp scalar reference
target riscv64 riscv64-linux-gnu qemu-riscv64-static "-O1"
on rv64 scalar reference

# Only files that know nothing of the format may compile for a big-endian target; the others say one
# thing, and nothing else.
if command -v arm-none-eabi-g++ >/dev/null; then
  refused=0 odd=0
  message='#error "Thimble reads model files in place, so it needs a little-endian target."'
  for source in src/*.cpp src/kernels/*.cpp; do
    says=$(arm-none-eabi-g++ -mbig-endian -std=c++17 -fsyntax-only -Iinclude -Isrc "$source" 2>&1 ||
      true)
    errors=$(echo "$says" | grep -E 'error|warning' | grep -vF " | $message" || true)
    if [ "${errors#*: error: }" = "$message" ]; then
      refused=$((refused + 1))
    elif [ -n "$says" ] || [ "$source" = src/model.cpp ]; then
      odd=1
      fail "$source on a big-endian target: ${says:-is not refused}"
    fi
  done
  [ $odd = 1 ] || echo "big-endian target: $refused files refuse it in as many words"
else
  echo "big-endian target: skipped: no arm-none-eabi-g++ here"
fi
exit $failed
