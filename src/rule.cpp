// SPDX-License-Identifier: MIT
// Everything that a rule's file could get wrong is found here, once.
#include "rule.h"

#include "flat_file.h"
#include "parts.h"
#include "session.h"

#if THIMBLE_RULES
namespace thimble {
namespace {

constexpr FileKind kRuleFile = {kRuleMagic, kRuleVersion, sizeof(RuleHeader),
                                offsetof(RuleHeader, n_sections)};

const SectionEntry* section_table(const RuleHeader& h) {
  return reinterpret_cast<const SectionEntry*>(&h + 1);
}

uint32_t words_for(uint32_t vocab_size) {
  return (vocab_size + 31) / 32;
}

constexpr uint32_t kNarrowIds = 65536;
constexpr float kForbidden = -__builtin_inff();

struct Range {
  const char* what;
  uint32_t offset, low, high;
};

thimble_status check_counts(const RuleHeader& h, thimble_fault* fault) {
  if (h.flags != 0) {
    refuse(fault, "flags", h.flags, 0, offsetof(RuleHeader, flags));
    return THIMBLE_ERROR_UNSUPPORTED;
  }
  const Range ranges[] = {
      {"vocab_size", offsetof(RuleHeader, vocab_size), 1, kMaxVocab},
      {"n_states", offsetof(RuleHeader, n_states), 1, kMaxRuleStates},
      {"n_edges", offsetof(RuleHeader, n_edges), 0, kMaxRuleEdges},
      {"n_masks", offsetof(RuleHeader, n_masks), 1, h.n_states},
      {"n_bitmaps", offsetof(RuleHeader, n_bitmaps), 0, h.n_masks},
      {"n_listed", offsetof(RuleHeader, n_listed), 0, kMaxRuleListed},
      {"n_sections", offsetof(RuleHeader, n_sections), kRuleSections, kRuleSections},
  };
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(&h);
  for (const Range& range : ranges) {
    uint32_t found;
    memcpy(&found, bytes + range.offset, sizeof found);
    if (found >= range.low && found <= range.high) continue;
    refuse(fault, range.what, found, found < range.low ? range.low : range.high, range.offset);
    return THIMBLE_ERROR_HEADER;
  }
  for (const uint8_t& byte : h.reserved) {
    if (byte == 0) continue;
    refuse(fault, "reserved byte", byte, 0, static_cast<uint32_t>(&byte - bytes));
    return THIMBLE_ERROR_HEADER;
  }
  return THIMBLE_OK;
}

uint32_t id_at(const RuleTables& rule, uint32_t at) {
  return rule.is_wide ? static_cast<const uint32_t*>(rule.listed)[at]
                      : static_cast<const uint16_t*>(rule.listed)[at];
}

// What the tables say of each other. `image` is only for the faults' places.
class Content {
 public:
  Content(const RuleHeader& h, thimble_fault* fault)
      : h_(h),
        image_(reinterpret_cast<const uint8_t*>(&h)),
        t_(rule_tables(image_)),
        fault_(fault) {}

  bool is_good() const { return states() && edges() && masks() && bitmaps(); }

 private:
  bool fail(const char* what, uint64_t found, uint64_t expected, const void* place) const {
    return refuse(fault_, what, found, expected,
                  static_cast<uint32_t>(static_cast<const uint8_t*>(place) - image_));
  }

  // Entry i of n + 1: where its part of `all` begins. The first is 0, the last all of it, and none
  // is below the one before.
  bool begins(const char* what, uint32_t i, uint32_t n, const uint32_t& first, uint32_t before,
              uint32_t all) const {
    const uint32_t low = i == n ? all : before, high = i == 0 ? 0 : all;
    if (first >= low && first <= high) return true;
    return fail(what, first, first < low ? low : high, &first);
  }

  bool states() const {
    uint32_t before = 0;
    for (uint32_t i = 0; i <= h_.n_states; ++i) {
      const RuleState& s = t_.states[i];
      const bool is_last = i == h_.n_states;
      if (!begins("first edge of a state", i, h_.n_states, s.first_edge, before, h_.n_edges)) {
        return false;
      }
      before = s.first_edge;
      const uint32_t mask = s.mask_and_accepts / 2, limit = is_last ? 0 : h_.n_masks - 1;
      if (mask > limit || (is_last && s.mask_and_accepts != 0)) {
        return fail("mask of a state", mask, limit, &s.mask_and_accepts);
      }
    }
    return true;
  }

