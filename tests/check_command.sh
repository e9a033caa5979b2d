#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# command.c does, or asks back, what the model answers on the host: check_command.sh PROGRAM COMMAND
# FOLDER, which command_model.sh has filled.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:?usage: check_command.sh PROGRAM COMMAND FOLDER} command=${2:?} from=${3:?}

# Every answer is one that was not expected, so that all are told.
sed 's/$/\t?/' "$from/said.txt" >"$from/asked.txt"
"$program" eval "$from/command.thimble" "$from/asked.txt" --answers --constrain "$from/command.rule" --ctx 128 \
  --kv q8 --wrong --json >"$from/answers.json" 2>/dev/null
# As command.c words it; an answer that the context cuts off is none.
sed -n -e 's/"found": ".*", "ended": false/"found": "{\\"intent\\":\\"none\\"}", "ended": true/' \
  -e 's/^ *{"line": .*"sentence": "\(.*\)", "expected": .*"found": "\(.*\)", "ended": true, .*/\1\t\2/p' \
  "$from/answers.json" | sed -e 's/\\"/"/g' -e 's/\t\[/\t/' -e 's/]$//' -e 's/},{/ and {/' \
  -e 's/{"intent":"\([A-Za-z]*\)"/\1/g' -e 's/,"\([a-z_]*\)":"\([^"]*\)"/ \1=\2/g' \
  -e 's/,"\([a-z_]*\)":\([0-9]*\)/ \1=\2/g' -e 's/}//g' \
  -e 's/\tnone$/\tThat is no command that I know/' >"$from/expected.txt"

"$command" >"$from/told.txt"
awk -F'\t' '
  NR == FNR { expected[$1] = $2; next }
  /^> / { said = substr($0, 3) == "yes" ? "" : substr($0, 3); next }
  said != "" {
    told = $0
    asked += sub(/^Did you mean: /, "", told)
    sub(/[.?]$/, "", told)
    if (told != expected[said]) {
      print "command.c: " said ": found \"" told "\", expected \"" expected[said] "\""
      failed = 1
    }
    ++n
    said = ""
  }
  END {
    if (!failed && n < 7) { print "command.c: only " n " lines were answered"; failed = 1 }
    if (!failed) print "command.c: " n " lines, " asked " of them asked back, as the host answers"
    exit failed
  }' "$from/expected.txt" "$from/told.txt"
