// SPDX-License-Identifier: MIT
#include "image.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <memory>

#include "adapter.h"
#include "crc32.h"
#include "engine.h"
#include "exact_math.h"
#include "finite.h"
#include "forward.h"
#include "matrix_writer.h"
#include "model.h"
#include "rope.h"
#include "rule.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

// ---- Header and section table --------------------------------------------------------------

struct Plan {
  FileHeader header{};
  std::vector<SectionEntry> sections;
};

bool spans_words(const std::string& text) {
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == ' ' && text[i - 1] != ' ') return true;
  }
  return false;
}

void check_vocabulary(const Vocabulary& v, const ModelShape& shape) {
  const size_t n = v.texts.size();
  if (n != shape.vocab_size || v.scores.size() != n || v.types.size() != n) {
    throw RefusedModel(
        format("the tokenizer has %zu texts, %zu scores and %zu types, but the model "
               "expects %u of each",
               n, v.scores.size(), v.types.size(), shape.vocab_size));
  }
  if (v.kind == kTokenizerByteBpe && v.splits.size() != n) {
    throw RefusedModel(
        format("the tokenizer has %zu texts and %zu splits, expected as many", n, v.splits.size()));
  }
  for (size_t i = 0; i < n; ++i) {
    if (!std::isfinite(v.scores[i])) {
      throw RefusedModel(format("token %zu: its score is %g, expected a finite number", i,
                                static_cast<double>(v.scores[i])));
    }
    if (v.types[i] > kTokenUser) {
      throw RefusedModel(format("token %zu: its type is %u, expected at most %u", i, v.types[i],
                                static_cast<unsigned>(kTokenUser)));
    }
    if (v.types[i] == kTokenByte && v.texts[i].size() != 1) {
      throw RefusedModel(
          format("token %zu: a byte token's text has %zu bytes, expected 1", i, v.texts[i].size()));
    }
    if (v.texts[i].size() > kMaxTokenBytes) {
      throw RefusedModel(format("token %zu: its text has %zu bytes, expected at most %u", i,
                                v.texts[i].size(), kMaxTokenBytes));
    }
  }
}

void set_tokenizer_fields(const Vocabulary& v, FileHeader* h) {
  h->tokenizer = v.kind;
  h->pre_tokenizer = v.pre_tokenizer;
  h->tokenizer_flags = v.kind == kTokenizerScoredBpe ? uint32_t{kTokenizerSplitsAtSpaces} : 0u;
  if (v.add_space_prefix) h->tokenizer_flags |= kTokenizerAddSpacePrefix;
  if (v.ignore_merges) h->tokenizer_flags |= kTokenizerIgnoresMerges;
  if (v.add_bos && v.bos_id >= 0) h->tokenizer_flags |= kTokenizerAddsBos;
  if (v.n_tokens > 0) h->n_tokens = v.n_tokens;
  for (const std::string& text : v.turns) h->turn_bytes += static_cast<uint32_t>(text.size());
  uint64_t bytes = 0;
  for (size_t i = 0; i < v.texts.size(); ++i) {
    const size_t n = v.texts[i].size();
    bytes += n;
    h->max_token_bytes = std::max(h->max_token_bytes, static_cast<uint32_t>(n));
    if (v.types[i] == kTokenNormal && spans_words(v.texts[i])) {
      h->tokenizer_flags &= ~uint32_t{kTokenizerSplitsAtSpaces};
    }
  }
  h->token_bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes, UINT32_MAX));
  h->bos_id = v.bos_id;
  h->eos_id = v.eos_id;
  h->end_of_turn_id = v.end_of_turn_id;
}

[[noreturn]] void refuse_header(const thimble_fault& fault) {
  const bool is_float = fault.offset == offsetof(FileHeader, norm_eps) ||
                        (fault.offset >= offsetof(FileHeader, rope_theta) &&
                         fault.offset <= offsetof(FileHeader, logit_cap));
  const auto number = [is_float](uint64_t value) {
    return is_float ? format("%g", static_cast<double>(float_of(static_cast<uint32_t>(value))))
                    : format("%lld", static_cast<long long>(value));
  };
  throw RefusedModel(std::string("a model file cannot hold this model: ") + fault.what +
                     ": found " + number(fault.found) + ", the nearest that is possible is " +
                     number(fault.expected));
}

