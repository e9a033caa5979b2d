// SPDX-License-Identifier: MIT
#include "adapter_file.h"

#include <algorithm>
#include <cstring>

#include "error.h"
#include "flat_file.h"
#include "matrix_writer.h"
#include "opened_model.h"
#include "sealed_image.h"

namespace thimble::tools {
namespace {

// The rows of both matrices of a pair as floats.
struct Factors {
  std::vector<float> a, b;  // (rank, cols), (rows, rank)
};

Factors factors_of(const LoraPair& pair) {
  const auto all = [](const Matrix& m) {
    std::vector<float> out(size_t{m.rows} * m.cols);
    for (uint32_t r = 0; r < m.rows; ++r) read_row(out.data() + size_t{r} * m.cols, m, r);
    return out;
  };
  return {all(pair.a), all(pair.b)};
}

std::string text_of_fault(const std::string& path, const LoadedModel& loaded, thimble_status status,
                          const thimble_fault& fault, size_t bytes) {
  if (status != THIMBLE_ERROR_OTHER_MODEL) {
    return path + ": " + adapter_fault(status, fault, bytes);
  }
  return format(
      "%s: is an adapter of another model: %s: found 0x%08llx, expected 0x%08llx, that of "
      "%s",
      path.c_str(), fault.what, static_cast<unsigned long long>(fault.found),
      static_cast<unsigned long long>(fault.expected), loaded.path().c_str());
}

}  // namespace

std::string adapter_fault(thimble_status status, const thimble_fault& fault, size_t file_bytes) {
  if (status == THIMBLE_ERROR_MAGIC) return "is no adapter; thimble train --lora writes one";
  if (status == THIMBLE_ERROR_VERSION) {
    return format("found version %llu of adapters, expected %u",
                  static_cast<unsigned long long>(fault.found), kAdapterVersion);
  }
  return fault_text(status, fault, file_bytes);
}

LoadedAdapter::LoadedAdapter(const std::string& path, const LoadedModel& loaded) : file_(path) {
  thimble_status status =
      thimble_adapter_open(&adapter_, &loaded.model(), file_.data(), file_.size());
  if (status == THIMBLE_OK) status = thimble_adapter_verify(&adapter_);
  if (status != THIMBLE_OK) {
    throw Refused(text_of_fault(path, loaded, status, adapter_.fault, file_.size()));
  }
}

std::unique_ptr<LoadedAdapter> load_adapter(const std::string& path, const LoadedModel& loaded,
                                            thimble_config* config) {
  if (path.empty()) return nullptr;
  auto adapter = std::make_unique<LoadedAdapter>(path, loaded);
  config->lora_rank = adapter->adapter().rank;
  return adapter;
}

void use_adapter(thimble_session* session, const LoadedAdapter& adapter) {
  checked(thimble_session_lora(session, &adapter.adapter()), adapter.path().c_str());
}

bool is_adapter(const MappedFile& file) {
  return file.size() >= sizeof kAdapterMagic &&
         std::memcmp(file.data(), kAdapterMagic, sizeof kAdapterMagic) == 0;
}

const AdapterHeader& intact_adapter(const MappedFile& file) {
  thimble_fault fault{};
  thimble_status status = check_adapter(file.data(), file.size(), &fault);
  if (status == THIMBLE_OK) status = check_data(file.data(), file.size(), &fault);
  if (status != THIMBLE_OK) {
    throw Refused(file.path() + ": " + adapter_fault(status, fault, file.size()));
  }
  return *reinterpret_cast<const AdapterHeader*>(file.data());
}

ImageInMemory build_adapter(const thimble_model& model, uint32_t rank, uint32_t matrices,
                            const RowSource& rows) {
  AdapterHeader h{};
  std::memcpy(h.magic, kAdapterMagic, sizeof h.magic);
  h.version = kAdapterVersion;
  h.byte_order = kByteOrderMark;
  h.model_header_crc = thimble::header_of(model).header_crc;
  h.model_data_crc = thimble::header_of(model).data_crc;
  h.rank = rank;
  h.matrices = matrices;
  h.n_params = adapter_parameter_count(h, model);
  h.n_sections = adapter_section_count(matrices, model.n_layers);
  h.header_bytes = static_cast<uint32_t>(sizeof h + h.n_sections * sizeof(SectionEntry));
  std::vector<SectionEntry> sections;
  sections.reserve(h.n_sections);
  std::vector<uint8_t> bytes(h.header_bytes);
  const auto put = [&](const void* data, size_t n) {
    const uint8_t* from = static_cast<const uint8_t*>(data);
    bytes.insert(bytes.end(), from, from + n);
  };
  const auto pad_to = [&](uint64_t offset) { bytes.resize(static_cast<size_t>(offset)); };
  MatrixErrors errors;
  for (uint32_t i = 0; i < h.n_sections; ++i) {
    sections.push_back(expected_adapter_section(h, model, i > 0 ? &sections[i - 1] : nullptr));
    pad_to(sections[i].offset);
    write_matrix_section(sections[i], rows, nullptr, put, pad_to, &errors);
  }
  pad_to(round_up(bytes.size(), kSectionAlignment));
  h.file_bytes = bytes.size();
  return sealed_image(std::move(bytes), h, sections);
}

RowSource merged_rows(const thimble_model& model, const thimble_adapter& adapter) {
  // The pair that was wanted last; rows of a matrix are asked for one after the other.
  struct Current {
    uint32_t which = kLoraKinds, layer = 0;
    Factors factors;
  };
  return [&adapter, rows = rows_of_model(model), current = Current()](
             SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) mutable {
    rows(kind, layer, row, cols, out);
    const auto* found = std::find(std::begin(kLoraSections), std::end(kLoraSections), kind);
    const uint32_t which = static_cast<uint32_t>(found - kLoraSections);
    const AdapterHeader& h = header_of(adapter);
    if (which == kLoraKinds || !(h.matrices & lora_bit(which))) return;
    if (current.which != which || current.layer != layer) {
      current = {which, layer, factors_of(adapter_pair(adapter, which, layer))};
    }
    std::vector<double> sum(out, out + cols);
    for (uint32_t k = 0; k < h.rank; ++k) {
      const double b = static_cast<double>(current.factors.b[size_t{row} * h.rank + k]);
      const float* a = current.factors.a.data() + size_t{k} * cols;
      for (uint32_t c = 0; c < cols; ++c) sum[c] += b * static_cast<double>(a[c]);
    }
    for (uint32_t c = 0; c < cols; ++c) out[c] = static_cast<float>(sum[c]);
  };
}

}  // namespace thimble::tools
