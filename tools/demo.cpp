// SPDX-License-Identifier: MIT
// The numbers are those of chapter 3 of Sebastian Raschka's 'Build a Large Language Model (From
// Scratch)', whose weights come from seeds of PyTorch; they are written out below.
#include "demo.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "error.h"
#include "thimble/attention.hpp"

namespace thimble::tools {
namespace {

using namespace attention;

constexpr uint32_t kWords = 6, kWidth = 3, kOut = 2;
constexpr const char* kSentence[kWords] = {"Your", "journey", "starts", "with", "one", "step"};

// Each word as three numbers (6, 3).
constexpr float kInputs[] = {0.43f, 0.15f, 0.89f, 0.55f, 0.87f, 0.66f, 0.57f, 0.85f, 0.64f,
                             0.22f, 0.58f, 0.33f, 0.77f, 0.25f, 0.10f, 0.05f, 0.80f, 0.55f};
// Bare parameter matrices, input x output (3, 2), uniform numbers of seed 123.
constexpr float kQuery123[] = {0.29611194f, 0.5165623f,  0.25167072f,
                               0.6885568f,  0.07397246f, 0.86652195f};
constexpr float kKey123[] = {0.13657987f, 0.10247904f, 0.18405646f,
                             0.72644675f, 0.3152539f,  0.68710667f};
constexpr float kValue123[] = {0.075635314f, 0.19663817f, 0.31641197f,
                               0.40174013f,  0.1185683f,  0.8273954f};
// Linear layers, output x input (2, 3), of seed 789.
constexpr float kQuery789[] = {0.31605908f, 0.45680857f,  0.51183486f,
                               -0.1682854f, -0.33787704f, -0.09177387f};
constexpr float kKey789[] = {0.40580583f, -0.47042054f, 0.2368052f,
                             0.21336074f, -0.26005065f, -0.510543f};
constexpr float kValue789[] = {0.25256988f, -0.14147827f, -0.19618134f,
                               0.5191074f,  -0.08516758f, -0.20432705f};
// Two heads of linear layers, output x input (2, 3), of seed 123.
constexpr float kQueryHead1[] = {-0.23542964f, 0.019124476f, -0.28674594f,
                                 0.21772662f,  -0.4919342f,  0.42322308f};
constexpr float kKeyHead1[] = {-0.4196414f, -0.45901766f, -0.36482018f,
                               0.2614782f,  -0.2133264f,  0.21605217f};
constexpr float kValueHead1[] = {-0.49001414f, -0.35029206f, -0.2119892f,
                                 -0.11346072f, -0.44043937f, 0.37804362f};
constexpr float kQueryHead2[] = {-0.13615717f, 0.18532233f, 0.4082695f,
                                 0.107563816f, 0.15787685f, 0.55729234f};
constexpr float kKeyHead2[] = {-0.2603904f, 0.18287641f, -0.25687245f,
                               0.41260317f, 0.4611045f,  -0.53230095f};
constexpr float kValueHead2[] = {0.49285263f, 0.27569306f, 0.25159022f,
                                 0.23768058f, 0.47995073f, -0.07623307f};
// The output projection (2, 2) and its bias.
constexpr float kOutput[] = {-0.16675779f, 0.22697258f, 0.500026f, 0.13173823f};
constexpr float kOutputBias[] = {0.19335887f, 0.68254095f};
// What seed 123 kept of the attention weights, where the path prints them.
constexpr uint8_t kKeepMask[] = {1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1,
                                 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 0};

const MatrixView kX = {kInputs, kWords, kWidth};

// What a call gives, one matrix a head after the other.
struct Answer {
  std::vector<float> scores, weights, context;
};

void must_be_good(thimble_status status) {
  if (status != THIMBLE_OK) throw Refused(std::string("demo: ") + thimble_status_text(status));
}

// Calls form(results, scratch) with memory for n_heads heads and contexts of `width`.
template <class CallForm>
Answer answer(size_t scratch_size, uint32_t n_heads, uint32_t width, CallForm form) {
  Answer a = {std::vector<float>(n_heads * kWords * kWords),
              std::vector<float>(n_heads * kWords * kWords), std::vector<float>(kWords * width)};
  std::vector<float> memory(scratch_size / sizeof(float));
  must_be_good(form(Results{a.scores.data(), a.weights.data(), a.context.data()},
                    Scratch{memory.data(), scratch_size}));
  return a;
}

using Form = thimble_status (*)(const MatrixView&, const Projections&, const Options&,
                                const Results&, const Scratch&);

Answer call(Form form, const Projections& w, const Options& options = {}) {
  return answer(scratch_bytes(kX, w), 1, kOut,
                [&](const Results& r, const Scratch& s) { return form(kX, w, options, r, s); });
}

Answer call(const MultiHead& layer, uint32_t width) {
  return answer(scratch_bytes(kX, layer), layer.n_heads, width,
                [&](const Results& r, const Scratch& s) {
                  return multi_head_attention(kX, layer, {}, r, s);
                });
}

std::vector<float> project_words(const Linear& w) {
  std::vector<float> y(kWords * kOut), memory(scratch_bytes(kX, w) / sizeof(float));
  must_be_good(project(kX, w, y.data(), nullptr, {memory.data(), memory.size() * sizeof(float)}));
  return y;
}

Linear parameter(const float* weight) {
  return {{weight, kWidth, kOut}, Storage::kInputByOutput, nullptr};
}

Linear layer_of(const float* weight) {
  return {{weight, kOut, kWidth}, Storage::kOutputByInput, nullptr};
}

void heading(const char* text) {
  std::printf("\n%s\n", text);
  for (const char* c = text; *c; ++c) std::putchar('=');
  std::putchar('\n');
}

// A number a place; minus infinity and zeros above a diagonal are easier to see as words.
void print_row(const float* row, uint32_t cols) {
  for (uint32_t c = 0; c < cols; ++c) {
    if (std::isinf(row[c])) {
      std::printf("    -inf");
    } else {
      std::printf(" %7.4f", static_cast<double>(row[c]));
    }
  }
  std::putchar('\n');
}

// A row for each word.
void print_words(const char* meaning, const float* m, uint32_t cols) {
  std::printf("\n%s\n", meaning);
  for (uint32_t i = 0; i < kWords; ++i) {
    std::printf("  %-8s", kSentence[i]);
    print_row(m + size_t{i} * cols, cols);
  }
}

// A row and a column for each word.
void print_pairs(const char* meaning, const float* m) {
  std::printf("\n%s\n  %-8s", meaning, "");
  for (const char* word : kSentence) std::printf(" %7s", word);
  std::putchar('\n');
  for (uint32_t i = 0; i < kWords; ++i) {
    std::printf("  %-8s", kSentence[i]);
    print_row(m + size_t{i} * kWords, kWords);
  }
}

void print_matrix(const char* meaning, const float* m, uint32_t rows, uint32_t cols) {
  std::printf("\n%s\n", meaning);
  for (uint32_t r = 0; r < rows; ++r) {
    std::printf("  %-8s", "");
    print_row(m + size_t{r} * cols, cols);
  }
}

void simple_walk() {
  heading("1. Simple self-attention: no trained weights");
  print_words("Inputs: each word as three numbers.", kInputs, kWidth);
  const Answer a = answer(scratch_bytes(kX), 1, kWidth, [](const Results& r, const Scratch& s) {
    return simple_self_attention(kX, {}, r, s);
  });
  print_pairs(
      "Scores = inputs . inputs^T: the dot product of each word (row) with each (column).\n"
      "Large where two words point the same way.",
      a.scores.data());
  print_pairs(
      "Weights = softmax of each row: positive, and each row sums to 1. How much a word (row)\n"
      "takes of each word (column).",
      a.weights.data());
  print_words(
      "Context = weights . inputs: each word as a mix of all words. That of the second word,\n"
      "'journey', is the path's first: 0.4419 0.6515 0.5683.",
      a.context.data(), kWidth);
}

void trained_walk() {
  heading("2. Self-attention with trained matrices");
  const Projections w = {parameter(kQuery123), parameter(kKey123), parameter(kValue123)};
  print_matrix("W_query (input x output): what a word asks for.", kQuery123, kWidth, kOut);
  print_matrix("W_key: what a word offers.", kKey123, kWidth, kOut);
  print_matrix("W_value: what a word gives when it is looked at.", kValue123, kWidth, kOut);
  print_words("Queries = inputs . W_query.", project_words(w.query).data(), kOut);
  print_words("Keys = inputs . W_key.", project_words(w.key).data(), kOut);
  print_words("Values = inputs . W_value.", project_words(w.value).data(), kOut);
  Options unscaled = {};
  unscaled.scale = 1.0f;
  print_pairs("Scores = queries . keys^T: need not be mutual any more.",
              call(self_attention, w, unscaled).scores.data());
  const Answer a = call(self_attention, w);
  print_pairs(
      "Scores / sqrt(2), the width of a key: so that wide keys do not make softmax pick one word.",
      a.scores.data());
  print_pairs("Weights = softmax of each row.", a.weights.data());
  print_words("Context = weights . values.", a.context.data(), kOut);
}

void causal_walk() {
  heading("3. Causal attention: no word looks at later ones");
  const Projections w = {layer_of(kQuery789), layer_of(kKey789), layer_of(kValue789)};
  std::printf(
      "\nOther matrices from here on, stored output x input, as linear layers have them.\n");
  print_words("Context without a mask, to compare.", call(self_attention, w).context.data(), kOut);
  const Answer a = call(causal_attention, w);
  print_pairs(
      "Masked scores: minus infinity where a column is later than its row. Those are never\n"
      "computed. (A score of 0 would still weigh: exp(0) is 1, exp(-inf) is 0.)",
      a.scores.data());
  print_pairs("Weights = softmax of what is left: one normalisation, and zeros above the diagonal.",
              a.weights.data());
  print_pairs(
      "The longer way to the same: softmax over all, zeros above the diagonal, normalised again.",
      call(causal_attention_renormalised, w).weights.data());
  print_words("Context = weights . values.", a.context.data(), kOut);

  Options options = {};
  options.dropout = {0.5f, 0, kKeepMask};
  print_pairs(
      "Dropout, p = 0.5, for training: about half the weights are dropped, the others doubled.\n"
      "Here with the choice that the path's seed 123 made; below from seeds of Thimble.",
      call(causal_attention, w, options).weights.data());

  // Monte-Carlo dropout at inference: the spread says how much the result leans on single weights.
  constexpr uint32_t kRuns = 1000;
  double sum[kOut] = {}, squares[kOut] = {};
  for (uint32_t seed = 0; seed < kRuns; ++seed) {
    options = {};
    options.dropout = {0.2f, seed, nullptr};
    const Answer run = call(causal_attention, w, options);
    for (uint32_t d = 0; d < kOut; ++d) {
      const double v = static_cast<double>(run.context[(kWords - 1) * kOut + d]);
      sum[d] += v;
      squares[d] += v * v;
    }
  }
  std::printf(
      "\nMonte-Carlo dropout, p = 0.2, seeds 0 to %u: the context of 'step', number by number.\n"
      "The spread says how sure it is; the same seeds give the same numbers everywhere.\n",
      kRuns - 1);
  for (uint32_t d = 0; d < kOut; ++d) {
    const double mean = sum[d] / kRuns, variance = squares[d] / kRuns - mean * mean;
    std::printf("           mean %7.4f   spread %6.4f   without dropout %7.4f\n", mean,
                std::sqrt(variance), static_cast<double>(a.context[(kWords - 1) * kOut + d]));
  }
}

void print_heads(const Answer& a) {
  print_pairs("Weights of head 1.", a.weights.data());
  print_pairs("Weights of head 2: another view of the same positions.",
              a.weights.data() + kWords * kWords);
}

void multi_head_walk() {
  heading("4. Multi-head attention");
  const Projections heads[] = {{layer_of(kQueryHead1), layer_of(kKeyHead1), layer_of(kValueHead1)},
                               {layer_of(kQueryHead2), layer_of(kKeyHead2), layer_of(kValueHead2)}};
  std::printf("\nSeparate heads side by side: two causal attentions with matrices of their own.\n");
  const Answer separate =
      answer(scratch_bytes(kX, heads, 2), 2, 2 * kOut, [&](const Results& r, const Scratch& s) {
        return multi_head_attention_wrapper(kX, heads, 2, {}, r, s);
      });
  print_heads(separate);
  print_words("Context: two numbers from head 1, two from head 2.", separate.context.data(),
              2 * kOut);

  std::printf(
      "\nOne set of matrices split into heads: the columns of head 1's matrices above, as two "
      "heads\n"
      "of width 1. One product makes the queries of all heads. This is what the engine runs.\n");
  MultiHead layer = {heads[0], 2, 2, {}, Mask::kCausal};
  const Answer split = call(layer, kOut);
  print_heads(split);
  print_words("Context: the heads side by side.", split.context.data(), kOut);
  layer.output = {{kOutput, kOut, kOut}, Storage::kOutputByInput, kOutputBias};
  const Answer mixed = call(layer, kOut);
  print_matrix("Output projection (output x input), which mixes the heads.", kOutput, kOut, kOut);
  print_matrix("Its bias.", kOutputBias, 1, kOut);
  print_words("Result = context . W_output^T + bias.", mixed.context.data(), kOut);

  // Word by word, as text is generated.
  std::vector<float> cache_memory(cache_bytes(layer, kWords) / sizeof(float));
  KeyValueCache cache;
  must_be_good(cache_init(&cache, layer, kWords,
                          {cache_memory.data(), cache_memory.size() * sizeof(float)}));
  const MatrixView one = {kInputs, 1, kWidth};
  std::vector<float> memory(scratch_bytes(one, layer, kWords) / sizeof(float));
  std::vector<float> context(kWords * kOut);
  for (uint32_t i = 0; i < kWords; ++i) {
    const Results results = {nullptr, nullptr, context.data() + size_t{i} * kOut};
    must_be_good(multi_head_attention_cached({kInputs + size_t{i} * kWidth, 1, kWidth}, layer,
                                             &cache, {}, results,
                                             {memory.data(), memory.size() * sizeof(float)}));
  }
  print_words("Result, one word at a time: keys and values of earlier words come from the cache.",
              context.data(), kOut);
  std::printf("\nThe last two are %s.\n",
              context == mixed.context ? "the same, bit for bit" : "NOT the same");
}

}  // namespace

int attention_demo() {
  std::printf("Attention in four steps on 'Your journey starts with one step'.\n");
  simple_walk();
  trained_walk();
  causal_walk();
  multi_head_walk();
  return 0;
}

}  // namespace thimble::tools
