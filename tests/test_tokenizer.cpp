// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "image.h"
#include "json.h"
#include "random.h"
#include "readers/llama2c.h"
#include "tokenizer.h"

using namespace thimble;

namespace {

// ---- Models that are only a vocabulary ----------------------------------------------------------

struct TestModel {
  tools::Vocabulary vocabulary;
  tools::ImageInMemory image;
  thimble_model model;

  uint8_t* bytes() { return image.block.data(); }
  FileHeader* header() { return reinterpret_cast<FileHeader*>(bytes()); }
  template <class T>
  T* table(SectionKind kind) {
    return reinterpret_cast<T*>(bytes() + section_of(model, kind).offset);
  }
};

TestModel make_model(const tools::Vocabulary& vocabulary) {
  tools::ModelShape shape;
  shape.dim = shape.hidden_dim = shape.head_dim = shape.n_ctx = 8;
  shape.n_layers = shape.n_heads = shape.n_kv_heads = 1;
  shape.vocab_size = static_cast<uint32_t>(vocabulary.texts.size());
  const auto zeros = [](SectionKind, uint32_t, uint32_t, uint32_t cols, float* out) {
    std::fill_n(out, cols, 0.0f);
  };
  TestModel m;
  m.vocabulary = vocabulary;
  m.image = tools::build_image_in_memory(shape, {}, &vocabulary, zeros);
  REQUIRE(thimble_model_open(&m.model, m.image.data(), m.image.bytes) == THIMBLE_OK);
  return m;
}

void add(tools::Vocabulary* v, const std::string& text, float score = 0,
         TokenType type = kTokenNormal) {
  v->texts.push_back(text);
  v->scores.push_back(score);
  v->types.push_back(type);
}

// Control tokens 0 to 2, then the byte tokens: as in Llama's vocabulary.
tools::Vocabulary base_vocabulary() {
  tools::Vocabulary v;
  for (const char* text : {"<unk>", "<s>", "</s>"}) add(&v, text, 0, kTokenControl);
  for (int byte = 0; byte < 256; ++byte) {
    add(&v, std::string(1, static_cast<char>(byte)), 0, kTokenByte);
  }
  v.bos_id = 1;
  v.eos_id = 2;
  return v;
}

tools::Vocabulary read_vocabulary(const std::string& path, uint32_t vocab_size) {
  return tools::open_llama2c_tokenizer(tools::InputFile(path), vocab_size).vocabulary;
}

tools::Vocabulary vocabulary_of(const std::vector<std::pair<std::string, float>>& tokens) {
  tools::Vocabulary v = base_vocabulary();
  for (const auto& token : tokens) add(&v, token.first, token.second);
  return v;
}

// ---- Calls with blocks of exactly the size that is stated, for the sanitizer --------------------

int32_t encode_within(const TestModel& m, const std::string& text, uint32_t flags, size_t capacity,
                      size_t scratch_bytes, std::vector<int32_t>* tokens) {
  const std::unique_ptr<char[]> input(new char[text.size()]);
  const std::unique_ptr<int32_t[]> output(new int32_t[capacity]);
  const std::unique_ptr<uint8_t[]> scratch(new uint8_t[scratch_bytes]);
  std::copy(text.begin(), text.end(), input.get());
  const int32_t n = encode_text(m.model, input.get(), text.size(), flags, output.get(), capacity,
                                scratch.get(), scratch_bytes);
  tokens->assign(output.get(), output.get() + std::max(n, 0));
  return n;
}

std::vector<int32_t> encode(const TestModel& m, const std::string& text, uint32_t flags = 0) {
  std::vector<int32_t> tokens;
  const int32_t n = encode_within(m, text, flags, text.size() + 2,
                                  encode_scratch_bytes(text.size() + 1), &tokens);
  REQUIRE(n >= 0);
  return tokens;
}

// Tokens as text, bytes in hex: "a|bc|<FF>".
std::string names(const TestModel& m, const std::vector<int32_t>& tokens) {
  std::string out;
  for (const int32_t token : tokens) {
    const size_t id = static_cast<size_t>(token);
    const std::string& text = m.vocabulary.texts[id];
    char hex[8];
    snprintf(hex, sizeof hex, "<%02X>", static_cast<uint8_t>(text[0]));
    out += (out.empty() ? "" : "|") + (m.vocabulary.types[id] == kTokenByte ? hex : text);
  }
  return out;
}

std::string encode_names(const TestModel& m, const std::string& text, uint32_t flags = 0) {
  return names(m, encode(m, text, flags));
}

std::string decode(const TestModel& m, thimble_decoder* decoder, int32_t token) {
  const size_t capacity = 3 * m.model.max_token_bytes + 3;
  const std::unique_ptr<char[]> out(new char[capacity]);
  const int32_t n = decode_token(m.model, decoder, token, out.get(), capacity);
  REQUIRE(n >= 0);
  return std::string(out.get(), static_cast<size_t>(n));
}

std::string decode_rest(thimble_decoder* decoder) {
  const std::unique_ptr<char[]> out(new char[3]);
  const int32_t n = decode_end(decoder, out.get(), 3);
  REQUIRE(n >= 0);
  return std::string(out.get(), static_cast<size_t>(n));
}

std::string decode_all(const TestModel& m, const std::vector<int32_t>& tokens) {
  thimble_decoder decoder = {};
  std::string out;
  for (const int32_t token : tokens) out += decode(m, &decoder, token);
  return out + decode_rest(&decoder);
}

// ---- The definitions, written to be obvious -----------------------------------------------------

// Length of the longest prefix at s[at] that some UTF-8 character starts with, 0 if there is none;
// *complete if that is the whole character. Judged by the code points that the prefix leaves open.
size_t utf8_prefix(const std::string& s, size_t at, bool* complete) {
  const auto byte = [&](size_t i) -> uint32_t { return static_cast<uint8_t>(s[i]); };
  struct Form {
    uint32_t mask, lead, least, most;
  };
  const Form forms[] = {{0x80, 0, 0, 0x7f},
                        {0xe0, 0xc0, 0x80, 0x7ff},
                        {0xf0, 0xe0, 0x800, 0xffff},
                        {0xf8, 0xf0, 0x10000, 0x10ffff}};
  size_t longest = 0;
  *complete = false;
  for (size_t length = 1; length <= 4; ++length) {
    const Form& form = forms[length - 1];
    if ((byte(at) & form.mask) != form.lead) continue;
    uint32_t value = byte(at) & ~form.mask & 0xff;
    for (size_t n = 1; n <= length; ++n) {
      if (n > 1) {
        if (at + n > s.size() || (byte(at + n - 1) & 0xc0) != 0x80) break;
        value = value << 6 | (byte(at + n - 1) & 0x3f);
      }
      const uint32_t open_bits = static_cast<uint32_t>(6 * (length - n));
      const uint32_t low = std::max(value << open_bits, form.least);
      const uint32_t high = std::min(((value + 1) << open_bits) - 1, form.most);
      if (low > high || (low >= 0xd800 && high <= 0xdfff)) break;
      longest = n;
      *complete = n == length;
    }
  }
  return longest;
}

bool is_valid_utf8(const std::string& s) {
  bool complete = true;
  for (size_t i = 0; i < s.size() && complete;) i += utf8_prefix(s, i, &complete);
  return complete;
}

std::string replace_invalid(const std::string& s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    bool complete = false;
    const size_t n = std::max(utf8_prefix(s, i, &complete), size_t{1});
    out += complete ? s.substr(i, n) : "\xef\xbf\xbd";
    i += n;
  }
  return out;
}

