#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The README's example tells what `thimble run` tells: check_example.sh PROGRAM EXAMPLE
set -euo pipefail
cd "$(dirname "$0")/.."
diff <("$1" run models/story.thimble -p "Once upon a time" -t 0.7 --top-p 0.9 --top-k 40 --seed 7 \
  --ctx 256 --kv q8 --candidates 40 2>/dev/null) <("$2")
echo "example.c tells the story that thimble run tells"
