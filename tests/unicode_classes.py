#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the tables of src/unicode_classes.cpp, from this Python's Unicode data.

usage: tests/unicode_classes.py >/tmp/tables && edit src/unicode_classes.cpp
"""
import sys
import unicodedata

BLOCK = 64


def class_of(code):
    category = unicodedata.category(chr(code))
    return {"L": 1, "N": 2}.get(category[0], 0)


def ranges():
    begin, current = 0, 0
    for code in range(0x80, 0x110001):
        kind = class_of(code) if code < 0x110000 else 0
        if kind != current:
            if current:
                yield begin, code, current
            begin, current = code, kind


def number(value):
    out = []
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return out + [value]


def coded(gap, length, kind):
    if kind == 1 and 1 <= gap <= 4 and 1 <= length <= 32:
        return [gap - 1 << 5 | length - 1]
    is_long = length >= 32
    first = 128 | (kind - 1) << 6 | is_long << 5 | length & 31
    return [first] + (number(length >> 5) if is_long else []) + number(gap)


def main():
    data, blocks, at = [], [], 0
    for i, (begin, end, kind) in enumerate(ranges()):
        if i % BLOCK == 0:
            blocks.append((begin - 1, len(data)))
            at = begin - 1
        data += coded(begin - at, end - begin, kind)
        at = end
    print(f"// Unicode {unicodedata.unidata_version}: {i + 1} ranges.")
    print("constexpr uint32_t kBlocks[] = {")
    print_items([f"block({begin:#x}, {offset})" for begin, offset in blocks])
    print(f"constexpr uint8_t kRanges[{len(data)}] = {{")
    print_items([str(x) for x in data])


def print_items(items):
    line = "   "
    for i, item in enumerate(items):
        item = " " + item + ("," if i + 1 < len(items) else "")
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "};")


if __name__ == "__main__":
    sys.exit(main())