// The whole text at once, always the best pair of all: O(n^2).
std::vector<int32_t> encode_naively(const tools::Vocabulary& v, const std::string& original,
                                    bool bos) {
  std::map<std::string, int32_t> ids, byte_ids;
  for (size_t id = v.texts.size(); id-- > 0;) {
    if (v.types[id] == kTokenNormal) ids[v.texts[id]] = static_cast<int32_t>(id);
    if (v.types[id] == kTokenByte) byte_ids[v.texts[id]] = static_cast<int32_t>(id);
  }
  struct Symbol {
    std::string text;
    int32_t id;
    bool merges;
  };
  std::vector<Symbol> symbols;
  const auto put = [&](const std::string& character) {
    if (ids.count(character)) return symbols.push_back({character, ids[character], true});
    for (const char c : character) {
      const std::string byte(1, c);
      symbols.push_back({byte, byte_ids.count(byte) ? byte_ids[byte] : -1, false});
    }
  };
  if (!original.empty() && v.add_space_prefix) put(" ");
  for (size_t i = 0; i < original.size();) {
    bool complete = false;
    const size_t prefix = utf8_prefix(original, i, &complete);
    const size_t n = complete ? prefix : 1;
    put(original.substr(i, n));
    i += n;
  }
  for (;;) {
    size_t best = symbols.size();
    float best_score = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (!symbols[i].merges || !symbols[i + 1].merges) continue;
      const auto found = ids.find(symbols[i].text + symbols[i + 1].text);
      if (found == ids.end()) continue;
      const float score = v.scores[static_cast<size_t>(found->second)];
      if (best < symbols.size() && score <= best_score) continue;
      best = i;
      best_score = score;
    }
    if (best == symbols.size()) break;
    symbols[best].text += symbols[best + 1].text;
    symbols[best].id = ids[symbols[best].text];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> tokens;
  if (bos && v.bos_id >= 0) tokens.push_back(v.bos_id);
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) tokens.push_back(symbol.id);
  }
  return tokens;
}

// ---- Random input -------------------------------------------------------------------------------

struct Dice : Random {
  using Random::Random;
  size_t below(size_t n) { return Random::below(static_cast<uint32_t>(n)); }
  bool chance(size_t one_in) { return below(one_in) == 0; }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }
};

const std::vector<std::string> kAlphabet = {
    "a", "b", "c", " ", "\n", "\xc3\xa9", "\xe8\xaa\x9e", "\xf0\x9f\x98\x80"};

bool spans_words(const std::string& text) {
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == ' ' && text[i - 1] != ' ') return true;
  }
  return false;
}

tools::Vocabulary random_vocabulary(Dice* dice, bool spanning_tokens) {
  tools::Vocabulary v;
  std::vector<std::string> known;
  const bool with_bytes = !dice->chance(4);
  for (const std::string& c : kAlphabet) {
    if (!dice->chance(6)) known.push_back(c);
  }
  known.push_back("a");  // maybe twice: the lowest id counts
  const size_t n_merges = dice->below(60);
  for (size_t i = 0; i < n_merges; ++i) {
    const std::string left = dice->pick(known), text = left + dice->pick(known);
    if (text.size() <= 16 && (spanning_tokens || !spans_words(text))) known.push_back(text);
  }
  if (dice->chance(2)) known.push_back("    ");
  if (dice->chance(2)) add(&v, "<s>", 0, kTokenControl);
  v.bos_id = v.texts.empty() ? -1 : 0;
  if (with_bytes) {
    for (int byte = 0; byte < 256; ++byte) {
      if (!dice->chance(9)) add(&v, std::string(1, static_cast<char>(byte)), 0, kTokenByte);
    }
  }
  const size_t n_scores = 1 + dice->below(30);  // few: many are equal
  for (const std::string& text : known) {
    add(&v, text, static_cast<float>(dice->below(n_scores)) - 5);
  }
  v.add_space_prefix = dice->chance(2);
  return v;
}

