// SPDX-License-Identifier: MIT
// The fields of a checkpoint's configuration, checked as they are asked for.
#ifndef THIMBLE_TOOLS_CHECKPOINT_CONFIG_H
#define THIMBLE_TOOLS_CHECKPOINT_CONFIG_H

#include <cstdint>
#include <initializer_list>
#include <string>

#include "value.h"

namespace thimble::tools {

// A value as a message shows it.
std::string described(const Value& value);

// Throws Refused, naming the file, the field, what was found and what was expected.
class Config {
 public:
  using Keys = std::initializer_list<const char*>;

  // Refers to both. `architecture`: of a GGUF file, whose keys have other names.
  Config(const Value& config, const std::string& path, const char* architecture = "")
      : config_(config), path_(path), architecture_(architecture) {}

  const std::string& path() const { return path_; }
  [[noreturn]] void refuse(const std::string& why) const;
  // About a field, by the name that the file has for it.
  [[noreturn]] void refuse(const std::string& name, const std::string& why) const;

  // The first of the keys that has a value; families spell them differently.
  const Value* find(Keys keys, const char** name = nullptr) const;

  uint32_t count(Keys keys) const;  // 0 where there is none
  double number(Keys keys, double otherwise) const;
  double number_of(const Value& value, const char* name) const;
  bool flag(Keys keys, bool otherwise) const;
  std::string text(Keys keys) const;  // "" where there is none

  // For fields whose meaning nothing here computes. A value that turns them off is welcome.
  // rope_scaling_is_said: by an option, where the configuration does not tell it.
  void refuse_unsupported(bool rope_scaling_is_said) const;

 private:
  const Value& config_;
  const std::string& path_;
  std::string architecture_;
};

}  // namespace thimble::tools

#endif
