#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A model of your own in the README's example, on an emulated board: emulate.sh PROGRAM MODEL [BOARD]
# Builds tests/example.c with what `thimble embed` writes and the RAM that `thimble plan` gives, and
# prints what it tells. BOARD is one of firmware/boards.sh, cortex-m4f without it. Wants the
# distribution's gcc-arm-none-eabi and qemu-system-arm; exit code 3 if they are missing.
set -eu
cd "$(dirname "$0")/.."
program=${1:?which program?}
model=${2:?which model?}
board=${3:-cortex-m4f}
work=build/firmware
. tests/firmware/boards.sh
set_board $board
have_tools $board || exit 3
[ -e "$model" ] || { echo "$model: No such file" >&2; exit 1; }
[ -e $work/$board/built ] || echo "building the engine for $board ..." >&2
build_board $board
own=$work/$board/own
mkdir -p $own

# The example asks for 256 positions; a model may know fewer.
n_ctx=$($program inspect "$model" --json | sed -n 's/^  "n_ctx": \([0-9]*\),/\1/p')
[ $n_ctx -le 256 ] || n_ctx=256
read -r arena total <<<"$(plan_of "$model" --ctx $n_ctx --kv q8 --candidates 40)"
sed "s/^\(static uint8_t arena\)\[[0-9]*\]/\1[$arena]/; s/\.n_ctx = 256/.n_ctx = $n_ctx/" tests/example.c \
  >$own/example.c
$tools-gcc $flags $program_flags -c $own/example.c -o $work/$board/programs/own.o
$program embed "$model" -o $own/model.S --name model_image --section .model 2>/dev/null
link_program $board own/example $own/model.S own
echo "$board (${qemu% -bios*}): an arena of $arena bytes, $total with the stack" >&2
run_program $board own/example
