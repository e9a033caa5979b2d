#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The model and the rule of tests/command.c: command_model.sh PROGRAM FOLDER [STEPS]
# Copies models/command.thimble and models/command.rule to FOLDER, or makes a small stand-in there:
# 41 sentences, half learned in a second or two (200 steps). said.txt is what is said to it, with a yes
# where the stand-in asks back; typed.S links all of it in.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:?which program?} to=${2:?which folder?} steps=${3:-200}
mkdir -p "$to"
cat >"$to/said.txt" <<'END'
turn on the desk lamp
switch off the kitchen fan
set the sofa lamp to 40 percent
who was the first king of france
tur on dekslamp plees
yes
set a pizza timer for ten minutes
now the bedroom fan perhaps
turn on the hall lamp and switch off the desk fan
END

link_in() { # what firmware links, from files in FOLDER
  "$program" embed "$to/command.thimble" -o "$to/model.S" --name command_model --section .model
  "$program" embed "$to/command.rule" -o "$to/rule.S" --name command_rule --section .model
  cat "$to/model.S" "$to/rule.S"
  printf '    .section .rodata, "a"\n    .globl typed_lines, typed_lines_end\n'
  printf 'typed_lines:\n    .incbin "%s"\ntyped_lines_end:\n' "$to/said.txt"
}

commands() { # in no order that could be learned
  local place thing
  for place in desk kitchen hall sofa bedroom; do
    for thing in lamp fan; do
      printf 'turn on the %s %s\t{"intent":"HassTurnOn","name":"%s %s"}\n' $place $thing $place $thing
      printf 'switch off the %s %s\t{"intent":"HassTurnOff","name":"%s %s"}\n' $place $thing $place $thing
    done
    for level in 20 40 60; do
      printf 'set the %s lamp to %s percent\t{"intent":"HassLightSet","name":"%s lamp","brightness":%s}\n' \
        $place $level $place $level
    done
  done
  printf 'turn on the hall lamp and switch off the desk fan\t[%s,%s]\n' \
    '{"intent":"HassTurnOn","name":"hall lamp"}' '{"intent":"HassTurnOff","name":"desk fan"}'
  printf '%s\t{"intent":"none"}\n' 'who was the first king of france' 'book a table for two' 'what a day' \
    'good night' 'i like the colour of the sea'
}
make_stand_in() {
  commands >"$to/commands.txt"
  cat >"$to/command.json" <<'END'
{"anyOf": [{"$ref": "#/$defs/command"},
           {"type": "array", "items": {"$ref": "#/$defs/command"}, "minItems": 2, "maxItems": 2}],
 "$defs": {"command": {"type": "object",
   "properties": {"intent": {"enum": ["none", "HassTurnOn", "HassTurnOff", "HassLightSet"]},
                  "name": {"type": "string", "maxLength": 20},
                  "brightness": {"type": "integer", "minimum": 0, "maximum": 100}},
   "required": ["intent"]}}}
END
  "$program" train "$to/commands.txt" --records lines --vocab 320 --dim 48 --layers 2 --heads 3 --kv-heads 3 --hidden 96 \
    --ctx 128 --held-out 0 --steps "$steps" --batch 2048 -o "$to/command.thimble" >"$log" 2>&1 || { cat "$log"; exit 1; }
  "$program" constrain "$to/command.thimble" --schema "$to/command.json" -o "$to/command.rule" 2>"$log" ||
    { cat "$log"; exit 1; }
}

log=$to/log
if [ -e models/command.thimble ]; then
  cp models/command.thimble models/command.rule "$to"
else
  make_stand_in
fi
link_in >"$to/typed.S" 2>"$log" || { cat "$log"; exit 1; }
