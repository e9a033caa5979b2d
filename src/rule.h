// SPDX-License-Identifier: MIT
// A rule as a flat file: which texts a model may write, as a deterministic automaton over bytes,
// and which tokens each of its states allows. models/FORMAT.md explains the file.
//
// A state's tokens are a base (none, all, or a bitmap that states share) but for a list of
// exceptions, which covers what XGrammar (Dong et al. 2024) tells apart: short lists, all but a
// few, and bitmaps; states that differ in a few tokens share the bitmap, too.
#ifndef THIMBLE_SRC_RULE_H
#define THIMBLE_SRC_RULE_H

#include "model.h"
#include "thimble/thimble.h"

namespace thimble {

constexpr uint8_t kRuleMagic[8] = {0x89, 'T', 'H', 'I', 'M', 'R', 'U', '\n'};
constexpr uint32_t kRuleVersion = 1;
constexpr uint32_t kMaxRuleStates = 65535;
constexpr uint32_t kMaxRuleEdges = 1u << 24;
constexpr uint32_t kMaxRuleListed = 1u << 26;

enum RuleSection : uint32_t {
  kRuleStates = 256,   // (n_states + 1, 2) u32: RuleState; the last one only ends the edges
  kRuleEdges = 257,    // (n_edges) u32: RuleEdge
  kRuleMasks = 258,    // (n_masks + 1, 2) u32: RuleMask; the last one only ends the lists
  kRuleBitmaps = 259,  // (n_bitmaps, vocab_size / 32 rounded up) u32: bit i % 32 of word i / 32
  kRuleListed = 260    // (n_listed) u16, or u32 where vocab_size is above 65536: token ids
};
constexpr uint32_t kRuleSections = 5;

// Its edges go to that of the next state. The text may end here if `accepts`; the text begins in
// state 0.
struct RuleState {
  uint32_t first_edge;
  uint32_t mask_and_accepts;  // 2 * mask + accepts
};
// Bytes first to last lead to `target`; those of a state ascend. Other bytes are forbidden.
struct RuleEdge {
  uint8_t first, last;
  uint16_t target;
};
// Its list goes to that of the next mask; ids ascend.
struct RuleMask {
  uint32_t first_listed;
  uint32_t base;  // kRuleNone, kRuleAll, or kRuleBitmap + the number of a bitmap
};
constexpr uint32_t kRuleNone = 0, kRuleAll = 1, kRuleBitmap = 2;
static_assert(sizeof(RuleState) == 8 && sizeof(RuleEdge) == 4 && sizeof(RuleMask) == 8, "layout");

struct RuleHeader {
  uint8_t magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint32_t header_bytes;  // this structure and the section table
  uint32_t header_crc;    // CRC-32 of those bytes with this field as 0
  uint64_t file_bytes;
  uint32_t data_crc;        // CRC-32 of all that follows the section table
  uint32_t flags;           // 0; every bit is reserved
  uint32_t vocabulary_crc;  // as vocabulary_crc() has it
  uint32_t vocab_size;
  uint32_t n_states;  // 1 to kMaxRuleStates
  uint32_t n_edges;
  uint32_t n_masks;  // 1 to n_states
  uint32_t n_bitmaps;
  uint32_t n_listed;
  uint32_t n_sections;
  uint8_t reserved[56];  // 0
};
static_assert(sizeof(RuleHeader) == 128, "rule header layout");
static_assert(offsetof(RuleHeader, header_crc) == offsetof(FileHeader, header_crc) &&
                  offsetof(RuleHeader, file_bytes) == offsetof(FileHeader, file_bytes) &&
                  offsetof(RuleHeader, flags) == offsetof(FileHeader, flags),
              "begins as every flat file");
static_assert(offsetof(RuleHeader, vocabulary_crc) == 40, "rule header layout");
static_assert(offsetof(RuleHeader, n_sections) == 68, "rule header layout");

// CRC-32 of what a rule depends on: vocab_size, n_tokens, bos_id, eos_id and end_of_turn_id, then
// the tables of token offsets, bytes and types. The model must have a tokenizer.
uint32_t vocabulary_crc(const thimble_model& model);

// Entry `index` of the section table that a header implies, `previous` the one before it.
SectionEntry expected_rule_section(const RuleHeader& header, uint32_t index,
                                   const SectionEntry* previous);
uint64_t rule_file_bytes(const SectionEntry& last);

// All that can be said of a rule without its model, but for the data's checksum; then nothing in it
// leads out of its tables.
thimble_status check_rule(const void* image, size_t image_bytes, thimble_fault* fault);

// All checks of thimble_rule_open and thimble_rule_verify.
thimble_status open_rule(thimble_rule* rule, const thimble_model& model, const void* image,
                         size_t image_bytes);
thimble_status verify_rule(thimble_rule* rule);

inline const RuleHeader& header_of(const thimble_rule& rule) {
  return *reinterpret_cast<const RuleHeader*>(rule.image);
}

// Where code is to be small, what only makes large vocabularies fast stays out.
#if defined(__OPTIMIZE_SIZE__)
constexpr bool kRuleIsSmall = true;
#else
constexpr bool kRuleIsSmall = false;
#endif

// A checked rule's tables.
struct RuleTables {
  const RuleState* states;  // null: there is no rule
  const RuleEdge* edges;
  const RuleMask* masks;
  const uint32_t* bitmaps;
  const void* listed;
  uint32_t n_states;  // the number of the state behind an end token, too, where nothing is allowed
  uint32_t bitmap_words;
  uint32_t is_wide;  // 1: ids are u32
};
RuleTables rule_tables(const uint8_t* image);

// Whether a text may end in a state. Behind an end token it has.
bool rule_accepts(const RuleTables& rule, uint32_t state);

// The state behind `byte`; false if it is forbidden.
bool rule_byte(const RuleTables& rule, uint32_t* state, uint8_t byte);

// The state behind a token; false, and *state as it was, if it is forbidden.
bool rule_token(const RuleTables& rule, const thimble_model& model, uint32_t* state, int32_t token);

// Whether any of the tokens [first, first + n) is allowed; n >= 1.
bool rule_any(const RuleTables& rule, uint32_t state, uint32_t first, uint32_t n);

// Whether so many tokens are allowed that every chunk of 64 may have one.
bool rule_is_dense(const RuleTables& rule, uint32_t state);

// The first token from `first` on that is allowed, UINT32_MAX if none is; of states that are not
// dense.
uint32_t rule_next(const RuleTables& rule, uint32_t state, uint32_t first);

// The only token that is allowed; -1 if none is, or more.
int32_t rule_only(const RuleTables& rule, uint32_t state);

// Minus infinity for those of the logits of [first, first + n) that are forbidden.
void rule_mask(const RuleTables& rule, uint32_t state, float* logits, uint32_t first, uint32_t n);

// ---- A session's rule ---------------------------------------------------------------------------

// The answer begins where the rule was set. The state of any of its positions can be computed again
// from `base`, which stays within the tokens that an endless text keeps.
struct RuleInUse {
  RuleTables tables;
  uint32_t state;                 // behind all tokens that were fed
  uint32_t header_crc, data_crc;  // its own; from here on as SavedHeader has it
  uint32_t start;                 // position of the answer's first token
  uint32_t base, base_state;      // a position from start on, and the state before its token
  float confidence;               // the answer's so far, 0 to 1; 0 stays
};

// What it takes of the arena, the same on every chip (as kSessionBytes).
constexpr uint32_t kRuleBytes = 128;
static_assert(sizeof(RuleInUse) <= kRuleBytes, "the structure has a fixed place");

// From now on; null: none.
void rule_use(thimble_session* s, const thimble_rule* rule);

// Takes tokens that are about to be fed. False, and nothing is changed, if one is forbidden.
bool rule_feed(thimble_session* s, const int32_t* tokens, uint32_t n);

// Brings the base to what an endless text keeps for sure: the last n_ctx tokens that are computed.
void rule_advance_base(const thimble_session* s, RuleInUse* rule);

// Whether rule_rewind can go back to a position, and the way: before its beginning the answer is
// forgotten, and so is the rule.
bool rule_reaches(const thimble_session* s, uint32_t position);
void rule_rewind(thimble_session* s, uint32_t position);

// The states that the rows of logits from `row` to `row` + `n` belong to. Drafted tokens that are
// forbidden, and rows behind them, have that of the last one before.
void rule_row_states(const thimble_session* s, uint32_t row, uint32_t n, uint32_t* states);

}  // namespace thimble

#endif
