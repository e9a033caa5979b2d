// SPDX-License-Identifier: MIT
#include "odd_text.h"

#include <algorithm>
#include <cstdio>

#include "error.h"
#include "files.h"

namespace thimble::tools {
namespace {

bool begins_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// What a file of two or four bytes a character looks like; "" if it is none.
std::string wide_encoding(std::string_view text, size_t n_nul) {
  using namespace std::string_view_literals;
  if (begins_with(text, "\xff\xfe\0\0"sv) || begins_with(text, "\0\0\xfe\xff"sv)) return "UTF-32";
  if (begins_with(text, "\xff\xfe"sv) || begins_with(text, "\xfe\xff"sv)) return "UTF-16";
  // Of Latin letters every second byte is NUL; of binary data hardly so many.
  if (n_nul * 8 < text.size() * 3 || n_nul == text.size() || text.size() < 4) return "";
  return text[0] == '\0' ? "UTF-16BE" : "UTF-16LE";
}

}  // namespace

std::vector<std::string> oddities_of(std::string_view text, const std::string& name) {
  const auto count = [&](char c) {
    return static_cast<size_t>(std::count(text.begin(), text.end(), c));
  };
  const std::string file = name == "stdin" ? "FILE" : name;
  const size_t n_nul = count('\0');
  const std::string wide = wide_encoding(text, n_nul);
  if (!wide.empty()) {
    throw Refused(
        format("%s: looks like %s, as Windows writes it (%zu of %zu bytes are NUL), "
               "expected UTF-8; iconv -f %s -t UTF-8 %s gives it",
               name.c_str(), wide.c_str(), n_nul, text.size(), wide.c_str(), file.c_str()));
  }
  std::vector<std::string> found;
  if (begins_with(text, "\xef\xbb\xbf")) {
    found.push_back(name +
                    ": begins with a byte-order mark (ef bb bf), which models are not "
                    "trained on; tail -c +4 " +
                    file + " leaves it out");
  }
  if (n_nul > 0) {
    found.push_back(format("%s: has %zu NUL bytes, which models are not trained on; is it a text?",
                           name.c_str(), n_nul));
  }
  const size_t returns = count('\r'), lines = std::max<size_t>(1, count('\n'));
  if (returns * 10 >= lines) {
    found.push_back(
        format("%s: has %zu carriage returns in %zu lines, as Windows writes them, "
               "which models are not trained on; tr -d '\\r' <%s leaves them out",
               name.c_str(), returns, lines, file.c_str()));
  }
  return found;
}

void note_oddities(std::string_view text, const std::string& name) {
  for (const std::string& oddity : oddities_of(text, name)) {
    std::fprintf(stderr, "note: %s\n", oddity.c_str());
  }
}

std::string read_prompt_file(const std::string& path) {
  std::string text = read_text(path);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (!text.empty() && text.back() == '\r') text.pop_back();
  note_oddities(text, path == "-" ? "stdin" : path);
  return text;
}

}  // namespace thimble::tools