bool has_windows(const ModelShape& shape) {
  return std::any_of(shape.layers.begin(), shape.layers.end(), [&](const LayerShape& layer) {
    return layer.window > 0 && layer.window < shape.n_ctx;
  });
}

// The fields that a shape decides, all but those of weights, tokenizer and self-test.
void set_shape_fields(const ModelShape& shape, FileHeader* header) {
  FileHeader& h = *header;
  h.dim = shape.dim;
  h.hidden_dim = shape.hidden_dim;
  h.n_layers = shape.n_layers;
  h.n_heads = shape.n_heads;
  h.n_kv_heads = shape.n_kv_heads;
  h.head_dim = shape.head_dim;
  h.vocab_size = h.n_tokens = shape.vocab_size;
  h.n_ctx = shape.n_ctx;
  h.norm = shape.norm;
  h.norm_eps = shape.norm_eps;
  h.norm_after = shape.norm_after ? 1 : 0;
  h.parallel = shape.parallel ? 1 : 0;
  h.biases = shape.biases;
  h.qk_norm = shape.qk_norm ? 1 : 0;
  h.learned_positions = shape.learned_positions ? 1 : 0;
  h.activation = shape.activation;
  h.gated = shape.gated ? 1 : 0;
  h.n_ropes = static_cast<uint32_t>(std::max<size_t>(1, shape.ropes.size()));
  h.has_windows = has_windows(shape) ? 1 : 0;
  h.rope_theta = shape.rope_theta;
  h.score_scale = shape.score_scale;
  if (h.score_scale == 0.0f) {
    h.score_scale = 1.0f / exact_sqrt(static_cast<float>(std::max(1u, shape.head_dim)));
  }
  h.embedding_scale = shape.embedding_scale;
  h.logit_scale = shape.logit_scale;
  h.logit_cap = shape.logit_cap;
  h.tied_head = shape.tied_head ? 1 : 0;
  h.n_params = count_parameters(shape);
}

void check_tables(const ModelShape& shape) {
  for (const std::vector<uint64_t>& table : shape.ropes) {
    if (table.size() != shape.head_dim / 2) {
      throw RefusedModel(format("a table of rotary frequencies has %zu, expected %u", table.size(),
                                shape.head_dim / 2));
    }
  }
  if (!shape.layers.empty() && shape.layers.size() != shape.n_layers) {
    throw RefusedModel(
        format("there are kinds of %zu layers, expected %u", shape.layers.size(), shape.n_layers));
  }
}

Plan make_plan(const ModelShape& shape, const WeightLayout& layout, const Vocabulary* vocabulary,
               const std::vector<int32_t>& self_test) {
  Plan plan;
  FileHeader& h = plan.header;
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kFormatVersion;
  h.byte_order = kByteOrderMark;
  check_tables(shape);
  set_shape_fields(shape, &h);
  h.weight_type = layout.type;
  h.group = layout.group;
  h.row_tile = layout.row_tile;
  h.q8_matrices = layout.q8_matrices;
  h.bos_id = h.eos_id = h.end_of_turn_id = -1;
  if (vocabulary) {
    check_vocabulary(*vocabulary, shape);
    set_tokenizer_fields(*vocabulary, &h);
  }
  h.self_test_tokens = static_cast<uint32_t>(self_test.size());
  thimble_fault fault{};
  if (check_header(h, &fault) != THIMBLE_OK) refuse_header(fault);

  h.n_sections = section_count(h);
  h.header_bytes = static_cast<uint32_t>(sizeof h + h.n_sections * sizeof(SectionEntry));
  plan.sections.reserve(h.n_sections);
  for (uint32_t i = 0; i < h.n_sections; ++i) {
    const SectionEntry* previous = i > 0 ? &plan.sections[i - 1] : nullptr;
    plan.sections.push_back(expected_section(h, previous));
  }
  h.file_bytes = expected_file_bytes(plan.sections.back());
  return plan;
}

// Header and section table as they lie in the file; sets the checksum of both.
std::vector<uint8_t> head_of(Plan* plan) {
  FileHeader& h = plan->header;
  std::vector<uint8_t> bytes(h.header_bytes);
  const auto assemble = [&] {
    std::memcpy(bytes.data(), &h, sizeof h);
    std::memcpy(bytes.data() + sizeof h, plan->sections.data(), bytes.size() - sizeof h);
  };
  h.header_crc = 0;
  assemble();
  h.header_crc = crc32(0, bytes.data(), bytes.size());
  assemble();
  return bytes;
}

