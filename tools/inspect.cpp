// SPDX-License-Identifier: MIT
// thimble inspect: what a model file holds, as text or JSON.
#include <cstdlib>
#include <string>
#include <vector>

#include "adapter_file.h"
#include "aligned_block.h"
#include "args.h"
#include "error.h"
#include "exact_math.h"
#include "files.h"
#include "image.h"
#include "inspect_adapter.h"
#include "inspect_rule.h"
#include "json_string.h"
#include "model.h"
#include "output.h"
#include "rule_file.h"
#include "section_table.h"
#include "size_text.h"
#include "tokenizer.h"
#include "verbs.h"
#include "weight_types.h"

namespace thimble::tools {

const char kInspectHelp[] =
    R"(usage: thimble inspect MODEL [options]

Shows what a model file, an adapter or a rule holds and whether it is intact. The exit code is 1 if the
checksum of the data is wrong, the self-test fails or the file is refused.

  --tensors            every section with its type, shape and place
  --self-test          runs the self-test that the file carries, on every kernel table of this
                       machine and with both types of cache; says where its numbers are none
  --json               the same as JSON

Examples
  thimble inspect story.thimble
  thimble inspect story.thimble --tensors
  thimble inspect story.thimble --self-test
  thimble inspect story.thimble --json | jq .sections
)";