  bool edges() const {
    for (uint32_t i = 0; i < h_.n_states; ++i) {
      int32_t before = -1;
      for (uint32_t e = t_.states[i].first_edge; e < t_.states[i + 1].first_edge; ++e) {
        const RuleEdge& edge = t_.edges[e];
        if (edge.first <= before) {
          return fail("first byte of an edge", edge.first, static_cast<uint32_t>(before + 1),
                      &edge);
        }
        if (edge.last < edge.first) {
          return fail("last byte of an edge", edge.last, edge.first, &edge);
        }
        if (edge.target >= h_.n_states) {
          return fail("target of an edge", edge.target, h_.n_states - 1, &edge);
        }
        before = edge.last;
      }
    }
    return true;
  }

  bool masks() const {
    uint32_t before = 0;
    for (uint32_t i = 0; i <= h_.n_masks; ++i) {
      const RuleMask& m = t_.masks[i];
      if (!begins("list of a mask", i, h_.n_masks, m.first_listed, before, h_.n_listed)) {
        return false;
      }
      before = m.first_listed;
      const uint32_t limit = i == h_.n_masks ? 0 : kRuleAll + h_.n_bitmaps;
      if (m.base > limit) return fail("base of a mask", m.base, limit, &m.base);
    }
    const uint32_t id_bytes = t_.is_wide ? 4 : 2;
    for (uint32_t i = 0; i < h_.n_masks; ++i) {
      uint32_t next = 0;
      for (uint32_t at = t_.masks[i].first_listed; at < t_.masks[i + 1].first_listed; ++at) {
        const uint32_t id = id_at(t_, at);
        if (id < next || id >= h_.vocab_size) {
          return fail("token of a list", id, id < next ? next : h_.vocab_size - 1,
                      static_cast<const uint8_t*>(t_.listed) + size_t{at} * id_bytes);
        }
        next = id + 1;
      }
    }
    return true;
  }

  bool bitmaps() const {
    const uint32_t used = h_.vocab_size % 32;
    if (used == 0) return true;
    for (uint32_t i = 0; i < h_.n_bitmaps; ++i) {
      const uint32_t& word = t_.bitmaps[size_t{i + 1} * t_.bitmap_words - 1];
      if (word >> used != 0) {
        return fail("bits behind the vocabulary", word >> used, 0, &word);
      }
    }
    return true;
  }