// ---- Tables --------------------------------------------------------------------------------

// Dense ranks: equal scores get equal ranks, and the order of the scores is kept. A score of
// -FLT_MAX, of byte-level BPE (whose scores are ranks) any below 0: no merge makes it.
std::vector<int32_t> ranks_of(const Vocabulary& v) {
  const std::vector<float>& scores = v.scores;
  if (v.kind == kTokenizerByteBpe) return {scores.begin(), scores.end()};
  std::vector<float> sorted;
  for (const float score : scores) {
    if (score > -FLT_MAX) sorted.push_back(score);
  }
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  std::vector<int32_t> ranks;
  ranks.reserve(scores.size());
  for (float score : scores) {
    if (score == -FLT_MAX) {
      ranks.push_back(-1);
      continue;
    }
    const auto at = std::lower_bound(sorted.begin(), sorted.end(), score);
    ranks.push_back(static_cast<int32_t>(at - sorted.begin()));
  }
  return ranks;
}

std::vector<int32_t> byte_tokens_of(const Vocabulary& v) {
  const TokenType type = v.kind == kTokenizerByteBpe ? kTokenNormal : kTokenByte;
  std::vector<int32_t> table(256, -1);
  for (size_t i = v.texts.size(); i-- > 0;) {  // the lowest id of a byte stays
    if (v.types[i] != type || v.texts[i].size() != 1) continue;
    table[static_cast<uint8_t>(v.texts[i][0])] = static_cast<int32_t>(i);
  }
  return table;
}

// Open addressing. Of tokens with equal texts and types only the lowest id is in it.
std::vector<int32_t> lookup_of(const Vocabulary& v, uint32_t slots) {
  std::vector<int32_t> table(slots, -1);
  for (size_t i = 0; i < v.texts.size(); ++i) {
    const std::string& text = v.texts[i];
    if (v.types[i] == kTokenByte || text.empty()) continue;
    const auto is_same = [&](size_t id) {
      return v.texts[id] == text && v.types[id] == v.types[i];
    };
    uint32_t slot = fnv1a_32(reinterpret_cast<const uint8_t*>(text.data()),
                             static_cast<uint32_t>(text.size())) &
                    (slots - 1);
    while (table[slot] >= 0 && !is_same(static_cast<size_t>(table[slot]))) {
      slot = (slot + 1) & (slots - 1);
    }
    if (table[slot] < 0) table[slot] = static_cast<int32_t>(i);
  }
  return table;
}

// ---- Writing -------------------------------------------------------------------------------

class ImageWriter {
 public:
  ImageWriter(Plan plan, const ModelShape& shape, const WeightLayout& layout,
              const Vocabulary* vocabulary, const RowSource& rows, const Sink& sink,
              const std::function<void(double)>& progress, const SelfTestPlan& self_test)
      : plan_(std::move(plan)),
        shape_(shape),
        layout_(layout),
        self_test_(self_test),
        vocabulary_(vocabulary),
        rows_(rows),
        sink_(sink),
        progress_(progress),
        offset_(plan_.header.header_bytes) {}

  std::vector<SectionReport> write() {
    for (const SectionEntry& section : plan_.sections) {
      pad_to(section.offset);
      write_section(section);
    }
    pad_to(plan_.header.file_bytes);
    write_header();
    if (self_test_.hashes) write_self_test_hashes();
    if (progress_) progress_(1.0);
    return std::move(reports_);
  }

 private:
  void put(const void* data, size_t bytes) {
    if (bytes == 0) return;
    crc_ = crc32(crc_, data, bytes);
    sink_(offset_, data, bytes);
    offset_ += bytes;
    if (progress_) {
      progress_(static_cast<double>(offset_) / static_cast<double>(plan_.header.file_bytes));
    }
  }

  template <class T>
  void put(const std::vector<T>& table) {
    put(table.data(), table.size() * sizeof(T));
  }

  void pad_to(uint64_t offset) {
    const uint8_t zeros[kSectionAlignment] = {};
    put(zeros, static_cast<size_t>(offset - offset_));
  }

