// SPDX-License-Identifier: MIT
// A model file as something that links: C text, assembler text, or an object (elf_object.h). All of
// them define NAME, its first byte, and NAME_bytes, a size_t.
#ifndef THIMBLE_TOOLS_EMBED_H
#define THIMBLE_TOOLS_EMBED_H

#include <cstddef>
#include <cstdint>
#include <string>

#include "elf_object.h"

namespace thimble::tools {

struct Embedding {
  std::string path;     // of the model file
  std::string name;     // the symbol
  std::string section;  // "": where the compiler puts constants, .rodata.NAME in the other kinds
  const uint8_t* data = nullptr;
  size_t bytes = 0;
};

// "models/story.thimble" becomes "story_model": what is not fit for an identifier becomes '_'.
// Of its tables: "story_tables".
std::string default_symbol(const std::string& path, bool is_tables = false);

// Why `name` cannot be the symbol, as "expected ..."; "" if it can.
std::string fault_of_symbol(const std::string& name);

// The same for a section's name.
std::string fault_of_section(const std::string& name);

// C99 and C++, any compiler that can align: the bytes in decimal.
void write_c_array(const Embedding& model, const ByteSink& sink);

// The declarations, the same for every kind. NAME_end is a macro here, since no C file can define a
// symbol behind an array; assembler and object files also define it.
void write_c_header(const Embedding& model, const ByteSink& sink);

// For GNU as behind the C preprocessor (gcc -c, clang -c); reads the model where it is assembled.
void write_assembler(const Embedding& model, const ByteSink& sink);

}  // namespace thimble::tools

#endif
