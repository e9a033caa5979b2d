// SPDX-License-Identifier: MIT
// A trace as CSV and JSON, and the texts of its tokens.
#include <cstring>

#include "error.h"
#include "json_string.h"
#include "model.h"
#include "trace.h"

namespace thimble::tools {
namespace {

// Bytes of the UTF-8 character that starts at `at`, 0 if there is none. (RFC 3629)
size_t character_bytes(const std::string& text, size_t at) {
  // What is no UTF-8 is what json_string replaces: one definition for both.
  const auto byte = static_cast<uint8_t>(text[at]);
  const size_t n = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
  const std::string character = text.substr(at, n);
  if (n == 1) return 1;
  return character.size() == n && json_string(character) == '"' + character + '"' ? n : 0;
}

std::string raw_text(const thimble_model& model, int32_t token) {
  const auto* offsets = table_of<uint32_t>(model, kTokenOffsets);
  const auto* bytes = table_of<uint8_t>(model, kTokenBytes);
  return {bytes + offsets[token], bytes + offsets[token + 1]};
}

// "·" stands for a space, so a real one is told apart by nothing but its id; that is rare enough.
std::string visible(const std::string& character) {
  const auto byte = static_cast<uint8_t>(character[0]);
  switch (byte) {
    case ' ':
      return "·";
    case '\n':
      return "⏎";
    case '\t':
      return "⇥";
    case 0x7f:
      return "␡";
    default:
      break;
  }
  // U+2400 and on are pictures of the control characters.
  if (byte < 0x20) return {'\xe2', '\x90', static_cast<char>(0x80 + byte)};
  return character;
}

// Invisible characters that change how what is around them looks: the C1 controls, and what
// marks directions, joins, and line ends (in two and three bytes).
bool is_invisible(const std::string& character) {
  if (character.size() == 2) return character[0] == '\xc2' && character[1] < '\xa1';
  if (character.size() != 3) return false;
  return (character >= "\xe2\x80\x80" && character <= "\xe2\x80\x8f") ||
         (character >= "\xe2\x80\xa8" && character <= "\xe2\x80\xaf") ||
         (character >= "\xe2\x81\x9f" && character <= "\xe2\x81\xaf") ||
         character == "\xef\xbb\xbf";
}

std::string spelt_out(const thimble_model& model, int32_t token, bool for_the_eye) {
  const std::string raw = raw_text(model, token);
  std::string text;
  for (size_t i = 0; i < raw.size();) {
    const size_t n = character_bytes(raw, i);
    const std::string character = raw.substr(i, n > 0 ? n : 1);
    if (n == 0 || (for_the_eye && is_invisible(character))) {
      for (char c : character) text += format("<0x%02X>", static_cast<unsigned>(c) & 0xff);
    } else {
      text += for_the_eye ? visible(character) : character;
    }
    i += character.size();
  }
  return text.empty() ? format("<#%d>", token) : text;
}

std::string csv_field(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    out += c;
    if (c == '"') out += c;
  }
  return out + '"';
}

std::string token_json(const Trace& trace, int32_t token) {
  return format("\"id\": %d, \"text\": ", token) + json_string(token_text(trace.model, token));
}

}  // namespace

std::string token_text(const thimble_model& model, int32_t token) {
  return spelt_out(model, token, false);
}

std::string token_label(const thimble_model& model, int32_t token) {
  return spelt_out(model, token, true);
}

void write_csv(const Trace& trace, const TextSink& sink) {
  std::vector<std::string> fields;
  for (int32_t token : trace.tokens) fields.push_back(csv_field(token_text(trace.model, token)));
  sink("layer,head,query,key,query_token,key_token,weight\n");
  for (uint32_t layer = 0; layer < trace.model.n_layers; ++layer) {
    for (uint32_t head = 0; head < trace.model.n_heads; ++head) {
      for (size_t query = 0; query < trace.tokens.size(); ++query) {
        const float* weights = trace.row(layer, head, query);
        std::string lines;
        for (size_t key = 0; key <= query; ++key) {
          lines += format("%u,%u,%zu,%zu,", layer, head, query, key) + fields[query] + ',' +
                   fields[key] + format(",%.9g\n", static_cast<double>(weights[key]));
        }
        sink(lines);
      }
    }
  }
}

void write_json(const Trace& trace, const TextSink& sink) {
  const thimble_model& m = trace.model;
  sink("{\n\"model\": {\"name\": " + json_string(trace.model_name) +
       format(", \"n_params\": %llu, \"dim\": %u, \"hidden_dim\": %u, \"n_layers\": %u, "
              "\"n_heads\": %u, \"n_kv_heads\": %u, \"head_dim\": %u, \"vocab_size\": %u, "
              "\"n_ctx\": %u},\n",
              static_cast<unsigned long long>(m.n_params), m.dim, m.hidden_dim, m.n_layers,
              m.n_heads, m.n_kv_heads, m.head_dim, m.vocab_size, m.n_ctx) +
       "\"prompt\": " + json_string(trace.prompt) +
       format(",\n\"n_prompt_tokens\": %zu,\n\"tokens\": [\n", trace.n_prompt));
  const size_t n = trace.tokens.size();
  const auto end_of_item = [](size_t i, size_t count) { return i + 1 < count ? ",\n" : "\n"; };
  for (size_t i = 0; i < n; ++i) {
    sink("{" + token_json(trace, trace.tokens[i]) + "}" + end_of_item(i, n));
  }
  sink("],\n\"next\": [\n");
  for (size_t i = 0; i < n; ++i) {
    std::string line = "[";
    for (const Candidate& each : trace.next[i]) {
      if (line.size() > 1) line += ", ";
      line += "{" + token_json(trace, each.token) +
              format(", \"probability\": %.9g}", each.probability);
    }
    sink(line + "]" + end_of_item(i, n));
  }
  // attention[layer][head][query][key], key <= query
  sink("],\n\"attention\": [\n");
  for (uint32_t layer = 0; layer < m.n_layers; ++layer) {
    sink("[\n");
    for (uint32_t head = 0; head < m.n_heads; ++head) {
      sink("[\n");
      for (size_t query = 0; query < n; ++query) {
        const float* weights = trace.row(layer, head, query);
        std::string line;
        for (size_t key = 0; key <= query; ++key) {
          line += format(key ? ", %.9g" : "[%.9g", static_cast<double>(weights[key]));
        }
        sink(line + "]" + end_of_item(query, n));
      }
      sink(std::string("]") + end_of_item(head, m.n_heads));
    }
    sink(std::string("]") + end_of_item(layer, m.n_layers));
  }
  sink("]\n}\n");
}

}  // namespace thimble::tools
