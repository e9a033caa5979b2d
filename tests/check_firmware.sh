#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The same text and the same logits hash on emulated boards as on the host: check_firmware.sh PROGRAM
# Bare metal, the model linked in, the arena a static array, passes in slices. Wants the distribution's
# gcc-arm-none-eabi, gcc-riscv64-unknown-elf, picolibc-riscv64-unknown-elf, qemu-system-arm and
# qemu-system-misc; a board whose tools are missing is skipped, by name.
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/thimble}
work=build/firmware
mkdir -p $work
shared=../shared/models/stories260K
failed=0

engine="-std=c++17 -Os -Iinclude -Isrc -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno
  -fno-builtin-bcmp -ffunction-sections -fdata-sections -Wall -Wextra -Wpedantic -Wconversion -Wshadow
  -Wdouble-promotion -Werror"
# Every file: those for other instruction sets compile to nothing.
sources="$(ls src/*.cpp src/kernels/*.cpp)"

build() { # NAME TOOLS LINKER_SCRIPT FLAGS...
  local name=$1 tools=$2 script=$3
  shift 3
  mkdir -p $work/$name
  for source in $sources; do
    $tools-g++ "$@" $engine -c "$source" -o "$work/$name/$(basename "$source" .cpp).o"
  done
  for source in board hash; do
    $tools-gcc "$@" -std=gnu99 -Os -Wall -Wextra -Werror -Iinclude -c tests/firmware/$source.c \
      -o $work/$name/fw_$source.o
  done
}

run() { # NAME TOOLS LINKER_SCRIPT MODEL QEMU -- FLAGS...: links the model in and prints what it tells
  local name=$1 tools=$2 script=$3 model=$4 qemu=$5
  shift 6
  $tools-gcc "$@" -DMODEL="\"$model\"" -c tests/firmware/model.S -o $work/$name/fw_model.o
  $tools-gcc "$@" -nostartfiles -Wl,--gc-sections -Ltests/firmware -Ttests/firmware/$script \
    $work/$name/*.o -o $work/$name.elf -lc -lgcc 2>&1
  # shellcheck disable=SC2086
  timeout 120 $qemu -nographic -semihosting-config enable=on,target=native \
    -kernel $work/$name.elf </dev/null 2>&1 | tr -d '\r'
}

models=(models/story.thimble)
if [ -d $shared ]; then
  for weights in f32 "q8 --group row --for cortex-m3"; do
    file=$work/stories260K-${weights%% *}.thimble
    # shellcheck disable=SC2086
    "$program" convert $shared/stories260K.bin --tokenizer $shared/tok512.bin --weights $weights \
      -o "$file" 2>/dev/null
    models+=("$file")
  done
else
  echo "stories260K: skipped: ../shared is absent"
fi

board() { # NAME TOOLS LINKER_SCRIPT QEMU FLAGS...
  local name=$1 tools=$2 script=$3 qemu=$4
  shift 4
  if ! command -v "$tools-g++" >/dev/null || ! command -v "${qemu%% *}" >/dev/null; then
    echo "$name: skipped: no $tools-g++ or ${qemu%% *} here"
    return
  fi
  build "$name" "$tools" "$script" "$@"
  for model in "${models[@]}"; do
    local expected found
    expected=$("$program" run "$model" -t 0 -n 16 --ctx 64 --hash 2>/dev/null)
    found=$(run "$name" "$tools" "$script" "$model" "$qemu" -- "$@" || true)
    if [ "$found" = "$expected" ]; then
      echo "$name: $(basename "$model"): ${expected##*logits-hash }, as on the host"
    else
      echo "$name: $(basename "$model"): DIFFERS, found:"
      echo "$found" | sed 's/^/    /'
      failed=1
    fi
  done
}

arm="qemu-system-arm -M"
board cortex-m0plus arm-none-eabi mps2.ld "$arm mps2-an385" -mcpu=cortex-m0plus -mthumb
board cortex-m3 arm-none-eabi mps2.ld "$arm mps2-an385" -mcpu=cortex-m3 -mthumb
board cortex-m4f arm-none-eabi mps2.ld "$arm mps2-an386" -mcpu=cortex-m4 -mthumb -mfloat-abi=hard \
  -mfpu=fpv4-sp-d16
board cortex-m7f arm-none-eabi mps2.ld "$arm mps2-an500" -mcpu=cortex-m7 -mthumb -mfloat-abi=hard \
  -mfpu=fpv5-d16
board cortex-m55 arm-none-eabi mps3.ld "$arm mps3-an547" -mcpu=cortex-m55 -mthumb -mfloat-abi=hard
board rv32imc riscv64-unknown-elf virt.ld "qemu-system-riscv32 -M virt -bios none" -march=rv32imc \
  -mabi=ilp32 --specs=picolibc.specs
board rv64gc riscv64-unknown-elf virt.ld "qemu-system-riscv64 -M virt -bios none" -march=rv64gc \
  -mabi=lp64d -mcmodel=medany --specs=picolibc.specs
exit $failed
