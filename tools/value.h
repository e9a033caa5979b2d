// SPDX-License-Identifier: MIT
// What configurations are made of, whatever file they stood in (JSON, a pickle, GGUF): null, true
// and false, numbers, strings, lists, and dictionaries that keep the order of their keys.
#ifndef THIMBLE_TOOLS_VALUE_H
#define THIMBLE_TOOLS_VALUE_H

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace thimble::tools {

class Value {
 public:
  using List = std::vector<Value>;
  using Dict = std::vector<std::pair<std::string, Value>>;

  Value() = default;  // null
  Value(bool x) : data_(x) {}
  Value(int64_t x) : data_(x) {}
  Value(double x) : data_(x) {}
  Value(std::string x) : data_(std::move(x)) {}
  Value(const char* x) : data_(std::string(x)) {}
  Value(List x) : data_(std::move(x)) {}
  Value(Dict x) : data_(std::move(x)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(data_); }

  // The contents, or null where it is something else.
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const std::string* string() const { return std::get_if<std::string>(&data_); }
  const List* list() const { return std::get_if<List>(&data_); }
  const Dict* dict() const { return std::get_if<Dict>(&data_); }
  List* list() { return std::get_if<List>(&data_); }
  Dict* dict() { return std::get_if<Dict>(&data_); }

  // The value of a key of a dictionary; null where there is none, or this is no dictionary.
  const Value* find(const std::string& key) const {
    if (const Dict* entries = dict()) {
      for (const auto& entry : *entries) {
        if (entry.first == key) return &entry.second;
      }
    }
    return nullptr;
  }

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Dict> data_;
};

}  // namespace thimble::tools

#endif