std::string random_text(Dice* dice, size_t max_characters) {
  std::string text;
  for (size_t n = dice->below(max_characters + 1); n > 0; --n) {
    if (dice->chance(12)) {
      text += static_cast<char>(dice->below(256));
    } else {
      const std::string& c = dice->pick(kAlphabet);
      const size_t times = dice->chance(8) ? dice->below(12) : 1;  // a run
      for (size_t i = 0; i < times; ++i) text.append(dice->chance(20) ? c.substr(0, 1) : c);
    }
    if (dice->chance(8)) text.append(dice->below(4), ' ');
  }
  return text;
}

}  // namespace

// ---- Encoding -----------------------------------------------------------------------------------

TEST_CASE("tokenizer: the pair with the highest score merges first, leftmost of equals") {
  const auto abc = [](float ab, float bc) {
    return make_model(vocabulary_of({{"a", 0}, {"b", 0}, {"c", 0}, {"ab", ab}, {"bc", bc}}));
  };
  CHECK(encode_names(abc(1, 2), "abc") == "a|bc");
  CHECK(encode_names(abc(2, 1), "abc") == "ab|c");
  CHECK(encode_names(abc(-3, -3), "abc") == "ab|c");
  CHECK(encode_names(abc(1, 2), "abab") == "ab|ab");
  CHECK(encode_names(abc(1, 2), "") == "");

  const TestModel runs = make_model(vocabulary_of({{"a", 0}, {"aa", 1}, {"aaa", 9}}));
  CHECK(encode_names(runs, "aaaa") == "aaa|a");  // by way of aa|a|a
  CHECK(encode_names(runs, "aaaaa") == "aaa|aa");

  // A token that no merge leads to is never used.
  const TestModel island = make_model(vocabulary_of({{"a", 0}, {"b", 0}, {"abab", 9}}));
  CHECK(encode_names(island, "abab") == "a|b|a|b");
}

TEST_CASE("tokenizer: of tokens with equal text the lowest id is used") {
  const TestModel m =
      make_model(vocabulary_of({{"a", 0}, {"b", 0}, {"ab", 1}, {"ab", 5}, {"a", 3}}));
  CHECK(encode(m, "ab") == std::vector<int32_t>{261});
  CHECK(encode(m, "a") == std::vector<int32_t>{259});
}

TEST_CASE("tokenizer: beginning of text and space prefix") {
  tools::Vocabulary v = vocabulary_of({{" ", 0}, {"a", 0}, {" a", 1}, {"  ", 2}});
  CHECK(encode_names(make_model(v), "a", THIMBLE_ENCODE_BOS) == "<s>|a");
  v.add_space_prefix = true;
  const TestModel m = make_model(v);
  CHECK(encode_names(m, "a", THIMBLE_ENCODE_BOS) == "<s>| a");
  CHECK(encode_names(m, "a a") == " a| a");
  CHECK(encode_names(m, " a") == "  |a");
  CHECK(encode_names(m, " ") == "  ");
  CHECK(encode_names(m, "") == "");
  CHECK(encode_names(m, "", THIMBLE_ENCODE_BOS) == "<s>");
  v.bos_id = -1;
  CHECK(encode_names(make_model(v), "a", THIMBLE_ENCODE_BOS) == " a");

  tools::Vocabulary no_space = vocabulary_of({{"a", 0}});
  no_space.add_space_prefix = true;
  CHECK(encode_names(make_model(no_space), "a") == "<20>|a");
}

TEST_CASE("tokenizer: characters without a token become byte tokens, which merge with nothing") {
  const TestModel m = make_model(vocabulary_of(
      {{"a", 0}, {"\xc3\xa9", 0}, {"a\xc3\xa9", 1}, {"\xe8\xaa\x9e\xe8\xaa\x9e", 9}, {"<s>", 9}}));
  CHECK(encode_names(m, "a\xc3\xa9\xe8\xaa\x9e") == "a\xc3\xa9|<E8>|<AA>|<9E>");
  CHECK(encode_names(m, "\xe8\xaa\x9e\xe8\xaa\x9e") == "<E8>|<AA>|<9E>|<E8>|<AA>|<9E>");
  CHECK(encode_names(m, std::string("a\0a", 3)) == "a|<00>|a");
  CHECK(encode_names(m, "<s>") == "<3C>|<73>|<3E>");  // text reaches no control token
}

