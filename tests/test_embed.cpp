// SPDX-License-Identifier: MIT
// thimble embed: the object files read back with the system's own <elf.h>, the texts, the names.
#include <doctest/doctest.h>
#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "capture.h"
#include "embed.h"
#include "json.h"
#include "llama2c_files.h"
#include "memory_store.h"
#include "targets.h"
#include "tiny_adapter.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;
using tools::Words;

namespace {

Ended embed(const Words& words) {
  return run(tools::embed_verb, words);
}

std::string contents(const std::string& path) {
  std::string bytes;
  REQUIRE(read_whole_file(path, &bytes));
  return bytes;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

// A model file of a few KB in a folder of its own.
struct ModelInFolder {
  TestFolder folder;
  std::string bytes, path;
  ModelInFolder() {
    const TinyModel model(tiny_shapes()[0].shape, {kWeightQ8, 32, 16});
    bytes.assign(reinterpret_cast<const char*>(model.image.data()), model.image.size());
    path = folder.write("tiny-story.thimble", bytes);
  }
};

std::string written(void (*write)(const tools::Embedding&, const tools::ByteSink&),
                    const tools::Embedding& model) {
  std::string text;
  write(model,
        [&text](const void* data, size_t n) { text.append(static_cast<const char*>(data), n); });
  return text;
}

// ---- Objects -----------------------------------------------------------------------------------

struct Elf32 {
  using Ehdr = Elf32_Ehdr;
  using Shdr = Elf32_Shdr;
  using Sym = Elf32_Sym;
  static constexpr unsigned char kClass = ELFCLASS32;
  static constexpr size_t kWord = 4;
};
struct Elf64 {
  using Ehdr = Elf64_Ehdr;
  using Shdr = Elf64_Shdr;
  using Sym = Elf64_Sym;
  static constexpr unsigned char kClass = ELFCLASS64;
  static constexpr size_t kWord = 8;
};

template <class T>
T read_at(const std::string& file, uint64_t offset) {
  T value;
  REQUIRE(offset + sizeof value <= file.size());
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

struct SymbolFound {
  unsigned binding, type, section;
  uint64_t value, size;
};

// What a linker reads, every place checked to lie inside the file and apart from the others.
struct ObjectFound {
  unsigned machine, flags;
  std::map<std::string, std::string> sections;  // name to content
  std::map<std::string, uint64_t> align, section_flags;
  std::vector<std::string> section_names;  // by index
  std::map<std::string, SymbolFound> symbols;
};

template <class Elf>
ObjectFound read_object(const std::string& file) {
  ObjectFound found;
  const auto header = read_at<typename Elf::Ehdr>(file, 0);
  CHECK(std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0);
  CHECK(header.e_ident[EI_CLASS] == Elf::kClass);
  CHECK(header.e_ident[EI_DATA] == ELFDATA2LSB);
  CHECK(header.e_ident[EI_VERSION] == EV_CURRENT);
  for (int i = EI_OSABI; i < EI_NIDENT; ++i) CHECK(header.e_ident[i] == 0);
  CHECK(header.e_type == ET_REL);
  CHECK(header.e_version == EV_CURRENT);
  CHECK(header.e_entry == 0);
  CHECK(header.e_phoff == 0);
  CHECK(header.e_phnum == 0);
  CHECK(header.e_ehsize == sizeof header);
  CHECK(header.e_shentsize == sizeof(typename Elf::Shdr));
  CHECK(header.e_shoff % Elf::kWord == 0);
  CHECK(header.e_shoff + header.e_shnum * sizeof(typename Elf::Shdr) == file.size());
  found.machine = header.e_machine;
  found.flags = header.e_flags;

  std::vector<typename Elf::Shdr> sections;
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    sections.push_back(read_at<typename Elf::Shdr>(file, header.e_shoff + i * sizeof sections[0]));
  }
  const auto text_at = [&](const typename Elf::Shdr& strings, uint64_t at) {
    REQUIRE(strings.sh_type == SHT_STRTAB);
    REQUIRE(at < strings.sh_size);
    CHECK(file[strings.sh_offset + strings.sh_size - 1] == '\0');
    return std::string(file.c_str() + strings.sh_offset + at);
  };
  uint64_t end = sizeof header;
  for (unsigned i = 0; i < sections.size(); ++i) {
    const auto& s = sections[i];
    const std::string name = text_at(sections[header.e_shstrndx], s.sh_name);
    found.section_names.push_back(name);
    CHECK(s.sh_addr == 0);
    if (i == 0) {
      CHECK(s.sh_type == SHT_NULL);
      CHECK(s.sh_size == 0);
      continue;
    }
    CHECK(s.sh_offset >= end);
    CHECK(s.sh_offset % s.sh_addralign == 0);
    end = s.sh_offset + s.sh_size;
    REQUIRE(end <= header.e_shoff);
    found.sections[name] = file.substr(s.sh_offset, s.sh_size);
    found.align[name] = s.sh_addralign;
    found.section_flags[name] = s.sh_flags;
    if (s.sh_type != SHT_SYMTAB) continue;
    CHECK(s.sh_entsize == sizeof(typename Elf::Sym));
    const size_t n = s.sh_size / s.sh_entsize;
    CHECK(n * s.sh_entsize == s.sh_size);
    for (size_t k = 0; k < n; ++k) {
      const auto symbol =
          read_at<typename Elf::Sym>(file, s.sh_offset + k * sizeof(typename Elf::Sym));
      const unsigned binding = ELF32_ST_BIND(symbol.st_info);  // the same for 64 bits
      CHECK((binding == STB_LOCAL) == (k < s.sh_info));        // local ones come first
      CHECK(symbol.st_other == STV_DEFAULT);
      found.symbols[text_at(sections[s.sh_link], symbol.st_name)] = {
          binding, symbol.st_info & 0xfu, symbol.st_shndx, symbol.st_value, symbol.st_size};
    }
  }
  return found;
}

void check_object(const ObjectFound& found, const tools::ElfMachine& machine,
                  const std::string& name, const std::string& section, const std::string& source,
                  const std::string& model) {
  const size_t word = machine.is_64 ? 8 : 4;
  CHECK(found.machine == machine.id);
  CHECK(found.flags == machine.flags);
  REQUIRE(found.section_names.size() == (machine.stack_note ? 7 : 6));
  CHECK(found.section_names[1] == section);
  CHECK(found.sections.at(section) == model);
  CHECK(found.align.at(section) == 64);
  CHECK(found.section_flags.at(section) == SHF_ALLOC);
  const std::string length = found.sections.at(".rodata." + name + "_bytes");
  CHECK(found.section_names[2] == ".rodata." + name + "_bytes");
  REQUIRE(length.size() == word);
  uint64_t bytes = 0;
  std::memcpy(&bytes, length.data(), word);
  CHECK(bytes == model.size());
  REQUIRE(found.sections.count(".note.GNU-stack") == machine.stack_note);
  if (machine.stack_note) {
    CHECK(found.sections.at(".note.GNU-stack").empty());
    CHECK(found.section_flags.at(".note.GNU-stack") == 0);
  }

  const auto check_symbol = [&](const std::string& symbol, SymbolFound expected) {
    const SymbolFound& s = found.symbols.at(symbol);
    CHECK(s.binding == expected.binding);
    CHECK(s.type == expected.type);
    CHECK(s.section == expected.section);
    CHECK(s.value == expected.value);
    CHECK(s.size == expected.size);
  };
  REQUIRE(found.symbols.size() == 5);
  check_symbol("", {STB_LOCAL, STT_NOTYPE, SHN_UNDEF, 0, 0});
  check_symbol(source, {STB_LOCAL, STT_FILE, SHN_ABS, 0, 0});
  check_symbol(name, {STB_GLOBAL, STT_OBJECT, 1, 0, model.size()});
  check_symbol(name + "_end", {STB_GLOBAL, STT_NOTYPE, 1, model.size(), 0});
  check_symbol(name + "_bytes", {STB_GLOBAL, STT_OBJECT, 2, 0, word});
}

ObjectFound read_any(const std::string& file, bool is_64) {
  return is_64 ? read_object<Elf64>(file) : read_object<Elf32>(file);
}

}  // namespace

TEST_CASE("embed: an object for each target") {
  const ModelInFolder model;
  const std::string out = model.folder / "out.o";
  for (const tools::Target& target : tools::kTargets) {
    CAPTURE(target.name);
    const Ended ended = embed({model.path, "-o", out, "--for", target.name});
    if (!target.object) {
      CHECK(ended.code == 2);
      continue;
    }
    CHECK_MESSAGE(contains(tools::kEmbedHelp, target.name), "not in --help");
    REQUIRE(ended.code == 0);
    CHECK(contains(ended.err, std::string("out.o: ") + target.object->name));
    check_object(read_any(contents(out), target.object->is_64), *target.object, "tiny_story_model",
                 ".rodata.tiny_story_model", "tiny-story.thimble", model.bytes);
  }
}

TEST_CASE("embed: machines as <elf.h> has them") {
  CHECK(tools::kElfArm.id == EM_ARM);
  CHECK(tools::kElfArm.flags == EF_ARM_EABI_VER5);
  CHECK(tools::kElfAarch64.id == EM_AARCH64);
  CHECK(tools::kElfX86_64.id == EM_X86_64);
  CHECK(tools::kElfRiscv32.id == EM_RISCV);
  CHECK(tools::kElfRiscv64.id == EM_RISCV);
  CHECK(tools::kElfRiscv64.flags == EF_RISCV_FLOAT_ABI_DOUBLE);
}

TEST_CASE("embed: objects of any length, name and section") {
  std::string all;
  for (unsigned i = 0; i < 1000; ++i) all += static_cast<char>(i * i / 7);
  for (const tools::ElfMachine& machine : {tools::kElfArm, tools::kElfX86_64}) {
    for (const size_t bytes : {1u, 3u, 4u, 7u, 63u, 64u, 65u, 1000u}) {
      const std::string data = all.substr(0, bytes);
      const tools::ElfContent content = {"x", ".far", "y.thimble",
                                         reinterpret_cast<const uint8_t*>(data.data()), bytes};
      std::string file, again;
      tools::write_elf_object(machine, content, [&](const void* from, size_t n) {
        file.append(static_cast<const char*>(from), n);
      });
      tools::write_elf_object(machine, content, [&](const void* from, size_t n) {
        again.append(static_cast<const char*>(from), n);
      });
      CHECK(file == again);
      check_object(read_any(file, machine.is_64), machine, "x", ".far", "y.thimble", data);
    }
  }
}

TEST_CASE("embed: 4 GiB do not fit into 32 bits") {
  // Refused before a byte of it is read.
  const tools::ElfContent content = {"x", ".x", "big.thimble", nullptr,
                                     static_cast<size_t>(UINT32_MAX)};
  size_t written_bytes = 0;
  const auto sink = [&](const void*, size_t n) { written_bytes += n; };
  CHECK_THROWS_WITH_AS(tools::write_elf_object(tools::kElfArm, content, sink),
                       "big.thimble: 4294967295 bytes are more than an object of 32 bits can hold, "
                       "expected less than 4 GiB",
                       tools::Refused);
  CHECK(written_bytes == 0);
}

// ---- Texts -------------------------------------------------------------------------------------

TEST_CASE("embed: a C array holds every byte, in lines of at most 100 columns") {
  std::string data;
  for (unsigned i = 0; i < 100000; ++i) data += static_cast<char>(i * i / 7 + i / 256);
  for (const size_t bytes : {size_t{1}, size_t{25}, size_t{1000}, data.size()}) {
    const std::string text =
        written(tools::write_c_array,
                {"a.thimble", "a", "", reinterpret_cast<const uint8_t*>(data.data()), bytes});
    const std::string open = "const uint8_t a[" + std::to_string(bytes) + "] = {\n";
    const size_t from = text.find(open);
    REQUIRE(from != std::string::npos);
    const char* at = text.c_str() + from + open.size();
    std::string found;
    while (*at != '}') {
      char* end;
      found += static_cast<char>(std::strtoul(at, &end, 10));
      REQUIRE(*end == ',');
      at = end[1] == '\n' ? end + 2 : end + 1;
    }
    CHECK(found == data.substr(0, bytes));
    CHECK(contains(text, "const size_t a_bytes = " + std::to_string(bytes) + ";\n"));
    size_t longest = 0;
    for (size_t start = 0, end; (end = text.find('\n', start)) != std::string::npos;
         start = end + 1) {
      longest = std::max(longest, end - start);
    }
    CHECK(longest <= 100);
  }
}

TEST_CASE("embed: where a section is asked for") {
  const ModelInFolder model;
  const std::string c = model.folder / "out.c", s = model.folder / "out.S";
  REQUIRE(embed({model.path, "-o", c, "--section", ".flash.model"}).code == 0);
  CHECK(contains(contents(c), "__attribute__((aligned(64), section(\".flash.model\")))"));
  CHECK(contains(contents(c), "_Pragma(\"location=\\\".flash.model\\\"\")"));
  REQUIRE(embed({model.path, "-o", c}).code == 0);
  CHECK(!contains(contents(c), "section("));
  REQUIRE(embed({model.path, "-o", s, "--section", ".flash.model"}).code == 0);
  CHECK(contains(contents(s), ".section \".flash.model\", \"a\", %progbits\n    .balign 64\n"));
  REQUIRE(embed({model.path, "-o", s}).code == 0);
  CHECK(contains(contents(s), ".section \".rodata.tiny_story_model\", \"a\", %progbits\n"));
  CHECK(contains(contents(s), ".incbin \"" + model.path + "\"\n"));
}

TEST_CASE("embed: file names that are text of a program") {
  const ModelInFolder model;
  const std::string path = model.folder.write("a\"b\\c\n*.thimble", model.bytes);
  const std::string out = model.folder / "out.S";
  REQUIRE(embed({path, "-o", out}).code == 0);
  CHECK(contains(contents(out), "/a\\042b\\134c\\012*.thimble\"\n"));
  CHECK(contains(contents(out), "/* a\"b\\c?*.thimble for GNU as"));
  CHECK(contains(contents(out), "\na_b_c_model:\n"));
}

TEST_CASE("embed: one header for every kind") {
  const ModelInFolder model;
  const std::string header = model.folder / "model.h", other = model.folder / "other.h";
  REQUIRE(embed({model.path, "-o", header}).code == 0);
  const std::string expected = contents(header);
  CHECK(contains(expected, "#ifndef TINY_STORY_MODEL_H\n"));
  CHECK(contains(expected, "extern const uint8_t tiny_story_model[]; "));
  CHECK(contains(expected, "extern const size_t tiny_story_model_bytes; "));
  for (const std::string kind : {"c", "S", "o"}) {
    Words words = {model.path, "-o", model.folder / "anything", "--as", kind, "--header", other};
    if (kind == "o") words.insert(words.end(), {"--for", "arm"});
    REQUIRE(embed(words).code == 0);
    CHECK(contents(other) == expected);
    CHECK(unlink(other.c_str()) == 0);
  }
}

// ---- Names -------------------------------------------------------------------------------------

TEST_CASE("embed: a symbol from the file's name") {
  const std::map<std::string, std::string> names = {
      {"story.thimble", "story_model"},
      {"models/story.thimble", "story_model"},
      {"../a/b.c/tiny-story v2.thimble", "tiny_story_v2_model"},
      {"story_model.thimble", "story_model"},
      {"a--b__c.thimble", "a_b_c_model"},
      {"15M.thimble", "model_15M"},
      {"15M-model.thimble", "model_15M_model"},
      {"model.thimble", "model_image"},
      {"thimble.thimble", "model_thimble"},
      {"int.thimble", "int_model"},
      {"_x_.thimble", "x_model"},
      {"\xd1\x8f.thimble", "model_image"},
      {"story", "story_model"},
  };
  for (const auto& [path, name] : names) {
    CHECK(tools::default_symbol(path) == name);
    CHECK(tools::fault_of_symbol(name) == "");
  }
  CHECK(tools::default_symbol("models/story.thimble", true) == "story_tables");
  CHECK(tools::default_symbol("15M.thimble", true) == "tables_15M");
  CHECK(tools::default_symbol("model.thimble", true) == "model_tables");
  CHECK(tools::default_symbol("_.thimble", true) == "model_tables");
  const std::string longest = tools::default_symbol(std::string(250, 'a') + ".thimble");
  CHECK(longest == std::string(100, 'a') + "_model");
}

TEST_CASE("embed: tables alone are those that a device reads, and no model's") {
  const ModelInFolder m;
  const std::string object = m.folder / "tables.o";
  const Ended good = embed({m.path, "--tables", "-o", object, "--for", "x86-64"});
  CHECK(good.code == 0);
  CHECK(contains(good.err, "tables of "));
  CHECK(contains(good.err, "tiny_story_tables"));
  const AlignedBlock image(m.bytes.data(), m.bytes.size());
  const StreamedModel streamed(image.data(), image.size());
  const std::string tables(reinterpret_cast<const char*>(streamed.tables.data()),
                           streamed.tables.size());
  CHECK(contains(contents(object), tables));
  CHECK(tables.size() < m.bytes.size());
  CHECK(contains(embed({m.path, "--tables", "-o", m.folder / "x.S"}).err,
                 "option '--tables' is for .c and .o"));
  CHECK(contains(embed({m.path, "--tables", "--needs", m.folder / "x.h"}).err,
                 "option '--tables' says what -o OUT is"));
  const TinyModel model(tiny_shapes()[0].shape, {kWeightQ8, 32, 16});
  const TinyAdapter adapter(model.view, 2);
  const std::string path = m.folder.write(
      "a.lora",
      std::string(reinterpret_cast<const char*>(adapter.image.data()), adapter.image.size()));
  CHECK(contains(embed({path, "--tables", "-o", m.folder / "a.c"}).err,
                 "option '--tables' is for models"));
}

TEST_CASE("embed: symbols and sections that are refused") {
  for (const char* name : {"a", "_a", "story_model", "A9", "Int"}) {
    CHECK(tools::fault_of_symbol(name) == "");
  }
  for (const char* name : {"", "9a", "a-b", "a b", "a.b", "\xc3\xa4", "a\n"}) {
    CHECK(contains(tools::fault_of_symbol(name), "expected a C identifier: letters"));
  }
  for (const char* name : {"int", "class", "restrict", "xor_eq"}) {
    CHECK(contains(tools::fault_of_symbol(name), "keyword"));
  }
  CHECK(contains(tools::fault_of_symbol("thimble_model"), "engine's own names"));
  CHECK(contains(tools::fault_of_symbol(std::string(201, 'a')), "at most 200"));
  for (const char* name : {".rodata", ".ext-flash$1", "flash_model"}) {
    CHECK(tools::fault_of_section(name) == "");
  }
  for (const char* name : {"", "a b", "a\"", "a,b", "a\\"}) {
    CHECK(tools::fault_of_section(name) != "");
  }
}

// ---- What is refused ---------------------------------------------------------------------------

TEST_CASE("wrong usage of embed") {
  const ModelInFolder model;
  const std::string& in = model.path;
  const std::string out = model.folder / "out.c", object = model.folder / "out.o";
  const std::string link = model.folder / "link.c";
  REQUIRE(symlink(in.c_str(), link.c_str()) == 0);
  const std::vector<std::pair<Words, std::string>> wrongs = {
      {{}, "expected a model file"},
      {{in}, "expected -o OUT, the file to write; its name ends in .c, .h, .S or .o"},
      {{in, "-o", ""}, "expected -o OUT"},
      {{in, "more", "-o", out}, "unexpected argument 'more'"},
      {{in, "-o", in}, "expected a name that ends in"},
      {{in, "-o", in, "--as", "c"}, "would overwrite the model '" + in + "'"},
      {{in, "-o", link}, "would overwrite the model '" + in + "'"},
      {{in, "-o", out, "--header", in}, "would overwrite the model '" + in + "'"},
      {{in, "-o", out, "--header", model.folder / "./out.c"}, "two outputs go to"},
      {{in, "-o", out, "--header", ""}, "'--header' is '', expected the name of a file"},
      {{in, "-o", model.folder / "out"}, "expected a name that ends in .c, .h, .S or .o"},
      {{in, "-o", model.folder / "out.s"}, "expected a name that ends in .c, .h, .S or .o"},
      {{in, "-o", "-", "--as", "c"}, "'-o' is '-', expected the name of a file, not stdout"},
      {{in, "-o", "."}, "expected a name that ends in .c, .h, .S or .o"},
      {{in, "-o", out, "--as", "C"}, "'--as' is 'C', expected c, h, S or o"},
      {{in, "-o", object}, "an object file needs '--for TARGET', expected one of host, "},
      {{in, "-o", object, "--for", "z80"}, "'--for' is 'z80', expected one of host, "},
      {{in, "-o", object, "--for", "riscv"}, "'--for' is 'riscv', expected one of host, "},
      {{in, "-o", out, "--for", "host"}, "'--for' is for object files (.o)"},
      {{in, "-o", out, "--name", "a-b"}, "'--name' is 'a-b', expected a C identifier"},
      {{in, "-o", out, "--section", ""}, "'--section' is '', expected 1 to 200"},
      {{in, "-o", model.folder / "a.h", "--section", ".x"}, "'--section' is for .c, .S and .o"},
      {{in, "-o", model.folder / "a.h", "--header", "b.h"}, "is the header already"},
  };
  for (const auto& [words, expected] : wrongs) {
    const Ended ended = embed(words);
    CHECK(ended.code == 2);
    CHECK_MESSAGE(contains(ended.err, expected), ended.err);
  }
  CHECK(!exists(out));
  CHECK(!exists(object));
  CHECK(contents(in) == model.bytes);
}

TEST_CASE("embed: what is refused leaves nothing behind") {
  const ModelInFolder model;
  const std::string out = model.folder / "out.c", header = model.folder / "out.h";
  const auto refusal = [](const Words& words) {
    const Ended ended = embed(words);
    CHECK(ended.code == 1);
    return ended.err;
  };
  std::string damaged = model.bytes;
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 1);
  const std::string bad = model.folder.write("bad.thimble", damaged);
  for (const char* kind : {"c", "h", "S"}) {
    CHECK(contains(refusal({bad, "-o", out, "--as", kind}), "weights or tables are damaged"));
  }
  CHECK(contains(refusal({model.folder / "none", "-o", out}), "No such file or directory"));
  const std::string text = model.folder.write("story.txt", "Once upon a time");
  CHECK(contains(refusal({text, "-o", out}), "not a Thimble model"));
  // The header's folder is missing: no C file either, and the other way round.
  CHECK(contains(refusal({model.path, "-o", out, "--header", model.folder / "none/out.h"}),
                 "cannot be written: No such file or directory"));
  CHECK(contains(refusal({model.path, "-o", model.folder / "none/out.c", "--header", header}),
                 "cannot be written: No such file or directory"));
  CHECK(!exists(out));
  CHECK(!exists(header));
  size_t n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(model.folder.path)) {
    n_files += entry.exists();
  }
  CHECK(n_files == 3);  // the inputs
}
