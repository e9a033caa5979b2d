// SPDX-License-Identifier: MIT
// thimble plan: flash and RAM that a model takes, part by part, before anything is flashed.
#include "plan.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "args.h"
#include "boards.h"
#include "device.h"
#include "engine.h"
#include "error.h"
#include "image.h"
#include "json_string.h"
#include "kv_cache.h"
#include "model.h"
#include "output.h"
#include "shares.h"
#include "size_option.h"
#include "size_text.h"
#include "verbs.h"

namespace thimble::tools {

const char kPlanHelp[] =
    R"(usage: thimble plan MODEL [options]

Tells what a model and a session on it take of a device, part by part: the flash of the model file
and the RAM of the arena to the byte, engine code and stack as bounds that the tests keep. The arena
is the same number on every chip. The exit code is 1 if it does not fit.

The session
  --ctx N              positions of the key/value cache; default: the model's
  --kv f32|q8          how keys and values are cached; default f32
  --candidates K       keep the K likeliest tokens instead of all logits, 1 to 256; default: all
  --batch B            prompt tokens in one pass over the weights, 1 to 1024; default 1
  --draft N            compute up to N tokens ahead, 1 to 16; default: none
  --sinks N            a text without end: the first N positions and the last of --ctx are seen
  --lora RANK          memory for adapters up to this rank, 1 to 256, whose own flash comes on top;
                       default: none
  --rules              memory and code for rules of thimble constrain, whose own flash comes on top
  --shares N           memory and code for passes that N cores share, 1 to 16; default: none

Weights that are not memory-mapped
  --stream             they are read from SPI flash, a card or the like through a buffer in the arena;
                       that takes the model file
  --buffer SIZE        of that buffer, such as 8K; default: the least that will do
  --tables ram|flash   where the rest of the model is, which is no matrix; default ram

The device
  --board NAME         flash and RAM of a chip; --board list shows them
  --flash SIZE         bytes of flash, or of --board's what is left for this: 700000, 512K, 1M
  --ram SIZE           bytes of RAM, likewise

  --json               the same as JSON

Examples
  thimble plan story.thimble --ctx 256 --kv q8 --candidates 1
  thimble plan story.thimble --ctx 256 --kv q8 --board nrf52840
  thimble plan story.thimble --flash 2M --ram 200K --json
)";

FlashPlan plan_flash(const thimble_model& model, const thimble_config& config) {
  const FileHeader& h = header_of(model);
  const SectionEntry* sections = reinterpret_cast<const SectionEntry*>(&h + 1);
  FlashPlan plan = {};
  plan.header = h.header_bytes;
  for (uint32_t i = 0; i < h.n_sections; ++i) {
    const SectionEntry& s = sections[i];
    uint64_t& part = s.kind >= kSelfTestTokens    ? plan.self_test
                     : s.kind >= kTokenOffsets    ? plan.tokenizer
                     : s.kind >= kRopeFrequencies ? plan.tables
                                                  : plan.weights;
    const uint64_t scales = uint64_t{s.rows} * s.n_groups * sizeof(uint16_t);
    const uint64_t within = padding_within(s);
    if (s.scales_bytes > 0) plan.scales += scales;
    part += s.bytes + s.scales_bytes - within - (s.scales_bytes > 0 ? scales : 0);
    plan.within += within;
  }
  plan.padding = h.file_bytes - plan.model();
  plan.support = kSupportCodeBytes;
  const bool is_whole = h.has_windows || h.n_ropes > 1 || h.norm_after || h.parallel ||
                        h.embedding_scale < 1.0f || h.embedding_scale > 1.0f ||
                        h.logit_scale < 1.0f || h.logit_scale > 1.0f || h.logit_cap > 0.0f;
  plan.code =
      (is_whole ? kWholeEngineCodeBytes : kEngineCodeBytes) +
      (h.tokenizer == kTokenizerNone ? 0 : kTokenizerCodeBytes) +
      (config.lora_rank > 0 ? kLoraCodeBytes : 0) + (config.rules > 0 ? kRulesCodeBytes : 0) +
      (config.n_shares > 0 ? kSharesCodeBytes : 0) + (is_stored(model) ? kStreamCodeBytes : 0);
  plan.is_stored = is_stored(model);
  return plan;
}

