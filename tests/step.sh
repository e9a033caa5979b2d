#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A step of `make test`: step.sh LOG COMMAND... Runs it and tells in a line what it came to, which is
# the last line that it says; what was skipped is told, too. All that it says is in LOG, and shown
# where it fails, or with V=1.
log=$1
name=$(basename "$log")
shift
mkdir -p "$(dirname "$log")"
started=$SECONDS
if "$@" >"$log" 2>&1; then
  last=$(grep '^\[doctest\] test cases' "$log" || grep . "$log" | tail -n 1)
  if [ "$V" = 1 ]; then
    echo "$name:"
    cat "$log"
  else
    printf 'test %-15s %s (%d s)\n' "$name" "$last" $((SECONDS - started))
    grep -i skipped "$log" | grep -v '^\[doctest\] test cases' | sed 's/^ */  /' | sort -u
  fi
  exit 0
else
  status=$?
fi
printf 'test %s FAILED, status %d: %s\n' "$name" $status "$*"
sed 's/^/  /' "$log"
exit 1