TEST_CASE("tokenizer: invalid UTF-8 is encoded byte by byte and leaves its neighbours alone") {
  const TestModel m =
      make_model(vocabulary_of({{"a", 0}, {"\xc3\xa9", 0}, {"\xe2\x82\xac", 0}, {"aa", 1}}));
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"aa\xff"
       "aa",
       "aa|<FF>|aa"},
      {"\xc3"
       "a",
       "<C3>|a"},
      {"\xc3", "<C3>"},
      {"\xa9", "<A9>"},
      {"\xe2\x82", "<E2>|<82>"},
      {"\xe2\x82\xc3\xa9", "<E2>|<82>|\xc3\xa9"},
      {"\xe2\xe2\x82\xac", "<E2>|\xe2\x82\xac"},
      {"\xc3\xa9\xa9", "\xc3\xa9|<A9>"},
      {"\xc1\x81", "<C1>|<81>"},
      {"\xed\xa0\x80"
       "a",
       "<ED>|<A0>|<80>|a"},
      {"\xf4\x90\x80\x80", "<F4>|<90>|<80>|<80>"},
  };
  for (const auto& c : cases) CHECK(encode_names(m, c.first) == c.second);
}

TEST_CASE("tokenizer: a byte that has no token is left out, and nothing merges across it") {
  tools::Vocabulary v;
  add(&v, "a", 0);
  add(&v, "aa", 1);
  add(&v, "\xff", 0, kTokenByte);
  const TestModel m = make_model(v);
  CHECK(encode_names(m,
                     "a\xfe"
                     "a") == "a|a");
  CHECK(encode_names(m,
                     "a\xff"
                     "a") == "a|<FF>|a");
  CHECK(encode_names(m, "xyz") == "");
}

TEST_CASE("tokenizer: equals the naive encoder on random texts and vocabularies") {
  Dice dice(1);
  for (int round = 0; round < 300; ++round) {
    const bool spanning_tokens = round % 3 == 0;
    TestModel m = make_model(random_vocabulary(&dice, spanning_tokens));
    const bool splits = m.header()->tokenizer_flags & kTokenizerSplitsAtSpaces;
    if (!spanning_tokens) REQUIRE(splits);
    for (int i = 0; i < 30; ++i) {
      const std::string text = random_text(&dice, i < 20 ? 12 : 80);
      const uint32_t flags = dice.chance(2) ? THIMBLE_ENCODE_BOS : 0;
      const std::vector<int32_t> expected = encode_naively(m.vocabulary, text, flags);
      CAPTURE(round);
      CAPTURE(text);
      REQUIRE(encode(m, text, flags) == expected);
      if (!splits) continue;
      m.header()->tokenizer_flags &= ~uint32_t{kTokenizerSplitsAtSpaces};
      REQUIRE(encode(m, text, flags) == expected);
      m.header()->tokenizer_flags |= kTokenizerSplitsAtSpaces;
    }
  }
}

TEST_CASE("tokenizer: encoding into every capacity") {
  Dice dice(2);
  for (int round = 0; round < 20; ++round) {
    const TestModel m = make_model(random_vocabulary(&dice, false));
    const std::string text = random_text(&dice, 30);
    const size_t scratch_bytes = encode_scratch_bytes(text.size() + 1);
    const std::vector<int32_t> expected = encode(m, text, THIMBLE_ENCODE_BOS);
    std::vector<int32_t> tokens;
    for (size_t capacity = 0; capacity < expected.size(); ++capacity) {
      REQUIRE(encode_within(m, text, THIMBLE_ENCODE_BOS, capacity, scratch_bytes, &tokens) ==
              THIMBLE_ERROR_OUTPUT_TOO_SMALL);
    }
    REQUIRE(encode_within(m, text, THIMBLE_ENCODE_BOS, expected.size(), scratch_bytes, &tokens) ==
            static_cast<int32_t>(expected.size()));
    REQUIRE(tokens == expected);
  }
}

TEST_CASE("tokenizer: encoding with every amount of scratch") {
  tools::Vocabulary v = vocabulary_of({{"a", 0}, {"aa", 1}, {"\xc3\xa9", 0}, {" ", 0}});
  v.marks_whole = false;  // words that are tokens need no scratch
  const TestModel m = make_model(v);
  v.add_space_prefix = true;
  const TestModel prefixed = make_model(v);
  std::vector<int32_t> tokens;
  for (size_t scratch_bytes = 0; scratch_bytes < 200; ++scratch_bytes) {
    const size_t most = encode_word_bytes(scratch_bytes);
    const auto status = [&](const TestModel& model, const std::string& text) {
      const int32_t n = encode_within(model, text, 0, 99, scratch_bytes, &tokens);
      return n < 0 ? n : THIMBLE_OK;
    };
    const std::string word(most, 'a'), shorter(most > 0 ? most - 1 : 0, 'a');
    CHECK(status(m, word) == THIMBLE_OK);
    CHECK(status(m, word + "a") == THIMBLE_ERROR_TEXT_TOO_LONG);
    // The space before a word is part of it; words of one text do not add up.
    CHECK(status(m, word + " " + word) ==
          (most == 0 ? THIMBLE_ERROR_TEXT_TOO_LONG : status(m, " " + word)));
    CHECK(status(m, " " + word) == THIMBLE_ERROR_TEXT_TOO_LONG);
    CHECK(status(m, word + (most > 0 ? " " + shorter : "")) == THIMBLE_OK);
    CHECK(status(prefixed, shorter) == THIMBLE_OK);
    if (most > 0) CHECK(status(prefixed, word) == THIMBLE_ERROR_TEXT_TOO_LONG);
    CHECK(status(m, "\xff\xff\xff") == THIMBLE_OK);  // byte tokens need no scratch
  }
}