  void write_header() {
    plan_.header.data_crc = crc_;
    const std::vector<uint8_t> head = head_of(&plan_);
    sink_(0, head.data(), head.size());
  }

  // The hashes come from running the file, so they are zeros until it is complete. Nothing but
  // padding lies behind them.
  void write_self_test_hashes() {
    const std::vector<uint64_t> hashes = self_test_.hashes();
    const SectionEntry& section = plan_.sections.back();
    crc_ = crc_before_hashes_;
    offset_ = section.offset;
    put(hashes);
    pad_to(plan_.header.file_bytes);
    write_header();
  }

  void write_section(const SectionEntry& section) {
    switch (section.kind) {
      case kSelfTestTokens:
        return put(self_test_.tokens);
      case kSelfTestHashes:
        crc_before_hashes_ = crc_;
        return put(std::vector<uint64_t>(size_t{section.rows} * section.cols));
      case kRopeFrequencies:
        return write_rope_frequencies();
      case kLayerKinds:
        return write_layer_kinds();
      case kTokenOffsets:
        return write_offsets(vocabulary_->texts);
      case kTokenBytes:
        for (const std::string& text : vocabulary_->texts) put(text.data(), text.size());
        return;
      case kTokenRanks:
        return put(ranks_of(*vocabulary_));
      case kTokenTypes:
        return put(vocabulary_->marks_whole ? types_with_whole(*vocabulary_) : vocabulary_->types);
      case kByteTokens:
        return put(byte_tokens_of(*vocabulary_));
      case kTokenLookup:
        return put(lookup_of(*vocabulary_, section.cols));
      case kTokenSplits:
        return put(vocabulary_->splits);
      case kTurnOffsets:
        return write_offsets(vocabulary_->turns);
      case kTurnTexts:
        for (const std::string& text : vocabulary_->turns) put(text.data(), text.size());
        return;
      default:
        return write_matrix(section);
    }
  }

  void write_rope_frequencies() {
    if (shape_.ropes.empty()) {
      RopeSettings settings;
      settings.theta = static_cast<double>(shape_.rope_theta);
      settings.rotary_dim = shape_.head_dim;
      return put(rope_turns(settings, shape_.head_dim));
    }
    for (const std::vector<uint64_t>& table : shape_.ropes) put(table);
  }

  void write_layer_kinds() {
    std::vector<uint32_t> kinds(size_t{2} * shape_.n_layers);
    for (size_t i = 0; i < shape_.layers.size(); ++i) {
      // A window as long as the context sees everything.
      kinds[2 * i] = shape_.layers[i].window < shape_.n_ctx ? shape_.layers[i].window : 0;
      kinds[2 * i + 1] = shape_.layers[i].rope;
    }
    put(kinds);
  }

  void write_offsets(const std::vector<std::string>& texts) {
    std::vector<uint32_t> offsets{0};
    for (const std::string& text : texts) {
      offsets.push_back(offsets.back() + static_cast<uint32_t>(text.size()));
    }
    put(offsets);
  }

  void write_matrix(const SectionEntry& section) {
    const auto kind = static_cast<SectionKind>(section.kind);
    MatrixErrors errors;
    write_matrix_section(
        section, rows_, layout_.guide, [&](const void* data, size_t bytes) { put(data, bytes); },
        [&](uint64_t offset) { pad_to(offset); }, &errors);
    if (section.type == kElementF32) return;
    reports_.push_back({kind, section.layer, errors.worst(), errors.mean()});
  }

  Plan plan_;
  const ModelShape& shape_;
  const WeightLayout& layout_;
  const SelfTestPlan& self_test_;
  uint32_t crc_before_hashes_ = 0;
  const Vocabulary* vocabulary_;
  const RowSource& rows_;
  const Sink& sink_;
  const std::function<void(double)>& progress_;
  uint64_t offset_;
  uint32_t crc_ = 0;
  std::vector<SectionReport> reports_;
};

}  // namespace