  const RuleHeader& h_;
  const uint8_t* image_;
  const RuleTables t_;
  thimble_fault* fault_;
};

// A state's mask.
struct Mask {
  const uint32_t* bitmap;  // null: fill
  uint32_t fill;
  uint32_t begin, end;  // of its list
};

Mask mask_of(const RuleTables& rule, uint32_t state) {
  if (state == rule.n_states) return {nullptr, 0, 0, 0};
  const RuleMask* m = rule.masks + rule.states[state].mask_and_accepts / 2;
  if (m->base < kRuleBitmap) {
    return {nullptr, m->base == kRuleAll ? UINT32_MAX : 0, m[0].first_listed, m[1].first_listed};
  }
  return {rule.bitmaps + size_t{m->base - kRuleBitmap} * rule.bitmap_words, 0, m[0].first_listed,
          m[1].first_listed};
}

// Where in a mask's list the ids from `id` on begin.
uint32_t list_from(const RuleTables& rule, const Mask& mask, uint32_t id) {
  uint32_t low = mask.begin, high = mask.end;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (id_at(rule, middle) < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

bool is_list(const Mask& mask) {
  return !mask.bitmap && mask.fill == 0;
}

// Whether any of the tokens [first, first + n) is allowed; `logits`, if not null, of those that are
// not become minus infinity.
[[gnu::noinline]] bool scan(const RuleTables& rule, const Mask& mask, float* logits, uint32_t first,
                            uint32_t n) {
  const uint32_t end = first + n;
  uint32_t at = list_from(rule, mask, first & ~31u), any = 0;
  for (uint32_t word = first / 32; word <= (end - 1) / 32; ++word) {
    uint32_t bits = mask.bitmap ? mask.bitmap[word] : mask.fill;
    for (; at < mask.end && id_at(rule, at) / 32 == word; ++at) bits ^= 1u << id_at(rule, at) % 32;
    uint32_t inside = ~0u;
    if (word == first / 32) inside <<= first % 32;
    if (word == end / 32) inside &= ~(~0u << end % 32);
    any |= bits & inside;
    if (!logits && any) break;
    uint32_t forbidden = logits ? ~bits & inside : 0;
    for (uint32_t token = word * 32 - first; forbidden; forbidden &= forbidden - 1) {
      logits[token + static_cast<uint32_t>(__builtin_ctz(forbidden))] = kForbidden;
    }
  }
  return any != 0;
}

bool allows(const RuleTables& rule, uint32_t state, int32_t token) {
  return rule_any(rule, state, static_cast<uint32_t>(token), 1);
}

}  // namespace

uint32_t vocabulary_crc(const thimble_model& model) {
  const FileHeader& h = header_of(model);
  const uint32_t fields[] = {h.vocab_size, h.n_tokens, static_cast<uint32_t>(h.bos_id),
                             static_cast<uint32_t>(h.eos_id),
                             static_cast<uint32_t>(h.end_of_turn_id)};
  uint32_t crc = crc32(0, fields, sizeof fields);
  constexpr SectionKind kKinds[] = {kTokenOffsets, kTokenBytes, kTokenTypes};
  for (const SectionKind kind : kKinds) {
    const SectionEntry& e = section_of(model, kind);
    crc = crc32(crc, model.image + e.offset, static_cast<size_t>(e.bytes));
  }
  return crc;
}

SectionEntry expected_rule_section(const RuleHeader& h, uint32_t index,
                                   const SectionEntry* previous) {
  SectionEntry e = {};
  e.kind = kRuleStates + index;
  e.type = kElementU32;
  e.rows = 1;
  e.row_tile = 1;
  switch (e.kind) {
    case kRuleStates:
      e.rows = h.n_states + 1;
      e.cols = 2;
      break;
    case kRuleEdges:
      e.cols = h.n_edges;
      break;
    case kRuleMasks:
      e.rows = h.n_masks + 1;
      e.cols = 2;
      break;
    case kRuleBitmaps:
      e.rows = h.n_bitmaps;
      e.cols = words_for(h.vocab_size);
      break;
    default:
      e.cols = h.n_listed;
      if (h.vocab_size <= kNarrowIds) e.type = kElementU16;
  }
  e.bytes = uint64_t{e.rows} * e.cols * (e.type == kElementU16 ? 2 : 4);
  e.offset = previous ? round_up(previous->offset + previous->bytes, kSectionAlignment)
                      : sizeof h + uint64_t{h.n_sections} * sizeof(SectionEntry);
  return e;
}

uint64_t rule_file_bytes(const SectionEntry& last) {
  return round_up(last.offset + last.bytes, kSectionAlignment);
}

thimble_status check_rule(const void* image, size_t image_bytes, thimble_fault* fault) {
  const uint8_t* bytes = static_cast<const uint8_t*>(image);
  thimble_status status = check_envelope(kRuleFile, bytes, image_bytes, fault);
  if (status != THIMBLE_OK) return status;
  const RuleHeader& h = *reinterpret_cast<const RuleHeader*>(bytes);
  status = check_counts(h, fault);
  if (status != THIMBLE_OK) return status;
  const SectionEntry* table = section_table(h);
  for (uint32_t i = 0; i < kRuleSections; ++i) {
    const SectionEntry expected = expected_rule_section(h, i, i > 0 ? table + i - 1 : nullptr);
    if (!entries_match(table[i], expected, sizeof h + i * sizeof expected, fault)) {
      return THIMBLE_ERROR_SECTION;
    }
  }
  const uint64_t file_bytes = rule_file_bytes(table[kRuleSections - 1]);
  if (h.file_bytes != file_bytes) {
    refuse(fault, "file_bytes", h.file_bytes, file_bytes, offsetof(RuleHeader, file_bytes));
    return THIMBLE_ERROR_TRUNCATED;
  }
  return Content(h, fault).is_good() ? THIMBLE_OK : THIMBLE_ERROR_RULE;
}

thimble_status open_rule(thimble_rule* rule, const thimble_model& model, const void* image,
                         size_t image_bytes) {
  const thimble_status status = check_rule(image, image_bytes, &rule->fault);
  if (status != THIMBLE_OK) return status;
  const RuleHeader& h = *static_cast<const RuleHeader*>(image);
  const uint32_t vocab_size = header_of(model).vocab_size, crc = vocabulary_crc(model);
  if (h.vocab_size != vocab_size) {
    refuse(&rule->fault, "vocab_size", h.vocab_size, vocab_size, offsetof(RuleHeader, vocab_size));
    return THIMBLE_ERROR_OTHER_MODEL;
  }
  if (h.vocabulary_crc != crc) {
    refuse(&rule->fault, "checksum of the vocabulary", h.vocabulary_crc, crc,
           offsetof(RuleHeader, vocabulary_crc));
    return THIMBLE_ERROR_OTHER_MODEL;
  }
  rule->image = static_cast<const uint8_t*>(image);
  rule->model_image = model.image;
  rule->image_bytes = image_bytes;
  rule->n_states = h.n_states;
  return THIMBLE_OK;
}

thimble_status verify_rule(thimble_rule* rule) {
  return check_data(rule->image, rule->image_bytes, &rule->fault);
}

RuleTables rule_tables(const uint8_t* image) {
  const RuleHeader& h = *reinterpret_cast<const RuleHeader*>(image);
  const SectionEntry* table = section_table(h);
  const auto at = [&](RuleSection kind) { return image + table[kind - kRuleStates].offset; };
  return {reinterpret_cast<const RuleState*>(at(kRuleStates)),
          reinterpret_cast<const RuleEdge*>(at(kRuleEdges)),
          reinterpret_cast<const RuleMask*>(at(kRuleMasks)),
          reinterpret_cast<const uint32_t*>(at(kRuleBitmaps)),
          at(kRuleListed),
          h.n_states,
          words_for(h.vocab_size),
          h.vocab_size > kNarrowIds};
}

bool rule_accepts(const RuleTables& rule, uint32_t state) {
  return state == rule.n_states || (rule.states[state].mask_and_accepts & 1) != 0;
}

bool rule_byte(const RuleTables& rule, uint32_t* state, uint8_t byte) {
  if (*state == rule.n_states) return false;
  const RuleEdge* edge = rule.edges + rule.states[*state].first_edge;
  const RuleEdge* end = rule.edges + rule.states[*state + 1].first_edge;
  while (edge != end && edge->last < byte) ++edge;
  if (edge == end || edge->first > byte) return false;
  *state = edge->target;
  return true;
}

bool rule_token(const RuleTables& rule, const thimble_model& model, uint32_t* state,
                int32_t token) {
  if (!allows(rule, *state, token)) return false;
  if (thimble_is_end(&model, token)) {
    *state = rule.n_states;
    return true;
  }
  const uint32_t* offsets = table_of<uint32_t>(model, kTokenOffsets) + token;
  const uint8_t* bytes = table_of<uint8_t>(model, kTokenBytes);
  uint32_t at = *state;
  for (uint32_t i = offsets[0]; i < offsets[1]; ++i) {
    if (!rule_byte(rule, &at, bytes[i])) return false;
  }
  *state = at;
  return true;
}

bool rule_any(const RuleTables& rule, uint32_t state, uint32_t first, uint32_t n) {
  const Mask mask = mask_of(rule, state);
  if (kRuleIsSmall || !is_list(mask)) return scan(rule, mask, nullptr, first, n);
  const uint32_t at = list_from(rule, mask, first);
  return at < mask.end && id_at(rule, at) - first < n;
}

bool rule_is_dense(const RuleTables& rule, uint32_t state) {
  const Mask mask = mask_of(rule, state);
  return !is_list(mask) || mask.end - mask.begin > rule.bitmap_words / 2;
}

uint32_t rule_next(const RuleTables& rule, uint32_t state, uint32_t first) {
  const Mask mask = mask_of(rule, state);
  const uint32_t at = list_from(rule, mask, first);
  return at < mask.end ? id_at(rule, at) : UINT32_MAX;
}

int32_t rule_only(const RuleTables& rule, uint32_t state) {
  const Mask mask = mask_of(rule, state);
  const bool is_one = !mask.bitmap && mask.fill == 0 && mask.end - mask.begin == 1;
  return is_one ? static_cast<int32_t>(id_at(rule, mask.begin)) : -1;
}

void rule_mask(const RuleTables& rule, uint32_t state, float* logits, uint32_t first, uint32_t n) {
  const Mask mask = mask_of(rule, state);
  if (kRuleIsSmall || mask.bitmap) {
    scan(rule, mask, logits, first, n);
    return;
  }
  // What is listed is forbidden, or what lies between.
  uint32_t filled = 0;
  for (uint32_t at = list_from(rule, mask, first); at < mask.end; ++at) {
    const uint32_t place = id_at(rule, at) - first;
    if (place >= n) break;
    if (mask.fill) {
      logits[place] = kForbidden;
    } else {
      for (; filled < place; ++filled) logits[filled] = kForbidden;
      ++filled;
    }
  }
  for (; !mask.fill && filled < n; ++filled) logits[filled] = kForbidden;
}

// The state behind tokens [from, to) of the text.
static void replay(const thimble_session* s, const RuleTables& rule, uint32_t* state, uint32_t from,
                   uint32_t to) {
  for (uint32_t i = from; i < to; ++i) rule_token(rule, s->model, state, token_at(s, i));
}

// The confidence of an answer that has no token yet.
static float first_confidence(const thimble_session* s) {
  return s->rules == THIMBLE_RULES_CONFIDENCE ? 1.0f : 0.0f;
}

void rule_use(thimble_session* s, const thimble_rule* rule) {
  RuleInUse& in_use = rule_of(s);
  in_use = {};
  if (!rule) return;
  in_use.tables = rule_tables(rule->image);
  in_use.start = in_use.base = s->position;
  in_use.confidence = first_confidence(s);
  in_use.header_crc = header_of(*rule).header_crc;
  in_use.data_crc = header_of(*rule).data_crc;
}

bool rule_feed(thimble_session* s, const int32_t* tokens, uint32_t n) {
  RuleInUse& rule = rule_of(s);
  uint32_t state = rule.state;
  for (uint32_t i = 0; i < n; ++i) {
    if (!rule_token(rule.tables, s->model, &state, tokens[i])) return false;
  }
  rule.state = state;
  rule_advance_base(s, &rule);
  return true;
}

void rule_advance_base(const thimble_session* s, RuleInUse* rule) {
  if (!is_endless(s) || s->position - rule->base <= s->n_ctx) return;
  const uint32_t from = rule->base;
  rule->base = s->position - s->n_ctx;
  replay(s, rule->tables, &rule->base_state, from, rule->base);
}

bool rule_reaches(const thimble_session* s, uint32_t position) {
  return position <= rule_of(s).start || position >= rule_of(s).base;
}

void rule_rewind(thimble_session* s, uint32_t position) {
  RuleInUse& rule = rule_of(s);
  if (position < rule.start) {
    rule = {};
    return;
  }
  if (position == rule.start) rule.confidence = first_confidence(s);
  if (position < rule.base) rule.base = rule.start, rule.base_state = 0;
  rule.state = rule.base_state;
  replay(s, rule.tables, &rule.state, rule.base, position);
}

void rule_row_states(const thimble_session* s, uint32_t row, uint32_t n, uint32_t* states) {
  // The token behind the first row of all.
  const uint32_t first = s->pass.end - logits_rows(s) + 1;
  uint32_t state = rule_of(s).state, at = logits_row(s);
  for (uint32_t i = 0; i < n; ++i) {
    if (at < row + i) {
      replay(s, rule_of(s).tables, &state, first + at, first + row + i);
      at = row + i;
    }
    states[i] = state;
  }
}

}  // namespace thimble
#endif
