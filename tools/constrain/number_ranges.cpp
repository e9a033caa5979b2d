// SPDX-License-Identifier: MIT
#include "constrain/number_ranges.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

namespace thimble::tools {
namespace {

NodePtr digits_between(char first, char last) {
  return first == last ? text_node(std::string(1, first))
                       : set_node({{static_cast<uint32_t>(first), static_cast<uint32_t>(last)}});
}

NodePtr digits(uint32_t least, uint32_t most) {
  return repeat_node(digits_between('0', '9'), least, most);
}

// Digits from place `at` on of numbers as long as both bounds, which they equal so far where they
// are tight.
NodePtr same_length(const std::string& low, const std::string& high, size_t at, bool is_low_tight,
                    bool is_high_tight) {
  if (at == low.size()) return text_node("");
  if (!is_low_tight && !is_high_tight) {
    const uint32_t left = static_cast<uint32_t>(low.size() - at);
    return digits(left, left);
  }
  const char first = is_low_tight ? low[at] : '0', last = is_high_tight ? high[at] : '9';
  std::vector<NodePtr> parts;
  const auto add = [&](char from, char to, bool low_tight, bool high_tight) {
    parts.push_back(sequence_node(
        {digits_between(from, to), same_length(low, high, at + 1, low_tight, high_tight)}));
  };
  if (first == last) {
    add(first, last, is_low_tight, is_high_tight);
    return choice_node(std::move(parts));
  }
  const char inner_first = is_low_tight ? static_cast<char>(first + 1) : first;
  const char inner_last = is_high_tight ? static_cast<char>(last - 1) : last;
  if (is_low_tight) add(first, first, true, false);
  if (inner_first <= inner_last) add(inner_first, inner_last, false, false);
  if (is_high_tight) add(last, last, false, true);
  return choice_node(std::move(parts));
}

// Whole numbers from `low` to `high`, decimal digits without leading zeros; high "": no limit.
NodePtr whole_between(const std::string& low, const std::string& high) {
  std::vector<NodePtr> parts;
  const size_t longest = high.empty() ? low.size() : high.size();
  for (size_t n = low.size(); n <= longest; ++n) {
    const std::string from = n == low.size() ? low : "1" + std::string(n - 1, '0');
    const std::string to = n == high.size() ? high : std::string(n, '9');
    if (from.size() == to.size() && from > to) continue;
    parts.push_back(same_length(from, to, 0, true, true));
  }
  if (high.empty()) {
    parts.push_back(sequence_node(
        {digits_between('1', '9'), digits(static_cast<uint32_t>(low.size()), kUnbounded)}));
  }
  return choice_node(std::move(parts));
}

std::string magnitude(int64_t n) {
  return std::to_string(n < 0 ? uint64_t{0} - static_cast<uint64_t>(n) : static_cast<uint64_t>(n));
}

// A magnitude with a bound's strictness; digits of the fraction end with no 0.
struct Decimal {
  std::string whole, fraction;
  bool is_exclusive = false;
};

Decimal decimal_of(double x, bool is_exclusive) {
  char buffer[400];
  const auto result =
      std::to_chars(buffer, buffer + sizeof buffer, std::fabs(x), std::chars_format::fixed);
  const std::string text(buffer, result.ptr);
  const size_t point = std::min(text.find('.'), text.size());
  Decimal d = {text.substr(0, point), point < text.size() ? text.substr(point + 1) : "",
               is_exclusive};
  while (!d.fraction.empty() && d.fraction.back() == '0') d.fraction.pop_back();
  return d;
}

// Fractions, the point included, of numbers whose whole part equals that of the bounds that are not
// null.
class Fraction {
 public:
  Fraction(const Decimal* low, const Decimal* high) : low_(low), high_(high) {}

  NodePtr node() const {
    std::vector<NodePtr> parts;
    if (may_end(0, low_, high_)) parts.push_back(text_node(""));
    parts.push_back(sequence_node({text_node("."), more(0, low_ != nullptr, high_ != nullptr)}));
    return choice_node(std::move(parts));
  }

 private:
  static bool may_end(size_t at, const Decimal* low, const Decimal* high) {
    const bool is_low_good = !low || (at >= low->fraction.size() && !low->is_exclusive);
    const bool is_high_good = !high || at < high->fraction.size() || !high->is_exclusive;
    return is_low_good && is_high_good;
  }

