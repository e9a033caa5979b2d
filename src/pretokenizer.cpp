// SPDX-License-Identifier: MIT
#include "pretokenizer.h"

#include "characters.h"
#include "parts.h"
#include "unicode_classes.h"

#if THIMBLE_BYTE_BPE

namespace thimble {
namespace {

struct Reader {
  const uint8_t* text;
  size_t n;
  bool ends_at_numbers;  // words before a number are cut as if the text ended there
};

constexpr CharacterClass kEnd = static_cast<CharacterClass>(kSpace + 1);

// The class of the character at i, and where the next one is; kEnd at the end.
CharacterClass class_at(const Reader& r, size_t i, size_t* next) {
  *next = i;
  if (i >= r.n) return kEnd;
  const uint32_t n = utf8_valid_character(r.text + i, r.n - i);
  *next = i + (n > 0 ? n : 1);
  const CharacterClass cls = n > 0 ? class_of(utf8_code_point(r.text + i, n)) : kOther;
  return cls == kNumber && r.ends_at_numbers ? kEnd : cls;
}

// Where the run of a class that goes on at i ends.
size_t run_end(const Reader& r, size_t i, CharacterClass cls) {
  for (size_t next; class_at(r, i, &next) == cls;) i = next;
  return i;
}

bool is_newline(uint8_t byte) {
  return byte == '\r' || byte == '\n';
}

// 's|'t|'re|'ve|'m|'ll|'d at the start of the text, 0 if there is none of them. `lower` is 32 where
// capital letters do as well.
size_t contraction(const Reader& r, uint8_t lower) {
  if (r.n < 2 || r.text[0] != '\'') return 0;
  const int a = r.text[1] | lower, b = r.n > 2 ? r.text[2] | lower : 0;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  return (b == 'e' && (a == 'r' || a == 'v')) || (b == 'l' && a == 'l') ? 3 : 0;
}

// \s*[\r\n]+ if wanted, |\s+(?!\S)|\s+: the text starts with a space.
size_t spaces(const Reader& r, bool newlines_first) {
  size_t end = 0, last = 0, newline_end = 0;  // last: where the last space starts
  CharacterClass cls;
  for (size_t next; (cls = class_at(r, end, &next)) == kSpace; end = next) {
    last = end;
    if (is_newline(r.text[end])) newline_end = next;
  }
  if (newlines_first && newline_end > 0) return newline_end;
  // The last space belongs to the word behind it.
  return cls == kEnd || last == 0 ? end : last;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t gpt2_word(const Reader& r) {
  if (const size_t n = contraction(r, 0)) return n;
  size_t next;
  const CharacterClass cls = class_at(r, r.text[0] == ' ' ? 1 : 0, &next);
  return cls >= kSpace ? spaces(r, false) : run_end(r, next, cls);
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*
// |\s*[\r\n]+|\s+(?!\S)|\s+
size_t llama3_word(const Reader& r, uint32_t digits) {
  if (const size_t n = contraction(r, 'a' - 'A')) return n;
  size_t end, next;
  const CharacterClass first = class_at(r, 0, &end), second = class_at(r, end, &next);
  if (first == kNumber) {
    while (--digits > 0 && class_at(r, end, &next) == kNumber) end = next;
    return end;
  }
  if (first == kLetter || (second == kLetter && !is_newline(r.text[0]))) {
    return run_end(r, end, kLetter);
  }
  if (first == kSpace && (r.text[0] != ' ' || second != kOther)) return spaces(r, true);
  end = run_end(r, end, kOther);
  while (end < r.n && is_newline(r.text[end])) ++end;
  return end;
}

}  // namespace

size_t first_word(PreTokenizer kind, const uint8_t* text, size_t n) {
  Reader r = {text, n, false};
  if (kind == kPreTokenizerLlama3 || kind == kPreTokenizerQwen2) {
    return llama3_word(r, kind == kPreTokenizerLlama3 ? 3 : 1);
  }
  if (kind == kPreTokenizerSmolLm) {
    size_t next;
    if (class_at(r, 0, &next) == kNumber) return next;
    r.ends_at_numbers = true;
  }
  return gpt2_word(r);
}

}  // namespace thimble

#endif