RamPlan plan_ram(const thimble_model& model, const thimble_config& config, uint64_t kept) {
  ResolvedConfig resolved;
  checked(resolve_config(model, &config, &resolved), "session");
  RamPlan plan = {};
  const auto arena_of = [&](SessionParts* parts) {
    Arena counter(nullptr);
    session_layout(&counter, model, resolved, parts);
    return counter.used();
  };
  plan.arena = arena_of(nullptr);
  thimble_config without = config;
  without.lora_rank = 0;
  checked(resolve_config(model, &without, &resolved), "session");
  const uint64_t without_lora = arena_of(nullptr);
  without.n_draft = 0;
  checked(resolve_config(model, &without, &resolved), "session");
  const uint64_t others = arena_of(&plan.parts);
  plan.lora = plan.arena - without_lora;
  plan.drafts = without_lora - others;
  plan.kept = kept;
  plan.stack = THIMBLE_STACK_BYTES;
  return plan;
}

uint32_t longest_context(const thimble_model& model, thimble_config config, uint64_t ram,
                         uint64_t kept) {
  const auto fits = [&](uint32_t n_ctx) {
    config.n_ctx = n_ctx;
    return n_ctx > config.n_sinks && plan_ram(model, config, kept).total() <= ram;
  };
  uint32_t good = 0, bad = (config.n_ctx ? config.n_ctx : model.n_ctx) + 1;
  while (bad - good > 1) {
    const uint32_t middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good;
}

namespace {

void print_boards() {
  print_text(format("%-14s%10s%10s  %s\n", "board", "flash KiB", "RAM KiB", "core"));
  for (const Board& b : kBoards) {
    print_text(format("%-14s%10llu%10llu  %s\n", b.name,
                      static_cast<unsigned long long>(b.flash / kKiB),
                      static_cast<unsigned long long>(b.ram / kKiB), b.what));
  }
}

struct Part {
  const char* name;
  const char* key;  // in JSON
  uint64_t bytes;
};

std::vector<Part> flash_parts(const FlashPlan& f) {
  return {{"header, section table", "header", f.header},
          {"weights", "weights", f.weights},
          {"scales of weights", "scales", f.scales},
          {"padding within weights", "weights_padding", f.within},
          {"rotary frequencies", "tables", f.tables},
          {"tokenizer", "tokenizer", f.tokenizer},
          {"self-test", "self_test", f.self_test},
          {"padding between parts", "padding", f.padding}};
}

std::vector<Part> ram_parts(const RamPlan& r) {
  return {{"session structure", "structure", r.parts.structure},
          {"buffer for weights", "stream", r.parts.stream},
          {"tokens", "tokens", r.parts.tokens},
          {"key/value cache", "cache", r.parts.cache},
          {"logits", "logits", r.parts.logits},
          {"activations", "activations", r.parts.activations},
          {"drafts", "drafts", r.drafts},
          {"adapter", "lora", r.lora}};
}

struct Report {
  std::string path;
  thimble_model model;
  thimble_config config;
  Device device;
  FlashPlan flash;
  RamPlan ram;
  bool flash_fits() const { return device.flash == 0 || flash.total() <= device.flash; }
  bool ram_fits() const { return device.ram == 0 || ram.total() <= device.ram; }
};

struct LayerGroup {
  uint32_t window, sinks, positions, layers;  // window 0: all that is in the context
};

// What layers cache that do not all cache the context, by window.
std::vector<LayerGroup> layer_groups(const thimble_model& model, const thimble_config& c) {
  std::vector<LayerGroup> groups;
  const bool has_windows = header_of(model).has_windows != 0;
  if (!has_windows && c.n_sinks == 0) return groups;
  const uint32_t* kinds = has_windows ? table_of<uint32_t>(model, kLayerKinds) : nullptr;
  for (uint32_t i = 0; i < model.n_layers; ++i) {
    const KvConfig config = {c.n_ctx, c.n_batch, c.n_sinks, kWeightF32, 1};
    const KvLayer layer = kv_layer(kinds ? kinds[2 * i] : 0, config);
    const auto same = [&](const LayerGroup& group) { return group.window == layer.window; };
    const auto found = std::find_if(groups.begin(), groups.end(), same);
    if (found != groups.end()) {
      ++found->layers;
    } else {
      groups.push_back({layer.window, layer.sinks, layer.size, 1});
    }
  }
  return groups;
}

std::string line(const char* name, uint64_t bytes) {
  return format("  %-24s%12llu\n", name, static_cast<unsigned long long>(bytes));
}

std::string verdict(const char* what, uint64_t need, uint64_t have) {
  if (have == 0) return "";
  const bool fits = need <= have;
  const uint64_t rest = fits ? have - need : need - have;
  return format("%s: %s %s, %llu bytes %s\n", what, fits ? "fits into" : "does NOT fit into",
                size_text(have).c_str(), static_cast<unsigned long long>(rest),
                fits ? "left" : "missing");
}

// What would fit instead.
std::string advice(const Report& r) {
  std::string out;
  for (uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
    thimble_config config = r.config;
    config.kv_type = kv_type;
    const uint32_t n = longest_context(r.model, config, r.device.ram, r.ram.kept);
    const char* name = kv_type == THIMBLE_KV_Q8 ? "q8" : "f32";
    if (kv_type < r.config.kv_type || n == 0) continue;
    out += format("  fits: --kv %s --ctx %u\n", name, n);
  }
  if (out.empty()) out = "  no context fits: the activations alone are too large\n";
  return out;
}

std::string as_text(const Report& r) {
  const thimble_config& c = r.config;
  std::string out = r.path;
  if (r.device.board) out += format(" on %s (%s)", r.device.board->name, r.device.board->what);
  out += format(": context %u, %s cache, ", c.n_ctx, c.kv_type == THIMBLE_KV_Q8 ? "int8" : "f32");
  out += c.n_candidates ? format("%u candidate%s", c.n_candidates, c.n_candidates > 1 ? "s" : "")
                        : std::string("all logits");
  out += format(", batch %u", c.n_batch);
  if (c.n_draft) out += format(", drafts of %u", c.n_draft);
  if (c.n_sinks) out += format(", %u sink%s", c.n_sinks, c.n_sinks > 1 ? "s" : "");
  if (c.lora_rank) out += format(", adapters up to rank %u", c.lora_rank);
  if (c.rules) out += ", rules";
  if (c.n_shares) out += format(", %u shares", c.n_shares);
  if (r.flash.is_stored) out += ", weights from a store";
  out += r.flash.is_stored ? "\n\nstore\n" : "\n\nflash\n";
  for (const Part& part : flash_parts(r.flash)) out += line(part.name, part.bytes);
  out += line("= model file", r.flash.model());
  if (r.flash.is_stored) out += "\nflash\n";
  if (r.flash.kept > 0) out += line("tables of the model", r.flash.kept);
  out += line("engine code, at most", r.flash.code);
  out += line("its library, at most", r.flash.support);
  out += line("= flash", r.flash.total());
  out += "\nRAM\n";
  for (const Part& part : ram_parts(r.ram)) {
    const std::string key = part.key;
    const bool is_optional = key == "drafts" || key == "lora" || key == "stream";
    if (is_optional && part.bytes == 0) continue;
    out += line(part.name, part.bytes);
    if (key != "cache") continue;
    for (const LayerGroup& g : layer_groups(r.model, c)) {
      out += format("    %u layer%s: %u positions", g.layers, g.layers > 1 ? "s" : "", g.positions);
      if (g.window) out += format(", a window of %u", g.window);
      if (g.sinks) out += format(" and %u sink%s", g.sinks, g.sinks > 1 ? "s" : "");
      out += "\n";
    }
  }
  out += line("= arena", r.ram.arena);
  if (r.ram.kept > 0) out += line("tables of the model", r.ram.kept);
  out += line("stack, at most", r.ram.stack);
  out += line("= RAM", r.ram.total());
  const std::string verdicts = verdict("flash", r.flash.total(), r.device.flash) +
                               verdict("RAM", r.ram.total(), r.device.ram);
  if (!verdicts.empty()) out += "\n" + verdicts;
  if (!r.ram_fits()) out += advice(r);
  return out;
}

std::string json_parts(const std::vector<Part>& parts) {
  std::string out;
  for (const Part& part : parts) {
    out += format("\"%s\": %llu, ", part.key, static_cast<unsigned long long>(part.bytes));
  }
  return out;
}

std::string as_json(const Report& r) {
  const auto wide = [](uint64_t bytes) { return static_cast<unsigned long long>(bytes); };
  const auto fit = [&](uint64_t have, bool fits) {
    return have == 0
               ? std::string("null")
               : format("{\"bytes\": %llu, \"fits\": %s}", wide(have), fits ? "true" : "false");
  };
  std::string out = "{\n  \"file\": " + json_string(r.path) + ",\n";
  out += format(
      "  \"n_ctx\": %u, \"kv\": \"%s\", \"n_candidates\": %u, \"n_batch\": %u, \"n_draft\": %u, "
      "\"n_sinks\": %u, \"lora_rank\": %u, "
      "\"rules\": %u, \"n_shares\": %u,\n",
      r.config.n_ctx, r.config.kv_type == THIMBLE_KV_Q8 ? "q8" : "f32", r.config.n_candidates,
      r.config.n_batch, r.config.n_draft, r.config.n_sinks, r.config.lora_rank, r.config.rules,
      r.config.n_shares);
  out += "  \"flash\": {" + json_parts(flash_parts(r.flash));
  out += format(
      "\"model\": %llu, \"is_stored\": %s, \"kept_tables\": %llu, \"code_at_most\": %llu, "
      "\"library_at_most\": %llu, \"total\": %llu},\n",
      wide(r.flash.model()), r.flash.is_stored ? "true" : "false", wide(r.flash.kept),
      wide(r.flash.code), wide(r.flash.support), wide(r.flash.total()));
  out += "  \"ram\": {" + json_parts(ram_parts(r.ram));
  out +=
      format("\"arena\": %llu, \"kept_tables\": %llu, \"stack_at_most\": %llu, \"total\": %llu},\n",
             wide(r.ram.arena), wide(r.ram.kept), wide(r.ram.stack), wide(r.ram.total()));
  out += "  \"windows\": [";
  const std::vector<LayerGroup> groups = layer_groups(r.model, r.config);
  for (size_t i = 0; i < groups.size(); ++i) {
    out += format("%s{\"window\": %u, \"sinks\": %u, \"layers\": %u, \"positions\": %u}",
                  i ? ", " : "", groups[i].window, groups[i].sinks, groups[i].layers,
                  groups[i].positions);
  }
  out += "],\n";
  out += "  \"device\": {\"board\": " +
         (r.device.board ? json_string(r.device.board->name) : std::string("null")) +
         ", \"flash\": " + fit(r.device.flash, r.flash_fits()) +
         ", \"ram\": " + fit(r.device.ram, r.ram_fits()) + "}\n}\n";
  return out;
}

}  // namespace

int plan_verb(const Words& words) {
  const Args args(words, {{"--ctx", true},
                          {"--kv", true},
                          {"--candidates", true},
                          {"--batch", true},
                          {"--draft", true},
                          {"--sinks", true},
                          {"--lora", true},
                          {"--rules", false},
                          {"--shares", true},
                          {"--stream", false},
                          {"--buffer", true},
                          {"--tables", true},
                          {"--board", true},
                          {"--flash", true},
                          {"--ram", true},
                          {"--json", false}});
  if (args.text("--board", "") == "list") {
    print_boards();
    return 0;
  }
  Report r;
  r.device = device_of(args);
  const bool is_streamed = args.has("--stream");
  for (const char* option : {"--buffer", "--tables"}) {
    if (args.has(option) && !is_streamed) {
      throw WrongUsage(std::string("option '") + option + "' needs '--stream'");
    }
  }
  const std::string tables = args.text("--tables", "ram");
  if (tables != "ram" && tables != "flash") {
    throw WrongUsage("option '--tables' is '" + tables + "', expected ram or flash");
  }
  const size_t buffer =
      args.has("--buffer") ? static_cast<size_t>(size_option(args, "--buffer")) : 0;
  const LoadedModel loaded(args.one_positional("a model file"),
                           is_streamed ? LoadedModel::kStored : LoadedModel::kMapped);
  r.path = loaded.path();
  r.model = loaded.model();
  r.config = {};
  r.config.n_ctx = static_cast<uint32_t>(args.count("--ctx", r.model.n_ctx, 1, r.model.n_ctx));
  r.config.n_batch = static_cast<uint32_t>(args.count("--batch", 1, 1, 1024));
  r.config.kv_type = kv_type_of(args);
  r.config.n_sinks = sinks_of(args);
  r.config.n_draft = static_cast<uint32_t>(args.count("--draft", 0, 1, 16));
  r.config.lora_rank = static_cast<uint32_t>(args.count("--lora", 0, 1, kMaxLoraRank));
  r.config.rules = args.has("--rules") ? THIMBLE_RULES_CONFIDENCE : 0;
  r.config.n_shares = static_cast<uint32_t>(args.count("--shares", 0, 1, kMaxShares));
  r.config.n_candidates = static_cast<uint32_t>(args.count("--candidates", 0, 1, 256));
  check_sinks(loaded, r.config);
  uint64_t in_ram = 0;
  r.flash = plan_flash(r.model, r.config);
  if (StoredFile* stored = loaded.stored()) {
    stored->set_buffer(buffer);
    r.config.store = &stored->store();
    (tables == "flash" ? r.flash.kept : in_ram) = stored->tables().size();
  }
  r.ram = plan_ram(r.model, r.config, in_ram);
  print_text(args.has("--json") ? as_json(r) : as_text(r));
  return r.flash_fits() && r.ram_fits() ? 0 : 1;
}

}  // namespace thimble::tools