const char* section_name(uint32_t kind) {
  switch (kind) {
    case kTokenEmbedding:
      return "token embedding";
    case kPositionEmbedding:
      return "position embedding";
    case kAttentionNorm:
      return "attention norm";
    case kAttentionQkv:
      return "attention q, k, v";
    case kAttentionQkvBias:
      return "bias of q, k, v";
    case kQkNorm:
      return "norms of q and k";
    case kAttentionOutput:
      return "attention output";
    case kAttentionOutputBias:
      return "attention output bias";
    case kAttentionPostNorm:
      return "norm after attention";
    case kFeedForwardNorm:
      return "feed-forward norm";
    case kFeedForwardGateUp:
      return "feed-forward gate, up";
    case kFeedForwardGateUpBias:
      return "bias of gate, up";
    case kFeedForwardDown:
      return "feed-forward down";
    case kFeedForwardDownBias:
      return "feed-forward down bias";
    case kFeedForwardPostNorm:
      return "norm after feed-forward";
    case kFinalNorm:
      return "final norm";
    case kOutputHead:
      return "output head";
    case kRopeFrequencies:
      return "rope frequencies";
    case kLayerKinds:
      return "layer kinds";
    case kRuleStates:
      return "rule_states";
    case kRuleEdges:
      return "rule_edges";
    case kRuleMasks:
      return "rule_masks";
    case kRuleBitmaps:
      return "rule_bitmaps";
    case kRuleListed:
      return "rule_listed";
    case kLoraA + kAttentionQkv:
      return "A of q, k, v";
    case kLoraB + kAttentionQkv:
      return "B of q, k, v";
    case kLoraA + kAttentionOutput:
      return "A of attention output";
    case kLoraB + kAttentionOutput:
      return "B of attention output";
    case kLoraA + kFeedForwardGateUp:
      return "A of gate, up";
    case kLoraB + kFeedForwardGateUp:
      return "B of gate, up";
    case kLoraA + kFeedForwardDown:
      return "A of down";
    case kLoraB + kFeedForwardDown:
      return "B of down";
    case kTokenOffsets:
      return "token offsets";
    case kTokenBytes:
      return "token bytes";
    case kTokenRanks:
      return "token ranks";
    case kTokenTypes:
      return "token types";
    case kByteTokens:
      return "byte tokens";
    case kTokenLookup:
      return "token lookup";
    case kTokenSplits:
      return "token splits";
    case kTurnOffsets:
      return "turn offsets";
    case kTurnTexts:
      return "turn texts";
    case kSelfTestTokens:
      return "self-test tokens";
    case kSelfTestHashes:
      return "self-test hashes";
    default:
      return "unknown";
  }
}

uint64_t count_parameters(const ModelShape& s) {
  const uint64_t dim = s.dim, hidden = s.hidden_dim, q = uint64_t{s.n_heads} * s.head_dim,
                 kv = uint64_t{s.n_kv_heads} * s.head_dim, up = (s.gated ? 2 : 1) * hidden;
  const uint64_t norm = s.norm == kNormLayer ? 2 * dim : dim;
  uint64_t layer = dim * (q + 2 * kv) + q * dim + dim * (up + hidden) + 2 * norm;
  if (s.norm_after) layer += 2 * norm;
  if (s.qk_norm) layer += 2 * s.head_dim;
  if (s.biases & kBiasQkv) layer += q + 2 * kv;
  if (s.biases & kBiasAttentionOutput) layer += dim;
  if (s.biases & kBiasFeedForwardIn) layer += up;
  if (s.biases & kBiasFeedForwardDown) layer += dim;
  const uint64_t positions = s.learned_positions ? s.n_ctx * dim : 0;
  return s.vocab_size * dim * (s.tied_head ? 1 : 2) + positions + s.n_layers * layer + norm;
}

uint64_t padding_within(const SectionEntry& s) {
  if (s.kind >= kRopeFrequencies) return 0;
  const uint64_t values = uint64_t{s.rows} * s.cols;
  if (s.type == kElementF32) return s.bytes - values * sizeof(float);
  // Whole bytes that no weight's bits are in.
  const uint64_t used = s.type == kElementQ4 ? (values + 1) / 2 : values;
  return s.bytes - used + s.scales_bytes - uint64_t{s.rows} * s.n_groups * sizeof(uint16_t);
}

ImageSize image_size(const ModelShape& shape, const WeightLayout& layout,
                     const Vocabulary* vocabulary) {
  const Plan plan = make_plan(shape, layout, vocabulary, self_test_prompt(shape, vocabulary));
  ImageSize size = {plan.header.file_bytes, 0};
  for (const SectionEntry& section : plan.sections) size.padding += padding_within(section);
  return size;
}

