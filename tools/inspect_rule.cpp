// SPDX-License-Identifier: MIT
#include "inspect_rule.h"

#include <string>
#include <vector>

#include "crc32.h"
#include "error.h"
#include "json_string.h"
#include "output.h"
#include "rule_file.h"
#include "section_table.h"
#include "size_text.h"

namespace thimble::tools {
namespace {

// How many masks begin with none, all, and a bitmap.
struct MaskKinds {
  uint32_t none = 0, all = 0, bitmap = 0;
};

MaskKinds mask_kinds(const RuleHeader& h) {
  const RuleTables tables = rule_tables(reinterpret_cast<const uint8_t*>(&h));
  MaskKinds kinds;
  for (uint32_t i = 0; i < h.n_masks; ++i) {
    const uint32_t base = tables.masks[i].base;
    ++(base == kRuleNone ? kinds.none : base == kRuleAll ? kinds.all : kinds.bitmap);
  }
  return kinds;
}

std::string as_text(const std::string& path, const RuleHeader& h,
                    const std::vector<SectionEntry>& sections, bool tensors, uint32_t data_crc) {
  std::string out = path + ": rule, " + size_text(h.file_bytes) + "\n";
  const auto line = [&](const char* name, const std::string& value) {
    out += format("  %-18s%s\n", name, value.c_str());
  };
  const MaskKinds kinds = mask_kinds(h);
  line("file_bytes", format("%llu", static_cast<unsigned long long>(h.file_bytes)));
  line("format_version", format("%u", h.version));
  line("vocabulary", format("0x%08x, %u tokens", h.vocabulary_crc, h.vocab_size));
  line("states", format("%u", h.n_states));
  line("edges", format("%u", h.n_edges));
  line("masks", format("%u (%u short lists, %u all but a list, %u bitmaps but a list)", h.n_masks,
                       kinds.none, kinds.all, kinds.bitmap));
  line("bitmaps", format("%u", h.n_bitmaps));
  line("listed", format("%u", h.n_listed));
  if (tensors) out += section_table(sections);
  return out + checksum_line(h.data_crc, data_crc, "tables");
}

std::string as_json(const std::string& path, const RuleHeader& h,
                    const std::vector<SectionEntry>& sections, bool tensors, uint32_t data_crc) {
  std::string out = "{\n  \"file\": " + json_string(path) + ",\n";
  out += format(
      "  \"file_bytes\": %llu,\n  \"format_version\": %u,\n  \"vocabulary_checksum\": "
      "\"0x%08x\",\n  \"vocab_size\": %u,\n  \"states\": %u,\n  \"edges\": %u,\n"
      "  \"masks\": %u,\n  \"bitmaps\": %u,\n  \"listed\": %u,\n",
      static_cast<unsigned long long>(h.file_bytes), h.version, h.vocabulary_crc, h.vocab_size,
      h.n_states, h.n_edges, h.n_masks, h.n_bitmaps, h.n_listed);
  if (tensors) out += section_table_json(sections);
  return out + checksum_json(h.data_crc, data_crc);
}

}  // namespace

int inspect_rule(const MappedFile& file, bool tensors, bool json) {
  thimble_fault fault{};
  const thimble_status status = check_rule(file.data(), file.size(), &fault);
  if (status != THIMBLE_OK) {
    throw Refused(file.path() + ": " + rule_fault(status, fault, file.size()));
  }
  const RuleHeader& h = *reinterpret_cast<const RuleHeader*>(file.data());
  const auto* table = reinterpret_cast<const SectionEntry*>(&h + 1);
  const std::vector<SectionEntry> sections(table, table + h.n_sections);
  const uint32_t crc = crc32(0, file.data() + h.header_bytes, file.size() - h.header_bytes);
  print_text(json ? as_json(file.path(), h, sections, tensors, crc)
                  : as_text(file.path(), h, sections, tensors, crc));
  return crc == h.data_crc ? 0 : 1;
}

}  // namespace thimble::tools
