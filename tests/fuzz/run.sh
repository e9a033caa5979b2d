#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the fuzz targets that `make fuzz` built, one after another: run.sh SECONDS [TARGET ...]
# Targets are named without fuzz_: json, safetensors, config. Stops at the first finding, which libFuzzer
# leaves in build/fuzz/findings/.
set -eu
cd "$(dirname "$0")/../.."
[ $# -ge 1 ] || { echo "usage: $0 SECONDS [TARGET ...]" >&2; exit 2; }
seconds=$1
shift
[ $# -ge 1 ] || set -- $(ls build/fuzz/fuzz_* | sed -n 's|.*/fuzz_\([a-z0-9_]*\)$|\1|p')

mkdir -p build/fuzz/findings
# It exports models, which it tells.
build/fuzz/seeds build/fuzz/seeds.d 2>build/fuzz/seeds.log || { cat build/fuzz/seeds.log >&2; exit 1; }
for target in "$@"; do
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus" "build/fuzz/seeds.d/$target"
  log=build/fuzz/$target.log
  echo "fuzz: $target, $seconds s"
  if ! build/fuzz/fuzz_$target -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 \
      -artifact_prefix="build/fuzz/findings/$target-" "$corpus" "build/fuzz/seeds.d/$target" \
      >"$log" 2>&1; then
    tail -60 "$log" >&2
    echo "fuzz: $target: a finding, see $log" >&2
    exit 1
  fi
  tail -1 "$log"
done
