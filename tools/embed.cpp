// SPDX-License-Identifier: MIT
// thimble embed: a model file as a part of a program, to be linked into firmware.
#include "embed.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "adapter_file.h"
#include "args.h"
#include "error.h"
#include "files.h"
#include "needs.h"
#include "rule_file.h"
#include "size_text.h"
#include "stored_file.h"
#include "targets.h"
#include "thimble/thimble.h"
#include "verbs.h"

namespace thimble::tools {

const char kEmbedHelp[] =
    R"(usage: thimble embed MODEL -o OUT [options]
       thimble embed MODEL --needs FILE

Turns a model file, an adapter or a rule into something that links into a program: read-only data, aligned
to 64 bytes as the engine wants it. It is checked first. In C, with every kind of OUT:

  extern const uint8_t NAME[];
  extern const size_t NAME_bytes;

OUT's suffix says what to write
  .o                   an object file for --for TARGET; nothing to compile, whatever the size
  .S                   assembler for gcc and clang that reads MODEL when it is assembled; MODEL's
                       path counts from where the compiler is called, or from its -I folders
  .c                   a C array, for any compiler of C99 or C++; slow to compile beyond a few MB
  .h                   only the header with the declarations; the same for all kinds

Options
  -o OUT               the file to write
  --as c|h|S|o         what to write, if OUT's suffix does not say so
  --header FILE        writes the header, too
  --needs FILE         writes the defines that leave out of the engine what this model never asks
                       for; the engine is then compiled with -DTHIMBLE_NEEDS='"FILE"'
  --uses LIST          with --needs: what the program asks for by itself, with commas between; sinks
                       (texts without end), drafts (tokens computed ahead), lora (adapters), pack
                       (packed texts), rules, shares (several cores), callers (compiled with another
                       version of thimble.h) and stream (weights that are not memory-mapped) are
                       left out otherwise
  --tables             not the model, but its tables: all but the matrices, for a program that reads those
                       from SPI flash, a card or the like, where MODEL lies as it is; .c or .o
  --for TARGET         of an object file: host, x86, x86-64, avx2, avx512, aarch64, neon, arm (bare
                       metal), arm-linux, cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33,
                       cortex-m55, riscv32 or riscv64. It links with hard and with soft floats; only ld.lld for
                       RISC-V wants ilp32 or lp64d, take .S for another
  --name NAME          the symbol, a C identifier; default: from the file's name, story.thimble
                       becomes story_model, or story_tables
  --section NAME       the section, for linker scripts that place the model; default: .rodata.NAME,
                       in a C file where the compiler puts constants

The header also has NAME_end, behind the last byte; in object and assembler files it is a symbol.

Examples
  thimble embed story.thimble -o story_model.o --for cortex-m4 --header story_model.h
  thimble embed story.thimble -o story_model.S --section .external_flash
  thimble embed story.thimble -o story_model.c --name story_image
  thimble embed story.thimble --needs model_needs.h
)";