namespace {

const char* json_bool(bool value) {
  return value ? "true" : "false";
}

// ---- The header ----------------------------------------------------------------------------

struct Fact {
  std::string name, json;
  std::string note;  // for a person, behind the value
};

Fact fact(const char* name, int64_t value, const std::string& note = "") {
  return {name, format("%lld", static_cast<long long>(value)), note};
}
Fact fact(const char* name, const char* value) {
  return {name, json_string(value), ""};
}
Fact fact(const char* name, bool value) {
  return {name, json_bool(value), ""};
}

// The shortest decimal that is this float again.
Fact fact(const char* name, float value) {
  std::string text;
  for (int digits = 6; digits <= 9; ++digits) {
    text = format("%.*g", digits, static_cast<double>(value));
    if (bits_of(std::strtof(text.c_str(), nullptr)) == bits_of(value)) break;
  }
  return {name, text, ""};
}

const char* activation_name(uint32_t type) {
  switch (type) {
    case kActivationSilu:
      return "silu";
    case kActivationGeluTanh:
      return "gelu_tanh";
    case kActivationGelu:
      return "gelu";
    default:
      return "relu";
  }
}

// Which matrices have a bias.
std::string bias_names(uint32_t biases) {
  const char* const names[] = {"qkv", "attention_output", "feed_forward_in", "feed_forward_down"};
  std::string text;
  for (uint32_t bit = 0; bit < 4; ++bit) {
    if (biases >> bit & 1) text += (text.empty() ? "" : " ") + std::string(names[bit]);
  }
  return text.empty() ? "none" : text;
}

const char* tokenizer_name(uint32_t type) {
  return type == kTokenizerNone ? "none" : type == kTokenizerByteBpe ? "byte_bpe" : "scored_bpe";
}

const char* pre_tokenizer_name(uint32_t type) {
  const char* const names[] = {"none", "gpt2", "llama3", "qwen2", "smollm"};
  return names[type];
}

std::vector<Fact> header_facts(const FileHeader& h) {
  std::vector<Fact> facts = {
      fact("file_bytes", static_cast<int64_t>(h.file_bytes)),
      fact("format_version", int64_t{h.version}),
      fact("header_bytes", int64_t{h.header_bytes}),
      fact("n_params", static_cast<int64_t>(h.n_params)),
      fact("dim", int64_t{h.dim}),
      fact("hidden_dim", int64_t{h.hidden_dim}),
      fact("n_layers", int64_t{h.n_layers}),
      fact("n_heads", int64_t{h.n_heads}),
      fact("n_kv_heads", int64_t{h.n_kv_heads}),
      fact("head_dim", int64_t{h.head_dim}),
      fact("vocab_size", int64_t{h.vocab_size}),
      fact("n_ctx", int64_t{h.n_ctx}),
      fact("norm", h.norm == kNormLayer ? "layer" : "rms"),
      fact("norm_eps", h.norm_eps),
      fact("norm_after", h.norm_after != 0),
      fact("parallel", h.parallel != 0),
      fact("biases", bias_names(h.biases).c_str()),
      fact("qk_norm", h.qk_norm != 0),
      fact("learned_positions", h.learned_positions != 0),
      fact("activation", activation_name(h.activation)),
      fact("gated", h.gated != 0),
      fact("n_ropes", int64_t{h.n_ropes}),
      fact("has_windows", h.has_windows != 0),
      fact("rope_theta", h.rope_theta),
      fact("score_scale", h.score_scale),
      fact("embedding_scale", h.embedding_scale),
      fact("logit_scale", h.logit_scale),
      fact("logit_cap", h.logit_cap),
      fact("tied_head", h.tied_head != 0),
      fact("weight_type", weight_type(h.weight_type).name),
      fact("group", int64_t{h.group},
           weight_type(h.weight_type).has_scales && h.group == 0 ? "a scale for each row" : ""),
      fact("q8_matrices", int64_t{h.q8_matrices}, matrix_names(h.q8_matrices)),
      fact("row_tile", int64_t{h.row_tile}),
      fact("tokenizer", tokenizer_name(h.tokenizer)),
  };
  if (h.tokenizer != kTokenizerNone) {
    facts.push_back(fact("add_space_prefix", (h.tokenizer_flags & kTokenizerAddSpacePrefix) != 0));
    facts.push_back(fact("splits_at_spaces", (h.tokenizer_flags & kTokenizerSplitsAtSpaces) != 0));
    facts.push_back(fact("ignore_merges", (h.tokenizer_flags & kTokenizerIgnoresMerges) != 0));
    facts.push_back(fact("add_bos", (h.tokenizer_flags & kTokenizerAddsBos) != 0));
    facts.push_back(fact("pre_tokenizer", pre_tokenizer_name(h.pre_tokenizer)));
    facts.push_back(fact("n_tokens", int64_t{h.n_tokens}));
    facts.push_back(fact("token_bytes", int64_t{h.token_bytes}));
    facts.push_back(fact("max_token_bytes", int64_t{h.max_token_bytes}));
  }
  facts.push_back(fact("bos_id", int64_t{h.bos_id}));
  facts.push_back(fact("eos_id", int64_t{h.eos_id}));
  facts.push_back(fact("end_of_turn_id", int64_t{h.end_of_turn_id}));
  facts.push_back(fact("turn_bytes", int64_t{h.turn_bytes}));
  facts.push_back(fact("self_test_tokens", int64_t{h.self_test_tokens}));
  return facts;
}

// ---- Sections ------------------------------------------------------------------------------

struct KindTotal {  // all sections of a kind, scales included, padding not
  uint32_t kind;
  uint32_t count;
  uint64_t bytes;
};

std::vector<KindTotal> totals_of(const std::vector<SectionEntry>& sections) {
  std::vector<KindTotal> totals;
  for (const SectionEntry& s : sections) {
    auto at = totals.begin();
    while (at != totals.end() && at->kind != s.kind) ++at;
    if (at == totals.end()) at = totals.insert(at, {s.kind, 0, 0});
    ++at->count;
    at->bytes += s.bytes + s.scales_bytes;
  }
  return totals;
}

// One run of the file's self-test.
struct SelfTestRun {
  std::string isa;
  const char* kv;
  thimble_status status;
  thimble_self_test_report report;
};

struct Verdict {
  uint32_t stored = 0, computed = 0;
  bool checksum_good = false;
  std::string tokenizer_fault;          // empty if its tables are good
  std::vector<SelfTestRun> self_tests;  // empty if they were not asked for
  std::string not_finite;               // the first result within one that is no number
  bool good() const {
    for (const SelfTestRun& run : self_tests) {
      if (run.status != THIMBLE_OK) return false;
    }
    return checksum_good && tokenizer_fault.empty() && not_finite.empty();
  }
};

struct Inspection {
  std::string path;
  const FileHeader* header;
  std::vector<SectionEntry> sections;
  Verdict verdict;
};

std::string as_text(const Inspection& in, bool tensors) {
  std::string out = in.path + ": " + size_text(in.header->file_bytes) + "\n";
  for (const Fact& f : header_facts(*in.header)) {
    const bool quoted = f.json[0] == '"';
    const std::string value = quoted ? f.json.substr(1, f.json.size() - 2) : f.json;
    out += format("  %-18s%s%s\n", f.name.c_str(), value.c_str(),
                  f.note.empty() ? "" : (" (" + f.note + ")").c_str());
  }
  out += format("\n%-24s%8s%14s\n", "sections", "count", "bytes");
  for (const KindTotal& t : totals_of(in.sections)) {
    out += format("  %-22s%8u%14llu\n", section_name(t.kind), t.count,
                  static_cast<unsigned long long>(t.bytes));
  }
  if (tensors) out += section_table(in.sections);
  const Verdict& v = in.verdict;
  out += checksum_line(v.stored, v.computed, "weights or tables");
  if (!v.tokenizer_fault.empty()) out += "tokenizer tables WRONG: " + v.tokenizer_fault + "\n";
  for (const SelfTestRun& run : v.self_tests) {
    const std::string where = format("%s, %s cache", run.isa.c_str(), run.kv);
    const auto wide = [](uint64_t hash) { return static_cast<unsigned long long>(hash); };
    if (run.status == THIMBLE_OK) {
      out += format("self-test good: %s: logits 0x%016llx\n", where.c_str(),
                    wide(run.report.expected));
    } else if (run.status != THIMBLE_ERROR_SELF_TEST) {
      out += format("self-test: %s\n", thimble_status_text(run.status));
    } else {
      const bool in_layer = run.report.layer < static_cast<int32_t>(in.header->n_layers);
      out += format("self-test WRONG: %s: %s: found 0x%016llx, expected 0x%016llx\n", where.c_str(),
                    in_layer ? format("layer %d", run.report.layer).c_str() : "logits",
                    wide(run.report.found), wide(run.report.expected));
    }
  }
  if (!v.not_finite.empty()) out += "self-test WRONG: " + v.not_finite + "\n";
  return out;
}

std::string as_json(const Inspection& in, bool tensors) {
  std::string out = "{\n  \"file\": " + json_string(in.path) + ",\n";
  for (const Fact& f : header_facts(*in.header)) out += "  \"" + f.name + "\": " + f.json + ",\n";
  std::vector<std::string> items;
  for (const KindTotal& t : totals_of(in.sections)) {
    items.push_back(format("\"kind\": %u, \"name\": \"%s\", \"count\": %u, \"bytes\": %llu", t.kind,
                           section_name(t.kind), t.count,
                           static_cast<unsigned long long>(t.bytes)));
  }
  out += json_list("sections", items);
  if (tensors) out += section_table_json(in.sections);
  const Verdict& v = in.verdict;
  out +=
      format("  \"checksum\": {\"good\": %s, \"stored\": \"0x%08x\", \"computed\": \"0x%08x\"},\n",
             json_bool(v.checksum_good), v.stored, v.computed);
  out += format("  \"tokenizer_good\": %s,\n", json_bool(v.tokenizer_fault.empty()));
  if (!v.self_tests.empty()) {
    items.clear();
    for (const SelfTestRun& run : v.self_tests) {
      items.push_back(
          format("\"isa\": \"%s\", \"kv\": \"%s\", \"good\": %s, \"status\": %d, "
                 "\"layer\": %d",
                 run.isa.c_str(), run.kv, json_bool(run.status == THIMBLE_OK), run.status,
                 run.report.layer));
    }
    out += json_list("self_tests", items);
    out += format("  \"self_tests_finite\": %s,\n", json_bool(v.not_finite.empty()));
  }
  return out + format("  \"good\": %s\n}\n", json_bool(v.good()));
}

// What the self-test's hashes do not tell: whether they are hashes of numbers.
std::string not_finite_in(const thimble_model& model) {
  if (header_of(model).self_test_tokens == 0) return "";
  try {
    self_test_hashes(model);
  } catch (const RefusedModel& refused) {
    return refused.what();
  }
  return "";
}

// Weights and tables, which may be damaged while the header is good.
Verdict judge(const thimble_model& opened) {
  thimble_model model = opened;
  Verdict v;
  v.checksum_good = verify_model(&model) == THIMBLE_OK;
  v.stored = header_of(opened).data_crc;
  v.computed = v.checksum_good ? v.stored : static_cast<uint32_t>(model.fault.found);
  thimble_fault fault{};
  if (check_tokenizer(opened, &fault) != THIMBLE_OK) {
    v.tokenizer_fault =
        format("%s: found %lld, expected %lld (at byte %llu)", fault.what,
               static_cast<long long>(fault.found), static_cast<long long>(fault.expected),
               static_cast<unsigned long long>(fault.offset));
  }
  return v;
}

std::vector<SelfTestRun> run_self_tests(const thimble_model& model) {
  std::vector<SelfTestRun> runs;
  if (header_of(model).self_test_tokens == 0) {
    return {{"", "", THIMBLE_ERROR_NO_SELF_TEST, {-1, 0, 0}}};
  }
  for (size_t i = 0; const char* isa = thimble_isa_at(i); ++i) {
    for (uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
      thimble_config config{};
      config.n_ctx = header_of(model).self_test_tokens;
      config.kv_type = kv_type;
      config.isa = isa;
      const AlignedBlock arena(thimble_session_bytes(&model, &config));
      thimble_session* session = nullptr;
      SelfTestRun run = {isa, kv_type == THIMBLE_KV_Q8 ? "q8" : "f32", THIMBLE_OK, {-1, 0, 0}};
      run.status = thimble_session_init(&session, &model, &config, arena.data(), arena.size());
      if (run.status == THIMBLE_OK) run.status = thimble_self_test(session, 0, &run.report);
      runs.push_back(run);
    }
  }
  return runs;
}

}  // namespace

