// SPDX-License-Identifier: MIT
// tokenizer.model of SentencePiece: a message in the wire format of Protocol Buffers. Read are the
// pieces (field 1: text 1, score 2, type 3), of the trainer (field 2) the type of model (3) and the
// ids of special pieces (40 to 42), of the normalizer (field 3) its name (1), the table of its
// rules (2) and what it does about spaces (3 to 5). BPE only.
#include <cmath>
#include <cstring>
#include <string>

#include "error.h"
#include "json_string.h"
#include "readers/tokenizers.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxFileBytes = 128u << 20;

enum PieceType : uint64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
const char* const kModelTypes[] = {"", "Unigram", "BPE", "Word", "Char"};

// One field of a message: a number, or bytes.
struct Field {
  uint64_t number = 0, value = 0;
  const char* bytes = nullptr;
  size_t n = 0;
};

class Message {
 public:
  Message(const char* bytes, size_t n, const std::string& path)
      : at_(bytes), end_(bytes + n), path_(path) {}

  // False at the end.
  bool next(Field* field) {
    if (at_ == end_) return false;
    const uint64_t key = varint();
    *field = {key >> 3, 0, nullptr, 0};
    switch (key & 7) {
      case 0:
        field->value = varint();
        break;
      case 1:
        take_bytes(field, 8);
        break;
      case 2:
        take_bytes(field, varint());
        break;
      case 5:
        take_bytes(field, 4);
        std::memcpy(&field->value, field->bytes, 4);
        break;
      default:
        refuse();
    }
    if (field->number == 0) refuse();
    return true;
  }

 private:
  [[noreturn]] void refuse() const {
    throw Refused(path_ + ": is no SentencePiece model (no complete Protocol Buffers message)");
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) refuse();
      const uint8_t byte = static_cast<uint8_t>(*at_++);
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    refuse();
  }

  void take_bytes(Field* field, uint64_t n) {
    if (n > static_cast<uint64_t>(end_ - at_)) refuse();
    field->bytes = at_;
    field->n = static_cast<size_t>(n);
    at_ += n;
  }

  const char* at_;
  const char* end_;
  const std::string& path_;
};

class Reader {
 public:
  Reader(const std::string& bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  Vocabulary read() {
    Message message(bytes_.data(), bytes_.size(), path_);
    Field field;
    while (message.next(&field)) {
      if (!field.bytes) continue;
      Message inner(field.bytes, field.n, path_);
      if (field.number == 1) read_piece(inner);
      if (field.number == 2) read_trainer(inner);
      if (field.number == 3) read_normalizer(inner);
    }
    if (model_type_ != 2) {
      const char* name = model_type_ < 5 ? kModelTypes[model_type_] : "?";
      refuse(format("type of model: found %s (%llu), expected BPE", name,
                    static_cast<unsigned long long>(model_type_)));
    }
    if (v_.texts.empty()) refuse("found no pieces, expected the tokens");
    v_.add_space_prefix = add_dummy_prefix_;
    if (!escapes_spaces_) refuse("escape_whitespaces: found false, expected true");
    if (removes_spaces_) {
      add_note("runs of spaces, and those at the ends of a text, are kept");
    }
    if (has_rules_)
      add_note("Unicode normalization (" + normalizer_ + ") is left to the writer of a text");
    v_.bos_id = is_control(bos_) ? static_cast<int32_t>(bos_) : -1;
    v_.eos_id = is_control(eos_) ? static_cast<int32_t>(eos_) : -1;
    v_.add_bos = v_.bos_id >= 0;
    return std::move(v_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const { throw Refused(path_ + ": " + why); }

  void add_note(const std::string& text) { v_.note += (v_.note.empty() ? "" : "; ") + text; }

  bool is_control(int64_t id) const {
    return id >= 0 && static_cast<uint64_t>(id) < v_.types.size() &&
           v_.types[static_cast<size_t>(id)] == kTokenControl;
  }

  void read_piece(Message message) {
    const size_t id = v_.texts.size();
    if (id == kMaxVocab) refuse(format("found more than %u pieces", kMaxVocab));
    std::string text;
    float score = 0.0f;
    uint64_t type = kNormal;
    Field field;
    while (message.next(&field)) {
      if (field.number == 1 && field.bytes) text.assign(field.bytes, field.n);
      if (field.number == 2 && field.bytes && field.n == 4) std::memcpy(&score, field.bytes, 4);
      if (field.number == 3) type = field.value;
    }
    if (text.empty()) refuse(format("piece %zu: its text is empty", id));
    if (!std::isfinite(score)) refuse(format("piece %zu: its score is not finite", id));
    const int byte = type == kByte ? named_byte(text) : -1;
    if (type == kByte && byte < 0) {
      refuse(
          format("piece %zu: found %s, expected a byte such as <0x0A>", id, shown(text).c_str()));
    }
    v_.texts.push_back(byte >= 0 ? std::string(1, static_cast<char>(byte)) : with_spaces(text));
    v_.scores.push_back(score);
    v_.types.push_back(byte >= 0                              ? kTokenByte
                       : type == kUnknown || type == kControl ? kTokenControl
                       : type == kUserDefined                 ? kTokenUser
                                                              : kTokenNormal);
  }

  void read_trainer(Message message) {
    Field field;
    while (message.next(&field)) {
      if (field.bytes) continue;
      if (field.number == 3) model_type_ = field.value;
      if (field.number == 41) bos_ = static_cast<int64_t>(field.value);
      if (field.number == 42) eos_ = static_cast<int64_t>(field.value);
    }
  }

  void read_normalizer(Message message) {
    Field field;
    while (message.next(&field)) {
      if (field.number == 1 && field.bytes) normalizer_ = shown(std::string(field.bytes, field.n));
      if (field.number == 2) has_rules_ = field.n > 0;
      if (field.number == 3) add_dummy_prefix_ = field.value != 0;
      if (field.number == 4) removes_spaces_ = field.value != 0;
      if (field.number == 5) escapes_spaces_ = field.value != 0;
    }
  }

  const std::string& bytes_;
  const std::string& path_;
  Vocabulary v_;
  uint64_t model_type_ = 1;
  int64_t bos_ = 1, eos_ = 2;
  bool add_dummy_prefix_ = true, removes_spaces_ = true, escapes_spaces_ = true, has_rules_ = false;
  std::string normalizer_;
};

}  // namespace

VocabularyFile open_sentencepiece(const InputFile& file, uint32_t vocab_size) {
  VocabularyFile result;
  Vocabulary& v = result.vocabulary;
  v = Reader(read_whole_file(file, kMaxFileBytes), file.path()).read();
  result.description = format("SentencePiece BPE, %zu tokens", v.texts.size());
  read_companions(&v, file.path());
  pad_vocabulary(&v, vocab_size, file.path());
  return result;
}

}  // namespace thimble::tools