  // At least one more digit at place `at`.
  NodePtr more(size_t at, bool is_low_tight, bool is_high_tight) const {
    if (!is_low_tight && !is_high_tight) return digits(1, kUnbounded);
    const bool low_done = is_low_tight && at >= low_->fraction.size();
    const bool high_done = is_high_tight && at >= high_->fraction.size();
    const NodePtr zeros = repeat_node(text_node("0"), 1, kUnbounded);
    if (high_done && (!is_low_tight || low_done)) {
      const bool is_open = high_->is_exclusive || (is_low_tight && low_->is_exclusive);
      return is_open ? nothing_node() : zeros;
    }
    if (low_done && !is_high_tight) {
      if (!low_->is_exclusive) return digits(1, kUnbounded);
      return sequence_node({repeat_node(text_node("0"), 0, kUnbounded), digits_between('1', '9'),
                            digits(0, kUnbounded)});
    }
    const char first = is_low_tight && !low_done ? low_->fraction[at] : '0';
    const char last = !is_high_tight ? '9' : high_done ? '0' : high_->fraction[at];
    std::vector<NodePtr> parts;
    for (char d = first; d <= last; ++d) {
      const bool low = is_low_tight && d == first, high = is_high_tight && d == last;
      std::vector<NodePtr> rest;
      if (may_end(at + 1, low ? low_ : nullptr, high ? high_ : nullptr)) {
        rest.push_back(text_node(""));
      }
      rest.push_back(more(at + 1, low, high));
      parts.push_back(sequence_node({text_node(std::string(1, d)), choice_node(std::move(rest))}));
    }
    return choice_node(std::move(parts));
  }

  const Decimal *low_, *high_;
};

std::string plus_one(std::string digits_text) {
  size_t at = digits_text.size();
  while (at > 0 && digits_text[at - 1] == '9') digits_text[--at] = '0';
  if (at == 0) return "1" + digits_text;
  ++digits_text[at - 1];
  return digits_text;
}

std::string minus_one(std::string digits_text) {  // of 1 or more
  size_t at = digits_text.size();
  while (digits_text[at - 1] == '0') digits_text[--at] = '9';
  --digits_text[at - 1];
  return digits_text.size() > 1 && digits_text[0] == '0' ? digits_text.substr(1) : digits_text;
}

bool is_less(const std::string& a, const std::string& b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

NodePtr any_fraction() {
  return optional_node(sequence_node({text_node("."), digits(1, kUnbounded)}));
}

// Magnitudes from low to high, if there is one.
NodePtr magnitudes(const Decimal& low, const Decimal* high) {
  std::vector<NodePtr> parts;
  const bool is_same = high && high->whole == low.whole;
  if (high && is_less(high->whole, low.whole)) return nothing_node();
  parts.push_back(
      sequence_node({text_node(low.whole), Fraction(&low, is_same ? high : nullptr).node()}));
  if (is_same) return choice_node(std::move(parts));
  const std::string first = plus_one(low.whole), last = high ? minus_one(high->whole) : "";
  if (!high || !is_less(last, first)) {
    parts.push_back(sequence_node({whole_between(first, last), any_fraction()}));
  }
  if (high) {
    parts.push_back(sequence_node({text_node(high->whole), Fraction(nullptr, high).node()}));
  }
  return choice_node(std::move(parts));
}

}  // namespace

NodePtr integers_between(std::optional<int64_t> least, std::optional<int64_t> most) {
  std::vector<NodePtr> parts;
  if (!most || *most >= 0) {
    const int64_t low = std::max<int64_t>(least.value_or(0), 0);
    if (!most || low <= *most) {
      parts.push_back(whole_between(magnitude(low), most ? magnitude(*most) : ""));
    }
  }
  if (!least || *least < 0) {
    const int64_t high = std::min<int64_t>(most.value_or(-1), -1);
    if (!least || *least <= high) {
      parts.push_back(sequence_node(
          {text_node("-"), whole_between(magnitude(high), least ? magnitude(*least) : "")}));
    }
  }
  return choice_node(std::move(parts));
}

NodePtr numbers_between(const std::optional<Bound>& least, const std::optional<Bound>& most) {
  if (!least && !most) {
    const NodePtr exponent =
        sequence_node({set_node({{'E', 'E'}, {'e', 'e'}}),
                       optional_node(set_node({{'+', '+'}, {'-', '-'}})), digits(1, kUnbounded)});
    return sequence_node({optional_node(text_node("-")), whole_between("0", ""), any_fraction(),
                          optional_node(exponent)});
  }
  std::vector<NodePtr> parts;
  if (!most || most->value >= 0) {
    const bool is_above_zero = least && least->value >= 0;
    const Decimal low =
        is_above_zero ? decimal_of(least->value, least->is_exclusive) : decimal_of(0, false);
    const Decimal high = most ? decimal_of(most->value, most->is_exclusive) : Decimal();
    parts.push_back(magnitudes(low, most ? &high : nullptr));
  }
  if (!least || least->value < 0) {
    const bool is_below_zero = most && most->value < 0;
    const Decimal low =
        is_below_zero ? decimal_of(most->value, most->is_exclusive) : decimal_of(0, true);
    const Decimal high = least ? decimal_of(least->value, least->is_exclusive) : Decimal();
    parts.push_back(sequence_node({text_node("-"), magnitudes(low, least ? &high : nullptr)}));
  }
  return choice_node(std::move(parts));
}

}  // namespace thimble::tools
