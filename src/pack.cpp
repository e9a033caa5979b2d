// SPDX-License-Identifier: MIT
#include "pack.h"

#include <string.h>

#include "characters.h"
#include "crc32.h"
#include "forward.h"
#include "token_tables.h"
#include "tokenizer.h"

#if THIMBLE_PACK
namespace thimble {
namespace {

constexpr uint8_t kMark[] = {'<', '|', 'e', 'n', 'd', 'o', 'f', 't', 'e', 'x', 't', '|', '>'};
constexpr uint8_t kLineBreak = '\n';

enum State : uint32_t {
  kInText,
  kRawCount,    // how many bytes follow as they are
  kInRaw,       // those
  kSameBreaks,  // whether as many line breaks follow the mark as the one before
  kBreakCount,  // how many
  kEnding       // the message's last bytes; packing only
};

// ---- Shares that do not come from the model ------------------------------------------------

constexpr uint32_t kMaxCount = 255, kCountTotal = 1u << 16;
constexpr uint64_t kSameTotal = 16;
constexpr Share kSame = {0, 15}, kOther = {15, 1};

// A count of 1 to kMaxCount, the smaller the likelier: 1 bit for 1, 3 for 2 and 3, ... (Elias'
// gamma code, 1975).
Share share_of_count(uint32_t count) {
  uint32_t log = 0;
  while (count >> (log + 1)) ++log;
  const uint32_t size = kCountTotal >> (2 * log + 1);
  return {kCountTotal - (kCountTotal >> log) + (count - (1u << log)) * size, size};
}

// 0: no count has this value.
uint32_t count_at(uint64_t value, Share* share) {
  uint32_t count = 1;
  for (; count <= kMaxCount; ++count) {
    *share = share_of_count(count);
    if (value - share->first < share->size) return count;
  }
  return 0;
}

// ---- Header -------------------------------------------------------------------------------------

uint8_t* put_little_endian(uint8_t* at, uint32_t value, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes; ++i) *at++ = static_cast<uint8_t>(value >> (8 * i));
  return at;
}

uint32_t little_endian(const uint8_t* at, uint32_t bytes) {
  uint32_t value = 0;
  for (uint32_t i = bytes; i-- > 0;) value = value << 8 | at[i];
  return value;
}

// Seven bits a byte, the lowest first; the top bit says that more follow.
uint8_t* put_varint(uint8_t* at, uint32_t value) {
  for (; value >= 128; value >>= 7) *at++ = static_cast<uint8_t>(value | 128);
  *at++ = static_cast<uint8_t>(value);
  return at;
}

// Takes the only spelling of a number below 2^32, otherwise false.
bool take_varint(const uint8_t** at, const uint8_t* end, uint32_t* value) {
  *value = 0;
  for (uint32_t shift = 0; *at < end && shift < 32; shift += 7) {
    const uint32_t byte = *(*at)++, bits = byte & 127;
    if (shift == 28 && bits > 15) return false;
    *value |= bits << shift;
    if (byte < 128) return byte > 0 || shift == 0;
  }
  return false;
}

// ---- Context ------------------------------------------------------------------------------------

// Whether a token has odds.
bool is_drawn(const thimble_model& model, int32_t token) {
  return token >= 0 && static_cast<uint32_t>(token) < model.n_tokens;
}

void start_record(PackContext* c) {
  rewind_to(c->session, 0);
  c->next = c->session->model.bos_id;
  c->has_odds = false;
  c->is_start = true;
}

void start_context(PackContext* c, thimble_session* s) {
  *c = {};
  c->session = s;
  c->n_ctx = s->n_ctx;
  c->end = is_drawn(s->model, s->model.eos_id) ? s->model.eos_id : s->model.bos_id;
  if (!is_drawn(s->model, c->end)) c->end = -1;
  c->n_line_breaks = 1;
  start_bytes(&c->bytes);
  start_record(c);
}

// The token is in the text, and what follows is behind it.
void append(PackContext* c, int32_t token) {
  c->next = token;
  c->has_odds = false;
  c->is_start = false;
}

// Feeds what comes next. Where the context is full, a text goes on from its beginning-of-text token
// and the last half of what was in view: the tokens move within the session's own array.
thimble_status feed_next(PackContext* c) {
  thimble_session* s = c->session;
  const int32_t next = c->next;
  c->next = -1;
  if (s->position < c->n_ctx) return thimble_feed(s, &next, 1);
  if (!c->has_window) return THIMBLE_ERROR_OTHER_LAYOUT;  // the packer's context was longer
  if (is_endless(s)) return thimble_feed(s, &next, 1);
  const uint32_t kept = c->n_ctx / 2 - 1;
  int32_t* tokens = s->tokens + (s->position - kept - 1);
  memmove(tokens, tokens + 1, kept * sizeof *tokens);
  tokens[kept] = next;
  const bool has_bos = s->model.bos_id >= 0;
  if (has_bos) *--tokens = s->model.bos_id;
  rewind_to(s, 0);
  return thimble_feed(s, tokens, kept + 1 + has_bos);
}

// The only failure that does not stay: the pass goes on with the next call.
bool is_read_failure(thimble_status status) {
  return THIMBLE_STREAM && status == THIMBLE_ERROR_READ;
}

// Computes the odds of what comes next, unless they are there. MORE: the budget is used up.
thimble_status make_odds(PackContext* c, uint64_t budget) {
  if (c->has_odds) return THIMBLE_OK;
  thimble_session* s = c->session;
  thimble_status status = c->next >= 0 ? feed_next(c) : THIMBLE_OK;
  if (status == THIMBLE_OK) status = forward_step(s, budget);
  if (status != THIMBLE_OK) return status;
  if (s->position == 0) {
    even_odds(&c->odds, s->odds, s->model.n_tokens);
  } else if (has_overflowed(s) ||
             !odds_of_logits(&c->odds, *s->kernels, logits_at(s, logits_row(s)), s->odds,
                             s->model.n_tokens)) {
    return THIMBLE_ERROR_NOT_FINITE;
  }
  // Models end a text with one of two tokens, which no text spells.
  const int32_t bos = s->model.bos_id;
  if (c->end >= 0 && c->end != bos && is_drawn(s->model, bos)) {
    s->odds[c->end] += s->odds[bos];
    s->odds[bos] = 0;
  }
  c->has_odds = true;
  return THIMBLE_OK;
}

// What a token stands for in the text: the space that encoding puts before a record is not there.
// n is 0 and bytes null for a token that no text holds.
Text text_in(const PackContext& c, const Tables& t, int32_t token) {
  const Text text = text_of(t, token);
  if (type_of(t, token) == kTokenControl || text.n == 0) return {nullptr, 0};
  const bool has_prefix = header_of(c.session->model).tokenizer_flags & kTokenizerAddSpacePrefix &&
                          text.bytes[0] == ' ';
  return c.is_start && has_prefix ? Text{text.bytes + 1, text.n - 1} : text;
}

// ---- Packing ------------------------------------------------------------------------------------

bool is_plain(uint8_t byte) {
  return (byte >= ' ' && byte < 127) || byte == kLineBreak || byte == '\r' || byte == '\t';
}

// Bytes of the character of text at `at`; 0: it is none, or a control character.
uint32_t character_at(const Packer& p, uint32_t at) {
  const uint8_t* bytes = p.text + at;
  return *bytes < 128 ? is_plain(*bytes) : utf8_valid_character(bytes, p.text_bytes - at);
}

bool is_mark(const Packer& p, uint32_t at) {
  return p.context.end >= 0 && p.text_bytes - at >= sizeof kMark &&
         equal(p.text + at, {kMark, sizeof kMark});
}

// Bytes to take as they are: at least a character, and on to where some plain ones follow.
uint32_t raw_count(const Packer& p) {
  constexpr uint32_t kSettled = 6;
  const uint32_t left = p.text_bytes - p.at;
  uint32_t n = character_at(p, p.at);
  if (n == 0) n = 1;
  while (n < left && n + 4 <= kMaxCount) {
    uint32_t plain = 0;
    while (plain < kSettled && plain < left - n && is_plain(p.text[p.at + n + plain])) ++plain;
    if (plain == kSettled || plain == left - n) break;
    n += plain;
    const uint32_t character = character_at(p, p.at + n);
    n += character ? character : 1;
  }
  return n < kMaxCount ? n : kMaxCount;
}

// The next piece of text: whole words if there is a border, up to a mark and to what is raw.
uint32_t piece_length(const Packer& p) {
  const uint32_t left = p.text_bytes - p.at;
  uint32_t n = 0, border = 0;
  while (n < left) {
    const uint32_t character = character_at(p, p.at + n);
    if (character == 0 || is_mark(p, p.at + n)) return n;
    if (n + character > kPackPiece) return border ? border : n;
    const uint8_t* here = p.text + p.at + n;
    if (n > 0 && *here == ' ' && here[-1] > ' ') border = n;
    n += character;
  }
  return n;
}

// Tokens for what comes next in the text; none where there is nothing that the tokenizer spells.
void encode_piece(Packer* p) {
  thimble_session* s = p->context.session;
  p->n_tokens = p->token_at = 0;
  const uint32_t flags = p->context.is_start ? 0 : kEncodeContinues;
  // A piece with tokens that users have added may need more of them than bytes.
  for (uint32_t n = piece_length(*p); n > 0; n /= 2) {
    const int32_t count =
        encode_text(s->model, reinterpret_cast<const char*>(p->text + p->at), n, flags, p->tokens,
                    sizeof p->tokens / sizeof p->tokens[0], s->act.x, s->encode_scratch_size);
    if (count == THIMBLE_ERROR_OUTPUT_TOO_SMALL) continue;
    p->n_tokens = count > 0 ? static_cast<uint32_t>(count) : 0;
    return;
  }
}

void code(Packer* p, Share share, uint64_t total) {
  encode_share(&p->coder, share, total);
}

// log2 of how many such shares a total has, within 1.
uint32_t bits_of_share(Share share, uint64_t total) {
  uint32_t bits = 0;
  while (share.size << bits < total) ++bits;
  return bits;
}

// What the next n bytes cost when escaped, the escape itself not counted.
uint32_t bits_of_bytes(const Packer& p, uint32_t n) {
  const ByteOdds& bytes = p.context.bytes;
  uint32_t bits = 0;
  for (uint32_t i = 0; i < n; ++i) {
    bits += bits_of_share({0, bytes.of_byte[p.text[p.at + i]]}, bytes.total);
  }
  return bits;
}

constexpr uint32_t kEscapeCost = 20;  // the escape's bits, those of a count, and some
constexpr uint32_t kShortRun = 16;

// Bytes up to the end of a word, within the last half of raw_run, and up to a mark.
uint32_t next_run(Packer* p) {
  const uint32_t left = p->text_bytes - p->at, most = p->raw_run < left ? p->raw_run : left;
  p->raw_run = 2 * p->raw_run < kMaxCount ? 2 * p->raw_run : kMaxCount;
  p->surplus = kEscapeCost / 2;
  uint32_t border = most;
  for (uint32_t n = 1; n < most; ++n) {
    if (is_mark(*p, p->at + n)) return n;
    if (n >= most / 2 && p->text[p->at + n] <= ' ') border = n;
  }
  return border;
}

// How many bytes to escape instead of coding a token; 0: none. Bytes of characters that are no
// tokens are taken to cost as much as the first of them; elsewhere what the last tokens have cost
// tells that this text is not the model's kind.
uint32_t cheaper_raw(Packer* p, const Tables& t, int32_t token, uint32_t n_text, Share share) {
  const uint32_t bits = bits_of_share(share, p->context.odds.total);
  const Text text = text_of(t, token);
  if (text.n == 1 && (type_of(t, token) == kTokenByte || text.bytes[0] >= 128)) {
    const uint32_t n = raw_count(*p);
    if (n * bits > bits_of_bytes(*p, n) + kEscapeCost) return n;
  }
  p->surplus += static_cast<int32_t>(bits) - static_cast<int32_t>(bits_of_bytes(*p, n_text));
  if (p->surplus > static_cast<int32_t>(kEscapeCost)) return next_run(p);
  if (p->surplus <= 0) {
    p->surplus = 0;
    p->raw_run = kShortRun;
  }
  return 0;
}

// Codes the next symbol of a text.
thimble_status pack_symbol(Packer* p, uint64_t budget) {
  PackContext* c = &p->context;
  const Tables t(c->session->model);
  const bool ends_record = is_mark(*p, p->at);
  // In the memory of a pass, so not while one is under way.
  if (p->token_at == p->n_tokens && !ends_record && c->session->pass.stage == kIdle) {
    encode_piece(p);
  }
  const thimble_status status = make_odds(c, budget);
  if (status != THIMBLE_OK) return status;
  const Odds& odds = c->odds;
  if (ends_record) {
    code(p, share_of(odds, static_cast<uint32_t>(c->end)), odds.total);
    p->at += sizeof kMark;
    p->state = kSameBreaks;
    return THIMBLE_OK;
  }
  uint32_t n_raw = 0;
  if (p->token_at < p->n_tokens) {
    const int32_t token = p->tokens[p->token_at];
    const Text text = text_in(*c, t, token);
    const Share share = share_of(odds, static_cast<uint32_t>(token));
    if (token != c->end && text.bytes && text.n <= p->text_bytes - p->at &&
        equal(p->text + p->at, text)) {
      n_raw = cheaper_raw(p, t, token, text.n, share);
      if (n_raw == 0) {
        code(p, share, odds.total);
        p->at += text.n;
        ++p->token_at;
        append(c, token);
        return THIMBLE_OK;
      }
    }
  }
  code(p, share_of(odds, odds.n), odds.total);
  p->n_tokens = p->token_at = 0;
  p->left = n_raw ? n_raw : raw_count(*p);
  p->state = kRawCount;
  c->is_start = false;
  return THIMBLE_OK;
}

// Line breaks behind the mark that the text is at.
uint32_t breaks_at(const Packer& p) {
  uint32_t n = 0;
  while (n < kMaxCount - 1 && n < p.text_bytes - p.at && p.text[p.at + n] == kLineBreak) ++n;
  return n;
}

void end_mark(Packer* p, uint32_t n_breaks) {
  p->at += n_breaks;
  p->context.n_line_breaks = static_cast<uint8_t>(n_breaks);
  p->state = kInText;
  start_record(&p->context);
}

// Codes whatever comes next; the coder has nothing ready and is not narrow.
thimble_status pack_next(Packer* p, uint64_t budget) {
  const uint32_t breaks = p->state == kSameBreaks || p->state == kBreakCount ? breaks_at(*p) : 0;
  switch (p->state) {
    case kInText:
      if (p->at < p->text_bytes) return pack_symbol(p, budget);
      p->left = encoder_end(&p->coder) + 1;
      p->state = kEnding;
      break;
    case kRawCount:
      code(p, share_of_count(p->left), kCountTotal);
      p->state = kInRaw;
      break;
    case kInRaw:
      code(p, share_of_byte(p->context.bytes, p->text[p->at]), p->context.bytes.total);
      learn_byte(&p->context.bytes, p->text[p->at++]);
      if (--p->left == 0) p->state = kInText;
      break;
    case kSameBreaks:
      if (breaks == p->context.n_line_breaks) {
        code(p, kSame, kSameTotal);
        end_mark(p, breaks);
      } else {
        code(p, kOther, kSameTotal);
        p->state = kBreakCount;
      }
      break;
    case kBreakCount:
      code(p, share_of_count(breaks + 1), kCountTotal);
      end_mark(p, breaks);
      break;
    default:
      if (p->left > 1) {
        encoder_shift(&p->coder);
      } else {
        encoder_release(&p->coder);
        p->status = THIMBLE_OK;
      }
      --p->left;
      break;
  }
  return THIMBLE_OK;
}

// ---- Unpacking ----------------------------------------------------------------------------------

// Puts text on its way out; false if that is more than there may be.
bool give(Unpacker* u, const uint8_t* bytes, uint32_t n, uint32_t n_line_breaks) {
  if (n > u->text_bytes - u->at || n_line_breaks > u->text_bytes - u->at - n) return false;
  u->ready = bytes;
  u->n_ready = n;
  u->n_line_breaks = n_line_breaks;
  u->at += n + n_line_breaks;
  return true;
}

size_t take_text(Unpacker* u, uint8_t* out, size_t capacity) {
  size_t n = u->n_ready < capacity ? u->n_ready : capacity;
  if (n > 0) memcpy(out, u->ready, n);
  u->ready += n;
  u->n_ready -= static_cast<uint32_t>(n);
  for (; u->n_ready == 0 && u->n_line_breaks > 0 && n < capacity; --u->n_line_breaks) {
    out[n++] = kLineBreak;
  }
  u->crc = crc32(u->crc, out, n);
  return n;
}

bool unpack_symbol(Unpacker* u) {
  PackContext* c = &u->context;
  const uint64_t value = decoded_value(u->coder, c->odds.total);
  if (value >= c->odds.total) return false;
  Share share;
  const uint32_t symbol = symbol_at(c->odds, value, &share);
  decode_share(&u->coder, share, c->odds.total);
  if (symbol == c->odds.n) {
    c->is_start = false;
    u->state = kRawCount;
    return true;
  }
  const int32_t token = static_cast<int32_t>(symbol);
  if (token == c->end) {
    u->state = kSameBreaks;
    return give(u, kMark, sizeof kMark, 0);
  }
  const Text text = text_in(*c, Tables(c->session->model), token);
  append(c, token);
  return text.bytes && give(u, text.bytes, text.n, 0);
}

bool unpack_breaks(Unpacker* u, uint32_t n) {
  u->context.n_line_breaks = static_cast<uint8_t>(n);
  u->state = kInText;
  start_record(&u->context);
  return give(u, nullptr, 0, n);
}

// Decodes whatever comes next but symbols of a text; false: no packer wrote this.
bool unpack_other(Unpacker* u) {
  ByteOdds* bytes = &u->context.bytes;
  const uint64_t total = u->state == kInRaw        ? bytes->total
                         : u->state == kSameBreaks ? kSameTotal
                                                   : kCountTotal;
  const uint64_t value = decoded_value(u->coder, total);
  if (value >= total) return false;
  Share share;
  uint32_t count = 0;
  if (u->state == kInRaw) {
    u->raw = byte_at(*bytes, static_cast<uint32_t>(value), &share);
    learn_byte(bytes, u->raw);
  } else if (u->state == kSameBreaks) {
    share = value < kSame.size ? kSame : kOther;
  } else {
    count = count_at(value, &share);
    if (count == 0) return false;
  }
  decode_share(&u->coder, share, total);
  switch (u->state) {
    case kRawCount:
      u->left = count;
      u->state = kInRaw;
      return true;
    case kInRaw:
      if (--u->left == 0) u->state = kInText;
      return give(u, &u->raw, 1, 0);
    case kSameBreaks:
      if (share.first == kSame.first) return unpack_breaks(u, u->context.n_line_breaks);
      u->state = kBreakCount;
      return true;
    default:
      return unpack_breaks(u, count - 1);
  }
}

thimble_status unpack_end(const Unpacker& u) {
  bool is_exact;
  if (decoder_end(u.coder, &is_exact) != u.coder.n) return THIMBLE_ERROR_TRUNCATED;
  return is_exact && u.crc == u.expected_crc ? THIMBLE_OK : THIMBLE_ERROR_DATA_CHECKSUM;
}

}  // namespace

