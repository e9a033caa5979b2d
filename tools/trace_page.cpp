// SPDX-License-Identifier: MIT
// A trace as one self-contained page: style, body, numbers, script.
#include "trace_page.h"

#include <cmath>

#include "base64.h"
#include "error.h"
#include "format.h"
#include "model.h"
#include "page.h"
#include "trace.h"

namespace thimble::tools {
namespace {

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
  sink(page_head("Attention of " + trace.model_name, kTraceStyle) + kTraceHeader + kTraceSections +
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
    const auto number = static_cast<uint32_t>(std::lround(static_cast<double>(weight) * 65535));
    base64.put(static_cast<uint8_t>(number & 0xff));  // 16 bits, little-endian
    base64.put(static_cast<uint8_t>(number >> 8));
  }
  base64.end();
  sink(std::string("\"}\n</script>\n<script>\n") + kPageScript + kTraceMaps + kTraceScript +
       "</script>\n</body>\n</html>\n");
}

}  // namespace thimble::tools
