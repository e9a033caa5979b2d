// SPDX-License-Identifier: MIT
// Sources: System V Application Binary Interface (gABI), chapters 4 and 5 of the edition of 2013;
// ELF for the Arm Architecture (AAELF32) and ELF for the Arm 64-bit Architecture (AAELF64), by
// which sections of data alone need no mapping symbols; RISC-V ABIs Specification, "ELF Object
// Files"; System V ABI, AMD64 Architecture Processor Supplement. The empty section .note.GNU-stack
// is GNU's and tells that no executable stack is needed.
#include "elf_object.h"

#include <vector>

#include "error.h"
#include "thimble/thimble.h"

namespace thimble::tools {
namespace {

constexpr uint16_t kRelocatable = 1;  // ET_REL
constexpr uint32_t kVersion = 1;      // EV_CURRENT
constexpr uint16_t kAbsolute = 0xfff1;
enum SectionType : uint32_t { kNull = 0, kProgbits = 1, kSymtab = 2, kStrtab = 3 };
constexpr uint64_t kAlloc = 2;  // SHF_ALLOC alone: read-only, no code
enum Binding : uint8_t { kLocal = 0, kGlobal = 1 };
enum SymbolType : uint8_t { kNoType = 0, kObject = 1, kFile = 4 };

// Numbers as the file has them: little-endian, and `word` as wide as an address.
class Encoder {
 public:
  explicit Encoder(const ElfMachine& machine) : is_64_(machine.is_64) {}
  Encoder& u8(uint8_t value) { return number(value, 1); }
  Encoder& u16(uint16_t value) { return number(value, 2); }
  Encoder& u32(uint32_t value) { return number(value, 4); }
  Encoder& word(uint64_t value) { return number(value, is_64_ ? 8 : 4); }
  const std::string& bytes() const { return bytes_; }