// ---- Both ---------------------------------------------------------------------------------------

thimble_status read_packed_header(PackedHeader* h, const uint8_t* packed, size_t bytes) {
  *h = {};
  const uint8_t *at = packed, *end = packed + (bytes < kMaxPackedHeader ? bytes : kMaxPackedHeader);
  if (bytes == 0) return THIMBLE_ERROR_TRUNCATED;
  if ((*at & kPackedKindMask) != kPackedKind) return THIMBLE_ERROR_MAGIC;
  h->flags = *at++ & ~kPackedKindMask;
  if (h->flags & kPackedReserved) return THIMBLE_ERROR_HEADER;
  const uint32_t n_names = h->flags & kPackedAdapter ? 4 : 2;
  if (end - at < static_cast<ptrdiff_t>(n_names)) return THIMBLE_ERROR_TRUNCATED;
  h->model = static_cast<uint16_t>(little_endian(at, 2));
  if (n_names == 4) h->adapter = static_cast<uint16_t>(little_endian(at + 2, 2));
  at += n_names;
  bool is_good = take_varint(&at, end, &h->text_bytes);
  if (is_good && h->flags & kPackedWindow) {
    is_good = take_varint(&at, end, &h->n_ctx) && take_varint(&at, end, &h->n_sinks);
  }
  if (end - at < 4 && at == packed + bytes) return THIMBLE_ERROR_TRUNCATED;
  if (!is_good) return THIMBLE_ERROR_HEADER;
  if (end - at < 4) return THIMBLE_ERROR_TRUNCATED;
  h->crc = little_endian(at, 4);
  h->bytes = static_cast<uint32_t>(at - packed) + 4;
  return THIMBLE_OK;
}

