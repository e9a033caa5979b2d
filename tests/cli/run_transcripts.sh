#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Plays the transcripts in this folder and compares them whole.
#
#   run_transcripts.sh PROGRAM [--update] [TRANSCRIPT...]
#
# A transcript holds commands as `$ command`, each followed by all that it prints (stdout and stderr
# as they come) and `[exit N]`, of a pipe the last N that is not 0. Lines outside of that are
# comments. No output may start with `$ `. Every transcript runs in a fresh folder where `models` is
# the repository's one (or $MODELS) and `thimble` is the program. --update writes down what the
# program prints now (a new transcript needs no more than its commands); read the difference before
# you believe it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath -- "${1:?which program?}") || exit 2
shift
update=no
if [ "${1:-}" = --update ]; then
  update=yes
  shift
fi
[ $# -gt 0 ] || set -- "$here"/*.txt

models=$(realpath -- "${MODELS:-$here/../../models}") || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
ln -s "$program" "$work/bin/thimble"
export PATH="$work/bin:$PATH" LC_ALL=C
unset THIMBLE_ISA

# Prints the transcript as it goes now.
play() {
  local line command inside=no code is_new=yes
  grep -q '^\[exit ' "$1" && is_new=no
  local folder="$work/folder"
  rm -rf "$folder"
  mkdir "$folder"
  ln -s "$models" "$folder/models"
  while IFS= read -r line; do
    if [ "$inside" = yes ] && [[ $line != '$ '* ]]; then
      [[ $line =~ ^\[exit\ [0-9]+\]$ ]] && inside=no
      continue
    fi
    printf '%s\n' "$line"
    [[ $line == '$ '* ]] || continue
    command=${line#'$ '}
    (cd "$folder" && bash -o pipefail -c "$command") >"$work/printed" 2>&1 </dev/null
    code=$?
    cat "$work/printed"
    if [ -s "$work/printed" ] && [ -n "$(tail -c 1 "$work/printed")" ]; then
      printf '\n[no line break at the end]\n'
    fi
    printf '[exit %d]\n' "$code"
    [ "$is_new" = yes ] || inside=yes
  done <"$1"
}

failed=0
for transcript in "$@"; do
  play "$transcript" >"$work/now"
  if [ "$update" = yes ]; then
    cp "$work/now" "$transcript"
  elif ! diff -u --label "$(basename "$transcript")" --label "as it is now" \
      "$transcript" "$work/now"; then
    failed=$((failed + 1))
  fi
done
if [ "$failed" -gt 0 ]; then
  echo "$failed of $# transcripts differ" >&2
  exit 1
fi
[ "$update" = yes ] || echo "$# transcripts are as expected"
