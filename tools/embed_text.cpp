// SPDX-License-Identifier: MIT
// The text kinds of an embedded model, and the names in them.
#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <initializer_list>

#include "embed.h"
#include "error.h"
#include "thimble/thimble.h"

namespace thimble::tools {
namespace {

// Of C11 and C++17 together: the symbol must be good in both.
constexpr const char* kKeywords[] = {
    "alignas",      "alignof",  "and",           "and_eq",
    "asm",          "auto",     "bitand",        "bitor",
    "bool",         "break",    "case",          "catch",
    "char",         "char16_t", "char32_t",      "class",
    "compl",        "const",    "const_cast",    "constexpr",
    "continue",     "decltype", "default",       "delete",
    "do",           "double",   "dynamic_cast",  "else",
    "enum",         "explicit", "export",        "extern",
    "false",        "float",    "for",           "friend",
    "goto",         "if",       "inline",        "int",
    "long",         "mutable",  "namespace",     "new",
    "noexcept",     "not",      "not_eq",        "nullptr",
    "operator",     "or",       "or_eq",         "private",
    "protected",    "public",   "register",      "reinterpret_cast",
    "restrict",     "return",   "short",         "signed",
    "sizeof",       "static",   "static_assert", "static_cast",
    "struct",       "switch",   "template",      "this",
    "thread_local", "throw",    "true",          "try",
    "typedef",      "typeid",   "typename",      "union",
    "unsigned",     "using",    "virtual",       "void",
    "volatile",     "wchar_t",  "while",         "xor",
    "xor_eq",
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool fits_identifier(char c) {  // isalnum() would depend on the locale
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
}

bool starts_with(const std::string& text, const char* start) {
  return text.compare(0, std::strlen(start), start) == 0;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

// The file's name for a comment. Without a '/' it cannot end one.
std::string comment_name(const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return name;
}

// A string literal for GNU as, which reads \ooo as a byte.
std::string assembler_string(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    const unsigned byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\' || byte < 0x20 || byte == 0x7f) {
      quoted += format("\\%03o", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

// Every `%X` of the pattern replaced by what stands for it.
struct Blank {
  char letter;
  std::string text;
};

std::string filled_in(const char* pattern, std::initializer_list<Blank> blanks) {
  std::string text;
  for (const char* c = pattern; *c; ++c) {
    if (*c != '%') {
      text += *c;
      continue;
    }
    ++c;
    for (const Blank& blank : blanks) {
      if (blank.letter == *c) text += blank.text;
    }
  }
  return text;
}

void send(const ByteSink& sink, const std::string& text) {
  sink(text.data(), text.size());
}

// "0," to "255," for each byte.
struct Decimals {
  struct Text {
    char digits[4];
    uint8_t length;
  };
  std::array<Text, 256> of_byte;
  Decimals() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::string text = std::to_string(byte) + ',';
      std::memcpy(of_byte[byte].digits, text.data(), text.size());
      of_byte[byte].length = static_cast<uint8_t>(text.size());
    }
  }
};

void write_numbers(const uint8_t* data, size_t bytes, const ByteSink& sink) {
  const Decimals decimals;
  constexpr size_t kColumns = 100, kPiece = 65536;
  std::string piece;
  piece.reserve(kPiece + kColumns + 1);
  size_t column = 0;
  for (size_t i = 0; i < bytes; ++i) {
    const Decimals::Text& text = decimals.of_byte[data[i]];
    if (column + text.length > kColumns) {
      piece += '\n';
      column = 0;
      if (piece.size() >= kPiece) {
        send(sink, piece);
        piece.clear();
      }
    }
    piece.append(text.digits, text.length);
    column += text.length;
  }
  piece += '\n';
  send(sink, piece);
}

// ---- Patterns: %F the file's name, %N the symbol, %M it in capitals, %B bytes, %S the section
// ----

constexpr char kArrayStart[] = R"(/* %F as a C array, made by `thimble embed`. */
#include <stddef.h>
#include <stdint.h>

)";

constexpr char kAligned[] = R"(#if defined(__ICCARM__) || defined(__IAR_SYSTEMS_ICC__)
#define THIMBLE_EMBED _Pragma("data_alignment=64")
#elif defined(__GNUC__) || defined(__clang__) || defined(__ARMCC_VERSION)
#define THIMBLE_EMBED __attribute__((aligned(64)))
#elif defined(_MSC_VER)
#define THIMBLE_EMBED __declspec(align(64))
#elif defined(__cplusplus) && __cplusplus >= 201103L
#define THIMBLE_EMBED alignas(64)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define THIMBLE_EMBED _Alignas(64)
#else
#error "how this compiler aligns to 64 bytes is not known: compile this file as C11 or C++11"
#endif
)";

constexpr char kPlaced[] = R"(#if defined(__ICCARM__) || defined(__IAR_SYSTEMS_ICC__)
#define THIMBLE_EMBED _Pragma("data_alignment=64") _Pragma("location=\"%S\"")
#elif defined(__GNUC__) || defined(__clang__) || defined(__ARMCC_VERSION)
#define THIMBLE_EMBED __attribute__((aligned(64), section("%S")))
#else
#error "how this compiler places data is not known: make this file without --section"
#endif
)";

constexpr char kArrayOpen[] = R"(
#ifdef __cplusplus
extern "C" {
#endif

extern const uint8_t %N[];    /* aligned to 64 bytes */
extern const size_t %N_bytes; /* its length */

THIMBLE_EMBED const uint8_t %N[%B] = {
)";

constexpr char kArrayClose[] = R"(};
const size_t %N_bytes = %B;

#ifdef __cplusplus
}
#endif
#undef THIMBLE_EMBED
)";

