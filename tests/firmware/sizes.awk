# SPDX-License-Identifier: MIT
# A linker's map (GNU ld, -Map) to what lies in flash, by whose it is: `key bytes` a line, and a line
# `complaint ...` for each thing that the engine must not have.

function number(text,   value, i) { # of 0x..., which not every awk reads
  value = 0
  for (i = 3; i <= length(text); ++i) {
    value = 16 * value + index("0123456789abcdef", substr(text, i, 1)) - 1
  }
  return value
}

# One input section: its name, its bytes, the object it came from.
function place(section, bytes, object,   from_engine) {
  from_engine = object ~ /\/engine\//
  if (section ~ /^\.(init_array|preinit_array|ctors|fini_array|dtors)/) {
    print "complaint static constructors: " bytes " bytes of " section " from " object
  } else if (section ~ /^\.(text|rodata|srodata)/) {
    if (object ~ /\/engine\/(tokenizer|tokenizer_check|pretokenizer|unicode_classes)\.o/) tokenizer += bytes
    else if (from_engine && section ~ /^\.text/) code += bytes
    else if (from_engine) constants += bytes
    else if (object ~ /\.a[(:]/) library += bytes
  } else if (from_engine && section ~ /^(\.(data|bss|sdata|sbss|tdata|tbss)|COMMON)/) {
    print "complaint writable data: " bytes " bytes of " section " from " object
  }
}

/^Linker script and memory map/ { on = 1; next }
!on { next }
/size before relaxing/ { next }
# " .text.name 0xaddress 0xbytes object", or the name alone and the rest on the next line.
/^ [.C][^ ]*$/ { name = $1; next }
/^ +0x[0-9a-f]+ +0x[0-9a-f]+ [^ ]/ && name != "" { if (number($2) > 0) place(name, number($2), $3) }
/^ [.C][^ ]* +0x[0-9a-f]+ +0x[0-9a-f]+ [^ ]/ { if (number($3) > 0) place($1, number($3), $4) }
{ name = "" }

END {
  print "code", code + 0
  print "constants", constants + 0
  print "engine", code + constants
  print "tokenizer", tokenizer + 0
  print "library", library + 0
}
