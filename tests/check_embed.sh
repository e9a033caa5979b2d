#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What `thimble embed` writes links, and the model lies in the program whole and aligned:
# check_embed.sh PROGRAM. Every kind with this machine's gcc; objects and assembler files also with
# each cross compiler that is here, run where QEMU's user mode is. What is missing is skipped, by name.
set -eu
cd "$(dirname "$0")/.."
thimble=$(realpath -- "${1:-build/thimble}")
model=models/story.thimble
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# The checksum comes from gzip's trailer, not from the project's own code.
bytes=$(($(wc -c <$model)))
crc=$(gzip -1 -c $model | tail -c 8 | od -An -tu4 | awk '{ print $1 }')
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
program="tests/embedded.c -I$work -DBYTES=$bytes -DCRC=${crc}u"

fail() { # WHAT...
  echo "  FAILED: $*"
  failed=1
}
embed() { "$thimble" embed $model "$@" 2>/dev/null || fail "thimble embed $*"; }

# Sound for readelf, which prints what it does not like.
sound() { # READELF FILE
  local found
  found=$($1 -aW "$2" 2>&1 | grep -iE 'warning|error|corrupt|<no-' || true)
  [ -z "$found" ] || fail "$(basename "$2"): readelf: $found"
}

runs() { # WHAT COMMAND...
  local what=$1 code=0
  shift
  "$@" || code=$?
  if [ $code = 0 ]; then
    echo "  $what"
  else
    fail "$what: exit code $code of tests/embedded.c"
  fi
}

embed -o "$work/story_model.h"

# ---- This machine ---------------------------------------------------------------------------------

cc=${CC:-gcc}
cxx=${CXX:-g++}
host() { # WHAT COMPILER FLAGS... MODEL_SOURCE
  local what=$1
  shift
  # shellcheck disable=SC2086
  if "$@" $warnings $program -o "$work/host"; then
    runs "$what" "$work/host"
  else
    fail "$what: does not compile and link"
  fi
}
echo "this machine, $cc and $cxx:"
embed -o "$work/model.c"
embed -o "$work/model.S"
embed -o "$work/model.o" --for host
embed -o "$work/placed.c" --section .far_flash
embed -o "$work/placed.S" --section .far_flash
embed -o "$work/placed.o" --section .far_flash --for host
placed() { # the program that was made last has the section
  readelf -SW "$work/host" | grep -qE ' \.far_flash +PROGBITS.* A ' ||
    fail "no read-only section .far_flash in the program"
}
host "a C array as C99" "$cc" -std=c99 "$work/model.c"
host "a C array as C11, without GNU's attributes" "$cc" -std=c11 -U__GNUC__ "$work/model.c"
host "a C array as C++, in a section of its own" "$cxx" -x c++ -std=c++17 "$work/placed.c"
placed
host "an assembler file" "$cc" -std=c99 -DEND_SYMBOL "$work/model.S"
host "an assembler file, in a section of its own" "$cc" -std=c99 "$work/placed.S"
placed
host "an object" "$cc" -std=c99 -DEND_SYMBOL "$work/model.o"
host "an object, unused sections dropped" "$cc" -std=c99 -Wl,--gc-sections "$work/model.o"
host "an object, in a section of its own" "$cc" -std=c99 "$work/placed.o"
placed
readelf -lW "$work/host" | grep -qE 'GNU_STACK.* RWE ' && fail "the stack is executable"

# ---- Cross compilers ------------------------------------------------------------------------------

cross() { # TARGET TOOLS QEMU LLD FLAGS...
  local target=$1 tools=$2 qemu=$3 lld=$4 kind
  shift 4
  echo "$target, $tools-gcc $*:"
  if ! command -v "$tools-gcc" >/dev/null; then
    echo "  skipped: no $tools-gcc here"
    return
  fi
  local flags="-Os -std=gnu99 -ffreestanding -nostdlib -nostartfiles -static -DBARE -DEND_SYMBOL"
  local object=$work/$target.o
  embed -o "$object" --for "$target"
  sound "$tools-readelf" "$object"
  sound readelf "$object"
  "$tools-objcopy" -O binary -j .rodata.story_model "$object" "$work/back"
  cmp "$work/back" $model || fail "the object's section is not the model"
  # shellcheck disable=SC2086
  "$tools-gcc" "$@" $flags $warnings $program -c -o "$work/main.o"
  # Where the linker puts things if no script says so may be too low for an emulated process.
  local link="-nostdlib -nostartfiles -static -Wl,-e,_start -Wl,-Ttext=0x100000"
  for kind in o S; do
    embed -o "$work/model.S"
    local input=$work/model.S
    [ $kind = S ] || input=$object
    # shellcheck disable=SC2086
    "$tools-gcc" "$@" $link -Wl,--fatal-warnings "$work/main.o" "$input" -o "$work/cross" ||
      { fail "does not link: .$kind"; continue; }
    linked ".$kind linked" "$tools" "$qemu"
  done
  if [ "$lld" != - ] && command -v ld.lld >/dev/null; then
    ld.lld --fatal-warnings -static -e _start -Ttext=0x1000000 "$work/main.o" "$object" -o "$work/cross" ||
      { fail "does not link with lld"; return; }
    linked ".o linked by lld" "$tools" "$qemu"
  fi
}

linked() { # WHAT TOOLS QEMU
  local symbols start end
  sound "$2-readelf" "$work/cross"
  symbols=$("$2-nm" "$work/cross")
  start=$((16#$(awk '$3 == "story_model" && $2 ~ /[RD]/ { print $1 }' <<<"$symbols")))
  end=$((16#$(awk '$3 == "story_model_end" && $2 ~ /[RD]/ { print $1 }' <<<"$symbols")))
  [ $((start % 64)) = 0 ] || fail "story_model is at $start"
  [ $((end - start)) = "$bytes" ] || fail "story_model is $((end - start)) bytes long"
  if [ "$3" = - ]; then
    echo "  $1; not run: QEMU's user mode has no such core"
  elif command -v "$3" >/dev/null; then
    runs "$1, run by $3" "$3" "$work/cross"
  else
    echo "  $1; not run: no $3 here"
  fi
}

cross cortex-m0 arm-none-eabi qemu-arm-static lld -mcpu=cortex-m0 -mthumb -mfloat-abi=soft
cross cortex-m4 arm-none-eabi qemu-arm-static lld -mcpu=cortex-m4 -mthumb -mfloat-abi=hard
cross cortex-m55 arm-none-eabi - lld -mcpu=cortex-m55 -mthumb -mfloat-abi=hard
cross arm-linux arm-linux-gnueabihf qemu-arm-static lld -mcpu=cortex-a7 -mfpu=neon-vfpv4
cross aarch64 aarch64-linux-gnu qemu-aarch64-static lld
cross riscv32 riscv64-unknown-elf qemu-riscv32-static lld -march=rv32imc -mabi=ilp32
cross riscv32 riscv64-unknown-elf qemu-riscv32-static - -march=rv32imfc -mabi=ilp32f
cross riscv64 riscv64-unknown-elf qemu-riscv64-static lld -march=rv64gc -mabi=lp64d -mcmodel=medany
cross riscv64 riscv64-unknown-elf qemu-riscv64-static - -march=rv64imac -mabi=lp64 -mcmodel=medany
[ $failed = 0 ] && echo "check_embed: all good"
exit $failed
