// SPDX-License-Identifier: MIT
// A trace as one self-contained page: style, body, numbers, script.
#include "trace_page.h"

#include <cmath>

#include "error.h"
#include "format.h"
#include "model.h"
#include "page.h"
#include "trace.h"

namespace thimble::tools {
namespace {

// Base64 of 16-bit little-endian numbers, without the padding that a browser does not need.
class Base64 {
 public:
  explicit Base64(const TextSink& sink) : sink_(sink) {}
  void put(uint32_t number) {
    put_byte(number & 0xff);
    put_byte(number >> 8);
    if (text_.size() < 65536) return;
    sink_(text_);
    text_.clear();
  }
  void end() {
    if (n_bits_ > 0) put_digit(bits_ << (6 - n_bits_));
    sink_(text_);
  }

 private:
  void put_byte(uint32_t byte) {
    bits_ = (bits_ << 8 | byte) & 0xffff;
    for (n_bits_ += 8; n_bits_ >= 6; n_bits_ -= 6) put_digit(bits_ >> (n_bits_ - 6));
  }
  void put_digit(uint32_t digit) {
    text_ += "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[digit & 0x3f];
  }
  const TextSink& sink_;
  std::string text_;
  uint32_t bits_ = 0, n_bits_ = 0;
};

std::string shape_text(const thimble_model& m) {
  const std::string weights = m.weight_type == kWeightF32  ? "float32 weights"
                              : m.weight_type == kWeightQ8 ? "int8 weights"
                                                           : "4-bit weights";
  return format(
             "%u layers × %u heads of %u (%u key/value heads), width %u, feed-forward %u, "
             "vocabulary %u, context %u, %.2f million parameters, ",
             m.n_layers, m.n_heads, m.head_dim, m.n_kv_heads, m.dim, m.hidden_dim, m.vocab_size,
             m.n_ctx, static_cast<double>(m.n_params) * 1e-6) +
         weights;
}

// [id, label, probability] of each candidate
std::string candidates_json(const Trace& trace, size_t position) {
  std::string out = "[";
  for (const Candidate& each : trace.next[position]) {
    if (out.size() > 1) out += ',';
    out += format("[%d,", each.token) + script_string(token_label(trace.model, each.token)) +
           format(",%.5g]", each.probability);
  }
  return out + "]";
}

}  // namespace

void write_page(const Trace& trace, const TextSink& sink) {
  const thimble_model& m = trace.model;
  const size_t n = trace.tokens.size();
  sink(page_head("Attention of " + trace.model_name, kTraceStyle) + kTraceBody +
       "<script type=\"application/json\" id=\"data\">\n{\"model\":" +
       script_string(trace.model_name) + ",\n\"shape\":" + script_string(shape_text(m)) +
       ",\n\"prompt\":" + script_string(trace.prompt) +
       format(",\n\"layers\":%u,\"heads\":%u,\"prompt_tokens\":%zu,\n\"ids\":[", m.n_layers,
              m.n_heads, trace.n_prompt));
  for (size_t i = 0; i < n; ++i) sink(format(i ? ",%d" : "%d", trace.tokens[i]));
  sink("],\n\"labels\":[");
  for (size_t i = 0; i < n; ++i) {
    sink((i ? "," : "") + script_string(token_label(m, trace.tokens[i])));
  }
  sink("],\n\"next\":[\n");
  for (size_t i = 0; i < n; ++i) sink(candidates_json(trace, i) + (i + 1 < n ? ",\n" : "\n"));
  sink("],\n\"weights\":\"");
  Base64 base64(sink);
  for (float weight : trace.attention) {
    base64.put(static_cast<uint32_t>(std::lround(static_cast<double>(weight) * 65535)));
  }
  base64.end();
  sink(std::string("\"}\n</script>\n<script>\n") + kPageScript + kTraceScript +
       "</script>\n</body>\n</html>\n");
}

}  // namespace thimble::tools
