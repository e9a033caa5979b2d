// SPDX-License-Identifier: MIT
#include "section_table.h"

#include "error.h"
#include "image.h"

namespace thimble::tools {
namespace {

const char* type_name(uint32_t type) {
  const char* const names[] = {"f32", "q8", "u8", "i32", "u32", "u64", "u16", "q4"};
  static_assert(sizeof names / sizeof names[0] == kElementQ4 + 1, "a name for each ElementType");
  return type <= kElementQ4 ? names[type] : "?";
}

unsigned long long wide(uint64_t n) {
  return static_cast<unsigned long long>(n);
}

}  // namespace

std::string section_table(const std::vector<SectionEntry>& sections) {
  std::string out =
      format("\n%-24s%6s%6s%8s%8s%6s%7s%13s%13s%13s%10s\n", "tensors", "layer", "type", "rows",
             "cols", "tile", "group", "offset", "bytes", "scales at", "bytes");
  for (const SectionEntry& s : sections) {
    out += format("  %-22s%6u%6s%8u%8u%6u%7u%13llu%13llu%13llu%10llu\n", section_name(s.kind),
                  s.layer, type_name(s.type), s.rows, s.cols, s.row_tile, s.group, wide(s.offset),
                  wide(s.bytes), wide(s.scales_offset), wide(s.scales_bytes));
  }
  return out;
}

std::string checksum_line(uint32_t stored, uint32_t found, const char* damaged) {
  if (found == stored) return format("\nchecksum good: 0x%08x\n", found);
  return format("\nchecksum WRONG: found 0x%08x, expected 0x%08x; %s were damaged\n", found, stored,
                damaged);
}

std::string checksum_json(uint32_t stored, uint32_t found) {
  const char* good = found == stored ? "true" : "false";
  return format(
      "  \"checksum\": {\"good\": %s, \"stored\": \"0x%08x\", \"computed\": \"0x%08x\"},\n"
      "  \"good\": %s\n}\n",
      good, stored, found, good);
}

std::string json_list(const char* name, const std::vector<std::string>& items) {
  std::string out = format("  \"%s\": [\n", name);
  for (size_t i = 0; i < items.size(); ++i) {
    out += "    {" + items[i] + (i + 1 < items.size() ? "},\n" : "}\n");
  }
  return out + "  ],\n";
}

std::string section_table_json(const std::vector<SectionEntry>& sections) {
  std::vector<std::string> items;
  items.reserve(sections.size());
  for (const SectionEntry& s : sections) {
    items.push_back(format(
        "\"kind\": %u, \"name\": \"%s\", \"layer\": %u, \"type\": \"%s\", \"rows\": %u, "
        "\"cols\": %u, \"row_tile\": %u, \"group\": %u, \"offset\": %llu, \"bytes\": %llu, "
        "\"scales_offset\": %llu, \"scales_bytes\": %llu",
        s.kind, section_name(s.kind), s.layer, type_name(s.type), s.rows, s.cols, s.row_tile,
        s.group, wide(s.offset), wide(s.bytes), wide(s.scales_offset), wide(s.scales_bytes)));
  }
  return json_list("tensors", items);
}

}  // namespace thimble::tools
