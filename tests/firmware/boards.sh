# SPDX-License-Identifier: MIT
# The emulated boards and how to build and run for them. Sourced by check_firmware.sh and
# measure_firmware.sh, which set `work`.

boards="cortex-m0plus cortex-m3 cortex-m4f cortex-m7f cortex-m55 rv32imc rv64gc"

shared=../shared/models/stories260K

# SUFFIX OPTIONS...: the checkpoint of ../shared as a model file.
convert_stories() {
  local suffix=$1
  shift
  $program convert $shared/stories260K.bin --tokenizer $shared/tok512.bin "$@" \
    -o $work/stories260K-$suffix.thimble 2>/dev/null
}

# MODEL OPTIONS...: bytes of the arena that `thimble plan` gives a session, and with the stack.
plan_of() {
  $program plan "$@" --json | sed -n 's/.*"arena": \([0-9]*\),.*"total": \([0-9]*\)}.*/\1 \2/p'
}

# MODEL: the height of its tiles.
row_tile_of() {
  $program inspect $1 --json | sed -n 's/^  "row_tile": \([0-9]*\),/\1/p'
}

# NAME: sets tools, flags, linker script, machine, and what `thimble convert --for` calls the core.
set_board() {
  tools=arm-none-eabi script=mps2.ld clock="-DBOARD_CLOCK_MHZ=25" libraries="-lc -lgcc" devices=""
  case $1 in
    cortex-m0plus)
      qemu="qemu-system-arm -M mps2-an385" target=cortex-m0 flags="-mcpu=cortex-m0plus -mthumb" ;;
    cortex-m3)
      qemu="qemu-system-arm -M mps2-an385" target=cortex-m3 flags="-mcpu=cortex-m3 -mthumb" ;;
    cortex-m4f)
      qemu="qemu-system-arm -M mps2-an386" target=cortex-m4 devices="$(echo tests/devices/*.c)"
      flags="-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16" ;;
    cortex-m7f)
      qemu="qemu-system-arm -M mps2-an500" target=cortex-m7
      flags="-mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-d16" ;;
    cortex-m55)
      qemu="qemu-system-arm -M mps3-an547" target=cortex-m55 script=mps3.ld clock="-DBOARD_CLOCK_MHZ=32"
      flags="-mcpu=cortex-m55 -mthumb -mfloat-abi=hard" ;;
    rv32imc)
      tools=riscv64-unknown-elf script=virt.ld qemu="qemu-system-riscv32 -M virt -bios none" target=riscv
      flags="-march=rv32imc -mabi=ilp32 --specs=picolibc.specs" ;;
    rv64gc)
      tools=riscv64-unknown-elf script=virt.ld qemu="qemu-system-riscv64 -M virt -bios none" target=riscv
      flags="-march=rv64gc -mabi=lp64d -mcmodel=medany --specs=picolibc.specs" ;;
    *) echo "no board $1" >&2; return 1 ;;
  esac
}

# NAME: says what is missing to build and run for the board, and fails; after set_board.
have_tools() {
  local tool missing=""
  for tool in $tools-g++ ${qemu%% *}; do
    command -v $tool >/dev/null || missing="$missing $tool"
  done
  [ -z "$missing" ] && return
  echo "$1: skipped: no$missing here"
  return 1
}

engine_flags="-std=c++17 -Os -Iinclude -Isrc -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno
  -fno-builtin-bcmp -ffunction-sections -fdata-sections -Wall -Wextra -Wpedantic -Wconversion -Wshadow
  -Wdouble-promotion -Werror"
# Without the pattern: a loop in text.c would become a call of strlen, which the engine does not need.
program_flags="-std=gnu99 -Os -fno-tree-loop-distribute-patterns -ffunction-sections -fdata-sections
  -Wall -Wextra -Werror -Iinclude -Itests/firmware"

