// SPDX-License-Identifier: MIT
#include "constrain/schema_reader.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "constrain/json_syntax.h"
#include "constrain/number_ranges.h"
#include "constrain/regex_reader.h"
#include "error.h"
#include "json_string.h"

namespace thimble::tools {
namespace {

constexpr uint32_t kMaxCount = 100000;
constexpr double kMaxInteger = 9007199254740992.0;  // 2^53

// They say nothing about which values are valid, or only name what a $ref leads to.
const char* const kDescriptions[] = {
    "$schema",  "$id",         "$comment",   "$defs",    "definitions", "title",      "default",
    "examples", "description", "deprecated", "readOnly", "writeOnly",   "$vocabulary"};
const char* const kStringWords[] = {"minLength", "maxLength", "pattern"};
const char* const kNumberWords[] = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"};
const char* const kArrayWords[] = {"items", "prefixItems", "minItems", "maxItems"};
const char* const kObjectWords[] = {"properties", "required", "additionalProperties"};
const char* const kTypeNames[] = {"null",   "boolean", "object", "array",
                                  "number", "string",  "integer"};

template <size_t N>
bool is_in(const char* const (&words)[N], const std::string& word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

std::string escaped_token(const std::string& key) {
  std::string out;
  for (const char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

const char* type_of_value(const Value& v) {
  if (v.is_null()) return "null";
  if (v.boolean()) return "boolean";
  if (v.integer()) return "integer";
  if (const double* x = v.real()) return std::floor(*x) == *x ? "integer" : "number";
  if (v.string()) return "string";
  return v.list() ? "array" : "object";
}

class SchemaReader {
 public:
  SchemaReader(const Value& root, const std::string& path, Syntax* syntax)
      : root_(root), path_(path), syntax_(syntax) {}

  void read() { syntax_->root = call_node(definition_of("#", root_)); }

 private:
  [[noreturn]] void refuse(const std::string& pointer, const std::string& why) const {
    throw Refused(path_ + ": " + pointer + ": " + why);
  }
  [[noreturn]] void refuse_keyword(const std::string& pointer, const std::string& keyword,
                                   const std::string& why) const {
    refuse(pointer + "/" + escaped_token(keyword),
           "keyword " + shown(keyword) + " cannot be compiled: " + why);
  }
  [[noreturn]] void refuse_value(const std::string& pointer, const Value& found,
                                 const std::string& expected) const {
    refuse(pointer, std::string("found ") + shown(json_spelling(found)) + ", expected " + expected);
  }

  // ---- Where references lead -----------------------------------------------------------------

  uint32_t definition_of(const std::string& pointer, const Value& schema) {
    const auto known = definitions_.find(pointer);
    if (known != definitions_.end()) return known->second;
    const uint32_t number = static_cast<uint32_t>(syntax_->definitions.size());
    definitions_[pointer] = number;
    syntax_->definitions.push_back(nullptr);
    syntax_->definitions[number] = node_of(schema, pointer);
    return number;
  }

  // "#/$defs/a~1b" to its tokens.
  std::vector<std::string> tokens_of(const std::string& reference, const std::string& pointer) {
    std::vector<std::string> tokens;
    std::string text = reference.substr(1);
    if (!text.empty() && text[0] != '/') {
      refuse_value(pointer, Value(reference), "a reference within the file, as \"#/$defs/name\"");
    }
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('/', at + 1), text.size());
      std::string token;
      for (size_t i = at + 1; i < end; ++i) {
        const auto hex = [&](size_t k) {
          const char c = k < end ? text[k] : '?';
          return c >= '0' && c <= '9'   ? c - '0'
                 : c >= 'a' && c <= 'f' ? c - 'a' + 10
                 : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                        : -1;
        };
        char c = text[i];
        if (c == '%' && hex(i + 1) >= 0 && hex(i + 2) >= 0) {
          c = static_cast<char>(hex(i + 1) * 16 + hex(i + 2));
          i += 2;
        } else if (c == '~' && i + 1 < end && (text[i + 1] == '0' || text[i + 1] == '1')) {
          c = text[++i] == '0' ? '~' : '/';
        }
        token += c;
      }
      tokens.push_back(std::move(token));
      at = end;
    }
    return tokens;
  }

  NodePtr reference(const Value& value, const std::string& pointer) {
    const std::string* text = value.string();
    if (!text || text->empty() || (*text)[0] != '#') {
      refuse_value(pointer, value, "a reference within the file, as \"#/$defs/name\"");
    }
    const Value* at = &root_;
    std::string where = "#";
    for (const std::string& token : tokens_of(*text, pointer)) {
      const Value* next = at->find(token);
      if (const Value::List* list = at->list()) {
        const bool is_index = !token.empty() && token.size() < 6 &&
                              token.find_first_not_of("0123456789") == std::string::npos;
        const size_t index = is_index ? std::stoul(token) : list->size();
        next = index < list->size() ? &(*list)[index] : nullptr;
      }
      if (!next) {
        refuse(pointer, "$ref " + shown(*text) + " leads to nothing: there is no " + shown(token) +
                            " in " + where);
      }
      at = next;
      where += "/" + escaped_token(token);
    }
    return call_node(definition_of(where, *at));
  }

  // Any value, as deep as definitions nest.
  NodePtr any_value() {
    if (!has_any_) {
      has_any_ = true;
      any_ = static_cast<uint32_t>(syntax_->definitions.size());
      syntax_->definitions.push_back(nullptr);
      std::vector<NodePtr> kinds;
      for (const char* type : kTypeNames) {
        if (std::string(type) != "integer")
          kinds.push_back(of_type(type, Value(Value::Dict()), "#"));
      }
      syntax_->definitions[any_] = choice_node(std::move(kinds));
    }
    return call_node(any_);
  }

  // ---- Values of each type -------------------------------------------------------------------

  uint32_t count_of(const Value& schema, const char* keyword, uint32_t fallback,
                    const std::string& pointer) {
    const Value* value = schema.find(keyword);
    if (!value) return fallback;
    const double* x = value->real();
    const int64_t n = value->integer()                               ? *value->integer()
                      : x && std::floor(*x) == *x && *x <= kMaxCount ? static_cast<int64_t>(*x)
                                                                     : -1;
    if (n < 0 || n > kMaxCount) {
      refuse_value(pointer + "/" + keyword, *value, format("a whole number to %u", kMaxCount));
    }
    return static_cast<uint32_t>(n);
  }

  NodePtr string_of(const Value& schema, const std::string& pointer) {
    const uint32_t least = count_of(schema, "minLength", 0, pointer);
    const uint32_t most = count_of(schema, "maxLength", kUnbounded, pointer);
    if (const Value* pattern = schema.find("pattern")) {
      if (!pattern->string()) refuse_value(pointer + "/pattern", *pattern, "a string");
      if (least > 0 || most != kUnbounded) {
        refuse_keyword(pointer, "pattern",
                       "beside minLength or maxLength; the pattern can count itself, as {2,5}");
      }
      return json_quoted(
          json_content(read_regex(*pattern->string(), path_ + ": " + pointer + "/pattern", true)));
    }
    if (most < least) return nothing_node();
    return json_quoted(repeat_node(json_character({{0, kLastCodePoint}}), least, most));
  }

  std::optional<Bound> bound_of(const Value& schema, const char* inclusive, const char* exclusive,
                                bool is_least, const std::string& pointer) {
    std::optional<Bound> bound;
    for (const char* keyword : {inclusive, exclusive}) {
      const Value* value = schema.find(keyword);
      if (!value) continue;
      if (!value->integer() && !value->real()) {
        refuse_value(pointer + "/" + keyword, *value, "a number");
      }
      const double x = value->integer() ? static_cast<double>(*value->integer()) : *value->real();
      const bool is_tighter = !bound || (is_least ? x >= bound->value : x <= bound->value);
      if (is_tighter) bound = Bound{x, keyword == exclusive};
    }
    return bound;
  }

  NodePtr number_of(const Value& schema, bool is_integer, const std::string& pointer) {
    const std::optional<Bound> least =
        bound_of(schema, "minimum", "exclusiveMinimum", true, pointer);
    const std::optional<Bound> most =
        bound_of(schema, "maximum", "exclusiveMaximum", false, pointer);
    if (least && most && least->value > most->value) return nothing_node();
    if (!is_integer) return numbers_between(least, most);
    std::optional<int64_t> low, high;
    if (least && least->value >= -kMaxInteger) {
      if (least->value > kMaxInteger) return nothing_node();
      low = static_cast<int64_t>(std::ceil(least->value));
      if (least->is_exclusive && std::floor(least->value) == least->value) ++*low;
    }
    if (most && most->value <= kMaxInteger) {
      if (most->value < -kMaxInteger) return nothing_node();
      high = static_cast<int64_t>(std::floor(most->value));
      if (most->is_exclusive && std::floor(most->value) == most->value) --*high;
    }
    return integers_between(low, high);
  }

  NodePtr array_of(const Value& schema, const std::string& pointer) {
    const uint32_t least = count_of(schema, "minItems", 0, pointer);
    const uint32_t most = count_of(schema, "maxItems", kUnbounded, pointer);
    std::vector<NodePtr> first;
    if (const Value* prefix = schema.find("prefixItems")) {
      const Value::List* list = prefix->list();
      if (!list) refuse_value(pointer + "/prefixItems", *prefix, "a list of schemas");
      for (size_t i = 0; i < list->size() && i < most; ++i) {
        first.push_back(node_of((*list)[i], format("%s/prefixItems/%zu", pointer.c_str(), i)));
      }
    }
    const Value* items = schema.find("items");
    const NodePtr item = items ? node_of(*items, pointer + "/items") : any_value();
    const NodePtr comma = text_node(",");
    const uint32_t n = static_cast<uint32_t>(first.size());
    const uint32_t start = n > 0 ? n : 1;  // items from here on have a comma before them
    const NodePtr more =
        repeat_node(sequence_node({comma, item}), least > start ? least - start : 0,
                    most == kUnbounded ? most : most - std::min(start, most));
    NodePtr tail = more;
    if (n == 0) {
      if (most == 0) return most < least ? nothing_node() : text_node("[]");
      tail = sequence_node({item, more});
      if (least == 0) tail = optional_node(tail);
    }
    for (uint32_t i = n; i-- > 0;) {
      tail = i > 0 ? sequence_node({comma, first[i], tail}) : sequence_node({first[i], tail});
      if (i >= least) tail = optional_node(tail);
    }
    if (most < least) return nothing_node();
    return sequence_node({text_node("["), tail, text_node("]")});
  }

  Member member(const std::string& key, const NodePtr& value, bool is_optional) const {
    return {sequence_node({text_node(json_spelling(Value(key)) + ":"), value}), is_optional, false};
  }

  NodePtr object_of(const Value& schema, const std::string& pointer) {
    std::vector<std::string> required, names;
    if (const Value* list = schema.find("required")) {
      if (!list->list()) refuse_value(pointer + "/required", *list, "a list of keys");
      for (const Value& key : *list->list()) {
        if (!key.string()) refuse_value(pointer + "/required", key, "a key");
        required.push_back(*key.string());
      }
    }
    const auto is_required = [&](const std::string& key) {
      return std::find(required.begin(), required.end(), key) != required.end();
    };
    std::vector<Member> members;
    if (const Value* properties = schema.find("properties")) {
      const Value::Dict* dict = properties->dict();
      if (!dict) refuse_value(pointer + "/properties", *properties, "an object of schemas");
      for (const auto& entry : *dict) {
        names.push_back(entry.first);
        members.push_back(
            member(entry.first,
                   node_of(entry.second, pointer + "/properties/" + escaped_token(entry.first)),
                   !is_required(entry.first)));
      }
    }
    const Value* more = schema.find("additionalProperties");
    const bool has_more =
        more ? !(more->boolean() && !*more->boolean()) : !schema.find("properties");
    NodePtr value;
    if (has_more) value = more ? node_of(*more, pointer + "/additionalProperties") : any_value();
    for (const std::string& key : required) {
      if (std::find(names.begin(), names.end(), key) != names.end()) continue;
      names.push_back(key);
      const bool is_forbidden = more && !has_more;
      members.push_back(member(key,
                               is_forbidden ? nothing_node()
                               : value      ? value
                                            : any_value(),
                               false));
    }
    if (has_more) {
      members.push_back(
          {sequence_node({json_string_but(names), text_node(":"), value}), true, true});
    }
    return sequence_node({text_node("{"), members_node(std::move(members)), text_node("}")});
  }

  NodePtr of_type(const std::string& type, const Value& schema, const std::string& pointer) {
    if (type == "null") return text_node("null");
    if (type == "boolean") return choice_node({text_node("true"), text_node("false")});
    if (type == "string") return string_of(schema, pointer);
    if (type == "number") return number_of(schema, false, pointer);
    if (type == "integer") return number_of(schema, true, pointer);
    if (type == "array") return array_of(schema, pointer);
    return object_of(schema, pointer);
  }

  // ---- Schemas -------------------------------------------------------------------------------

  // Refuses other keywords than these beside `keyword`, but for descriptions.
  void alone(const Value& schema, const char* keyword, const char* also,
             const std::string& pointer) const {
    for (const auto& entry : *schema.dict()) {
      if (entry.first == keyword || entry.first == also || is_in(kDescriptions, entry.first)) {
        continue;
      }
      refuse_keyword(pointer, entry.first, std::string("beside ") + keyword);
    }
  }

  void check_keywords(const Value& schema, const std::string& pointer) const {
    for (const auto& entry : *schema.dict()) {
      const std::string& word = entry.first;
      if (is_in(kDescriptions, word) || is_in(kStringWords, word) || is_in(kNumberWords, word) ||
          is_in(kArrayWords, word) || is_in(kObjectWords, word) || word == "type" ||
          word == "enum" || word == "const" || word == "anyOf" || word == "$ref") {
        continue;
      }
      refuse_keyword(pointer, word, "it is not one of those that are");
    }
    const Value* dialect = schema.find("$schema");
    if (dialect && (!dialect->string() || dialect->string()->find("json-schema.org/") > 8)) {
      refuse_keyword(pointer, "$schema", "its words may mean something else there");
    }
    const Value* id = schema.find("$id");
    if (id && pointer != "#") refuse_keyword(pointer, "$id", "below the root");
  }

  std::vector<std::string> types_of(const Value& schema, const std::string& pointer) const {
    const Value* type = schema.find("type");
    std::vector<std::string> types;
    if (!type) {
      types.assign(std::begin(kTypeNames), std::end(kTypeNames) - 1);  // numbers are integers, too
      return types;
    }
    const auto add = [&](const Value& name) {
      if (!name.string() || !is_in(kTypeNames, *name.string())) {
        refuse_value(pointer + "/type", name,
                     "null, boolean, object, array, number, string or integer");
      }
      types.push_back(*name.string());
    };
    if (const Value::List* list = type->list()) {
      for (const Value& name : *list) add(name);
    } else {
      add(*type);
    }
    return types;
  }

  NodePtr values_of(const Value::List& values, const Value& schema, const std::string& pointer) {
    const std::vector<std::string> types = types_of(schema, pointer);
    std::vector<NodePtr> parts;
    for (const Value& value : values) {
      const std::string type = type_of_value(value);
      const bool is_number = type == "integer" || type == "number";
      const auto is_it = [&](const std::string& wanted) {
        return wanted == type || (is_number && wanted == "number");
      };
      if (std::any_of(types.begin(), types.end(), is_it)) {
        parts.push_back(text_node(json_spelling(value)));
      }
    }
    return choice_node(std::move(parts));
  }

  NodePtr node_of(const Value& schema, const std::string& pointer) {
    if (const bool* anything = schema.boolean()) return *anything ? any_value() : nothing_node();
    if (!schema.dict()) refuse_value(pointer, schema, "a schema: an object, true or false");
    check_keywords(schema, pointer);
    if (const Value* to = schema.find("$ref")) {
      alone(schema, "$ref", "", pointer);
      return reference(*to, pointer + "/$ref");
    }
    if (const Value* value = schema.find("const")) {
      alone(schema, "const", "type", pointer);
      return values_of({*value}, schema, pointer);
    }
    if (const Value* values = schema.find("enum")) {
      alone(schema, "enum", "type", pointer);
      if (!values->list()) refuse_value(pointer + "/enum", *values, "a list of values");
      return values_of(*values->list(), schema, pointer);
    }
    if (const Value* choices = schema.find("anyOf")) {
      alone(schema, "anyOf", "", pointer);
      if (!choices->list()) refuse_value(pointer + "/anyOf", *choices, "a list of schemas");
      std::vector<NodePtr> parts;
      for (size_t i = 0; i < choices->list()->size(); ++i) {
        parts.push_back(node_of((*choices->list())[i], format("%s/anyOf/%zu", pointer.c_str(), i)));
      }
      return choice_node(std::move(parts));
    }
    const bool says_nothing =
        std::all_of(schema.dict()->begin(), schema.dict()->end(),
                    [](const auto& entry) { return is_in(kDescriptions, entry.first); });
    if (says_nothing) return any_value();
    std::vector<NodePtr> parts;
    for (const std::string& type : types_of(schema, pointer)) {
      parts.push_back(of_type(type, schema, pointer));
    }
    return choice_node(std::move(parts));
  }

  const Value& root_;
  const std::string& path_;
  Syntax* syntax_;
  std::map<std::string, uint32_t> definitions_;
  bool has_any_ = false;
  uint32_t any_ = 0;
};

}  // namespace

Syntax read_schema(const Value& schema, const std::string& path, uint32_t depth) {
  Syntax syntax;
  syntax.depth = depth;
  SchemaReader(schema, path, &syntax).read();
  return syntax;
}

}  // namespace thimble::tools