namespace {

enum class Kind { kC, kHeader, kAssembler, kObject };

struct KindName {
  const char* name;  // the suffix without its dot
  Kind kind;
};
constexpr KindName kKinds[] = {
    {"c", Kind::kC}, {"h", Kind::kHeader}, {"S", Kind::kAssembler}, {"o", Kind::kObject}};

struct EmbedOptions {
  std::string model, output, header, needs;
  std::vector<std::string> uses;  // with needs
  Kind kind = Kind::kC;
  const Target* target = nullptr;  // of an object file
  bool tables = false;             // only those of the model
  std::string name, section;
};

[[noreturn]] void wrong_value(const char* option, const std::string& found,
                              const std::string& expected) {
  throw WrongUsage(std::string("option '") + option + "' is '" + found + "', " + expected);
}

const KindName* find_kind(const std::string& name) {
  for (const KindName& kind : kKinds) {
    if (name == kind.name) return &kind;
  }
  return nullptr;
}

Kind parse_kind(const Args& args, const std::string& output) {
  if (args.has("--as")) {
    const std::string name = args.text("--as", "");
    const KindName* kind = find_kind(name);
    if (!kind) wrong_value("--as", name, "expected c, h, S or o");
    return kind->kind;
  }
  const std::string suffix = std::filesystem::path(output).extension().string();
  const KindName* kind = suffix.empty() ? nullptr : find_kind(suffix.substr(1));
  if (!kind) {
    wrong_value("-o", output,
                "expected a name that ends in .c, .h, .S or .o, or --as to say what to write");
  }
  return kind->kind;
}

const Target* parse_target(const Args& args, Kind kind) {
  if (kind != Kind::kObject) {
    if (!args.has("--for")) return nullptr;
    throw WrongUsage("option '--for' is for object files (.o); the other kinds suit every target");
  }
  const std::string expected = "expected one of " + target_names(true);
  if (!args.has("--for")) {
    throw WrongUsage("an object file needs '--for TARGET', " + expected);
  }
  const std::string name = args.text("--for", "");
  const Target* target = find_target(name);
  if (!target || !target->object) wrong_value("--for", name, expected);
  return target;
}

std::vector<std::string> parse_uses(const Args& args) {
  std::vector<std::string> uses;
  if (!args.has("--uses")) return uses;
  if (!args.has("--needs")) throw WrongUsage("option '--uses' needs '--needs FILE'");
  std::string known;
  for (const std::string& use : kUses) known += (known.empty() ? "" : ", ") + use;
  std::istringstream list(args.text("--uses", ""));
  for (std::string use; std::getline(list, use, ',');) {
    if (std::find(kUses.begin(), kUses.end(), use) == kUses.end()) {
      wrong_value("--uses", use, "expected one of " + known);
    }
    uses.push_back(use);
  }
  if (uses.empty()) wrong_value("--uses", "", "expected one of " + known);
  return uses;
}

void check_file_names(const EmbedOptions& o) {
  for (const std::string& output : {o.output, o.header, o.needs}) {
    if (same_file(output, o.model)) {
      throw WrongUsage("'" + output + "' would overwrite the model '" + o.model +
                       "', expected another name");
    }
  }
  for (const auto& [one, other] : {std::pair(o.output, o.header), std::pair(o.output, o.needs),
                                   std::pair(o.header, o.needs)}) {
    if (same_file(one, other)) {
      throw WrongUsage("two outputs go to '" + one + "', expected two names");
    }
  }
}

EmbedOptions parse(const Words& words) {
  const Args args(words, {{"-o", true},
                          {"--as", true},
                          {"--header", true},
                          {"--needs", true},
                          {"--uses", true},
                          {"--tables", false},
                          {"--for", true},
                          {"--name", true},
                          {"--section", true}});
  EmbedOptions o;
  o.model = args.one_positional("a model file");
  o.needs = args.text("--needs", "");
  o.uses = parse_uses(args);
  if (args.has("--needs")) {
    if (o.needs.empty() || o.needs == "-") {
      wrong_value("--needs", o.needs, "expected the name of a file");
    }
    if (!args.has("-o")) {
      for (const char* option : {"--as", "--header", "--for", "--name", "--section", "--tables"}) {
        if (args.has(option)) {
          throw WrongUsage(std::string("option '") + option +
                           "' says what -o OUT is, expected one");
        }
      }
      check_file_names(o);
      return o;
    }
  }
  o.output = args.text("-o", "");
  if (o.output.empty()) {
    throw WrongUsage("expected -o OUT, the file to write; its name ends in .c, .h, .S or .o");
  }
  if (o.output == "-") wrong_value("-o", "-", "expected the name of a file, not stdout");
  o.kind = parse_kind(args, o.output);
  o.target = parse_target(args, o.kind);
  o.header = args.text("--header", "");
  if (args.has("--header")) {
    if (o.header.empty()) wrong_value("--header", "", "expected the name of a file");
    if (o.kind == Kind::kHeader) {
      throw WrongUsage("'-o " + o.output + "' is the header already, expected no '--header'");
    }
  }
  check_file_names(o);
  o.tables = args.has("--tables");
  if (o.tables && o.kind == Kind::kAssembler) {
    throw WrongUsage("option '--tables' is for .c and .o: assembler reads the whole model's file");
  }
  o.name = args.text("--name", default_symbol(o.model, o.tables));
  const std::string name_fault = fault_of_symbol(o.name);
  if (!name_fault.empty()) wrong_value("--name", o.name, name_fault);
  if (args.has("--section")) {
    if (o.kind == Kind::kHeader)
      throw WrongUsage("option '--section' is for .c, .S and .o; a header places nothing");
    o.section = args.text("--section", "");
    const std::string section_fault = fault_of_section(o.section);
    if (!section_fault.empty()) wrong_value("--section", o.section, section_fault);
  }
  return o;
}

void write(const EmbedOptions& o, const Embedding& model, const ByteSink& sink) {
  switch (o.kind) {
    case Kind::kC:
      return write_c_array(model, sink);
    case Kind::kHeader:
      return write_c_header(model, sink);
    case Kind::kAssembler:
      return write_assembler(model, sink);
    case Kind::kObject:
      return write_elf_object(
          *o.target->object,
          {model.name, model.section.empty() ? ".rodata." + model.name : model.section,
           std::filesystem::path(model.path).filename().string(), model.data, model.bytes},
          sink);
  }
}

std::string description(const EmbedOptions& o) {
  switch (o.kind) {
    case Kind::kC:
      return "C array";
    case Kind::kHeader:
      return "header";
    case Kind::kAssembler:
      return "assembler that reads " + o.model + " when it is assembled";
    case Kind::kObject:
      return o.target->object->name;
  }
  return "";
}

// What was read, in words.
std::string described(const thimble_model& model, size_t bytes) {
  return format("%llu parameters, tiles of %u rows, %s",
                static_cast<unsigned long long>(model.n_params), model.row_tile,
                size_text(bytes).c_str());
}
std::string described(const AdapterHeader& adapter, size_t bytes) {
  return format("an adapter of rank %u, %s", adapter.rank, size_text(bytes).c_str());
}
std::string described(const RuleHeader& rule, size_t bytes) {
  return format("a rule of %u states, %s", rule.n_states, size_text(bytes).c_str());
}

}  // namespace