# NAME: the engine and the test programs, unless nothing has changed since they were built.
# Every file of the engine: those for other instruction sets compile to nothing.
build_board() {
  local dir=$work/$1 source
  if [ -e $dir/built ] &&
      [ -z "$(find src include tests/firmware tests/devices tests/example.c tests/command.c -newer $dir/built | head -n 1)" ]; then
    return
  fi
  rm -rf "$dir"
  mkdir -p $dir/engine $dir/programs
  touch $dir/building
  for source in src/*.cpp src/kernels/*.cpp; do
    $tools-g++ $flags $engine_flags -c $source -o $dir/engine/$(basename $source .cpp).o
  done
  for source in tests/firmware/*.cpp; do
    $tools-g++ $flags $engine_flags -Itests/firmware -c $source \
      -o $dir/programs/$(basename $source .cpp).o
  done
  for source in tests/firmware/*.c tests/example.c tests/command.c $devices; do
    case $source in */host.c | */arena.c | */stream.c) continue ;; esac # for a computer; built for each model
    $tools-gcc $flags $program_flags $clock -Itests/devices -c $source -o $dir/programs/$(basename $source .c).o
  done
  $tools-gcc $flags $program_flags $clock -DMEASURED -c tests/firmware/lines.c \
    -o $dir/programs/measured_lines.o
  mv $dir/building $dir/built
}

