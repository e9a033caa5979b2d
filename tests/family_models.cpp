// SPDX-License-Identifier: MIT
// Small models, one of each family: family_models FOLDER
// writes FOLDER/NAME-f32.thimble and NAME-q8.thimble for each, with a self-test and a tokenizer,
// and prints the files' names.
#include <cctype>
#include <cstdio>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tiny_model.h"

namespace {

using namespace thimble;
using namespace thimble::test;

// "Qwen 2" becomes "qwen-2", "ReLU, gated" "relu-gated".
std::string file_name(const std::string& family) {
  std::string name;
  for (const char c : family) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte)) {
      name += static_cast<char>(std::tolower(byte));
    } else if (name.back() != '-') {
      name += '-';
    }
  }
  return name;
}

void write_model(const std::string& path, const tools::ModelShape& shape, bool is_byte_level,
                 WeightType type, uint64_t seed) {
  const tools::Vocabulary vocabulary =
      is_byte_level ? tiny_byte_vocabulary(shape.vocab_size) : tiny_vocabulary(shape.vocab_size);
  const tools::ImageInMemory image = tools::build_image_in_memory(
      shape, {type, type == kWeightF32 ? 0u : 32u, 4}, &vocabulary,
      [seed](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
        random_row(seed, kind, layer, row, cols, out);
      },
      true);
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.bytes));
  out.close();
  if (!out) throw std::runtime_error(path + " cannot be written");
}

void write_models(const std::string& folder) {
  std::vector<NamedShape> families = {{"Llama", tiny_shape(32, 64, 2, 4, 2, 8, 64, 64, true)}};
  for (const NamedShape& family : family_shapes()) families.push_back(family);
  uint64_t seed = 1;
  for (const NamedShape& family : families) {
    const std::string name = file_name(family.name);
    const bool is_byte_level = name.rfind("gpt", 0) == 0 || name.rfind("qwen", 0) == 0;
    for (const WeightType type : {kWeightF32, kWeightQ8, kWeightQ4}) {
      const std::string file = name + "-" + tools::weight_type(type).name + ".thimble";
      write_model(folder + "/" + file, family.shape, is_byte_level, type, seed++);
      std::printf("%s\n", file.c_str());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: family_models FOLDER\n");
    return 2;
  }
  try {
    write_models(argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "family_models: %s\n", e.what());
    return 1;
  }
  return 0;
}
