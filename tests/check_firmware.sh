#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the engine promises to firmware, on emulated boards: check_firmware.sh PROGRAM [BOARD...]
# Bare metal, the model linked in, the arena a static array, passes in slices:
#   - the same text and the same logits hash as on the host, with a float32 cache, with an int8 cache,
#     and where only one candidate is kept of the logits; before, the model's self-test (hash.c)
#   - the same refusals of damaged images, wrong memory and wrong calls, and the same results of
#     self-tests, a flipped bit found, line by line (refusals.c)
#   - arenas of the bytes that `thimble plan` gives are enough, a byte less is not (arena.c)
#   - the README's example tells what `thimble run` tells, in such an arena (example.c)
#   - a session that the host saved, with sinks and an int8 cache, goes on with the host's bits, is saved
#     as the host saves it, and refused when damaged (sessions.c)
#   - a text that the host packed is unpacked, a damaged one refused, and what the board packs the host
#     unpacks (pack.c)
#   - answers under a rule have the host's bits, their confidence and what is saved of them, too (rules.c)
#   - a model for commands does, or asks back, what it does on the host (command.c)
#   - shares of a pass, as several cores would compute them, give the host's bits (shares.c)
#   - a story teller beside other tasks, with a watchdog that bites where passes are not cut; slices in an
#     interrupt; sleep between slices: tests/devices/, on one board
#   - weights that come from a slow store which fails once, through a buffer, with arena and tables as
#     planned, give the bits of the mapped model (stream.c)
#   - a fault is told and ends the program (fault.c)
#   - every kernel gives the reference's bits (kernels.cpp)
#   - one model of each family: self-tests, and hashes beyond every window; two of them also with an
#     engine that has no more than what they need (families.c)
#   - the engine fits, and there is no heap, printing, constructor or writable data in it (sizes.awk)
# Size and RAM are compared with firmware/limits.txt.
# Wants the distribution's gcc-arm-none-eabi, gcc-riscv64-unknown-elf, picolibc-riscv64-unknown-elf,
# qemu-system-arm and qemu-system-misc; a board whose tools are missing is skipped, by name.
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/thimble}
work=build/firmware
story=models/story.thimble
. tests/firmware/boards.sh
[ $# -lt 2 ] || boards=${*:2}
mkdir -p $work

# NAME WHAT EXPECTED_FILE FOUND_FILE: says that they are the same, or what differs.
same_text() {
  if cmp -s "$3" "$4"; then
    echo "$1: $2, as on the host"
  else
    echo "$1: $2: DIFFERS from the host:"
    diff "$3" "$4" | sed 's/^/    /' | head -n 20 || true
    failed=1
  fi
}

bytes_of() { # HEX
  # shellcheck disable=SC2059
  printf "$(sed 's/../\\x&/g' <<<"$1")"
}

check_hashes() { # NAME
  local model base
  for model in $models; do
    base=$(basename $model .thimble)
    link_program $1 hash-$base $model hash
    run_program $1 hash-$base >$work/$1/hash.txt || true
    same_text $1 "$base: $(grep -o '0x.*' $work/$base.expected | xargs)" $work/$base.expected \
      $work/$1/hash.txt
  done
}

check_programs() { # NAME
  local status=0
  link_program $1 refusals $story refusals
  run_program $1 refusals >$work/$1/refusals.txt || status=$?
  [ $status = 0 ] || echo "FAILED: status $status" >>$work/$1/refusals.txt
  same_text $1 "$(grep -c '^[^ ]' $work/refusals.expected) refusals and calls" $work/refusals.expected \
    $work/$1/refusals.txt

  link_program $1 example $story example
  run_program $1 example >$work/$1/example.txt || true
  same_text $1 "example.c" $work/example.expected $work/$1/example.txt

  link_program $1 sessions $work/sessions.S sessions
  run_program $1 sessions >$work/$1/sessions.txt || true
  same_text $1 "a saved session: $(grep -o '0x.*' $work/sessions.expected | xargs)" $work/sessions.expected \
    $work/$1/sessions.txt

  link_program $1 pack $work/packed.S pack
  run_program $1 pack >$work/$1/pack.txt || true
  same_text $1 "packed texts: $(wc -c <$work/board.txt) bytes in $(wc -c <$work/board.packed)" \
    $work/pack.expected $work/$1/pack.txt
  bytes_of "$(sed -n 's/^packed //p' $work/$1/pack.txt)" >$work/$1/board.packed
  if $program unpack $story $work/$1/board.packed --ctx 32 --kv q8 -o $work/$1/board.txt 2>/dev/null &&
    cmp -s $work/board.txt $work/$1/board.txt; then
    echo "$1: packed here, unpacked on the host"
  else
    echo "$1: what was packed here: the host REFUSES it"
    failed=1
  fi

  link_program $1 rules $work/rules.S rules
  run_program $1 rules >$work/$1/rules.txt || true
  same_text $1 "an answer under a rule: $(grep -o '0x.*' $work/rules.expected | sort -u | xargs)" \
    $work/rules.expected $work/$1/rules.txt
  link_program $1 command $work/typed/typed.S command lines
  run_program $1 command >$work/$1/command.txt || true
  same_text $1 "command.c: $(grep -vc '^>' $work/command.expected) answers" $work/command.expected \
    $work/$1/command.txt
  link_program $1 shares $story shares
  run_program $1 shares >$work/$1/shares.txt || true
  same_text $1 "shares of a pass: $(grep -o '0x.*' $work/shares.expected | sort -u | xargs)" $work/shares.expected \
    $work/$1/shares.txt
  $tools-gcc $flags $program_flags $stream_flags -c tests/firmware/stream.c -o $work/$1/programs/stream.o
  link_program $1 stream $story stream
  run_program $1 stream >$work/$1/stream.txt || true
  same_text $1 "weights from a slow store: $(sed -n 's/^reads of the last token //p' $work/stream.expected) reads a token" \
    $work/stream.expected $work/$1/stream.txt

  status=0
  link_program $1 fault $story fault
  run_program $1 fault >$work/$1/fault.txt || status=$?
  if [ $status = 1 ] && grep -q '^fault: pc 0x[0-9a-f]*, cause 0x' $work/$1/fault.txt; then
    echo "$1: an unknown instruction ends with '$(cat $work/$1/fault.txt)'"
  else
    echo "$1: an unknown instruction ends with status $status and '$(cat $work/$1/fault.txt)'"
    failed=1
  fi

  if [ -e $work/$1/programs/kernels.o ]; then
    link_program $1 kernels $story kernels
    if run_program $1 kernels >$work/$1/kernels.txt; then
      echo "$1: $(tail -n 1 $work/$1/kernels.txt)"
    else
      echo "$1: kernels: FAILED:"
      sed 's/^/    /' $work/$1/kernels.txt
      failed=1
    fi
  fi
}

# Real registers and interrupts, and a clock that counts instructions, whatever this machine does.
check_devices() { # NAME
  local dir=$work/$1 device status
  for device in watchdog interrupts low_power; do
    link_program $1 $device $story $device story
    status=0
    run_program $1 $device -icount shift=0,sleep=off >$dir/$device.txt || status=$?
    [ $status = 0 ] || echo "FAILED: status $status" >>$dir/$device.txt
    same_text $1 "devices/$device.c" $work/devices.expected $dir/$device.txt
  done
  $tools-gcc $flags $program_flags -Itests/devices -DBUDGET=0 -c tests/devices/watchdog.c -o $dir/programs/bitten.o
  link_program $1 bitten $story bitten story
  status=0
  run_program $1 bitten -icount shift=0,sleep=off >$dir/bitten.txt || status=$?
  if [ $status = 1 ] && grep -q 'fault: pc 0x[0-9a-f]*, cause 0x02' $dir/bitten.txt; then
    echo "$1: devices/watchdog.c in passes that are not cut: the watchdog bites"
  else
    echo "$1: devices/watchdog.c in passes that are not cut: status $status and '$(cat $dir/bitten.txt)'"
    failed=1
  fi
}

check_arenas() { # NAME
  local model base all total one total_one
  for model in $q8_models; do
    base=$(basename $model -q8.thimble) base=${base%.thimble}
    read -r all total <<<"$(plan_of $model --ctx 256 --kv q8)"
    read -r one total_one <<<"$(plan_of $model --ctx 256 --kv q8 --candidates 1)"
    $tools-gcc $flags $program_flags -DPLAN_ARENA=$all -DPLAN_TOTAL=$total -DPLAN_ARENA_1=$one \
      -DPLAN_TOTAL_1=$total_one -c tests/firmware/arena.c -o $work/$1/programs/arena.o
    link_program $1 arena-$base $model arena
    if run_program $1 arena-$base >$work/$1/arena.txt; then
      echo "$1: $base: 256 positions take $all bytes, with one candidate $one, as planned, not one less"
      sed -n "s/^ram /$base.ram /p" $work/$1/arena.txt >>$work/$1/figures
    else
      echo "$1: $base: arenas of $all and $one bytes, as planned: FAILED:"
      sed 's/^/    /' $work/$1/arena.txt
      failed=1
    fi
  done
}

check_families() { # NAME
  local kind
  link_program $1 families $families/all.S families
  run_program $1 families >$work/$1/families.txt || true
  same_text $1 "$(wc -l <$work/families.expected) hashes of $(wc -l <$families/list) models of every family" \
    $work/families.expected $work/$1/families.txt
  for kind in $kinds; do
    build_kind $1 $kind
    local engine=$kind/engine
    link_program $1 $kind/families $families/$kind.S families
    run_program $1 $kind/families >$work/$1/$kind/families.txt || true
    same_text $1 "built for $kind alone" $work/$kind.expected $work/$1/$kind/families.txt
    engine=engine
    cat $work/$1/$kind/sizes >>$work/$1/figures
  done
}

check_sizes() { # NAME
  local engine tokenizer library complaints
  read -r engine tokenizer library <<<"$(sizes_of $1 engine tokenizer library)"
  echo "$1: engine $engine bytes, tokenizer $tokenizer, C library and compiler support $library"
  sed 's/^/size./' $work/$1/sizes >>$work/$1/figures
  complaints=$(sed -n 's/^complaint //p' $work/$1/sizes; unwinding_tables $1; forbidden_symbols $1)
  [ -z "$complaints" ] && return
  echo "$1: BAD:" $complaints
  failed=1
}

check_board() { # NAME
  failed=0
  set_board $1
  have_tools $1 || return 0
  build_board $1
  : >$work/$1/figures
  check_hashes $1
  check_programs $1
  [ -z "$devices" ] || check_devices $1
  check_arenas $1
  check_families $1
  check_sizes $1
  check_limits $1 $work/$1/figures size $kinds story $have_stories || failed=1
  return $failed
}

models=$story q8_models=$story have_stories=""
if [ -d $shared ]; then
  convert_stories f32 --weights f32
  convert_stories q8 --weights q8 --group row --for cortex-m3
  models="$models $work/stories260K-f32.thimble $work/stories260K-q8.thimble"
  q8_models="$q8_models $work/stories260K-q8.thimble" have_stories=stories260K
else
  echo "stories260K: skipped: ../shared is absent"
fi
for model in $models; do
  for options in "" "--kv q8" "--kv q8 --candidates 1"; do
    $program run $model -t 0 -n 64 --ctx 128 --hash $options 2>/dev/null
  done >$work/$(basename $model .thimble).expected
done
$program run $story -p "Once upon a time" -t 0.7 --top-p 0.9 --top-k 40 --seed 7 --ctx 256 --kv q8 \
  --candidates 40 2>/dev/null >$work/example.expected
$program run $story -p "Once upon a time" -t 0.7 --top-p 0.9 --top-k 40 --seed 7 --ctx 256 --kv q8 \
  --candidates 40 -n "$(sed -n 's/.*kStoryTokens = \([0-9]*\).*/\1/p' tests/devices/story.h)" 2>/dev/null \
  >$work/devices.expected
if [ "$(grep -o 'arena\[[0-9]*\]' tests/devices/story.c)" != "$(grep -o 'arena\[[0-9]*\]' tests/example.c)" ]; then
  echo "devices/story.c: its arena is not that of example.c"
  exit 1
fi
# The command that example.c names, and the number that it has from it.
command=$(sed -n 's/.*`thimble plan \(.*\)`.*/\1/p' tests/example.c)
read -r planned total <<<"$(plan_of $command)"
if ! grep -q "^static uint8_t arena\[$planned\]" tests/example.c; then
  echo "example.c: 'thimble plan $command' says that its arena has $planned bytes"
  exit 1
fi
${CC:-gcc} -std=c99 -O1 -Iinclude -DMODEL="\"$story\"" tests/firmware/refusals.c tests/firmware/text.c \
  tests/firmware/host.c tests/firmware/model.S "$(dirname $program)/libthimble.a" -o $work/refusals
if ! $work/refusals >$work/refusals.expected; then
  echo "the host: refusals.c failed:"
  sed 's/^/    /' $work/refusals.expected
  exit 1
fi
${CC:-gcc} -std=c99 -O1 -Iinclude -DMODEL="\"$story\"" tests/firmware/shares.c tests/firmware/text.c \
  tests/firmware/host.c tests/firmware/model.S "$(dirname $program)/libthimble.a" -o $work/shares
$work/shares >$work/shares.expected || { cat $work/shares.expected; exit 1; }
if [ "$(grep -o '0x.*' $work/shares.expected | sort -u | wc -l)" != 1 ]; then
  echo "the host: shares.c: different bits:"
  cat $work/shares.expected
  exit 1
fi
$program run $story -p "Tim had a red ball. One day, he" -t 0 -n 70 --ctx 48 --sinks 4 --kv q8 \
  --save $work/tim.session >/dev/null 2>&1
linked_assembler $story saved_session $work/tim.session >$work/sessions.S
${CC:-gcc} -std=c99 -O1 -no-pie -Iinclude tests/firmware/sessions.c tests/firmware/text.c tests/firmware/host.c \
  $work/sessions.S "$(dirname $program)/libthimble.a" -o $work/sessions
$work/sessions >$work/sessions.expected || { cat $work/sessions.expected; exit 1; }
printf '%s\n' "Once upon a time, there was a little boat. It liked to swim in the big blue sea with a fish named Finn." \
  "<|endoftext|>" $'Caf\xc3\xa9 \xff, 3 km north: the dog was happy.' >$work/board.txt
$program pack $story $work/board.txt --ctx 32 --kv q8 -o $work/board.packed 2>/dev/null
linked_assembler $story packed_text $work/board.packed >$work/packed.S
${CC:-gcc} -std=c99 -O1 -no-pie -Iinclude tests/firmware/pack.c tests/firmware/text.c tests/firmware/host.c \
  $work/packed.S "$(dirname $program)/libthimble.a" -o $work/pack
$work/pack >$work/pack.expected || { cat $work/pack.expected; exit 1; }
cat >$work/pet.json <<'END'
{"type": "object",
 "properties": {"animal": {"enum": ["dog", "cat", "bird"]},
                "name": {"type": "string", "pattern": "^[A-Z][a-z]{2,7}$"},
                "age": {"type": "integer", "minimum": 1, "maximum": 20},
                "friends": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 2}},
 "required": ["animal", "name", "age"]}
