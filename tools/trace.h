// SPDX-License-Identifier: MIT
// What a model attends to while it reads a text, and what it expects next, as numbers and as a
// page.
#ifndef THIMBLE_TOOLS_TRACE_H
#define THIMBLE_TOOLS_TRACE_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "page.h"
#include "thimble/thimble.h"

namespace thimble::tools {

struct Candidate {
  int32_t token;
  double probability;  // softmax of the logits, in double
};

struct Trace {
  std::string model_name;
  thimble_model model{};
  std::string prompt;
  size_t n_prompt = 0;           // tokens of the prompt; those behind were generated
  std::vector<int32_t> tokens;   // (n)
  std::vector<float> attention;  // (n_layers, n_heads, n (n + 1) / 2): lower triangles, row by row
  std::vector<std::vector<Candidate>> next;  // (n): after each token the likeliest ones, best first

  size_t triangle() const { return tokens.size() * (tokens.size() + 1) / 2; }
  // The weights of key positions 0 to query.
  const float* row(uint32_t layer, uint32_t head, size_t query) const {
    return attention.data() + (size_t{layer} * model.n_heads + head) * triangle() +
           query * (query + 1) / 2;
  }
};

// Computes the prompt token by token, then up to `n_generate` more, each time the likeliest one,
// until the text ends or the context is full. The session must be empty; keeps `n_top` candidates a
// position. `progress` (may be empty) gets the share that is done, 0 to 1. Throws Refused.
Trace trace_tokens(thimble_session* session, const thimble_model& model,
                   const std::vector<int32_t>& prompt, size_t n_generate, size_t n_top,
                   const std::function<void(double)>& progress);

// A token's text as UTF-8: bytes that are none, and control tokens without text, are spelt out
// ("<0xC3>", "<#2>").
std::string token_text(const thimble_model& model, int32_t token);
// The same for the eye: no character is invisible ("·" for a space, "⏎" for a line break).
std::string token_label(const thimble_model& model, int32_t token);

// layer,head,query,key,query_token,key_token,weight; a line for each weight (RFC 4180, but for bare
// line feeds). Floats have 9 digits, so they are the engine's own again when read.
void write_csv(const Trace& trace, const TextSink& sink);
void write_json(const Trace& trace, const TextSink& sink);
// One self-contained page. Weights have 16 bits: what it shows is within 1/131070.
void write_page(const Trace& trace, const TextSink& sink);

}  // namespace thimble::tools

#endif