TEST_CASE("tokenizer: scratch for a word, and the word for a scratch") {
  for (size_t n = 0; n <= kMaxWordBytes; n += n < 70000 ? 1 : 12345678) {
    const size_t bytes = encode_scratch_bytes(n);
    if (encode_word_bytes(bytes) != n) FAIL("word of ", n, " bytes");
    if (n > 0 && encode_word_bytes(bytes - 1) != n - 1) FAIL("word of ", n, " bytes");
  }
  CHECK(encode_scratch_bytes(SIZE_MAX) == encode_scratch_bytes(kMaxWordBytes));
  CHECK(encode_word_bytes(SIZE_MAX) == kMaxWordBytes);
  CHECK(encode_scratch_bytes(1) <= 20);
}

TEST_CASE("tokenizer: long texts") {
  std::vector<std::pair<std::string, float>> tokens = {{" ", 0}, {"b", 0}, {"c", 0}, {"bc", 3}};
  for (size_t n = 1; n <= 64; n *= 2) {
    tokens.push_back({std::string(n, 'a'), -static_cast<float>(n)});
  }
  TestModel m = make_model(vocabulary_of(tokens));

  SUBCASE("many words") {
    Dice dice(3);
    std::string part;
    while (part.size() < 1000) part += std::string(1 + dice.below(3), ' ') + "abacbcaa";
    const std::vector<int32_t> once = encode_naively(m.vocabulary, part, false);
    std::string text;
    std::vector<int32_t> expected, found;
    while (text.size() < 100000) {
      text += part;
      expected.insert(expected.end(), once.begin(), once.end());
    }
    REQUIRE(encode_within(m, text, 0, expected.size(), encode_scratch_bytes(11), &found) > 0);
    CHECK(found == expected);
  }
  SUBCASE("one long word, and one byte more") {
    std::vector<int32_t> found;
    const size_t scratch_bytes = encode_scratch_bytes(100031);
    const std::string word(100031, 'a');
    // 1562 * 64 + 32 + 16 + 8 + 4 + 2 + 1
    REQUIRE(encode_within(m, word, 0, 2000, scratch_bytes, &found) == 1562 + 6);
    CHECK(m.vocabulary.texts[static_cast<size_t>(found[1561])].size() == 64);
    CHECK(m.vocabulary.texts[static_cast<size_t>(found.back())].size() == 1);
    CHECK(encode_within(m, word + "a", 0, 2000, scratch_bytes, &found) ==
          THIMBLE_ERROR_TEXT_TOO_LONG);
  }
}

TEST_CASE("tokenizer: a length that no token count could express is refused") {
  const TestModel m = make_model(vocabulary_of({{"a", 0}}));
  const char text = 'a';
  CHECK(encode_text(m.model, &text, size_t{INT32_MAX} - 1, 0, nullptr, 0, nullptr, 0) ==
        THIMBLE_ERROR_ARGUMENT);
}

// ---- Decoding -----------------------------------------------------------------------------------

TEST_CASE("tokenizer: decoding drops the space prefix once and gives control tokens no text") {
  tools::Vocabulary v = vocabulary_of({{" ", 0}, {"a", 0}, {" a", 1}, {"", 0}});
  const TestModel plain = make_model(v);
  CHECK(decode_all(plain, {1, 261, 2, 261, 260}) == " a aa");
  v.add_space_prefix = true;
  const TestModel m = make_model(v);
  CHECK(decode_all(m, {1, 261, 2, 261, 260}) == "a aa");
  CHECK(decode_all(m, {259, 261}) == " a");
  CHECK(decode_all(m, {3 + ' ', 260}) == "a");
  CHECK(decode_all(m, {260, 261}) == "a a");
  CHECK(decode_all(m, {262, 261}) == "a");  // a token without text starts nothing
  CHECK(decode_all(m, {}) == "");
}

TEST_CASE("tokenizer: however a text is cut into tokens, whole characters come out") {
  const std::string text = "a\xc3\xa9\xe8\xaa\x9e\xf0\x9f\x98\x80z";
  std::map<std::string, int32_t> ids;
  tools::Vocabulary v;
  for (size_t begin = 0; begin < text.size(); ++begin) {
    for (size_t n = 1; begin + n <= text.size(); ++n) {
      ids[text.substr(begin, n)] = static_cast<int32_t>(v.texts.size());
      add(&v, text.substr(begin, n));
    }
  }
  const TestModel m = make_model(v);
  for (uint32_t cuts = 0; cuts < 1u << (text.size() - 1); ++cuts) {
    thimble_decoder decoder = {};
    std::string out, token;
    for (size_t i = 0; i < text.size(); ++i) {
      token += text[i];
      if (i + 1 < text.size() && !(cuts >> i & 1)) continue;
      const std::string part = decode(m, &decoder, ids[token]);
      REQUIRE(is_valid_utf8(part));
      out += part;
      // Nothing waits that could be written.
      REQUIRE(out.size() + decoder.n_pending == i + 1);
      token.clear();
    }
    REQUIRE(out == text);
    REQUIRE(decode_rest(&decoder) == "");
  }
}