int inspect_verb(const Words& words) {
  const Args args(words, {{"--tensors", false}, {"--self-test", false}, {"--json", false}});
  const MappedFile file(args.one_positional("a model, adapter or rule file"));
  if (is_adapter(file)) {
    if (args.has("--self-test")) {
      throw WrongUsage("option '--self-test' is for models; adapters have none");
    }
    return inspect_adapter(file, args.has("--tensors"), args.has("--json"));
  }
  if (is_rule(file)) {
    if (args.has("--self-test")) {
      throw WrongUsage("option '--self-test' is for models; rules have none");
    }
    return inspect_rule(file, args.has("--tensors"), args.has("--json"));
  }
  thimble_model model;
  if (thimble::open_model(&model, file.data(), file.size()) != THIMBLE_OK) {
    open_model(file);  // says why
  }
  Inspection in;
  in.path = file.path();
  in.header = &header_of(model);
  const auto* table = reinterpret_cast<const SectionEntry*>(in.header + 1);
  in.sections.assign(table, table + in.header->n_sections);
  in.verdict = judge(model);
  if (args.has("--self-test")) {
    in.verdict.self_tests = run_self_tests(model);
    in.verdict.not_finite = not_finite_in(model);
  }
  const bool tensors = args.has("--tensors");
  print_text(args.has("--json") ? as_json(in, tensors) : as_text(in, tensors));
  return in.verdict.good() ? 0 : 1;
}

}  // namespace thimble::tools
