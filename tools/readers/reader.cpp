// SPDX-License-Identifier: MIT
#include "readers/reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>

#include "error.h"
#include "json_string.h"
#include "readers/gguf.h"
#include "readers/hugging_face.h"
#include "readers/input_file.h"
#include "readers/llama2c.h"
#include "readers/safetensors.h"

namespace thimble::tools {
namespace {

using Start = std::array<uint8_t, 16>;  // the file's first bytes, zeros behind a shorter file

bool starts_with(const Start& start, const void* magic, size_t bytes) {
  return std::memcmp(start.data(), magic, bytes) == 0;
}

bool is_index(const std::string& path) {
  const std::string end = ".safetensors.index.json";
  return path.size() > end.size() && path.substr(path.size() - end.size()) == end;
}

// pytorch_model.bin.index.json stands for its folder.
std::optional<std::string> folder_of_torch_index(const std::string& path) {
  const std::filesystem::path file(path);
  if (file.filename() != "pytorch_model.bin.index.json") return std::nullopt;
  const std::string folder = file.parent_path().string();
  return folder.empty() ? "." : folder;
}

// A zip file, or the pickle of a long integer (the magic number of the old form).
bool is_pytorch(const Start& start) {
  return starts_with(start, "PK\3\4", 4) || (starts_with(start, "\x80\x02", 2) && start[2] == 0x8a);
}

// What people take for a checkpoint, by its start.
const char* known_stranger(const Start& start) {
  const struct {
    const char *magic, *name;
  } strangers[] = {{"<!DOCTYPE", "a web page"},
                   {"<!doctype", "a web page"},
                   {"<html", "a web page"},
                   {"{", "JSON"},
                   {"lmgg", "ggml's file from before GGUF"},
                   {"fmgg", "ggml's file from before GGUF"},
                   {"tjgg", "ggml's file from before GGUF"},
                   {"\x80\x02", "a pickle, but none of torch.save"},
                   {"\x80\x03", "a pickle, but none of torch.save"},
                   {"\x80\x04", "a pickle, but none of torch.save"},
                   {"\x80\x05", "a pickle, but none of torch.save"},
                   {"\x89HDF", "HDF5"},
                   {"\x93NUMPY", "an array of NumPy"},
                   {"\x1f\x8b", "compressed (gzip)"}};
  for (const auto& stranger : strangers) {
    if (starts_with(start, stranger.magic, std::strlen(stranger.magic))) return stranger.name;
  }
  return nullptr;
}

[[noreturn]] void refuse_unrecognised(const InputFile& file, const Start& start) {
  const size_t n = static_cast<size_t>(std::min<uint64_t>(file.size(), start.size()));
  const std::string bytes(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(n));
  const bool is_text = std::all_of(bytes.begin(), bytes.end(),
                                   [](char c) { return (c >= ' ' && c <= '~') || c == '\n'; });
  std::string found;
  if (const char* name = known_stranger(start)) {
    found = name;
  } else if (is_text) {
    found = "a text that begins with " + shown(bytes);
  } else {
    found = "the first of them";
    for (const char c : bytes) found += format(" %02x", unsigned{static_cast<uint8_t>(c)});
  }
  throw Refused(format("%s: is no checkpoint that is known: found %llu bytes, %s; ",
                       file.path().c_str(), static_cast<unsigned long long>(file.size()),
                       found.c_str()) +
                "expected safetensors, PyTorch (.pth, .pt, .bin), GGUF, llama2.c's .bin, or the "
                "folder of a Hugging Face model");
}

template <class From, class To>
void replace(const std::optional<From>& by, To* field) {
  if (by) *field = *by;
}

// Fields that no tensor depends on; readers see to the others.
void override_fields(const ReadOptions& options, ModelShape* shape) {
  replace(options.norm_eps, &shape->norm_eps);
  replace(options.score_scale, &shape->score_scale);
  replace(options.embedding_scale, &shape->embedding_scale);
  replace(options.logit_scale, &shape->logit_scale);
  replace(options.logit_cap, &shape->logit_cap);
  replace(options.activation, &shape->activation);
  replace(options.parallel, &shape->parallel);
  if (!options.window) return;
  // Where only some layers have a window it is their length.
  const auto has_one = [](const LayerShape& layer) { return layer.window > 0; };
  const bool all = std::none_of(shape->layers.begin(), shape->layers.end(), has_one);
  shape->layers.resize(shape->n_layers);
  for (LayerShape& layer : shape->layers) {
    if (all || layer.window > 0) layer.window = *options.window;
  }
}

Checkpoint open_by_content(const std::string& path, const ReadOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return open_hugging_face(path, options);
  if (is_index(path)) return open_safetensors_checkpoint(path, options);
  if (const auto folder = folder_of_torch_index(path)) return open_hugging_face(*folder, options);
  auto file = std::make_shared<InputFile>(path);
  Start start{};
  file->read(0, start.data(), static_cast<size_t>(std::min<uint64_t>(file->size(), start.size())));
  if (starts_with(start, kMagic, sizeof kMagic)) {
    throw Refused(path + ": is a Thimble model already, expected a checkpoint to convert");
  }
  if (is_gguf(*file)) return open_gguf_checkpoint(path, options);
  if (is_pytorch(start)) return open_pytorch_checkpoint(path, options);
  if (is_safetensors(*file)) return open_safetensors_checkpoint(path, options);
  // Last, since llama2.c's version 0 has no mark to know it by.
  if (is_llama2c(*file)) return open_llama2c(std::move(file), options);
  refuse_unrecognised(*file, start);
}

}  // namespace

Checkpoint open_checkpoint(const std::string& path, const ReadOptions& options) {
  Checkpoint checkpoint = open_by_content(path, options);
  const bool rotates = options.rope_theta || options.rotary_dim || options.rope_scaling;
  if (rotates && checkpoint.shape.learned_positions) {
    throw Refused(path +
                  ": learns its positions and rotates nothing, so that --rope-theta, --rotary-dim "
                  "and --rope-scaling have no meaning");
  }
  override_fields(options, &checkpoint.shape);
  return checkpoint;
}

}  // namespace thimble::tools
