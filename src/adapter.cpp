// SPDX-License-Identifier: MIT
// Everything that an adapter's file could get wrong is found here, once.
#include "adapter.h"

#include <string.h>

#include "flat_file.h"
#include "parts.h"

#if THIMBLE_LORA
namespace thimble {
namespace {

constexpr FileKind kAdapterFile = {kAdapterMagic, kAdapterVersion, sizeof(AdapterHeader),
                                   offsetof(AdapterHeader, n_sections)};

const SectionEntry* section_table(const AdapterHeader& h) {
  return reinterpret_cast<const SectionEntry*>(&h + 1);
}

uint32_t pairs_of(uint32_t matrices) {
  uint32_t n = 0;
  for (uint32_t which = 0; which < kLoraKinds; ++which) n += (matrices & lora_bit(which)) != 0;
  return n;
}

// The first kind from `which` on that has an adapter.
uint32_t next_kind(uint32_t matrices, uint32_t which) {
  while (!(matrices & lora_bit(which))) ++which;
  return which;
}

uint64_t end_of(const SectionEntry& e) {
  return round_up(e.scales_bytes ? e.scales_offset + e.scales_bytes : e.offset + e.bytes,
                  kSectionAlignment);
}

// Its fields, as far as they do not depend on the model.
thimble_status check_fields(const AdapterHeader& h, thimble_fault* fault) {
  const auto fail = [fault](thimble_status status, const char* what, uint64_t found,
                            uint64_t expected, uint32_t offset) {
    refuse(fault, what, found, expected, offset);
    return status;
  };
  if (h.flags != 0) {
    return fail(THIMBLE_ERROR_UNSUPPORTED, "flags", h.flags, 0, offsetof(AdapterHeader, flags));
  }
  if (h.rank < 1 || h.rank > kMaxLoraRank) {
    return fail(THIMBLE_ERROR_HEADER, "rank", h.rank, h.rank < 1 ? 1 : kMaxLoraRank,
                offsetof(AdapterHeader, rank));
  }
  if (h.matrices == 0 || (h.matrices & ~kLoraMatrices) != 0) {
    return fail(THIMBLE_ERROR_HEADER, "matrices", h.matrices, kLoraMatrices,
                offsetof(AdapterHeader, matrices));
  }
  for (const uint8_t& byte : h.reserved) {
    if (byte != 0) {
      return fail(THIMBLE_ERROR_HEADER, "reserved byte", byte, 0,
                  static_cast<uint32_t>(&byte - reinterpret_cast<const uint8_t*>(&h)));
    }
  }
  return THIMBLE_OK;
}

}  // namespace

uint32_t adapter_section_count(uint32_t matrices, uint32_t n_layers) {
  return 2 * pairs_of(matrices) * n_layers;
}

SectionEntry expected_adapter_section(const AdapterHeader& header, const thimble_model& model,
                                      const SectionEntry* previous) {
  SectionEntry e = {};
  e.offset = previous ? end_of(*previous)
                      : sizeof header + uint64_t{header.n_sections} * sizeof(SectionEntry);
  const bool is_a = !previous || (previous->kind & kLoraB);
  uint32_t which = 0;
  if (previous) {
    while (kLoraSections[which] != (previous->kind & (kLoraA - 1))) ++which;
    e.layer = previous->layer;
    if (is_a && header.matrices < lora_bit(which + 1)) {  // the layer's last one
      which = 0;
      ++e.layer;
    } else if (is_a) {
      ++which;
    }
  }
  which = next_kind(header.matrices, which);
  e.kind = kLoraSections[which] + (is_a ? kLoraA : kLoraB);
  // A takes what the model's matrix takes, in the same groups, so that it is quantized once; of B
  // a whole row, which is short, is a group.
  const SectionEntry& of = section_of(model, kLoraSections[which], 0);
  e.type = of.type == kElementF32 ? kElementF32 : kElementQ8;
  e.rows = is_a ? header.rank : of.rows;
  e.cols = is_a ? of.cols : header.rank;
  e.row_tile = of.row_tile;
  const uint64_t rows = round_up(e.rows, e.row_tile);
  if (e.type == kElementF32) {
    e.bytes = rows * e.cols * sizeof(float);
    return e;
  }
  e.group = is_a ? of.group : static_cast<uint32_t>(round_up(header.rank, 4));
  e.n_groups = is_a ? of.n_groups : 1;
  e.bytes = rows * e.group * e.n_groups;
  e.scales_offset = round_up(e.offset + e.bytes, kSectionAlignment);
  e.scales_bytes = rows * e.n_groups * sizeof(uint16_t);
  return e;
}

uint64_t adapter_parameter_count(const AdapterHeader& header, const thimble_model& model) {
  uint64_t n = 0;
  for (uint32_t which = 0; which < kLoraKinds; ++which) {
    if (!(header.matrices & lora_bit(which))) continue;
    const SectionEntry& of = section_of(model, kLoraSections[which], 0);
    n += (uint64_t{of.rows} + of.cols) * header.rank;
  }
  return n * model.n_layers;
}

thimble_status check_adapter(const void* image, size_t image_bytes, thimble_fault* fault) {
  const uint8_t* bytes = static_cast<const uint8_t*>(image);
  const thimble_status status = check_envelope(kAdapterFile, bytes, image_bytes, fault);
  if (status != THIMBLE_OK) return status;
  return check_fields(*reinterpret_cast<const AdapterHeader*>(bytes), fault);
}

thimble_status open_adapter(thimble_adapter* adapter, const thimble_model& model, const void* image,
                            size_t image_bytes) {
  thimble_fault* fault = &adapter->fault;
  const thimble_status status = check_adapter(image, image_bytes, fault);
  if (status != THIMBLE_OK) return status;
  const AdapterHeader& h = *static_cast<const AdapterHeader*>(image);
  const FileHeader& of = header_of(model);
  const auto fail = [fault](thimble_status code, const char* what, uint64_t found,
                            uint64_t expected, uint32_t offset) {
    refuse(fault, what, found, expected, offset);
    return code;
  };
  if (h.model_header_crc != of.header_crc) {
    return fail(THIMBLE_ERROR_OTHER_MODEL, "checksum of the model's header", h.model_header_crc,
                of.header_crc, offsetof(AdapterHeader, model_header_crc));
  }
  if (h.model_data_crc != of.data_crc) {
    return fail(THIMBLE_ERROR_OTHER_MODEL, "checksum of the model's data", h.model_data_crc,
                of.data_crc, offsetof(AdapterHeader, model_data_crc));
  }
  const uint32_t count = adapter_section_count(h.matrices, model.n_layers);
  if (h.n_sections != count) {
    return fail(THIMBLE_ERROR_SECTION, "n_sections", h.n_sections, count,
                offsetof(AdapterHeader, n_sections));
  }
  const uint64_t n_params = adapter_parameter_count(h, model);
  if (h.n_params != n_params) {
    return fail(THIMBLE_ERROR_HEADER, "n_params", h.n_params, n_params,
                offsetof(AdapterHeader, n_params));
  }
  const SectionEntry* entry = section_table(h);
  const SectionEntry* previous = nullptr;
  for (uint32_t i = 0; i < count; ++i, ++entry) {
    const SectionEntry expected = expected_adapter_section(h, model, previous);
    if (!entries_match(*entry, expected, sizeof h + i * sizeof expected, fault)) {
      return THIMBLE_ERROR_SECTION;
    }
    previous = entry;
  }
  const uint64_t file_bytes = end_of(section_table(h)[count - 1]);
  if (h.file_bytes != file_bytes) {
    return fail(THIMBLE_ERROR_TRUNCATED, "file_bytes", h.file_bytes, file_bytes,
                offsetof(AdapterHeader, file_bytes));
  }
  adapter->image = static_cast<const uint8_t*>(image);
  adapter->model_image = model.image;
  adapter->image_bytes = image_bytes;
  adapter->n_params = h.n_params;
  adapter->rank = h.rank;
  return THIMBLE_OK;
}

thimble_status verify_adapter(thimble_adapter* adapter) {
  return check_data(adapter->image, adapter->image_bytes, &adapter->fault);
}

LoraPair adapter_pair(const thimble_adapter& adapter, uint32_t which, uint32_t layer) {
  const AdapterHeader& h = header_of(adapter);
  const uint32_t before = pairs_of(h.matrices & (lora_bit(which) - 1));
  const SectionEntry* e =
      section_table(h) + size_t{2} * (size_t{layer} * pairs_of(h.matrices) + before);
  return {matrix_at(adapter.image, e[0]), matrix_at(adapter.image, e[1])};
}

size_t adapter_layer_bytes(const thimble_adapter& adapter, uint32_t n_layers) {
  const AdapterHeader& h = header_of(adapter);  // layers are alike, without gaps
  return static_cast<size_t>((h.file_bytes - h.header_bytes) / n_layers);
}

}  // namespace thimble
#endif