uint16_t model_name(const thimble_model& model) {
  const FileHeader& h = header_of(model);
  uint64_t name = h.header_crc;
  if (h.self_test_tokens > 0) name = table_of<uint64_t>(model, kSelfTestHashes)[h.n_layers];
  return static_cast<uint16_t>(name ^ name >> 16 ^ name >> 32 ^ name >> 48);
}

uint16_t adapter_name(const thimble_session* s) {
#if THIMBLE_LORA
  if (s->lora && s->lora->matrices) {
    const uint16_t name = static_cast<uint16_t>(s->lora->header_crc ^ s->lora->header_crc >> 16);
    return name ? name : 1;
  }
#endif
  (void)s;
  return 0;
}

void pack_begin(Packer* p, thimble_session* s, const uint8_t* text, uint32_t bytes) {
  *p = {};
  start_context(&p->context, s);
  p->context.has_window = uint64_t{bytes} + 2 > s->n_ctx;  // a beginning, a space, a token a byte
  encoder_start(&p->coder);
  p->status = THIMBLE_MORE;
  p->text = text;
  p->text_bytes = bytes;
  p->raw_run = kShortRun;

  const uint16_t adapter = adapter_name(s);
  uint32_t flags = kPackedKind;
  if (s->cache.type == kWeightQ8) flags |= kPackedKvQ8;
  if (p->context.has_window) flags |= kPackedWindow;
  if (adapter) flags |= kPackedAdapter;
  uint8_t* at = put_little_endian(p->header, flags, 1);
  at = put_little_endian(at, model_name(s->model), 2);
  if (adapter) at = put_little_endian(at, adapter, 2);
  at = put_varint(at, bytes);
  if (p->context.has_window) at = put_varint(put_varint(at, s->n_ctx), s->n_sinks);
  const uint32_t crc = crc32(crc32(0, p->header, static_cast<size_t>(at - p->header)), text, bytes);
  at = put_little_endian(at, crc, 4);
  p->n_header = static_cast<uint32_t>(at - p->header);
}