 private:
  Encoder& number(uint64_t value, int n) {
    for (int i = 0; i < n; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xff);
    return *this;
  }
  bool is_64_;
  std::string bytes_;
};

// A string table starts with the empty string; returns where `text` lies.
class StringTable {
 public:
  uint32_t add(const std::string& text) {
    const uint32_t at = static_cast<uint32_t>(bytes_.size());
    bytes_ += text + '\0';
    return at;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_ = std::string(1, '\0');
};

struct Section {
  std::string name;
  SectionType type;
  uint64_t flags, align;
  const void* data;
  uint64_t bytes;
  uint64_t entry_bytes = 0;
  uint32_t link = 0, info = 0;
  uint64_t offset = 0;  // filled in by lay_out
};

struct Symbol {
  std::string name;
  Binding binding;
  SymbolType type;
  uint16_t section;
  uint64_t value, size;
};

// The fields are the same in both classes, in another order.
std::string encode_symbols(const ElfMachine& machine, const std::vector<Symbol>& symbols,
                           StringTable* strings) {
  Encoder out(machine);
  out.u32(0).word(0).word(0).u32(0);  // the null symbol: 16 or 24 zeros
  for (const Symbol& s : symbols) {
    const uint8_t info = static_cast<uint8_t>(s.binding << 4 | s.type);
    out.u32(strings->add(s.name));
    if (machine.is_64) {
      out.u8(info).u8(0).u16(s.section).word(s.value).word(s.size);
    } else {
      out.word(s.value).word(s.size).u8(info).u8(0).u16(s.section);
    }
  }
  return out.bytes();
}

std::string encode_section_headers(const ElfMachine& machine, const std::vector<Section>& sections,
                                   const std::vector<uint32_t>& names) {
  Encoder out(machine);
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section& s = sections[i];
    out.u32(names[i]).u32(s.type).word(s.flags).word(0).word(s.offset).word(s.bytes);
    out.u32(s.link).u32(s.info).word(s.align).word(s.entry_bytes);
  }
  return out.bytes();
}

std::string encode_header(const ElfMachine& machine, uint64_t section_headers, size_t n_sections) {
  Encoder out(machine);
  out.u8(0x7f).u8('E').u8('L').u8('F');
  out.u8(machine.is_64 ? 2 : 1).u8(1).u8(kVersion);  // class, little-endian
  for (int i = 7; i < 16; ++i) out.u8(0);            // System V, padding
  out.u16(kRelocatable).u16(machine.id).u32(kVersion);
  out.word(0).word(0).word(section_headers).u32(machine.flags);
  out.u16(machine.is_64 ? 64 : 52).u16(0).u16(0);  // no program headers
  out.u16(machine.is_64 ? 64 : 40).u16(static_cast<uint16_t>(n_sections));
  return out.u16(static_cast<uint16_t>(n_sections - 1)).bytes();  // names are the last section
}

uint64_t round_up(uint64_t value, uint64_t align) {
  return align > 1 ? (value + align - 1) / align * align : value;
}

// Section after section, each where its alignment lets it start; returns where they end.
uint64_t lay_out(uint64_t at, std::vector<Section>* sections) {
  for (size_t i = 1; i < sections->size(); ++i) {  // the null section has no place
    Section& s = (*sections)[i];
    s.offset = round_up(at, s.align);
    at = s.offset + s.bytes;
  }
  return at;
}

}  // namespace

void write_elf_object(const ElfMachine& machine, const ElfContent& content, const ByteSink& sink) {
  const uint64_t word_bytes = machine.is_64 ? 8 : 4;
  const std::string length = Encoder(machine).word(content.bytes).bytes();
  constexpr uint16_t kContent = 1, kLength = 2;
  constexpr uint32_t kSymbolNames = 4;
  const std::vector<Symbol> symbols = {
      {content.source, kLocal, kFile, kAbsolute, 0, 0},
      {content.name, kGlobal, kObject, kContent, 0, content.bytes},
      {content.name + "_end", kGlobal, kNoType, kContent, content.bytes, 0},
      {content.name + "_bytes", kGlobal, kObject, kLength, 0, word_bytes},
  };
  constexpr uint32_t kFirstGlobal = 2;  // behind the null symbol and the file's
  StringTable symbol_names, section_names;
  const std::string table = encode_symbols(machine, symbols, &symbol_names);

  const std::string& strings = symbol_names.bytes();
  std::vector<Section> sections = {
      {"", kNull, 0, 0, nullptr, 0},
      {content.section, kProgbits, kAlloc, THIMBLE_ALIGNMENT, content.data, content.bytes},
      {".rodata." + content.name + "_bytes", kProgbits, kAlloc, word_bytes, length.data(),
       length.size()},
      {".symtab", kSymtab, 0, word_bytes, table.data(), table.size(),
       table.size() / (symbols.size() + 1), kSymbolNames, kFirstGlobal},
      {".strtab", kStrtab, 0, 1, strings.data(), strings.size()},
  };
  if (machine.stack_note) sections.push_back({".note.GNU-stack", kProgbits, 0, 1, nullptr, 0});
  sections.push_back({".shstrtab", kStrtab, 0, 1, nullptr, 0});
  std::vector<uint32_t> names = {0};
  for (size_t i = 1; i < sections.size(); ++i) names.push_back(section_names.add(sections[i].name));
  sections.back().data = section_names.bytes().data();
  sections.back().bytes = section_names.bytes().size();

  const size_t header_bytes = machine.is_64 ? 64 : 52;
  const uint64_t section_headers = round_up(lay_out(header_bytes, &sections), word_bytes);
  const std::string headers = encode_section_headers(machine, sections, names);
  if (!machine.is_64 && section_headers + headers.size() > UINT32_MAX) {
    throw Refused(
        format("%s: %llu bytes are more than an object of 32 bits can hold, expected less "
               "than 4 GiB",
               content.source.c_str(), static_cast<unsigned long long>(content.bytes)));
  }

  uint64_t at = 0;
  const auto write = [&](uint64_t offset, const void* data, uint64_t bytes) {
    constexpr char kZeros[THIMBLE_ALIGNMENT] = {};
    if (offset > at) sink(kZeros, static_cast<size_t>(offset - at));
    if (bytes > 0) sink(data, static_cast<size_t>(bytes));
    at = offset + bytes;
  };
  const std::string header = encode_header(machine, section_headers, sections.size());
  write(0, header.data(), header.size());
  for (size_t i = 1; i < sections.size(); ++i) {
    write(sections[i].offset, sections[i].data, sections[i].bytes);
  }
  write(section_headers, headers.data(), headers.size());
}

}  // namespace thimble::tools
