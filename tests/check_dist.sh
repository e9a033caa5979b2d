#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What `make dist` packs builds, runs and tells the same bits: check_dist.sh BUILD [CHECK...]
# BUILD has the program thimble and the engine's objects already. Each check unpacks its archive and
# builds what lies in it, nothing of the tree, with the flags of its ecosystem:
#   same           dist of the tree and dist of the source archive are the same to the bit
#   manifests      every manifest against its rules (check_manifests.py)
#   amalgamation   one command without flags for instructions by g++ and clang++, every kernel table; rv32imc
#   cmake          add_subdirectory, find_package of an installed tree, a board by a toolchain file
#   meson          the wrap as a subproject, here and for a board by a cross file
#   pkg-config     of `make install`, and of `make install-engine` for a board
#   debian         the source package built, lintian, the example with what it installs; arm64 as well
#   arduino, platformio, esp-idf, zephyr, cmsis
#                  the manifest's files, linked with the package's example and run on an emulated board
# What a missing tool prevents is skipped, by name.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=$PWD
build=$(realpath -- "${1:?which build folder?}")
program=$build/thimble
work=$build/dist-check
all="same manifests amalgamation debian cmake meson pkg-config arduino platformio esp-idf zephyr cmsis"
checks=${*:2}
checks=${checks:-$all}
. tests/firmware/boards.sh
export MAKEFLAGS=

for name in $checks; do
  [[ " $all " == *" $name "* ]] || { echo "check_dist: no check '$name'; there are $all" >&2; exit 2; }
done
if ! command -v python3 >/dev/null; then
  echo "check_dist: skipped: no python3 here"
  exit 0
fi
python=python3
[ ! -x /usr/bin/python3 ] || python=/usr/bin/python3 # the distribution's has its own packages

fail() { echo "FAILED: $*"; exit 1; }
have() { # TOOL...: or tells what is skipped
  local tool missing=""
  for tool in "$@"; do command -v "$tool" >/dev/null || missing="$missing $tool"; done
  [ -z "$missing" ] && return
  echo "skipped: no$missing here"
  return 1
}
same() { # WHAT EXPECTED FOUND
  cmp -s "$2" "$3" || { diff "$2" "$3" | head -n 10; fail "$1: differs from what thimble run tells"; }
}

# ---- What all of them share -----------------------------------------------------------------------

rm -rf "$work"
mkdir -p "$work/logs" "$work/shared"
$python -B tools/dist/dist.py --program "$program" --out "$work/dist" >/dev/null
version=$(sed -n 's/^#define THIMBLE_VERSION "\(.*\)"/\1/p' include/thimble/thimble.h)
source_tree=$work/source/thimble-$version
mkdir -p "$work/source"
tar -xf "$work/dist/thimble-$version.tar.gz" -C "$work/source"

unpacked() { # ARCHIVE: into a folder of the check's own, which it names
  local folder=$work/$check/package
  mkdir -p "$folder"
  case $1 in
    *.zip | *.pack) $python -m zipfile -e "$work/dist/$1" "$folder" ;;
    *) tar -xf "$work/dist/$1" -C "$folder" ;;
  esac
  echo "$folder"
}

story=models/story.thimble
for options in "" "--kv q8" "--kv q8 --candidates 1"; do
  # shellcheck disable=SC2086
  "$program" run $story -t 0 -n 64 --ctx 128 --hash $options 2>/dev/null
done >"$work/hash.expected"
for ctx in 128 256; do
  "$program" run $story -p "Once upon a time" -t 0.7 --top-p 0.9 --top-k 40 --seed 7 --ctx $ctx --kv q8 \
    --candidates 40 2>/dev/null >"$work/story-$ctx.expected"
done

# Where a computer is the board: hash.c and example.c of the tests, with the model.
${CC:-gcc} -O1 -c -DMODEL="\"$story\"" tests/firmware/model.S -o "$work/shared/model.o"
for name in hash text host; do
  ${CC:-gcc} -std=c99 -O1 -Iinclude -c tests/firmware/$name.c -o "$work/shared/$name.o"
