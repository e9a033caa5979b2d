// SPDX-License-Identifier: MIT
// Attention in four steps on 'Your journey starts with one step', three numbers a word.
#include <stdio.h>

#include "thimble/attention.hpp"

using namespace thimble::attention;

static const float words[] = {0.43f, 0.15f, 0.89f, 0.55f, 0.87f, 0.66f, 0.57f, 0.85f, 0.64f,
                              0.22f, 0.58f, 0.33f, 0.77f, 0.25f, 0.10f, 0.05f, 0.80f, 0.55f};
static const float w_query[] = {0.2961f, 0.5166f, 0.2517f, 0.6886f, 0.0740f, 0.8665f};
static const float w_key[] = {0.1366f, 0.1025f, 0.1841f, 0.7264f, 0.3153f, 0.6871f};
static const float w_value[] = {0.0756f, 0.1966f, 0.3164f, 0.4017f, 0.1186f, 0.8274f};

static void show(const char* what, const float* row, int n) {
  printf("%-28s", what);
  for (int i = 0; i < n; ++i) printf(" %7.4f", static_cast<double>(row[i]));
  printf("\n");
}

int main() {
  alignas(THIMBLE_ALIGNMENT) static uint8_t memory[8192];
  const Scratch scratch = {memory, sizeof memory};  // scratch_bytes(x, ...) tells how much
  const MatrixView x = {words, 6, 3};
  float weights[2 * 6 * 6], context[6 * 4];
  const Results results = {nullptr, weights, context};
  const Options all = {};
  int failed = 0;

  // 1. Scores are dot products of the words themselves; weights = softmax; context = their mix.
  failed |= simple_self_attention(x, all, results, scratch);
  show("simple, word 2: weights", weights + 6, 6);
  show("simple, word 2: context", context + 3, 3);

  // 2. Trained matrices make queries, keys and values; scores are divided by sqrt(width of a key).
  const Projections w = {{{w_query, 3, 2}, Storage::kInputByOutput, nullptr},
                         {{w_key, 3, 2}, Storage::kInputByOutput, nullptr},
                         {{w_value, 3, 2}, Storage::kInputByOutput, nullptr}};
  failed |= self_attention(x, w, all, results, scratch);
  show("trained, word 2: context", context + 2, 2);

  // 3. No word looks at later ones. Dropout is for training: half the weights, doubled.
  failed |= causal_attention(x, w, all, results, scratch);
  show("causal, word 2: weights", weights + 6, 6);
  Options training = {};
  training.dropout = {0.5f, 123, nullptr};
  failed |= causal_attention(x, w, training, results, scratch);
  show("dropout, word 6: weights", weights + 30, 6);

  // 4. The same matrices split into two heads of width 1, whose contexts lie side by side.
  const MultiHead layer = {w, 2, 2, {}, Mask::kCausal};
  failed |= multi_head_attention(x, layer, all, results, scratch);
  show("two heads, word 6: context", context + 10, 2);
  return failed == THIMBLE_OK ? 0 : 1;
}