constexpr char kHeader[] = R"(/* %F linked into a program, made by `thimble embed`. */
#ifndef %M_H
#define %M_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const uint8_t %N[];    /* aligned to 64 bytes */
extern const size_t %N_bytes; /* its length */
#define %N_end (%N + %N_bytes)

#ifdef __cplusplus
}
#endif

#endif
)";

constexpr char kAssembler[] = R"(/* %F for GNU as (gcc -c or clang -c), made by `thimble embed`.
 * The model file is read when this one is assembled; its path counts from the folder where the
 * compiler is called, or from a folder given by -I. */
#ifndef __ELF__
#error "expected a target with ELF objects; for others make a C file"
#endif
    .section %S, "a", %%progbits
    .balign 64
    .globl %N
    .type %N, %%object
%N:
    .incbin %P
    .size %N, . - %N
    .globl %N_end
%N_end:

    .section ".rodata.%N_bytes", "a", %%progbits
    .balign __SIZEOF_SIZE_T__
    .globl %N_bytes
    .type %N_bytes, %%object
    .size %N_bytes, __SIZEOF_SIZE_T__
%N_bytes:
#if __SIZEOF_SIZE_T__ == 8
    .quad %N_end - %N
#else
    .long %N_end - %N
#endif

#ifdef __linux__
    .section .note.GNU-stack, "", %%progbits
#endif
)";

}  // namespace

std::string default_symbol(const std::string& path, bool is_tables) {
  constexpr size_t kLongest = 100;
  std::string stem;
  for (char c : std::filesystem::path(path).stem().string()) {
    // Two underscores in a row are reserved in C++, one at the start is in C.
    if (fits_identifier(c) && c != '_') {
      stem += c;
    } else if (!stem.empty() && stem.back() != '_') {
      stem += '_';
    }
    if (stem.size() == kLongest) break;
  }
  if (!stem.empty() && stem.back() == '_') stem.pop_back();
  if (is_tables && stem.empty()) return "model_tables";
  if (is_tables)
    return fault_of_symbol(stem + "_tables").empty() ? stem + "_tables" : "tables_" + stem;
  if (stem.empty() || stem == "model") return "model_image";
  const std::string name = ends_with(stem, "_model") ? stem : stem + "_model";
  return fault_of_symbol(name).empty() ? name : "model_" + stem;
}

std::string fault_of_symbol(const std::string& name) {
  const char* expected = "expected a C identifier: letters, digits and '_', no digit first";
  if (name.empty() || is_digit(name[0]) ||
      !std::all_of(name.begin(), name.end(), fits_identifier)) {
    return expected;
  }
  if (name.size() > 200) return "expected at most 200 characters";
  for (const char* keyword : kKeywords) {
    if (name == keyword) return "expected a C identifier, and that is a keyword of C or C++";
  }
  if (starts_with(name, "thimble_") || starts_with(name, "THIMBLE_")) {
    return "expected another start: thimble_ is that of the engine's own names";
  }
  return "";
}

std::string fault_of_section(const std::string& name) {
  const auto good = [](char c) { return fits_identifier(c) || c == '.' || c == '$' || c == '-'; };
  if (!name.empty() && name.size() <= 200 && std::all_of(name.begin(), name.end(), good)) return "";
  return "expected 1 to 200 letters, digits or any of . _ $ -";
}

void write_c_array(const Embedding& model, const ByteSink& sink) {
  const std::string bytes = std::to_string(model.bytes);
  send(sink, filled_in(kArrayStart, {{'F', comment_name(model.path)}}));
  send(sink, filled_in(model.section.empty() ? kAligned : kPlaced, {{'S', model.section}}));
  send(sink, filled_in(kArrayOpen, {{'N', model.name}, {'B', bytes}}));
  write_numbers(model.data, model.bytes, sink);
  send(sink, filled_in(kArrayClose, {{'N', model.name}, {'B', bytes}}));
}

void write_c_header(const Embedding& model, const ByteSink& sink) {
  send(sink,
       filled_in(kHeader,
                 {{'F', comment_name(model.path)}, {'N', model.name}, {'M', upper(model.name)}}));
}

void write_assembler(const Embedding& model, const ByteSink& sink) {
  const std::string section = model.section.empty() ? ".rodata." + model.name : model.section;
  send(sink, filled_in(kAssembler, {{'F', comment_name(model.path)},
                                    {'N', model.name},
                                    {'S', assembler_string(section)},
                                    {'P', assembler_string(model.path)},
                                    {'%', "%"}}));
}

}  // namespace thimble::tools