END
$program constrain $story --schema $work/pet.json -o $work/pet.rule 2>/dev/null
linked_assembler $story linked_rule $work/pet.rule >$work/rules.S
${CC:-gcc} -std=c99 -O1 -no-pie -Iinclude tests/firmware/rules.c tests/firmware/text.c tests/firmware/host.c \
  $work/rules.S "$(dirname $program)/libthimble.a" -o $work/rules
$work/rules >$work/rules.expected || { cat $work/rules.expected; exit 1; }
tests/command_model.sh $program $work/typed
${CC:-gcc} -std=c99 -O1 -Iinclude -Itests/firmware tests/command.c tests/firmware/lines.c tests/firmware/host.c \
  $work/typed/typed.S "$(dirname $program)/libthimble.a" -o $work/command
$work/command >$work/command.expected || { cat $work/command.expected; exit 1; }
# As planned; and the hash is that of the mapped model.
stream_flags=$($program plan $story --ctx 128 --kv q8 --stream --buffer 16K --json | sed -n \
  's/.*"stream": \([0-9]*\),.*"arena": \([0-9]*\), "kept_tables": \([0-9]*\),.*/-DPLAN_BUFFER=16384 -DPLAN_ARENA=\2 -DPLAN_TABLES=\3/p')
${CC:-gcc} -std=gnu99 -O1 -Iinclude -DMODEL="\"$story\"" $stream_flags tests/firmware/stream.c tests/firmware/text.c \
  tests/firmware/host.c tests/firmware/model.S "$(dirname $program)/libthimble.a" -o $work/stream
$work/stream >$work/stream.expected || { cat $work/stream.expected; exit 1; }
if [ "$($program run $story -t 0 -n 24 --ctx 128 --kv q8 --hash 2>/dev/null)" != "$(head -n 2 $work/stream.expected)" ]; then
  echo "stream.c: not the text and hash of the mapped model:"
  cat $work/stream.expected
  exit 1
fi
write_families
for_each_board check_board
