// SPDX-License-Identifier: MIT
#include "constrain/json_syntax.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>

#include "characters.h"
#include "constrain/regex_reader.h"
#include "error.h"
#include "utf8_text.h"

namespace thimble::tools {
namespace {

bool is_escaped(uint32_t c) {
  return c < 0x20 || c == '"' || c == '\\';
}

const CharacterSet& plain_characters() {
  static const CharacterSet set = {
      {0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, kLastCodePoint}};
  return set;
}

std::string spelled(uint32_t c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  if (c < 0x20) return format("\\u%04x", c);
  std::string text;
  append_utf8(c, &text);
  return text;
}

std::vector<uint32_t> characters_of(const std::string& text) {
  std::vector<uint32_t> out;
  for (size_t at = 0; at < text.size();) {
    const size_t n = utf8_character_bytes(text, at);
    if (n == 0) throw Refused("a string of the rule is no UTF-8");
    out.push_back(utf8_code_point(reinterpret_cast<const uint8_t*>(text.data()) + at,
                                  static_cast<uint32_t>(n)));
    at += n;
  }
  return out;
}

std::string content_of(const std::string& text) {
  std::string out;
  for (const uint32_t c : characters_of(text)) out += spelled(c);
  return out;
}

std::string number_text(double x) {
  if (std::floor(x) == x && std::fabs(x) <= 9007199254740992.0) {
    return format("%lld", static_cast<long long>(x));
  }
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, x);
  return std::string(buffer, result.ptr);
}

// The strings [begin, end), which are sorted and begin with the same `at` characters.
using Texts = std::vector<std::vector<uint32_t>>;
NodePtr all_but(const Texts& texts, size_t begin, size_t end, size_t at) {
  const bool is_one = begin < end && texts[begin].size() == at;
  std::vector<NodePtr> parts;
  if (!is_one) parts.push_back(text_node(""));
  CharacterSet taken;
  for (size_t i = is_one ? begin + 1 : begin; i < end;) {
    const uint32_t c = texts[i][at];
    size_t next = i;
    while (next < end && texts[next][at] == c) ++next;
    taken.push_back({c, c});
    parts.push_back(sequence_node({text_node(spelled(c)), all_but(texts, i, next, at + 1)}));
    i = next;
  }
  parts.push_back(
      sequence_node({json_character(complement(normalized(taken))),
                     repeat_node(json_character({{0, kLastCodePoint}}), 0, kUnbounded)}));
  return choice_node(std::move(parts));
}

}  // namespace

NodePtr json_character(const CharacterSet& set) {
  std::vector<NodePtr> parts;
  const CharacterSet plain = intersection(set, plain_characters());
  if (!plain.empty()) parts.push_back(set_node(plain));
  for (const CharacterRange& range : set) {
    for (uint32_t c = range.first; c <= std::min<uint32_t>(range.last, '\\'); ++c) {
      if (is_escaped(c)) parts.push_back(text_node(spelled(c)));
    }
  }
  return choice_node(std::move(parts));
}

NodePtr json_content(const NodePtr& node) {
  if (node->kind == Node::kText) return text_node(content_of(node->text));
  if (node->kind == Node::kSet) return json_character(node->set);
  auto copy = std::make_shared<Node>(*node);
  for (NodePtr& part : copy->parts) part = json_content(part);
  return copy;
}

NodePtr json_quoted(NodePtr content) {
  return sequence_node({text_node("\""), std::move(content), text_node("\"")});
}

NodePtr json_string_but(const std::vector<std::string>& texts) {
  Texts sorted;
  sorted.reserve(texts.size());
  for (const std::string& text : texts) sorted.push_back(characters_of(text));
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  return json_quoted(all_but(sorted, 0, sorted.size(), 0));
}

std::string json_spelling(const Value& value) {
  if (value.is_null()) return "null";
  if (const bool* b = value.boolean()) return *b ? "true" : "false";
  if (const int64_t* n = value.integer()) return format("%lld", static_cast<long long>(*n));
  if (const double* x = value.real()) return number_text(*x);
  if (const std::string* s = value.string()) return "\"" + content_of(*s) + "\"";
  std::string out;
  if (const Value::List* list = value.list()) {
    for (const Value& item : *list) out += (out.empty() ? "" : ",") + json_spelling(item);
    return "[" + out + "]";
  }
  for (const auto& entry : *value.dict()) {
    out += (out.empty() ? "" : ",") + json_spelling(Value(entry.first)) + ":" +
           json_spelling(entry.second);
  }
  return "{" + out + "}";
}

}  // namespace thimble::tools
