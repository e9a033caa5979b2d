// SPDX-License-Identifier: MIT
// A low-rank adapter (LoRA: Hu et al. 2021) as a flat file: matrices A and B that make W x + B (A
// x) of the products of one very model. models/FORMAT.md explains the file.
#ifndef THIMBLE_SRC_ADAPTER_H
#define THIMBLE_SRC_ADAPTER_H

#include "kernels/kernels.h"
#include "model.h"
#include "thimble/thimble.h"

namespace thimble {

constexpr uint8_t kAdapterMagic[8] = {0x89, 'T', 'H', 'I', 'M', 'L', 'O', '\n'};
constexpr uint32_t kAdapterVersion = 1;
constexpr uint32_t kMaxLoraRank = 256;

// The kinds of matrices that may have an adapter, in the order of their sections.
constexpr uint32_t kLoraKinds = 4;
constexpr SectionKind kLoraSections[kLoraKinds] = {kAttentionQkv, kAttentionOutput,
                                                   kFeedForwardGateUp, kFeedForwardDown};
constexpr uint32_t kLoraMatrices = kMatrixQkv | kMatrixOutput | kMatrixGateUp | kMatrixDown;
inline constexpr uint32_t lora_bit(uint32_t which) {
  return kMatrixQkv << which;
}
static_assert(lora_bit(3) == kMatrixDown, "bits in the order of the sections");

// Sections: those of a layer together, A before B. A section's kind is this and its matrix's kind.
constexpr uint32_t kLoraA = 64;   // (rank, the matrix's cols)
constexpr uint32_t kLoraB = 128;  // (the matrix's rows, rank)

struct AdapterHeader {
  uint8_t magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint32_t header_bytes;  // this structure and the section table
  uint32_t header_crc;    // CRC-32 of those bytes with this field as 0
  uint64_t file_bytes;
  uint32_t data_crc;          // CRC-32 of all that follows the section table
  uint32_t flags;             // 0; every bit is reserved
  uint32_t model_header_crc;  // the model's own checksums
  uint32_t model_data_crc;
  uint32_t rank;      // 1 to kMaxLoraRank
  uint32_t matrices;  // bits of MatrixBit within kLoraMatrices: those that have an adapter
  uint64_t n_params;  // rows * cols of all its matrices
  uint32_t n_sections;
  uint8_t reserved[60];  // 0
};
static_assert(sizeof(AdapterHeader) == 128, "adapter header layout");
static_assert(offsetof(AdapterHeader, header_crc) == offsetof(FileHeader, header_crc) &&
                  offsetof(AdapterHeader, file_bytes) == offsetof(FileHeader, file_bytes) &&
                  offsetof(AdapterHeader, flags) == offsetof(FileHeader, flags),
              "begins as every flat file");
static_assert(offsetof(AdapterHeader, model_header_crc) == 40, "adapter header layout");
static_assert(offsetof(AdapterHeader, n_params) == 56, "adapter header layout");
static_assert(offsetof(AdapterHeader, n_sections) == 64, "adapter header layout");

// Sections of an adapter of that many matrices.
uint32_t adapter_section_count(uint32_t matrices, uint32_t n_layers);

// The entry of the section table behind `previous`, as expected_section has it for a model: of an
// adapter of `model` with this header, whose rank, matrices and n_sections are right.
SectionEntry expected_adapter_section(const AdapterHeader& header, const thimble_model& model,
                                      const SectionEntry* previous);

// rows * cols of all its matrices.
uint64_t adapter_parameter_count(const AdapterHeader& header, const thimble_model& model);

inline const AdapterHeader& header_of(const thimble_adapter& adapter) {
  return *reinterpret_cast<const AdapterHeader*>(adapter.image);
}

// What can be said of an adapter without its model, but for the data's checksum: that it is whole,
// and that its header is possible.
thimble_status check_adapter(const void* image, size_t image_bytes, thimble_fault* fault);

// All checks of thimble_adapter_open and thimble_adapter_verify.
thimble_status open_adapter(thimble_adapter* adapter, const thimble_model& model, const void* image,
                            size_t image_bytes);
thimble_status verify_adapter(thimble_adapter* adapter);

// The pair that belongs to kLoraSections[which] of a layer. `which` must be one that it has.
struct LoraPair {
  Matrix a;  // (rank, cols)
  Matrix b;  // (rows, rank)
};
LoraPair adapter_pair(const thimble_adapter& adapter, uint32_t which, uint32_t layer);

// Bytes from a layer's sections to the next one's.
size_t adapter_layer_bytes(const thimble_adapter& adapter, uint32_t n_layers);

}  // namespace thimble

#endif
