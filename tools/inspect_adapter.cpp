// SPDX-License-Identifier: MIT
#include "inspect_adapter.h"

#include <string>
#include <vector>

#include "adapter_file.h"
#include "crc32.h"
#include "error.h"
#include "json_string.h"
#include "output.h"
#include "section_table.h"
#include "size_text.h"
#include "weight_types.h"

namespace thimble::tools {
namespace {

unsigned long long wide(uint64_t n) {
  return static_cast<unsigned long long>(n);
}

std::string as_text(const std::string& path, const AdapterHeader& h,
                    const std::vector<SectionEntry>& sections, bool tensors, uint32_t data_crc) {
  std::string out = path + ": adapter, " + size_text(h.file_bytes) + "\n";
  const auto line = [&](const char* name, const std::string& value) {
    out += format("  %-18s%s\n", name, value.c_str());
  };
  line("file_bytes", format("%llu", wide(h.file_bytes)));
  line("format_version", format("%u", h.version));
  line("model_checksums", format("0x%08x 0x%08x", h.model_header_crc, h.model_data_crc));
  line("n_params", format("%llu", wide(h.n_params)));
  line("rank", format("%u", h.rank));
  line("matrices", format("%u (%s)", h.matrices, matrix_names(h.matrices).c_str()));
  const bool is_f32 = !sections.empty() && sections[0].type == kElementF32;
  line("weight_type", is_f32 ? "f32" : "q8");
  line("sections", format("%u", h.n_sections));
  if (tensors) out += section_table(sections);
  return out + checksum_line(h.data_crc, data_crc, "matrices");
}

std::string as_json(const std::string& path, const AdapterHeader& h,
                    const std::vector<SectionEntry>& sections, bool tensors, uint32_t data_crc) {
  std::string out = "{\n  \"file\": " + json_string(path) + ",\n";
  out += format(
      "  \"file_bytes\": %llu,\n  \"format_version\": %u,\n"
      "  \"model_checksums\": [\"0x%08x\", \"0x%08x\"],\n  \"n_params\": %llu,\n"
      "  \"rank\": %u,\n  \"matrices\": %u,\n",
      wide(h.file_bytes), h.version, h.model_header_crc, h.model_data_crc, wide(h.n_params), h.rank,
      h.matrices);
  if (tensors) out += section_table_json(sections);
  return out + checksum_json(h.data_crc, data_crc);
}

}  // namespace

int inspect_adapter(const MappedFile& file, bool tensors, bool json) {
  thimble_fault fault{};
  const thimble_status status = check_adapter(file.data(), file.size(), &fault);
  if (status != THIMBLE_OK) {
    throw Refused(file.path() + ": " + adapter_fault(status, fault, file.size()));
  }
  const AdapterHeader& h = *reinterpret_cast<const AdapterHeader*>(file.data());
  const auto* table = reinterpret_cast<const SectionEntry*>(&h + 1);
  const std::vector<SectionEntry> sections(table, table + h.n_sections);
  const uint32_t crc = crc32(0, file.data() + h.header_bytes, file.size() - h.header_bytes);
  print_text(json ? as_json(file.path(), h, sections, tensors, crc)
                  : as_text(file.path(), h, sections, tensors, crc));
  return crc == h.data_crc ? 0 : 1;
}

}  // namespace thimble::tools