int embed_verb(const Words& words) {
  const EmbedOptions o = parse(words);
  const MappedFile file(o.model);
  thimble_model model{};
  std::string what;
  if (is_adapter(file)) {
    if (!o.needs.empty()) {
      throw WrongUsage("option '--needs' is for models, and '" + o.model + "' is an adapter");
    }
    what = described(intact_adapter(file), file.size());
  } else if (is_rule(file)) {
    if (!o.needs.empty()) {
      throw WrongUsage("option '--needs' is for models, and '" + o.model + "' is a rule");
    }
    what = described(intact_rule(file), file.size());
  } else {
    model = open_model(file);
    what = described(model, file.size());
  }
  if (o.tables && !model.image) {
    throw WrongUsage("option '--tables' is for models, and '" + o.model + "' is none");
  }
  std::optional<StoredFile> stored;
  if (o.tables) stored.emplace(o.model);
  const Embedding embedding{o.model, o.name, o.section,
                            stored ? stored->tables().data() : file.data(),
                            stored ? stored->tables().size() : file.size()};
  uint64_t bytes = 0;

  // All or none: one that is refused must not come after one that is there.
  std::optional<OutputFile> output, header, needs;
  if (!o.output.empty()) output.emplace(o.output);
  if (!o.header.empty()) header.emplace(o.header);
  if (!o.needs.empty()) needs.emplace(o.needs);
  if (output) {
    write(o, embedding, [&](const void* data, size_t n) {
      output->write(data, n);
      bytes += n;
    });
  }
  if (header) {
    write_c_header(embedding, [&](const void* data, size_t n) { header->write(data, n); });
  }
  if (needs) {
    const std::string text = needs_header(model, o.uses, o.model);
    needs->write(text.data(), text.size());
  }
  for (std::optional<OutputFile>* file_of : {&output, &header, &needs}) {
    if (*file_of) (*file_of)->commit();
  }

  std::fprintf(stderr, "read   %s: %s, intact\n", o.model.c_str(), what.c_str());
  if (output) {
    const std::string tables =
        stored ? format("tables of %s, ", size_text(stored->tables().size()).c_str()) : "";
    std::fprintf(stderr, "wrote  %s: %s%s, %s\n", o.output.c_str(), tables.c_str(),
                 description(o).c_str(), size_text(bytes).c_str());
  }
  if (header) std::fprintf(stderr, "wrote  %s: header\n", o.header.c_str());
  if (needs) {
    std::fprintf(stderr,
                 "wrote  %s: what the engine may leave out, with -DTHIMBLE_NEEDS='\"%s\"'\n",
                 o.needs.c_str(), std::filesystem::path(o.needs).filename().string().c_str());
  }
  if (output) {
    std::fprintf(stderr,
                 "in C   extern const uint8_t %s[];\n"
                 "       extern const size_t %s_bytes;\n",
                 o.name.c_str(), o.name.c_str());
  }
  return 0;
}

}  // namespace thimble::tools
