#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The README's way from a text to a chip, its commands as they stand there, on a small text and for
# some steps instead of an hour: check_own_text.sh PROGRAM. The board tells what `thimble run` tells.
set -eu
cd "$(dirname "$0")/.."
program=$(realpath -- "${1:?which program?}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/build"
ln -s "$program" "$work/build/thimble"

for name in Lily Ben Tom Anna; do
  for thing in ball dog tree cake bird hat kite boat; do
    for place in garden house park shop; do
      echo "Once upon a time, $name went to the $place and saw a $thing. $name was happy."
      echo "<|endoftext|>"
    done
  done
done >"$work/stories.txt"

commands=$(awk '/^## From your own text to your own chip/ { on = 1 } /^## / && !/own chip/ { on = 0 }
  on && /^\$ / { print substr($0, 3) }' README.md)
train=$(sed -n 1p <<<"$commands") plan=$(sed -n 2p <<<"$commands") emulate=$(sed -n 3p <<<"$commands")
if [[ $train != "build/thimble train "*" --minutes "* || $plan != "build/thimble plan "* ||
  $emulate != "make emulate MODEL="* || $(wc -l <<<"$commands") != 3 ]]; then
  printf 'README.md: expected train --minutes, plan and make emulate, found:\n%s\n' "$commands"
  exit 1
fi
short=$(sed 's/--minutes [0-9]*/--steps 30 --batch 512/' <<<"$train")
(cd "$work" && eval "$short") >"$work/train.log" 2>&1 || { cat "$work/train.log"; exit 1; }
sed -n '/^shape/p' "$work/train.log"
(cd "$work" && eval "$plan") >"$work/plan.txt" || { cat "$work/plan.txt"; exit 1; }
sed -n '/fits into/p' "$work/plan.txt"

model=$work/$(sed 's/.*MODEL=\([^ ]*\).*/\1/' <<<"$emulate")
"$program" run "$model" -p "Once upon a time" -t 0.7 --top-p 0.9 --top-k 40 --seed 7 --ctx 256 --kv q8 \
  --candidates 40 2>/dev/null | tr -d '\r' >"$work/expected.txt"
# As the Makefile calls it, which builds the program first.
status=0
tests/emulate.sh "$program" "$model" >"$work/found.txt" 2>"$work/notes.txt" || status=$?
if [ $status = 3 ]; then
  cat "$work/found.txt"
  exit 0
fi
cat "$work/notes.txt"
diff "$work/expected.txt" "$work/found.txt" || { echo "the board tells something else"; exit 1; }
echo "check_own_text: the board tells what thimble run tells: $(head -c 60 "$work/found.txt" | head -n 1) ..."