done
host_objects="$work/shared/hash.o $work/shared/text.o $work/shared/host.o $work/shared/model.o"

hash_of() { tail -n 1 "$work/hash.expected" | grep -o '0x.*'; }

# BOARD: its start-up and hash.c, once, into $shared_board.
prepare_board() {
  set_board "$1"
  shared_board=$work/shared/$1
  [ ! -e "$shared_board/ready" ] && command -v $tools-g++ >/dev/null || return 0
  (
    # shellcheck disable=SC2030,SC2031
    flock 9
    [ ! -e "$shared_board/ready" ] || exit 0
    for name in board text hash; do
      $tools-gcc $flags $program_flags $clock -c tests/firmware/$name.c -o "$shared_board/$name.o"
    done
    # A package's example has a way out of its own, which ends up in the board's.
    $tools-objcopy --redefine-sym uart_write=board_uart "$shared_board/board.o" "$shared_board/own_way.o"
    $tools-gcc $flags -DMODEL="\"$story\"" -c tests/firmware/model.S -o "$shared_board/model.o"
    touch "$shared_board/ready"
  ) 9>"$work/shared/$1.lock"
}
for name in cortex-m3 cortex-m4f cortex-m7f cortex-m55 rv32imc; do mkdir -p "$work/shared/$name"; done

# ELF OBJECT...: links them for the board, runs the program, and says what it told in ELF.txt.
run_on_board() {
  local elf=$1
  shift
  $tools-gcc $flags -nostartfiles -Wl,--gc-sections -Ltests/firmware "-Ttests/firmware/$script" "$@" \
    -o "$elf.elf" $libraries
  local status=0
  timeout 600 $qemu -nographic -semihosting-config enable=on,target=native -kernel "$elf.elf" </dev/null \
    >"$elf.out" 2>&1 || status=$?
  tr -d '\r' <"$elf.out" >"$elf.txt"
  [ $status = 0 ] || { tail -n 3 "$elf.txt"; fail "$elf: status $status on the board"; }
}
hash_on_board() { # LIBRARY
  run_on_board "$work/$check/hash" "$shared_board"/{board,text,hash,model}.o "$1"
  same "hash.c on an emulated board" "$work/hash.expected" "$work/$check/hash.txt"
}

# LIST INCLUDES... -- FLAGS...: the files of a manifest, each with the ecosystem's flags, into
# $work/$check/engine.
compile_list() {
  local list=$1 file object
  shift
  mkdir -p "$work/$check/$engine_folder"
  while read -r file; do
    object=$work/$check/$engine_folder/$(basename "${file%.*}").o
    "$tools-g++" $flags "$@" -c "$file" -o "$object"
  done <"$list"
  [ -s "$list" ] || fail "no files in the manifest"
}
engine_folder=engine