thimble_status pack_step(Packer* p, uint64_t budget, uint8_t* out, size_t capacity,
                         size_t* written) {
  size_t n = 0;
  for (; p->header_at < p->n_header && n < capacity; ++p->header_at)
    out[n++] = p->header[p->header_at];
  thimble_status status = p->status;
  bool has_computed = false;
  while (p->header_at == p->n_header) {
    n += encoder_take(&p->coder, out + n, capacity - n);
    status = p->coder.has_ready ? THIMBLE_MORE : p->status;
    if (p->coder.has_ready || p->status != THIMBLE_MORE) break;
    if (p->state != kEnding && encoder_is_narrow(p->coder)) {
      encoder_shift(&p->coder);
      continue;
    }
    // A slice has the odds of one position at most.
    const bool computes = p->state == kInText && !p->context.has_odds && p->at < p->text_bytes;
    if (computes && budget != 0 && has_computed) break;
    has_computed |= computes;
    status = pack_next(p, budget);
    if (status == THIMBLE_MORE || is_read_failure(status)) break;
    if (status != THIMBLE_OK) p->status = status;
  }
  *written = n;
  return status;
}

thimble_status unpack_begin(Unpacker* u, thimble_session* s, const uint8_t* packed, size_t bytes) {
  *u = {};
  PackedHeader h;
  u->status = read_packed_header(&h, packed, bytes);
  if (u->status != THIMBLE_OK) return u->status;
  const bool is_q8 = h.flags & kPackedKvQ8, has_window = h.flags & kPackedWindow;
  const bool fits = s->n_sinks > 0 ? h.n_ctx == s->n_ctx : h.n_ctx >= 2 && h.n_ctx <= s->n_ctx;
  if (h.model != model_name(s->model)) {
    u->status = THIMBLE_ERROR_OTHER_MODEL;
  } else if (h.adapter != adapter_name(s)) {
    u->status = THIMBLE_ERROR_OTHER_ADAPTER;
  } else if (is_q8 != (s->cache.type == kWeightQ8) ||
             (has_window && (h.n_sinks != s->n_sinks || !fits))) {
    u->status = THIMBLE_ERROR_OTHER_LAYOUT;
  }
  if (u->status != THIMBLE_OK) return u->status;
  start_context(&u->context, s);
  u->context.has_window = has_window;
  if (has_window) u->context.n_ctx = h.n_ctx;
  decoder_start(&u->coder, packed + h.bytes, bytes - h.bytes);
  u->text_bytes = h.text_bytes;
  u->crc = crc32(0, packed, h.bytes - sizeof h.crc);
  u->expected_crc = h.crc;
  u->status = THIMBLE_MORE;
  return THIMBLE_OK;
}

