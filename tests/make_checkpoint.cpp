// SPDX-License-Identifier: MIT
// Writes a Hugging Face folder of random weights of about a given size, to measure convert with:
//
//   make_checkpoint FOLDER MEGABYTES [llama|gpt2] [f32|bf16]
//
// GPT-2's matrices lie transposed. Not a test: `make test` does not build it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "random.h"

namespace {

struct Tensor {
  std::string name;
  std::vector<uint64_t> shape;
};

constexpr uint64_t kDim = 1024, kHidden = 2816, kVocab = 32000, kContext = 1024, kHeads = 16;

std::vector<Tensor> llama(uint64_t layers) {
  std::vector<Tensor> tensors = {{"model.embed_tokens.weight", {kVocab, kDim}}};
  for (uint64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    for (const char* name :
         {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}) {
      tensors.push_back({layer + name + ".weight", {kDim, kDim}});
    }
    tensors.push_back({layer + "mlp.gate_proj.weight", {kHidden, kDim}});
    tensors.push_back({layer + "mlp.up_proj.weight", {kHidden, kDim}});
    tensors.push_back({layer + "mlp.down_proj.weight", {kDim, kHidden}});
    tensors.push_back({layer + "input_layernorm.weight", {kDim}});
    tensors.push_back({layer + "post_attention_layernorm.weight", {kDim}});
  }
  tensors.push_back({"model.norm.weight", {kDim}});
  return tensors;
}

std::vector<Tensor> gpt2(uint64_t layers) {
  std::vector<Tensor> tensors = {{"wte.weight", {kVocab, kDim}}, {"wpe.weight", {kContext, kDim}}};
  const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
    tensors.push_back({name + ".weight", shape});
    tensors.push_back({name + ".bias", {shape.back()}});
  };
  for (uint64_t i = 0; i < layers; ++i) {
    const std::string layer = "h." + std::to_string(i) + ".";
    add(layer + "ln_1", {kDim});
    add(layer + "attn.c_attn", {kDim, 3 * kDim});
    add(layer + "attn.c_proj", {kDim, kDim});
    add(layer + "ln_2", {kDim});
    add(layer + "mlp.c_fc", {kDim, 4 * kDim});
    add(layer + "mlp.c_proj", {4 * kDim, kDim});
  }
  add("ln_f", {kDim});
  return tensors;
}

uint64_t elements(const Tensor& tensor) {
  uint64_t n = 1;
  for (const uint64_t size : tensor.shape) n *= size;
  return n;
}

uint64_t bytes_of(const std::vector<Tensor>& tensors, uint64_t element_bytes) {
  uint64_t bytes = 0;
  for (const Tensor& tensor : tensors) bytes += elements(tensor) * element_bytes;
  return bytes;
}

std::string header_of(const std::vector<Tensor>& tensors, const char* type,
                      uint64_t element_bytes) {
  std::string header = "{";
  uint64_t at = 0;
  for (const Tensor& tensor : tensors) {
    std::string shape;
    for (const uint64_t size : tensor.shape) {
      shape += (shape.empty() ? "" : ",") + std::to_string(size);
    }
    const uint64_t end = at + elements(tensor) * element_bytes;
    header += (at ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"" + type + "\",\"shape\":[" +
              shape + "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(end) +
              "]}";
    at = end;
  }
  header += "}";
  while (header.size() % 8 != 0) header += ' ';
  return header;
}

bool write_weights(std::FILE* file, uint64_t bytes, bool is_bf16) {
  Random random(1);
  std::vector<uint8_t> block(uint64_t{1} << 20);
  while (bytes > 0) {
    const size_t n = static_cast<size_t>(bytes < block.size() ? bytes : block.size());
    const size_t step = is_bf16 ? 2 : 4;
    for (size_t i = 0; i + step <= n; i += step) {
      // Around +-0.02: a sign, an exponent of a few, any mantissa.
      const uint32_t r = static_cast<uint32_t>(random.next() >> 33);
      const uint32_t bits = (r & 0x807fffffu) | ((r >> 23 & 1) << 31) | ((120 - (r >> 29)) << 23);
      if (is_bf16) {
        const uint16_t half = static_cast<uint16_t>(bits >> 16);
        std::memcpy(&block[i], &half, sizeof half);
      } else {
        std::memcpy(&block[i], &bits, sizeof bits);
      }
    }
    if (std::fwrite(block.data(), 1, n, file) != n) return false;
    bytes -= n;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string family = argc > 3 ? argv[3] : "llama", type = argc > 4 ? argv[4] : "f32";
  const uint64_t wanted = argc > 2 ? std::strtoull(argv[2], nullptr, 10) << 20 : 0;
  const bool is_gpt2 = family == "gpt2", is_bf16 = type == "bf16";
  if (argc < 3 || argc > 5 || wanted == 0 || (!is_gpt2 && family != "llama") ||
      (!is_bf16 && type != "f32")) {
    std::fprintf(stderr, "usage: make_checkpoint FOLDER MEGABYTES [llama|gpt2] [f32|bf16]\n");
    return 2;
  }
  const uint64_t element_bytes = is_bf16 ? 2 : 4;
  const auto make = is_gpt2 ? gpt2 : llama;
  const uint64_t base = bytes_of(make(0), element_bytes);
  const uint64_t layer = bytes_of(make(1), element_bytes) - base;
  const uint64_t layers = wanted > base + layer ? (wanted - base + layer / 2) / layer : 1;
  const std::vector<Tensor> tensors = make(layers);

  const std::string folder = argv[1];
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  std::FILE* config = std::fopen((folder + "/config.json").c_str(), "wb");
  std::FILE* file = std::fopen((folder + "/model.safetensors").c_str(), "wb");
  if (!config || !file) {
    std::fprintf(stderr, "make_checkpoint: %s cannot be written\n", folder.c_str());
    return 1;
  }
  const auto number = [](uint64_t n) { return std::to_string(n); };
  const std::string fields =
      is_gpt2
          ? "{\"architectures\":[\"GPT2Model\"],\"n_embd\":" + number(kDim) +
                ",\"n_layer\":" + number(layers) + ",\"n_head\":" + number(kHeads) + "}"
          : "{\"architectures\":[\"LlamaForCausalLM\"],\"tie_word_embeddings\":true," +
                ("\"hidden_size\":" + number(kDim)) + ",\"num_hidden_layers\":" + number(layers) +
                ",\"num_attention_heads\":" + number(kHeads) +
                ",\"max_position_embeddings\":" + number(kContext) + "}";
  const std::string header = header_of(tensors, is_bf16 ? "BF16" : "F32", element_bytes);
  const uint64_t length = header.size();
  bool good = std::fwrite(fields.data(), 1, fields.size(), config) == fields.size();
  good = std::fwrite(&length, 1, sizeof length, file) == sizeof length && good;
  good = std::fwrite(header.data(), 1, header.size(), file) == header.size() && good;
  good = write_weights(file, bytes_of(tensors, element_bytes), is_bf16) && good;
  good = std::fclose(config) == 0 && good;
  good = std::fclose(file) == 0 && good;
  if (!good) std::fprintf(stderr, "make_checkpoint: %s cannot be written\n", folder.c_str());
  return good ? 0 : 1;
}