# FLAGS... : the package's example, C and C++, in $examples, with the platform's headers as far as it
# asks for them (tests/dist/), on the board.
tell_story_on_board() { # FOLDER FILE...
  local folder=$1 file objects="" platform=$check
  [ $check != platformio ] || platform=arduino
  shift
  for file in "$@"; do
    local object=$work/$check/example-$(basename "$file").o
    case $file in
      *.c) $tools-gcc $flags -std=gnu11 -Os -ffunction-sections -fdata-sections -Itests/dist/$platform $includes \
        -c "$folder/$file" -o "$object" ;;
      *) $tools-g++ $flags -std=gnu++17 -Os -fno-exceptions -fno-rtti -Itests/dist/$platform $includes -x c++ \
        -include Arduino.h -c "$folder/$file" -o "$object" ;;
    esac
    # The boards have a place of their own for the model.
    [ "$file" != model.c ] ||
      $tools-objcopy --rename-section .rodata.model_image=.model,alloc,load,readonly,data,contents "$object"
    objects="$objects $object"
  done
  $tools-gcc $flags $program_flags -c tests/dist/$platform/platform.c -o "$work/$check/platform.o"
  # shellcheck disable=SC2086
  run_on_board "$work/$check/story" "$shared_board/own_way.o" "$shared_board/text.o" "$work/$check/platform.o" \
    $objects "$work/$check/engine"/*.o
  same "the example on an emulated board" "$work/story-128.expected" "$work/$check/story.txt"
}

# ---- Checks ---------------------------------------------------------------------------------------

check_same() {
  [ -e "$source_tree/Makefile" ] || fail "no Makefile in the source archive"
  $python -B "$source_tree/tools/dist/dist.py" --program "$program" --out "$work/$check/again" >/dev/null
  diff -r "$work/dist" "$work/$check/again" || fail "dist of the source archive differs"
  (cd "$work/dist" && sha256sum --quiet -c SHA256SUMS)
  echo "$(ls "$work/dist" | wc -l) files, the same to the bit from the tree and from the source archive"
}

check_manifests() {
  $python -B tests/check_manifests.py "$work/dist"
}

check_amalgamation() {
  local folder compiler count
  folder=$(unpacked thimble-amalgamation-$version.zip)
  [ "$(ls "$folder" | xargs)" = "thimble.cpp thimble.h" ] || fail "not two files: $(ls "$folder")"
  for compiler in g++ clang++; do
    command -v $compiler >/dev/null || { echo "skipped: no $compiler here"; continue; }
    # Without flags but these; clang++ 14 is no C++17 compiler by itself.
    $compiler -std=c++17 -O1 -Wall -Wextra -Werror -c "$folder/thimble.cpp" -o "$work/$check/$compiler.o"
    ${CC:-gcc} $host_objects "$work/$check/$compiler.o" -o "$work/$check/hash-$compiler"
    "$work/$check/hash-$compiler" >"$work/$check/hash-$compiler.txt"
    same "$compiler" "$work/hash.expected" "$work/$check/hash-$compiler.txt"
    g++ -std=c++17 -O1 -I"$folder" -include "$folder/thimble.h" tests/dist/every_table.cpp "$work/shared/model.o" \
      "$work/$check/$compiler.o" -o "$work/$check/tables-$compiler"
    "$work/$check/tables-$compiler" >"$work/$check/tables-$compiler.txt"
    count=$(awk '{ print $2 }' "$work/$check/tables-$compiler.txt" | sort -u | wc -l)
    [ "$count" = 1 ] || { cat "$work/$check/tables-$compiler.txt"; fail "$compiler: tables differ"; }
    echo "$compiler, no flags for instructions: $(awk '{ print $1 }' "$work/$check/tables-$compiler.txt" | xargs): $(hash_of)"
  done
  prepare_board rv32imc
  have $tools-g++ ${qemu%% *} || return 0
  $tools-g++ $flags -std=c++17 -Os -fno-exceptions -fno-rtti -ffunction-sections -fdata-sections -Wall -Wextra -Werror \
    -c "$folder/thimble.cpp" -o "$work/$check/board.o"
  hash_on_board "$work/$check/board.o"
  echo "rv32imc, emulated: $(hash_of)"
}

check_cmake() {
  have cmake || return 0
  local folder=$work/$check generator="Unix Makefiles"
  ! command -v ninja >/dev/null || generator=Ninja
  cp -r tests/dist/cmake "$folder/app"
  cmake -G "$generator" -S "$folder/app" -B "$folder/sub" -DTHIMBLE_SOURCE="$source_tree" -DCMAKE_BUILD_TYPE=Debug \
    -DTHIMBLE_PACK=OFF -DMODEL="$tree/$story" -DTESTS="$tree/tests" >"$folder/sub.log"
  cmake --build "$folder/sub" >>"$folder/sub.log" || { tail "$folder/sub.log"; fail "add_subdirectory"; }
  "$folder/sub/hash" >"$folder/sub.txt"
  same "add_subdirectory" "$work/hash.expected" "$folder/sub.txt"
  ! "$folder/sub/example" | diff - "$work/story-256.expected" | grep . || fail "the example"
  echo "add_subdirectory, FetchContent, a part left out: $(hash_of), and the story"

  env -u MAKEFLAGS make -s BUILD="$build" PREFIX="$folder/root" install-engine >/dev/null
  cmake -G "$generator" -S "$folder/app" -B "$folder/found" -DCMAKE_PREFIX_PATH="$folder/root" -DMODEL="$tree/$story" \
    -DTESTS="$tree/tests" >"$folder/found.log"
  cmake --build "$folder/found" >>"$folder/found.log" || { tail "$folder/found.log"; fail "find_package"; }
  "$folder/found/hash" >"$folder/found.txt"
  same "find_package" "$work/hash.expected" "$folder/found.txt"
  echo "find_package of make install: $(hash_of)"

  prepare_board cortex-m4f
  have $tools-g++ ${qemu%% *} || return 0
  printf 'set(CMAKE_SYSTEM_NAME Generic)\nset(CMAKE_SYSTEM_PROCESSOR arm)\nset(CMAKE_CXX_COMPILER %s-g++)\n' $tools \
    >"$folder/board.cmake"
  printf 'set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\nset(CMAKE_CXX_FLAGS_INIT "%s")\n' "$flags" \
    >>"$folder/board.cmake"
  cmake -G "$generator" -S "$source_tree/src" -B "$folder/board" -DCMAKE_TOOLCHAIN_FILE="$folder/board.cmake" \
    -DCMAKE_BUILD_TYPE=MinSizeRel -DCMAKE_INSTALL_PREFIX="$folder/board-root" >"$folder/board.log"
  cmake --build "$folder/board" --target install >>"$folder/board.log" || { tail "$folder/board.log"; fail "board"; }
  cmp "$folder/root/lib/cmake/thimble/thimble-config.cmake" "$folder/board-root/lib/cmake/thimble/thimble-config.cmake"
  hash_on_board "$folder/board-root/lib/libthimble.a"
  echo "cortex-m4f by a toolchain file, installed, emulated: $(hash_of)"
}

check_meson() {
  have meson ninja || return 0
  local folder=$work/$check
  mkdir -p "$folder/app/subprojects/packagefiles"
  cp tests/dist/meson/* "$folder/app"
  cp "$work/dist/thimble.wrap" "$folder/app/subprojects"
  cp "$work/dist/thimble-$version.tar.gz" "$work/dist/thimble_$version-1_patch.zip" "$folder/app/subprojects/packagefiles"
  mkdir "$folder/app/objects"
  # shellcheck disable=SC2086
  ar rcs "$folder/app/objects/libhash.a" $host_objects
  meson setup --buildtype debug -Dobjects="$folder/app/objects/libhash.a" "$folder/here" "$folder/app" >"$folder/here.log" ||
    { tail "$folder/here.log"; fail "meson setup"; }
  ninja -C "$folder/here" >>"$folder/here.log" || { tail "$folder/here.log"; fail "ninja"; }
  "$folder/here/hash" >"$folder/here.txt"
  same "the wrap" "$work/hash.expected" "$folder/here.txt"
  echo "the wrap as a subproject: $(hash_of)"

  prepare_board cortex-m55
  have $tools-g++ ${qemu%% *} || return 0
  local quoted
  quoted=$(printf "'%s', " $flags)
  printf "[binaries]\ncpp = '%s-g++'\nar = '%s-ar'\n[built-in options]\ncpp_args = [%s]\n" $tools $tools "$quoted" \
    >"$folder/board.ini"
  printf "[host_machine]\nsystem = 'none'\ncpu_family = 'arm'\ncpu = 'cortex-m55'\nendian = 'little'\n" >>"$folder/board.ini"
  meson setup --buildtype minsize --cross-file "$folder/board.ini" "$folder/board" \
    "$folder/app/subprojects/thimble-$version" >"$folder/board.log" || { tail "$folder/board.log"; fail "meson setup"; }
  ninja -C "$folder/board" >>"$folder/board.log" || { tail "$folder/board.log"; fail "ninja"; }
  hash_on_board "$folder/board/libthimble.a"
  echo "cortex-m55 by a cross file, emulated: $(hash_of)"
}

check_pkg-config() {
  have pkg-config || return 0
  local folder=$work/$check
  make -s BUILD="$build" PREFIX="$folder/root" install >/dev/null
  local settings
  settings=$(PKG_CONFIG_LIBDIR=$folder/root/lib/pkgconfig pkg-config --cflags --libs thimble)
  # shellcheck disable=SC2086
  ${CC:-gcc} -std=c99 -O1 tests/example.c tests/firmware/host.c "$work/shared/model.o" $settings -o "$folder/example"
  # It is linked with the shared library, which `ldconfig` would make known.
  ! LD_LIBRARY_PATH=$folder/root/lib "$folder/example" | diff - "$work/story-256.expected" | grep . || fail "the example"
  "$folder/root/bin/thimble" inspect $story >/dev/null
  [ "$(PKG_CONFIG_LIBDIR=$folder/root/lib/pkgconfig pkg-config --modversion thimble)" = "$version" ] || fail "version"
  echo "make install: the example's story"

  prepare_board cortex-m7f
  have $tools-g++ ${qemu%% *} || return 0
  make -s CXX=$tools-g++ AR=$tools-ar BUILD="$folder/board" EXTRA="$flags -Os" PREFIX="$folder/board-root" install-engine \
    >/dev/null
  settings=$(PKG_CONFIG_LIBDIR=$folder/board-root/lib/pkgconfig pkg-config --variable=libdir thimble)
  hash_on_board "$settings/libthimble.a"
  echo "make install-engine for cortex-m7f, emulated: $(hash_of)"
}

check_debian() {
  have dpkg-buildpackage dh || return 0
  local folder=$work/$check deb told suppressed=""
  cp "$work/dist"/thimble_* "$folder"
  (cd "$folder" && dpkg-source --require-strong-checksums -x thimble_$version-1.dsc src) >"$folder/source.log" 2>&1 ||
    { cat "$folder/source.log"; fail "dpkg-source"; }
  # The objects that are there already, no older than the sources; FULL=1 compiles them again.
  if [ -z "${FULL:-}" ]; then
    mkdir -p "$folder/objects/obj"
    cp -r "$build/obj/src" "$build/obj/tools" "$folder/objects/obj"
    cp "$build/libthimble.a" "$build/thimble" "$folder/objects"
    find "$folder/objects" -name '*.d' -delete
    touch "$folder/touched"
    find "$folder/objects" -name '*.o' -exec touch -r "$folder/touched" {} +
    touch "$folder/objects/libthimble.a"
    sleep 0.01
    touch "$folder/objects/thimble"
    export THIMBLE_BUILD=$folder/objects
    suppressed="--suppress-tags debug-file-with-no-debug-symbols"
  fi
  (cd "$folder/src" && dpkg-buildpackage -b -us -uc -d) >"$folder/build.log" 2>&1 ||
    { tail -n 20 "$folder/build.log"; fail "dpkg-buildpackage"; }
  unset THIMBLE_BUILD
  for deb in "$folder"/*.deb; do dpkg-deb -x "$deb" "$folder/root"; done
  # shellcheck disable=SC2086
  ${CC:-gcc} -std=c99 -O1 -I"$folder/root/usr/include" $host_objects "$folder"/root/usr/lib/*/libthimble.a -o "$folder/hash"
  "$folder/hash" >"$folder/hash.txt"
  same "libthimble-dev" "$work/hash.expected" "$folder/hash.txt"
  "$folder/root/usr/bin/thimble" run "$folder/root/usr/share/thimble/story.thimble" -t 0 -n 64 --ctx 128 --hash \
    2>/dev/null | cmp - <(head -n "$(grep -n -m1 logits-hash "$work/hash.expected" | cut -d: -f1)" "$work/hash.expected") ||
    fail "the package's program"
  echo "$(cd "$folder" && ls *.deb | xargs): $(hash_of)"
  if have lintian; then
    # Objects that were there already have no debug symbols.
    told=$(lintian --fail-on none --allow-root $suppressed "$folder"/*.changes "$folder"/*.dsc 2>/dev/null | sort -u)
    [ -z "$(grep -E '^[EW]:' <<<"$told")" ] || { echo "$told"; fail "lintian"; }
    echo "lintian: ${told:-clean}"
  fi

  have aarch64-linux-gnu-g++ qemu-aarch64-static || return 0
  (cd "$folder/src" && rm -rf debian/tmp && DEB_BUILD_OPTIONS="nocheck noopt" \
    dpkg-buildpackage -b -us -uc -d -aarm64 -Ppkg.thimble.engine) >"$folder/arm64.log" 2>&1 ||
    { tail -n 20 "$folder/arm64.log"; fail "dpkg-buildpackage -aarm64"; }
  dpkg-deb -x "$folder"/libthimble-dev_*_arm64.deb "$folder/arm64"
  aarch64-linux-gnu-gcc -std=c99 -O1 -static -DMODEL="\"$story\"" -I"$folder/arm64/usr/include" tests/firmware/hash.c \
    tests/firmware/text.c tests/firmware/host.c tests/firmware/model.S \
    "$folder"/arm64/usr/lib/aarch64-linux-gnu/libthimble.a -o "$folder/hash-arm64"
  qemu-aarch64-static "$folder/hash-arm64" >"$folder/arm64.txt"
  same "libthimble-dev for arm64" "$work/hash.expected" "$folder/arm64.txt"
  echo "libthimble-dev for arm64, emulated: $(hash_of)"
}

# The Arduino builder compiles every file below src/, and includes with -I src alone.
check_arduino() {
  local folder
  folder=$(unpacked thimble-arduino-$version.zip)/Thimble
  find "$folder/src" -name '*.cpp' | sort >"$work/$check/list"
  prepare_board cortex-m4f
  have $tools-g++ ${qemu%% *} || return 0
  includes=-I$folder/src
  # As the cores' platform.txt have them: mbed (Nano 33 BLE), whose int is signed and whose char is not.
  compile_list "$work/$check/list" $includes -Os -std=gnu++14 -w -fno-exceptions -fno-rtti -funsigned-char \
    -ffunction-sections -fdata-sections -fomit-frame-pointer
  tell_story_on_board "$folder/examples/Story" Story.ino story.c model.c
  echo "mbed's flags (gnu++14, unsigned char), cortex-m4f, emulated: the sketch tells the story"
  engine_folder=rp2040
  flags="-mcpu=cortex-m0plus -mthumb"
  compile_list "$work/$check/list" $includes -Os -std=gnu++17 -w -fno-exceptions -fno-rtti -ffunction-sections -fdata-sections
  engine_folder=renesas
  flags="-mcpu=cortex-m33 -mthumb -mfloat-abi=hard -mfpu=fpv5-sp-d16"
  compile_list "$work/$check/list" $includes -Os -std=gnu++17 -w -fno-exceptions -fno-rtti -fno-use-cxa-atexit \
    -fsigned-char -ffunction-sections -fdata-sections
  echo "rp2040's flags (cortex-m0plus) and Renesas' (cortex-m33): built"
}

check_platformio() {
  local folder
  folder=$(unpacked thimble-platformio-$version.tar.gz)
  find "$folder/src" -name '*.cpp' | sort >"$work/$check/list"
  prepare_board cortex-m7f
  have $tools-g++ ${qemu%% *} || return 0
  includes="-I$folder/include -I$folder/src"
  # Teensy 4's core, then the flags of library.json.
  # shellcheck disable=SC2046
  compile_list "$work/$check/list" $includes -O2 -fno-exceptions -fpermissive -fno-rtti -fno-threadsafe-statics \
    -felide-constructors -w -ffunction-sections -fdata-sections $($python -c "import json, sys
print(*json.load(open(sys.argv[1]))['build']['flags'])" "$folder/library.json")
  tell_story_on_board "$folder/examples/Story" Story.ino story.c model.c
  echo "Teensy's flags and library.json's, cortex-m7f, emulated: the sketch tells the story"
}

# CMAKE_FILE FOLDER: the sources that it lists.
listed_sources() {
  grep -oE 'src/[A-Za-z0-9_/]+\.cpp' "$1" | sort -u | sed "s|^|$2/|"
}

check_esp-idf() {
  local folder
  folder=$(unpacked thimble-esp-idf-$version.tar.gz)/thimble
  listed_sources "$folder/CMakeLists.txt" "$folder" >"$work/$check/list"
  prepare_board rv32imc
  have $tools-g++ ${qemu%% *} || return 0
  includes=-I$folder/include
  compile_list "$work/$check/list" $includes -I"$folder/src" -Os -std=gnu++2b -fno-exceptions -fno-rtti \
    -fstrict-volatile-bitfields -fno-jump-tables -fno-tree-switch-conversion -Wall -Wextra -Werror=all \
    -ffunction-sections -fdata-sections -ffp-contract=off -fno-math-errno
  tell_story_on_board "$folder/examples/story/main" main.c story.c model.c
  echo "ESP32-C3's flags (gnu++2b, rv32imc), emulated: the example tells the story"
  have xtensa-lx106-elf-g++ || return 0
  # Debian's Xtensa compiler comes without a C library; the engine wants four functions.
  tools=xtensa-lx106-elf flags="-ffreestanding -mlongcalls" engine_folder=xtensa
  compile_list "$work/$check/list" $includes -I"$folder/src" -Itests/dist/xtensa -Os -std=gnu++2b -fno-exceptions -fno-rtti \
    -fstrict-volatile-bitfields -Wall -Wextra -Werror=all -ffunction-sections -fdata-sections -ffp-contract=off
  echo "Xtensa (ESP8266's core; no compiler for ESP32's here): built"
}

check_zephyr() {
  local folder
  folder=$(unpacked thimble-zephyr-$version.tar.gz)/thimble
  listed_sources "$folder/zephyr/CMakeLists.txt" "$folder" >"$work/$check/list"
  prepare_board cortex-m55
  have $tools-g++ ${qemu%% *} || return 0
  includes=-I$folder/include
  compile_list "$work/$check/list" $includes -I"$folder/src" -Os -std=c++17 -fno-exceptions -fno-rtti -fcheck-new \
    -fno-strict-aliasing -fno-common -fdiagnostics-color=never -fno-asynchronous-unwind-tables -fno-reorder-functions \
    -fno-defer-pop -Wall -Wformat -Wno-format-zero-length -Wunused -Werror -ffunction-sections -fdata-sections \
    -ffp-contract=off -fno-math-errno
  tell_story_on_board "$folder/samples/story/src" main.c story.c model.c
  echo "Zephyr's flags (c++17, no strict aliasing), cortex-m55, emulated: the sample tells the story"
}

check_cmsis() {
  local folder
  folder=$(unpacked Thimble.Thimble.$version.pack)
  cmp "$work/dist/Thimble.Thimble.pdsc" "$folder/Thimble.Thimble.pdsc"
  sed -n 's/.*category="sourceCpp" name="\(.*\)".*/\1/p' "$folder/Thimble.Thimble.pdsc" | sed "s|^|$folder/|" >"$work/$check/list"
  prepare_board cortex-m3
  have $tools-g++ ${qemu%% *} || return 0
  includes=-I$folder/include
  compile_list "$work/$check/list" $includes -O2 -std=c++17 -Wall -Wextra -Werror -fno-exceptions -fno-rtti \
    -ffunction-sections -fdata-sections -ffp-contract=off -fno-math-errno
  tell_story_on_board "$folder/examples" story.c model.c
  echo "the pack's files, cortex-m3, emulated: the template tells the story"
}

# ---- As many at a time as there are processors ----------------------------------------------------

started=$SECONDS
for check in $checks; do
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
  mkdir -p "$work/$check"
  (
    trap 'echo $? >$work/logs/$check.status' EXIT
    set -e
    "check_$check"
  ) >"$work/logs/$check" 2>&1 &
done
wait || true
failed=0
for check in $checks; do
  if [ "$(cat "$work/logs/$check.status")" = 0 ]; then
    sed "s/^/$check: /" "$work/logs/$check"
  else
    sed "s/^/$check: /" "$work/logs/$check"
    echo "$check: FAILED"
    failed=1
  fi
done
[ $failed = 1 ] || echo "check_dist: all good ($((SECONDS - started)) s)"
exit $failed
