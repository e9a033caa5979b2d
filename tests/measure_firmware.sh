#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the engine costs on emulated boards, a line a board, and what of it is above its limit
# (firmware/limits.txt): measure_firmware.sh PROGRAM [BOARD...]
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

first_line='%-14s %7s %9s %9s %7s %6s %9s %9s %8s %7s %8s %8s %8s\n'
second_line='%-14s %10s %10s %9s %10s %10s %9s %10s %10s %8s %8s\n'
commands_line='%-14s %12s %12s\n'
kinds_line='%-14s %10s %10s %10s %10s %11s %10s\n'

# The figures of the board that are shown or have a limit, of those that it told.
figures_of() { # NAME TILE
  awk -v name=$1 -v tile=$2 '
    function longest(session,   slice) {
      slice = value[session "_slice_instructions"]
      if (value[session "_late_slice_instructions"] > slice)
        slice = value[session "_late_slice_instructions"]
      if (value[session "_prefill_slice_instructions"] > slice)
        slice = value[session "_prefill_slice_instructions"]
      return slice
    }
    { value[$1] = $2 + 0 }
    END {
      if (value["clock_2000000"] < 1999000 || value["clock_2000000"] > 2001000) {
        print name ": 2000000 instructions are told as " value["clock_2000000"] >"/dev/stderr"
        exit 1
      }
      split("engine constants tokenizer library", sizes)
      for (i in sizes) print "size." sizes[i], value[sizes[i]]
      print "stack.deepest", value["stack"]
      print "stack.bound", value["stack_bound"]
      print "mac.row", value["mac_row_tile" tile]
      print "mac.group32", value["mac_group32_tile" tile]
      print "mac.q4_row", value["mac4_row_tile" tile]
      print "mac.q4_group32", value["mac4_group32_tile" tile]
      split("f32 q8 group32_f32 group32_q8 q4_f32 q4_q8", sessions)
      for (i in sessions) {
        session = sessions[i]
        if (!(session "_arena" in value)) continue # without ../shared
        print "arena." session, value[session "_arena"]
        print "token." session, value[session "_token_instructions"]
        print "late." session, value[session "_late_token_instructions"]
        print "slice." session, longest(session)
        all = value[session "_prefill_instructions"]
        print "prefill." session, int(all / value[session "_encode_tokens"])
        if (session "_pack_characters" in value) {
          print "pack." session, int(value[session "_pack_instructions"] / value[session "_pack_characters"])
          print "unpack." session, int(value[session "_unpack_instructions"] / value[session "_pack_characters"])
        }
        print "self_test." session, value[session "_self_test_instructions"]
      }
    }' $work/$1/sizes $work/$1/measured >$work/$1/figures
}

# NAME LINE FIGURE...: a line of a table; `a+b` is a sum, `a/1000` has two decimals.
print_figures() {
  awk -v name=$1 -v line="$2" -v wanted="${*:3}" '
    { value[$1] = $2 }
    END {
      n = split(wanted, keys, " ")
      for (i = 1; i <= n; ++i) {
        if (split(keys[i], part, "+") == 2) out[i] = value[part[1]] + value[part[2]]
        else if (split(keys[i], part, "/") == 2) out[i] = sprintf("%.2f", value[part[1]] / part[2])
        else out[i] = value[keys[i]]
      }
      printf line, name, out[1], out[2], out[3], out[4], out[5], out[6], out[7], out[8], out[9], out[10],
        out[11], out[12]
    }' $work/$1/figures
}

# NAME MODEL: what measure.c tells of it.
measure_model() {
  link_program $1 measure $2 measure measure_kernels
  run_program $1 measure -icount shift=0 >$work/$1/told && return
  echo "$1: measure.c failed:" >&2
  sed 's/^/    /' $work/$1/told >&2
  return 1
}

# NAME: what command.c takes for what is said to it: `said instructions` lines.
measure_commands() {
  link_program $1 command $work/typed/typed.S command measured_lines
  run_program $1 command -icount shift=0 >$work/$1/told || { cat $work/$1/told >&2; return 1; }
  awk '/^> / { said = substr($0, 3) } $1 == "instructions" { print $2, said }' $work/$1/told \
    >$work/$1/commands
  # Of those that were computed: a yes is not.
  awk -v least=100000 '$1 < least { next } { sum += $1; ++n; if ($1 > most) most = $1 }
    END { printf "command.mean %d\ncommand.longest %d\n", sum / n, most }' $work/$1/commands \
    >>$work/$1/figures
}

