// SPDX-License-Identifier: MIT
#include "bench_shape.h"

#include <algorithm>
#include <vector>

#include "args.h"
#include "error.h"

namespace thimble::tools {
namespace {

struct NamedShape {
  const char* name;
  uint32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, n_ctx;
};
constexpr NamedShape kShapes[] = {
    {"stories260K", 64, 172, 5, 8, 4, 512, 512},
    {"15M", 288, 768, 6, 6, 6, 32000, 256},
    {"42M", 512, 1376, 8, 8, 8, 32000, 1024},
    {"110M", 768, 2048, 12, 12, 12, 32000, 1024},
};

// "a,b,c,d,e,f,g" as numbers; false if that is not what it is.
bool parse_numbers(const std::string& text, NamedShape* shape) {
  uint32_t* const fields[] = {&shape->dim,     &shape->hidden_dim, &shape->n_layers,
                              &shape->n_heads, &shape->n_kv_heads, &shape->vocab_size,
                              &shape->n_ctx};
  size_t at = 0;
  for (uint32_t* field : fields) {
    if (field != fields[0] && (at == text.size() || text[at++] != ',')) return false;
    const size_t first = at;
    uint64_t value = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' && value <= UINT32_MAX) {
      value = value * 10 + static_cast<uint64_t>(text[at++] - '0');
    }
    if (at == first || value == 0 || value > UINT32_MAX) return false;
    *field = static_cast<uint32_t>(value);
  }
  return at == text.size();
}

// Uniform numbers in [-kLargest, kLargest): a standard deviation of 0.04.
void fill_random(uint64_t state, uint32_t n, float* out) {
  constexpr float kLargest = 0.04f * 1.7320508f;
  constexpr float kScale = kLargest / 2147483648.0f;
  for (uint32_t i = 0; i < n; ++i) {
    state ^= state << 13;  // xorshift64 (Marsaglia 2003)
    state ^= state >> 7;
    state ^= state << 17;
    out[i] = static_cast<float>(static_cast<int32_t>(state >> 32)) * kScale;
  }
}

// A start of its own for each row: what a row holds must not depend on which came before. (The
// finalizer of splitmix64, a bijection, so that it is 0 for one argument only.)
uint64_t row_seed(SectionKind kind, uint32_t layer, uint32_t row) {
  uint64_t z = (uint64_t{kind} << 56) ^ (uint64_t{layer} << 32) ^ row;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

ModelShape parse_shape(const std::string& text) {
  NamedShape found{};
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) {
    if (text == shape.name) found = shape;
    names.push_back(shape.name);
  }
  if (!found.name && !parse_numbers(text, &found)) {
    const std::string guess = nearest(text, names);
    throw WrongUsage("option '--shape' is '" + text +
                     "', expected stories260K, 15M, 42M, 110M, or seven numbers "
                     "dim,hidden,layers,heads,kv_heads,vocab,ctx" +
                     (guess.empty() ? "" : "; did you mean '" + guess + "'?"));
  }
  if (found.dim % found.n_heads != 0) {
    throw WrongUsage(format("option '--shape': dim %u is not a multiple of its %u heads", found.dim,
                            found.n_heads));
  }
  ModelShape shape;
  shape.dim = found.dim;
  shape.hidden_dim = found.hidden_dim;
  shape.n_layers = found.n_layers;
  shape.n_heads = found.n_heads;
  shape.n_kv_heads = found.n_kv_heads;
  shape.head_dim = found.dim / found.n_heads;
  shape.vocab_size = found.vocab_size;
  shape.n_ctx = found.n_ctx;
  return shape;
}

ImageInMemory random_image(const ModelShape& shape, const WeightLayout& layout) {
  const RowSource rows = [](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                            float* out) {
    if (kind == kAttentionNorm || kind == kFeedForwardNorm || kind == kFinalNorm) {
      std::fill(out, out + cols, 1.0f);
    } else {
      fill_random(row_seed(kind, layer, row), cols, out);
    }
  };
  return build_image_in_memory(shape, layout, nullptr, rows);
}

}  // namespace thimble::tools