ImageOutline outline_image(const ModelShape& shape, const WeightLayout& layout,
                           const Vocabulary* vocabulary) {
  if (has_windows(shape) || shape.ropes.size() > 1) {
    throw RefusedModel("a model whose layers differ has no outline");
  }
  Plan plan = make_plan(shape, layout, vocabulary, self_test_prompt(shape, vocabulary));
  const std::vector<uint8_t> head = head_of(&plan);
  ImageOutline outline{AlignedBlock(head.size()), {}};
  std::memcpy(outline.block.data(), head.data(), head.size());
  checked(thimble::open_model(&outline.model, outline.block.data(),
                              static_cast<size_t>(plan.header.file_bytes)),
          "the outline");
  return outline;
}

std::vector<SectionReport> build_image(const ModelShape& shape, const WeightLayout& layout,
                                       const Vocabulary* vocabulary, const RowSource& rows,
                                       const Sink& sink,
                                       const std::function<void(double)>& progress,
                                       const SelfTestPlan& self_test) {
  return ImageWriter(make_plan(shape, layout, vocabulary, self_test.tokens), shape, layout,
                     vocabulary, rows, sink, progress, self_test)
      .write();
}

std::vector<int32_t> self_test_prompt(const ModelShape& shape, const Vocabulary* vocabulary) {
  constexpr uint32_t kTokens = 8;
  std::vector<int32_t> tokens;
  if (vocabulary && vocabulary->bos_id >= 0) tokens.push_back(vocabulary->bos_id);
  const uint64_t n = std::min(kTokens, shape.n_ctx);
  for (uint64_t i = tokens.size(); i < n; ++i) {
    tokens.push_back(static_cast<int32_t>((2 * i + 1) * shape.vocab_size / (2 * n)));
  }
  return tokens;
}

std::vector<uint64_t> self_test_hashes(const thimble_model& model,
                                       const std::function<void()>& between) {
  constexpr uint64_t kLargeParams = 16u << 20;  // the reference would take seconds
  const bool is_large = model.n_params > kLargeParams;
  const size_t n = size_t{model.n_layers} + 1;
  std::vector<uint64_t> hashes(2 * n);
  for (uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
    thimble_config config{};
    config.n_ctx = header_of(model).self_test_tokens;
    config.kv_type = kv_type;
    // The reference is the definition, whatever this machine's kernels do.
    config.isa = is_large ? nullptr : "reference";
    if (is_large) config.n_batch = config.n_ctx;  // one pass over the weights
    const AlignedBlock arena(thimble_session_bytes(&model, &config));
    thimble_session* session = nullptr;
    checked(thimble_session_init(&session, &model, &config, arena.data(), arena.size()), "session");
    checked(forward_self_test(session, hashes.data() + kv_type * n), "self-test");
    const std::string fault = run_finite(session, between);
    if (!fault.empty())
      throw RefusedModel("the self-test gives numbers that no trained model has: " + fault);
    forward_self_test_end(session, nullptr);
  }
  return hashes;
}

ImageInMemory build_image_in_memory(const ModelShape& shape, const WeightLayout& layout,
                                    const Vocabulary* vocabulary, const RowSource& rows,
                                    bool with_self_test) {
  SelfTestPlan self_test;
  if (with_self_test) self_test.tokens = self_test_prompt(shape, vocabulary);
  Plan plan = make_plan(shape, layout, vocabulary, self_test.tokens);
  ImageInMemory image;
  image.bytes = static_cast<size_t>(plan.header.file_bytes);
  image.block = AlignedBlock(image.bytes);
  uint8_t* out = image.block.data();
  std::memset(out, 0, image.bytes);  // what lies between sections
  const Sink sink = [out](uint64_t offset, const void* data, size_t bytes) {
    std::memcpy(out + offset, data, bytes);
  };
  if (with_self_test) {
    self_test.hashes = [&image] {
      thimble_model model;
      checked(thimble_model_open(&model, image.data(), image.bytes), "the finished image");
      return self_test_hashes(model);
    };
  }
  ImageWriter(std::move(plan), shape, layout, vocabulary, rows, sink, {}, self_test).write();
  return image;
}

}  // namespace thimble::tools