measure_board() { # NAME
  set_board $1
  rm -f $work/$1/figures
  have_tools $1 || return 0
  build_board $1
  local model=$work/story-$target.thimble dir=$work/$1
  [ ! -d $shared ] || model=$work/stories260K-$target.thimble
  link_program $1 hash-size $model hash
  sizes_of $1 engine >/dev/null
  measure_model $1 $model
  mv $dir/told $dir/measured
  local weights
  for weights in group32 q4; do
    [ -d $shared ] || continue
    measure_model $1 $work/stories260K-$target-$weights.thimble
    sed "s/^/${weights}_/" $dir/told >>$dir/measured
  done
  figures_of $1 "$(row_tile_of $model)"
  local kind
  for kind in $kinds; do
    build_kind $1 $kind
    cat $dir/$kind/sizes >>$dir/figures
  done
  measure_commands $1
  print_figures $1 "$first_line" size.engine size.constants size.tokenizer size.library stack.deepest \
    arena.f32 arena.q8 arena.q8+stack.deepest mac.row/1000 mac.group32/1000 mac.q4_row/1000 \
    mac.q4_group32/1000
}

write_families
tests/command_model.sh $program $work/typed
limited="stack mac"
if [ -d $shared ]; then
  for name in $boards; do
    set_board $name
    convert_stories $target --weights q8 --group row --for $target
    # Groups of 32 are what `thimble convert` makes.
    convert_stories $target-group32 --weights q8 --group 32 --for $target
    convert_stories $target-q4 --weights q4 --for $target
  done
  limited="stack mac token slice"
  echo "stories260K, int8 weights with a scale a row, 256 positions"
else
  $program export $story -o $work/story.gguf 2>/dev/null
  for name in $boards; do
    set_board $name
    $program convert $work/story.gguf -o $work/story-$target.thimble --weights q8 --for $target 2>/dev/null
  done
  echo "$story in each board's tiles, 256 positions (stories260K: skipped: ../shared is absent)"
fi
printf '\n'
printf "$first_line" board engine constants tokenizer library stack "arena f32" "arena q8" "RAM q8" \
  "a MAC" "group 32" "a MAC q4" "group 32"
set +e # the boards' own is not in force behind ||
for_each_board measure_board
failed=$?
set -e
cat <<'END'
engine:    bytes of code and constants in flash, everything built, without tokenizer and library;
           constants: of these
library:   what the compiler and C library add (memcpy, division, floating point without an FPU)
stack:     bytes below the caller, the deepest of all calls
arena:     bytes for the session: float32 cache and all logits, int8 cache and one candidate
RAM q8:    the latter and the stack
a MAC:     instructions a multiply-accumulate of 256 x 256 int8 weights, one scale a row, or 32 weights;
           q4: of weights of 4 bits

END
printf "$kinds_line" board llama tokenizer gpt-2 tokenizer everything tokenizer
for name in $boards; do
  [ ! -e $work/$name/figures ] || print_figures $name "$kinds_line" llama.engine llama.tokenizer \
    gpt-2.engine gpt-2.tokenizer size.engine size.tokenizer
done
cat <<'END'
llama, gpt-2: engine and tokenizer built with what `thimble embed --needs` writes for such a model

END
printf "$second_line" board "f32: first" "at 200" slice "q8: first" "at 200" slice prefill "self-test" pack unpack
sessions() { # PREFIX: the line of each board
  for name in $boards; do
    [ ! -e $work/$name/figures ] || print_figures $name "$second_line" token.$1f32 late.$1f32 slice.$1f32 \
      token.$1q8 late.$1q8 slice.$1q8 prefill.$1q8 self_test.$1q8 pack.$1f32 unpack.$1f32
  done
}
sessions ""
if [ -d $shared ]; then
  echo "the same with a scale for each 32 weights"
  sessions group32_
  echo "the same with weights of 4 bits"
  sessions q4_
fi
cat <<'END'
first:     instructions of feed and step for the token at position 0, at 200: at position 200
slice:     of the longest thimble_step with a budget of 100000, of these tokens and a prompt of 16
prefill:   of such a prompt, a token; self-test: of all of it; pack, unpack: of a text, a character (f32)

END
read -r arena total <<<"$(plan_of $work/typed/command.thimble --ctx 128 --kv q8 --rules)"
echo "tests/command.c: model $(wc -c <$work/typed/command.thimble) bytes, rule $(wc -c <$work/typed/command.rule), \
arena $arena, with the stack $total; instructions a command"
printf "$commands_line" board mean longest
for name in $boards; do
  [ ! -e $work/$name/figures ] || print_figures $name "$commands_line" command.mean command.longest
done
echo "commands, each: build/firmware/*/commands"
echo
for name in $boards; do
  [ ! -e $work/$name/figures ] || check_limits $name $work/$name/figures $limited || failed=1
done
exit $failed
