#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the engine costs on emulated boards, a line a board: measure_firmware.sh PROGRAM [BOARD...]
# Flash is counted in the linker's map; stack and instructions are those of measure.c under QEMU with
# `-icount shift=0`, where they do not depend on this machine. All keys: build/firmware/*/measured.
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/thimble}
work=build/firmware
story=models/story.thimble
. tests/firmware/boards.sh
[ $# -lt 2 ] || boards=${*:2}
mkdir -p $work

line='%-14s %7s %9s %9s %7s %6s %8s %10s %12s %11s %5s\n'

measure_board() { # NAME
  set_board $1
  have_tools $1 || return 0
  build_board $1
  local model=$story dir=$work/$1
  [ ! -d $shared ] || model=$work/stories260K-$target.thimble
  link_program $1 hash-size $model hash
  sizes_of $1 engine >/dev/null
  link_program $1 measure $model measure measure_kernels
  if ! run_program $1 measure -icount shift=0 >$dir/measured; then
    echo "$1: measure.c failed:"
    sed 's/^/    /' $dir/measured
    return 1
  fi
  local tile=4 # rows, of `thimble convert --for`
  [ $target != cortex-m55 ] || tile=16
  awk -v name=$1 -v line="$line" -v tile=$tile '
    { value[$1] = $2 }
    END {
      clock = value["clock_2000000"]
      if (clock < 1999000 || clock > 2001000) {
        print name ": 2000000 instructions are told as " clock
        exit 1
      }
      slice = value["slice_instructions"]
      if (value["late_slice_instructions"] > slice) slice = value["late_slice_instructions"]
      if (value["prefill_slice_instructions"] > slice) slice = value["prefill_slice_instructions"]
      printf line, name, value["engine"], value["constants"], value["tokenizer"], value["library"],
        value["stack"], value["arena"], value["token_instructions"], value["late_token_instructions"],
        slice, sprintf("%.2f", value["mac_row_tile" tile] / 1000)
    }' $dir/sizes $dir/measured
}

if [ -d $shared ]; then
  for name in $boards; do
    set_board $name
    convert_stories $target --weights q8 --group row --for $target
  done
  echo "stories260K, int8 with a scale a row, 256 positions"
else
  echo "$story, 256 positions (stories260K: skipped: ../shared is absent)"
fi
printf "$line" board engine constants tokenizer library stack arena "token 0" "token 200" slice "a MAC"
for_each_board measure_board
cat <<'END'
engine:    bytes of code and constants in flash without tokenizer and library; constants: of these
library:   what the compiler and C library add (memcpy, division, floating point without an FPU)
stack:     bytes below the caller, the deepest of all calls; arena: bytes for the session
token N:   instructions of feed and step for one token at position N
slice:     instructions of the longest thimble_step with a budget of 100000, there and in a prefill
a MAC:     instructions a multiply-accumulate of 256 x 256 int8 weights, one scale a row
END