thimble_status unpack_step(Unpacker* u, uint64_t budget, uint8_t* out, size_t capacity,
                           size_t* written) {
  size_t n = 0;
  thimble_status status = u->status;
  bool has_computed = false;
  while (u->status == THIMBLE_MORE) {
    n += take_text(u, out + n, capacity - n);
    status = THIMBLE_MORE;
    if (u->n_ready > 0 || u->n_line_breaks > 0) break;
    const bool computes = u->state == kInText && !u->context.has_odds;
    if (decoder_used(u->coder) > u->coder.n) {
      status = THIMBLE_ERROR_TRUNCATED;
    } else if (u->state == kInText && u->at == u->text_bytes) {
      status = u->status = unpack_end(*u);
      break;
    } else if (u->state == kInText) {
      if (computes && budget != 0 && has_computed) break;
      has_computed |= computes;
      status = make_odds(&u->context, budget);
      if (status == THIMBLE_MORE || is_read_failure(status)) break;
      if (status == THIMBLE_OK && !unpack_symbol(u)) status = THIMBLE_ERROR_DATA_CHECKSUM;
    } else if (!unpack_other(u)) {
      status = THIMBLE_ERROR_DATA_CHECKSUM;
    }
    if (status < THIMBLE_OK) u->status = status;
  }
  *written = n;
  return status;
}

}  // namespace thimble
#endif
