// SPDX-License-Identifier: MIT
#include "args.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "error.h"

namespace thimble::tools {
namespace {

// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other
// (Damerau 1964, optimal string alignment).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      const size_t replace = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

const Option* known(const std::vector<Option>& options, const std::string& name) {
  for (const Option& option : options) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

}  // namespace

void exclude(const Args& args, const char* option, const std::vector<const char*>& others,
             const char* why) {
  for (const char* other : others) {
    if (args.has(other)) {
      throw WrongUsage(std::string("options '") + option + "' and '" + other +
                       "' exclude each other: " + why);
    }
  }
}

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = SIZE_MAX;
  if (word.size() > 64) return best;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    // A start of the word counts as near however much is missing: "conv", "--temp".
    const bool start = word.size() >= 3 && candidate.compare(0, word.size(), word) == 0;
    const size_t limit = std::max<size_t>(1, candidate.size() / 3);
    if ((start || distance <= limit) && distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

Args::Args(const std::vector<std::string>& words, const std::vector<Option>& options) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      positional_.insert(positional_.end(), words.begin() + static_cast<ptrdiff_t>(i) + 1,
                         words.end());
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      positional_.push_back(word);
      continue;
    }
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const Option* option = known(options, name);
    if (!option) {
      std::vector<std::string> names;
      names.reserve(options.size());
      for (const Option& each : options) names.push_back(each.name);
      const std::string guess = nearest(name, names);
      throw WrongUsage("unknown option '" + name + "'" +
                       (guess.empty() ? "" : "; did you mean '" + guess + "'?"));
    }
    if (find(option->name)) throw WrongUsage("option '" + name + "' is given twice");
    std::string value;
    if (equals != std::string::npos) {
      if (!option->takes_value) throw WrongUsage("option '" + name + "' takes no value");
      value = word.substr(equals + 1);
    } else if (option->takes_value) {
      if (i + 1 == words.size() || known(options, words[i + 1])) {
        throw WrongUsage("option '" + name + "' needs a value");
      }
      value = words[++i];
    }
    given_.push_back({name, value});
  }
}

const std::string& Args::one_positional(const char* what) const {
  if (positional_.empty()) throw WrongUsage(std::string("expected ") + what);
  if (positional_.size() > 1) {
    throw WrongUsage("unexpected argument '" + positional_[1] + "' after " + what + " '" +
                     positional_[0] + "'");
  }
  return positional_[0];
}

const Args::Given* Args::find(const char* name) const {
  for (const Given& given : given_) {
    if (given.name == name) return &given;
  }
  return nullptr;
}

bool Args::has(const char* name) const {
  return find(name) != nullptr;
}

std::string Args::text(const char* name, const std::string& fallback) const {
  const Given* given = find(name);
  return given ? given->value : fallback;
}

uint64_t Args::count(const char* name, uint64_t fallback, uint64_t low, uint64_t high) const {
  const Given* given = find(name);
  if (!given) return fallback;
  const std::string& digits = given->value;
  uint64_t value = 0;
  bool good = !digits.empty();
  for (char c : digits) {
    const uint64_t digit = static_cast<uint64_t>(c) - '0';
    good = good && c >= '0' && c <= '9' && value <= (UINT64_MAX - digit) / 10;
    if (!good) break;
    value = value * 10 + digit;
  }
  if (!good || value < low || value > high) {
    throw WrongUsage(format("option '%s' is '%s', expected a whole number from %llu to %llu", name,
                            digits.c_str(), static_cast<unsigned long long>(low),
                            static_cast<unsigned long long>(high)));
  }
  return value;
}

double Args::real(const char* name, double fallback, double low, double high) const {
  const Given* given = find(name);
  if (!given) return fallback;
  const char* start = given->value.c_str();
  char* end = nullptr;
  const double value = std::strtod(start, &end);
  // strtod skips white space and reads "nan", "inf" and hexadecimal; none of them is meant here.
  const bool plain = given->value.find_first_not_of("0123456789+-.eE") == std::string::npos;
  if (given->value.empty() || !plain || *end != '\0' || !(value >= low && value <= high)) {
    throw WrongUsage(
        format("option '%s' is '%s', expected a number from %g to %g", name, start, low, high));
  }
  return value;
}

}  // namespace thimble::tools
