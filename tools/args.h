// SPDX-License-Identifier: MIT
// A verb's command line: options in any order, `-o VALUE`, `--opt VALUE`, `-o=VALUE` or
// `--opt=VALUE`.
#ifndef THIMBLE_TOOLS_ARGS_H
#define THIMBLE_TOOLS_ARGS_H

#include <cstdint>
#include <string>
#include <vector>

namespace thimble::tools {

struct Option {
  const char* name;  // "-p", "--top-k"
  bool takes_value;
};

class Args {
 public:
  // Throws WrongUsage on an unknown option (naming the nearest known one), a missing value, or an
  // option given twice. `--` ends the options; `-` alone is no option. A value may start with a
  // dash (a negative number, a prompt, `--`); the very name of an option is one behind `=` only.
  Args(const std::vector<std::string>& words, const std::vector<Option>& options);

  const std::vector<std::string>& positional() const { return positional_; }
  // The only positional argument; WrongUsage, saying what it should be, if there is none or more.
  const std::string& one_positional(const char* what) const;

  bool has(const char* name) const;
  std::string text(const char* name, const std::string& fallback) const;
  // WrongUsage, naming the range, if the value is not a number within [low, high].
  uint64_t count(const char* name, uint64_t fallback, uint64_t low, uint64_t high) const;
  double real(const char* name, double fallback, double low, double high) const;

 private:
  struct Given {
    std::string name, value;
  };
  const Given* find(const char* name) const;
  std::vector<Given> given_;
  std::vector<std::string> positional_;
};

// Throws WrongUsage if one of the others is given beside `option`.
void exclude(const Args& args, const char* option, const std::vector<const char*>& others,
             const char* why);

// The candidate that differs from `word` by the fewest typing errors, if it is close enough that it
// may have been meant; otherwise "".
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace thimble::tools

#endif