TEST_CASE("tokenizer: invalid sequences are decoded as U+FFFD, one for each maximal part") {
  const TestModel m = make_model(base_vocabulary());
  const auto decode_bytes = [&](const std::string& bytes) {
    std::vector<int32_t> tokens;
    for (const char c : bytes) tokens.push_back(3 + static_cast<uint8_t>(c));
    return decode_all(m, tokens);
  };
  const std::string r = "\xef\xbf\xbd";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\x80", r},
      {"\xc3"
       "a",
       r + "a"},
      {"\xc3\xc3\xa9", r + "\xc3\xa9"},
      {"\xe8\xaa", r},
      {"\xe8\xaa"
       "a",
       r + "a"},
      {"\xc0\xaf", r + r},                  // overlong
      {"\xe0\x80\xaf", r + r + r},          // overlong
      {"\xf0\x8f\xbf\xbf", r + r + r + r},  // overlong
      {"\xed\xa0\x80", r + r + r},          // surrogate
      {"\xf4\x90\x80\x80", r + r + r + r},  // above U+10FFFF
      {"\xf5\x80\x80\x80", r + r + r + r},  // above U+10FFFF
      // The example of the Unicode Standard, table 3-11.
      {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
       "A",
       r + r + r + r + "A"},
      {"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"},
      {std::string("\0", 1), std::string("\0", 1)},
  };
  for (const auto& c : cases) {
    CHECK(decode_bytes(c.first) == c.second);
    CHECK(replace_invalid(c.first) == c.second);
  }
}

TEST_CASE("tokenizer: random bytes in random tokens decode to valid UTF-8") {
  Dice dice(4);
  const std::vector<std::string> parts = {"a",    " ",    "\xc3", "\xa9", "\xe0",
                                          "\xe8", "\xed", "\xf0", "\x80", "\x9f",
                                          "\xa0", "\xbf", "\xf4", "\xff", "\xc0"};
  for (int round = 0; round < 100; ++round) {
    tools::Vocabulary v;
    for (int i = 0; i < 40; ++i) {
      std::string text;
      for (size_t n = 1 + dice.below(5); n > 0; --n) text += dice.pick(parts);
      add(&v, text);
    }
    const TestModel m = make_model(v);
    for (int i = 0; i < 20; ++i) {
      std::string bytes, out;
      thimble_decoder decoder = {};
      for (size_t n = dice.below(12); n > 0; --n) {
        const size_t token = dice.below(v.texts.size());
        bytes += v.texts[token];
        out += decode(m, &decoder, static_cast<int32_t>(token));
        REQUIRE(is_valid_utf8(out));
      }
      out += decode_rest(&decoder);
      REQUIRE(out == replace_invalid(bytes));
    }
  }
}

TEST_CASE("tokenizer: decoding into every capacity, and a failure changes nothing") {
  tools::Vocabulary v = vocabulary_of({{" \xe8\xaa\x9e"
                                        "a\xe8",
                                        0},
                                       {"\xff\xff\xff", 0}});
  v.add_space_prefix = true;
  const TestModel m = make_model(v);
  thimble_decoder decoder = {};
  for (const int32_t token : {259, 3 + 0xaa, 3 + 0xff, 3 + 0xf0, 3 + 0x9f, 260, 3 + 'a'}) {
    thimble_decoder trial = decoder;
    const std::string expected = decode(m, &trial, token);
    for (size_t capacity = 0; capacity <= expected.size(); ++capacity) {
      const std::unique_ptr<char[]> out(new char[capacity]);
      memset(out.get(), '#', capacity);
      const thimble_decoder before = decoder;
      const int32_t n = decode_token(m.model, &decoder, token, out.get(), capacity);
      if (capacity == expected.size()) {
        REQUIRE(n == static_cast<int32_t>(capacity));
        REQUIRE(std::string(out.get(), capacity) == expected);
      } else {
        REQUIRE(n == THIMBLE_ERROR_OUTPUT_TOO_SMALL);
        REQUIRE(std::string(out.get(), capacity) == std::string(capacity, '#'));
        REQUIRE(memcmp(&decoder, &before, sizeof before) == 0);
      }
    }
  }
  CHECK(decode(m, &decoder, 3 + 0xf0) == "");
  char out[3];
  for (size_t capacity = 0; capacity < 3; ++capacity) {
    CHECK(decode_end(&decoder, out, capacity) == THIMBLE_ERROR_OUTPUT_TOO_SMALL);
    CHECK(decoder.n_pending == 1);
  }
  CHECK(decode_end(&decoder, out, 3) == 3);
  CHECK(decode_end(&decoder, out, 0) == 0);
}

TEST_CASE("tokenizer: a decoder that was not zeroed is refused or harmless") {
  const TestModel m = make_model(base_vocabulary());
  for (int n_pending = 0; n_pending < 256; ++n_pending) {
    thimble_decoder decoder;
    memset(&decoder, 0x80, sizeof decoder);
    decoder.n_pending = static_cast<uint8_t>(n_pending);
    char out[8];
    const int32_t n = decode_token(m.model, &decoder, 3 + 0x80, out, sizeof out);
    if (n_pending > 3) CHECK(n == THIMBLE_ERROR_ARGUMENT);
  }
}

// ---- Checking -----------------------------------------------------------------------------------