# NAME ELF MODEL OBJECT...: a program with the model linked in, and its map beside it. MODEL may be
# assembler that links in several. The engine is that of the folder $engine of the board's.
engine=engine
link_program() {
  local dir=$work/$1 elf=$2 source=$3 object objects=""
  shift 3
  for object in "$@" board text; do objects="$objects $dir/programs/$object.o"; done
  set --
  case $source in *.S) ;; *)
    set -- "-DMODEL=\"$source\""
    source=tests/firmware/model.S ;;
  esac
  $tools-gcc $flags "$@" -c $source -o $dir/$elf.model.o
  $tools-gcc $flags -nostartfiles -Wl,--gc-sections -Wl,-Map=$dir/$elf.map -Ltests/firmware \
    -Ttests/firmware/$script $objects $dir/$engine/*.o $dir/$elf.model.o -o $dir/$elf.elf $libraries
}

# The families that the engine is also built for alone, with `thimble embed --needs`.
kinds="llama gpt-2"

# One model of each family, in $families, and what the host tells of them, in $work/families.expected.
families=$work/families
write_families() {
  mkdir -p $families
  "$(dirname $program)/family_models" $families >$families/list
  families_assembler $families $(cat $families/list) >$families/all.S
  ${CC:-gcc} -std=c99 -O1 -no-pie -Iinclude tests/firmware/families.c tests/firmware/text.c \
    tests/firmware/host.c $families/all.S "$(dirname $program)/libthimble.a" -o $families/host
  $families/host >$work/families.expected
  for kind in $kinds; do
    families_assembler $families $(grep "^$kind-[fq][38]" $families/list) >$families/$kind.S
    grep "^$kind-[fq][38]" $work/families.expected >$work/$kind.expected
    $program embed $families/$kind-q8.thimble --needs $families/$kind.h 2>/dev/null
  done
}

# NAME KIND: the engine with no more than what that family needs; its size, by hash.c, to
# KIND.figure lines in the file sizes of the folder KIND.
build_kind() {
  local dir=$work/$1/$2 source
  if [ ! -e $dir/built ] || [ $families/$2.h -nt $dir/built ] || [ $work/$1/built -nt $dir/built ]; then
    rm -rf "$dir"
    mkdir -p $dir/engine
    for source in src/*.cpp src/kernels/*.cpp; do
      $tools-g++ $flags $engine_flags "-DTHIMBLE_NEEDS=\"$PWD/$families/$2.h\"" -c $source \
        -o $dir/engine/$(basename $source .cpp).o
    done
    touch $dir/built
  fi
  local engine=$2/engine
  link_program $1 $2/hash $story hash
  awk -f tests/firmware/sizes.awk $dir/hash.map | sed "s/^/$2./" >$dir/sizes
}

# NAME ELF OPTIONS...: runs it and prints what it tells; a program that hangs is ended.
run_program() {
  local elf=$work/$1/$2.elf status=0
  shift 2
  timeout 600 $qemu "$@" -nographic -semihosting-config enable=on,target=native -kernel $elf \
    </dev/null >$elf.out 2>&1 || status=$?
  tr -d '\r' <$elf.out
  [ $status != 124 ] || echo "ended after 600 seconds"
  return $status
}

# NAME OF_THIS...: bytes in flash of a program that makes the calls of `thimble run`: the map of
# hash.c, by sizes.awk, into the file sizes.
sizes_of() {
  local dir=$work/$1 key map
  shift
  map=$(ls $dir/hash-*.map | head -n 1)
  awk -f tests/firmware/sizes.awk $map >$dir/sizes
  for key in "$@"; do awk -v key=$key '$1 == key { print $2 }' $dir/sizes; done | tr '\n' ' '
}

# NAME FIGURES GROUP...: shows each figure of those groups that limits.txt has a limit for, beside it;
# fails if one is above it or was not found. The file FIGURES has `group.figure value` lines.
check_limits() {
  local name=$1 boards figure limit what found verdict missed=0
  local -A value
  while read -r figure found; do value[$figure]=$found; done <$2
  shift 2
  while read -r boards figure limit what; do
    [[ $name == $boards && " $* " == *" ${figure%%.*} "* ]] || continue
    limit=${value[$limit]:-$limit} found=${value[$figure]:-unknown} verdict=""
    if ! [[ $found$limit =~ ^[0-9]+$ && $found -le $limit ]]; then verdict=": MISSED" missed=1; fi
    printf '%-14s %-42s %9s, at most %9s%s\n' "$name:" "$what" $found $limit "$verdict"
  done <tests/firmware/limits.txt
  return $missed
}

# NAME: tables for exceptions in the engine's objects; a linker script may keep what ours drops.
unwinding_tables() {
  $tools-size -A $work/$1/engine/*.o | awk '
    / :$/ { object = $1 }
    /^\.(ARM\.ex|eh_frame|gcc_except)/ && $2 > 0 {
      print "unwinding tables: " $2 " bytes of " $1 " in " object
    }'
}

# NAME: what no program on the engine may contain: heap, printing, exceptions.
forbidden_symbols() {
  $tools-nm $work/$1/hash-*.elf | awk '{ print $NF }' | sort -u | grep -E \
    '^_*(v?[sf]?n?i?printf|puts|malloc|calloc|realloc|free|sbrk|abort)(_r)?$|^_Zn[wa]|^_Zd[la]|^__cxa_|^_Unwind' \
    || true
}

# FUNCTION: calls it for every board, as many at a time as there are processors, and shows what each
# one prints in the order of the boards. Fails if one of them failed.
for_each_board() {
  local name failed=0 waiting=$boards
  for name in $boards; do rm -f $work/$name.status; done
  for name in $boards; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
      wait -n || true
      show_finished
    done
    (trap 'echo $? >$work/$name.status' EXIT; set -e; $1 $name) >$work/$name.log 2>&1 &
  done
  while [ -n "$(jobs -rp)" ]; do
    wait -n || true
    show_finished
  done
  show_finished
  return $failed
}

# The output of those boards of `waiting` whose turn it is.
show_finished() {
  local first
  while read -r first waiting <<<"$waiting" && [ -s $work/${first:-none}.status ]; do
    cat $work/$first.log
    [ "$(cat $work/$first.status)" = 0 ] || failed=1
  done
  waiting="$first $waiting"
}

# FOLDER FILE...: assembler that links models in, as families.c wants them, to the standard output.
families_assembler() {
  local folder=$1 file number=0
  shift
  echo '    .section .model, "a"'
  for file in "$@"; do
    printf '    .balign 64\nfamily_%d:\n    .incbin "%s"\nfamily_end_%d:\n' $number "$folder/$file" $number
    number=$((number + 1))
  done
  number=0
  printf '    .section .rodata, "a"\n    .balign 8\n    .globl families\nfamilies:\n'
  for file in "$@"; do
    printf '    .dc.a family_name_%d, family_%d, family_end_%d\n' $number $number $number
    number=$((number + 1))
  done
  echo '    .dc.a 0, 0, 0'
  number=0
  for file in "$@"; do
    printf 'family_name_%d: .asciz "%s"\n' $number "${file%.thimble}"
    number=$((number + 1))
  done
  printf '#if defined(__linux__)\n    .section .note.GNU-stack, "", %%progbits\n#endif\n'
}

# MODEL NAME FILE: assembler that links a model and another file in, from NAME to NAME_end.
linked_assembler() {
  printf '#define MODEL "%s"\n#include "../../tests/firmware/model.S"\n' "$1"
  printf '    .section .model, "a"\n    .globl %s, %s_end\n' "$2" "$2"
  printf '    .balign 64\n%s:\n    .incbin "%s"\n%s_end:\n' "$2" "$3" "$2"
}