TEST_CASE("tokenizer: damaged tables are refused, with the field and the place") {
  TestModel m = make_model(vocabulary_of({{" ", 0}, {"a", 0}, {" a", 1}}));
  const int32_t vocab_size = static_cast<int32_t>(m.model.vocab_size);
  const uint64_t token_bytes = m.header()->token_bytes;
  const auto place = [&](SectionKind kind, uint64_t at) {
    return section_of(m.model, kind).offset + at;
  };
  const auto refuses = [&](const std::string& what, uint64_t found, uint64_t expected,
                           uint64_t offset) {
    thimble_fault fault = {};
    CHECK(check_tokenizer(m.model, &fault) == THIMBLE_ERROR_TOKENIZER);
    REQUIRE(fault.what != nullptr);
    CHECK(std::string(fault.what) == what);
    CHECK(fault.found == found);
    CHECK(fault.expected == expected);
    CHECK(fault.offset == offset);
  };
  uint32_t* offsets = m.table<uint32_t>(kTokenOffsets);
  uint8_t* types = m.table<uint8_t>(kTokenTypes);
  int32_t* byte_tokens = m.table<int32_t>(kByteTokens);
  int32_t* lookup = m.table<int32_t>(kTokenLookup);
  const uint32_t n_slots = token_lookup_slots(m.model.vocab_size);
  thimble_fault fault = {};
  REQUIRE(check_tokenizer(m.model, &fault) == THIMBLE_OK);
  REQUIRE(fault.what == nullptr);

  SUBCASE("first offset") {
    offsets[0] = 1;
    refuses("token offset", 1, 0, place(kTokenOffsets, 0));
  }
  SUBCASE("offsets that descend") {
    const uint32_t before = offsets[100];
    offsets[101] = before - 1;
    refuses("token offset", before - 1, before, place(kTokenOffsets, 404));
  }
  SUBCASE("an offset behind the texts") {
    offsets[262] = 0x80000000;
    refuses("token offset", 0x80000000, token_bytes, place(kTokenOffsets, 4 * 262));
  }
  SUBCASE("last offset before the end of the texts") {
    --offsets[262];
    refuses("token offset", token_bytes - 1, token_bytes, place(kTokenOffsets, 4 * 262));
  }
  SUBCASE("longest token shorter than stated") {
    m.header()->max_token_bytes = 6;
    refuses("max_token_bytes", 6, 5, offsetof(FileHeader, max_token_bytes));
  }
  SUBCASE("longest token longer than stated") {
    m.header()->max_token_bytes = 4;
    refuses("max_token_bytes", 4, 5, offsetof(FileHeader, max_token_bytes));
  }
  SUBCASE("unknown type") {
    types[2] = 4;
    refuses("token type", 4, 3, place(kTokenTypes, 2));
  }
  SUBCASE("a control token that is said to be a word") {
    types[2] = kTokenControl | kTokenWhole;
    refuses("token type", kTokenControl | kTokenWhole, 3, place(kTokenTypes, 2));
  }
  SUBCASE("byte token of two bytes") {
    types[261] = kTokenByte;
    refuses("token offset", token_bytes, token_bytes - 1, place(kTokenOffsets, 4 * 262));
  }
  SUBCASE("byte token of no byte") {
    offsets[4] = offsets[3];
    refuses("token offset", offsets[3], offsets[3] + 1, place(kTokenOffsets, 16));
  }
  SUBCASE("a space behind another byte though words are said to be independent") {
    m.table<uint8_t>(kTokenBytes)[token_bytes - 2] = 'a';
    m.table<uint8_t>(kTokenBytes)[token_bytes - 1] = ' ';
    refuses("tokenizer_flags (a token spans words)", m.header()->tokenizer_flags,
            m.header()->tokenizer_flags & ~uint32_t{kTokenizerSplitsAtSpaces},
            offsetof(FileHeader, tokenizer_flags));
    types[261] = kTokenControl;  // which text never becomes; but it may no longer be looked up
    for (uint32_t i = 0; i < n_slots; ++i) lookup[i] = lookup[i] == 261 ? -1 : lookup[i];
    CHECK(check_tokenizer(m.model, &fault) == THIMBLE_OK);
  }
  SUBCASE("token of a byte") {
    const uint64_t at = place(kByteTokens, 4 * 'A');
    for (const int32_t id : {-2, INT32_MIN, vocab_size, INT32_MAX, 260, 1, 3 + 'B'}) {
      byte_tokens[static_cast<size_t>('A')] = id;
      refuses("token of a byte", static_cast<uint64_t>(int64_t{id}), UINT64_MAX, at);
    }
    byte_tokens[static_cast<size_t>('A')] = -1;
    CHECK(check_tokenizer(m.model, &fault) == THIMBLE_OK);
  }
  SUBCASE("lookup slot") {
    for (const uint32_t slot : {0u, n_slots - 1}) {
      for (const int32_t id : {-2, INT32_MIN, vocab_size, INT32_MAX, 3 + 'B'}) {
        const int32_t before = lookup[slot];
        lookup[slot] = id;
        refuses("token lookup slot", static_cast<uint64_t>(int64_t{id}), UINT64_MAX,
                place(kTokenLookup, 4 * slot));
        lookup[slot] = before;
      }
    }
  }
  SUBCASE("no empty slot") {
    std::fill_n(lookup, n_slots, 260);
    refuses("token lookup (no empty slot)", 260, UINT64_MAX, place(kTokenLookup, 0));
    lookup[n_slots - 1] = -1;
    CHECK(check_tokenizer(m.model, &fault) == THIMBLE_OK);
  }
}

TEST_CASE("tokenizer: what the check lets through is safe to use") {
  Dice dice(5);
  const std::vector<SectionKind> kinds = {kTokenOffsets, kTokenBytes, kTokenRanks,
                                          kTokenTypes,   kByteTokens, kTokenLookup};
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    static const TestModel original =
        make_model(vocabulary_of({{" ", 0}, {"a", 0}, {"b", 0}, {" a", 1}, {"aa", 2}, {"ab", 2}}));
    // An image of its own, so that the sanitizer sees its ends.
    const std::unique_ptr<uint8_t[]> block(new uint8_t[original.image.bytes + 63]);
    uint8_t* image = block.get() + (64 - reinterpret_cast<uintptr_t>(block.get()) % 64) % 64;
    memcpy(image, original.image.data(), original.image.bytes);
    thimble_model model = original.model;
    model.image = image;
    for (size_t n = 1 + dice.below(3); n > 0; --n) {
      const SectionEntry& section = section_of(model, dice.pick(kinds));
      uint8_t* at = image + section.offset + dice.below(section.bytes);
      *at = static_cast<uint8_t>(dice.chance(2) ? dice.below(256) : *at + 1);
    }
    thimble_fault fault = {};
    if (check_tokenizer(model, &fault) != THIMBLE_OK) {
      REQUIRE(fault.what != nullptr);
      continue;
    }
    ++accepted;
    const std::string text = random_text(&dice, 30) + " aab abab";
    std::vector<int32_t> tokens(text.size() + 2);
    std::vector<uint64_t> scratch(encode_scratch_bytes(text.size() + 1) / 8 + 1);
    const int32_t n = encode_text(model, text.data(), text.size(), THIMBLE_ENCODE_BOS,
                                  tokens.data(), tokens.size(), scratch.data(), scratch.size() * 8);
    REQUIRE(n >= 0);
    thimble_decoder decoder = {};
    std::vector<char> out(3 * model.max_token_bytes + 3);
    for (int32_t i = 0; i < n; ++i) {
      REQUIRE(decode_token(model, &decoder, tokens[static_cast<size_t>(i)], out.data(),
                           out.size()) >= 0);
    }
  }
  CHECK(accepted > 100);
}

TEST_CASE("tokenizer: a model without one passes the check") {
  tools::ModelShape shape;
  shape.dim = shape.hidden_dim = shape.head_dim = shape.n_ctx = shape.vocab_size = 8;
  shape.n_layers = shape.n_heads = shape.n_kv_heads = 1;
  const tools::ImageInMemory image = tools::build_image_in_memory(
      shape, {}, nullptr, [](SectionKind, uint32_t, uint32_t, uint32_t cols, float* out) {
        std::fill_n(out, cols, 0.0f);
      });
  thimble_model model;
  REQUIRE(thimble_model_open(&model, image.data(), image.bytes) == THIMBLE_OK);
  CHECK(check_tokenizer(model, &model.fault) == THIMBLE_OK);
}

// ---- Golden files -------------------------------------------------------------------------------

TEST_CASE("tokenizer: the golden texts of stories260K") {
  const std::string folder = "../shared/models/stories260K/";
  std::string text;
  if (!test::read_whole_file(folder + "tokenizer_golden.json", &text)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  const TestModel m = make_model(read_vocabulary(folder + "tok512.bin", 512));
  CHECK((m.model.bos_id == 1 && m.model.eos_id == 2));
  const test::Json golden = test::parse_json(text);
  CHECK(golden["cases"].size() >= 29);
  for (const test::Json& item : golden["cases"].items) {
    const std::string& input = item["text"].text;
    CAPTURE(input);
    const std::vector<int32_t> tokens = encode(m, input, THIMBLE_ENCODE_BOS);
    CHECK(tokens == item["ids"].as_ints());
    CHECK(decode_all(m, tokens) == item["decoded"].text);
  }
}

TEST_CASE("tokenizer: stories come back from their tokens, and equal the naive encoder's") {
  std::string text;
  if (!test::read_whole_file("../shared/text/stories-heldout.txt", &text)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  const TestModel m = make_model(read_vocabulary("../shared/models/story/tokenizer.bin", 1024));
  CHECK(decode_all(m, encode(m, text)) == text);
  const std::string start = text.substr(0, 1500);
  CHECK(encode(m, start) == encode_naively(m.vocabulary, start, false));
}

// ---- tests/json.h -------------------------------------------------------------------------------

TEST_CASE("json: values, nesting and escapes") {
  const test::Json j = test::parse_json(
      R"( {"a": [1, -2.5e3, 0.1], "b": {"c": null, "d": [true, false, []]}, "": {},)"
      R"( "e\n": "\"\\\/\b\f\n\r\t\u0041\u00e9\u8a9e\ud83d\ude00 \u0000x"} )");
  CHECK(j["a"].as_ints() == std::vector<int32_t>{1, -2500, 0});
  CHECK(j["a"].as_floats() == std::vector<float>{1.0f, -2500.0f, 0.1f});
  CHECK(j["b"]["c"].kind == test::Json::kNull);
  CHECK(j["b"]["d"][0].boolean);
  CHECK((j["b"]["d"][1].kind == test::Json::kBool && !j["b"]["d"][1].boolean));
  CHECK(j["b"]["d"][2].size() == 0);
  CHECK(j[""].kind == test::Json::kObject);
  CHECK(j["e\n"].text ==
        std::string("\"\\/\b\f\n\r\tA\xc3\xa9\xe8\xaa\x9e\xf0\x9f\x98\x80 \0x", 21));
  CHECK(j.find("f") == nullptr);
  CHECK_THROWS(j["f"]);
  CHECK_THROWS(j["a"][3]);
}

TEST_CASE("json: what is no JSON throws") {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "[1",
                           "[1,",
                           "[1,]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{1:2}",
                           "\"",
                           "\"\\",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\ud800\"",
                           "\"\\ud800\\u0041\"",
                           "\"\\udc00\"",
                           "nul",
                           "1x",
                           "--1",
                           "1 2",
                           "[] ]"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(test::parse_json(text), std::runtime_error);
  }
}
