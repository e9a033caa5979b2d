// SPDX-License-Identifier: MIT
// Turns of a chat: templates that are recognised, their tokens, and what stays in the cache.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "chat_template.h"
#include "error.h"
#include "gguf_files.h"
#include "readers/gguf.h"
#include "readers/reader.h"
#include "readers/tokenizers.h"
#include "test_folder.h"
#include "tiny_model.h"
#include "tokenizer_case.h"

using namespace thimble;
using namespace thimble::test;
using tools::Vocabulary;
using Ids = std::vector<int32_t>;

namespace {

// ---- Vocabularies and models -------------------------------------------------------------------

const std::vector<tools::Merge> kMerges = {
    {"u", "s"},  {"us", "e"}, {"use", "r"}, {"\n", "\n"}, {"\n\n", "\n"},  {" ", " "},
    {" ", "h"},  {" h", "i"}, {"h", "i"},   {"h", "o"},   {"1", "2"},      {"'", "s"},
    {" ", "\n"}, {" ", ":"},  {"e", "r"},   {":", "\n"},  {"\xc3", "\xa9"}};

Vocabulary byte_level(const std::vector<std::string>& special,
                      PreTokenizer pre = kPreTokenizerQwen2) {
  Vocabulary v = byte_level_vocabulary(kMerges, pre);
  for (const std::string& text : special) add_token(&v, text, kTokenControl);
  v.bos_id = tools::find_special(v, "<|begin_of_text|>");
  v.add_bos = false;
  return v;
}

// SentencePiece's kind: every byte, letters, and words with a space before them.
Vocabulary scored(const std::vector<std::string>& special, bool add_space_prefix) {
  Vocabulary v;
  const auto add = [&](const std::string& text, uint8_t type) {
    v.scores.push_back(-static_cast<float>(v.texts.size()));
    v.texts.push_back(text);
    v.types.push_back(type);
  };
  for (const char* text : {"<unk>", "<s>", "</s>"}) add(text, kTokenControl);
  for (const std::string& text : special) add(text, kTokenControl);
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)), kTokenByte);
  for (char c = ' '; c < 0x7f; ++c) add(std::string(1, c), kTokenNormal);
  for (const char* text : {" h", "hi", " hi", "  ", "us", "er", "user", " [", "IN", "ST", "INST"}) {
    add(text, kTokenNormal);
  }
  v.bos_id = 1;
  v.eos_id = 2;
  v.add_space_prefix = add_space_prefix;
  return v;
}

struct ChatModel {
  explicit ChatModel(const Vocabulary& v)
      : image(tools::build_image_in_memory(
            tiny_shape(16, 24, 2, 2, 1, 8, static_cast<uint32_t>(v.texts.size()), 512, true),
            {kWeightF32, 0, 4}, &v,
            [](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
              random_row(3, kind, layer, row, cols, out);
            })) {
    const thimble_status status = thimble_model_open(&view, image.data(), image.bytes);
    REQUIRE_MESSAGE(status == THIMBLE_OK, view.fault.what);
  }
  tools::ImageInMemory image;
  thimble_model view;
};

// Into a block of just the capacity, for the sanitizer.
int32_t turn_within(thimble_session* s, thimble_role role, const std::string& text, uint32_t flags,
                    size_t capacity, Ids* ids) {
  const std::unique_ptr<int32_t[]> out(new int32_t[capacity]);
  const std::unique_ptr<char[]> input(new char[text.size()]);
  std::copy(text.begin(), text.end(), input.get());
  const int32_t n =
      thimble_encode_turn(s, role, input.get(), text.size(), flags, out.get(), capacity);
  if (n >= 0) ids->assign(out.get(), out.get() + n);
  return n;
}

Ids turn(thimble_session* s, thimble_role role, const std::string& text, uint32_t flags = 0) {
  Ids ids;
  const int32_t n = turn_within(s, role, text, flags, 3 * text.size() + 400, &ids);
  REQUIRE_MESSAGE(n >= 0, std::string(thimble_status_text(static_cast<thimble_status>(n))));
  return ids;
}

Ids encoded(thimble_session* s, const std::string& text, uint32_t flags) {
  Ids ids(3 * text.size() + 2);
  const int32_t n = thimble_encode(s, text.data(), text.size(), flags, ids.data(), ids.size());
  REQUIRE(n >= 0);
  ids.resize(static_cast<size_t>(n));
  return ids;
}

void feed(thimble_session* s, const Ids& ids) {
  feed_pieces(s, ids.data(), ids.size(), ids.size());
}

void append(Ids* to, const Ids& ids) {
  to->insert(to->end(), ids.begin(), ids.end());
}

constexpr uint32_t kAnswer = THIMBLE_TURN_ANSWER, kAfterAnswer = THIMBLE_TURN_AFTER_ANSWER,
                   kAfterSystem = THIMBLE_TURN_AFTER_SYSTEM;

// System, user, an answer of the model (given token by token), user: as the verb does it.
Ids two_turn_chat(thimble_session* s, const std::string& answer) {
  Ids all = turn(s, THIMBLE_ROLE_SYSTEM, "be");
  feed(s, all);
  Ids next = turn(s, THIMBLE_ROLE_USER, "hi", kAnswer | kAfterSystem);
  feed(s, next);
  append(&all, next);
  for (const char c : answer) {
    next = encoded(s, std::string(1, c), 0);
    next = {next.back()};
    feed(s, next);
    append(&all, next);
  }
  next = turn(s, THIMBLE_ROLE_USER, "use hi", kAnswer | kAfterAnswer);
  feed(s, next);
  append(&all, next);
  return all;
}

struct Known {
  const char* name;
  const char* jinja;
  std::vector<std::string> special;
  bool is_byte_level;
  const char* end_of_turn;
  const char* chat;  // the whole chat above, BOS not spelled; the answer is "yo"
  bool has_bos;
};

const Known kKnown[] = {
    {"chatml",
     "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>'}}",
     {"<|im_start|>", "<|im_end|>"},
     true,
     "<|im_end|>",
     "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
     "yo<|im_end|>\n<|im_start|>user\nuse hi<|im_end|>\n<|im_start|>assistant\n",
     false},
    {"llama3",
     "{{'<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + "
     "'<|eot_id|>'}}",
     {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     true,
     "<|eot_id|>",
     "<|start_header_id|>system<|end_header_id|>\n\nbe<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nyo<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nuse hi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     true},
    {"gemma",
     "{{ bos_token }}{{ '<start_of_turn>' + role + '\\n' + m.content }}{{ '<end_of_turn>\\n' }}",
     {"<start_of_turn>", "<end_of_turn>"},
     false,
     "<end_of_turn>",
     "<start_of_turn>user\nbe\n\nhi<end_of_turn>\n<start_of_turn>model\nyo<end_of_turn>\n"
     "<start_of_turn>user\nuse hi<end_of_turn>\n<start_of_turn>model\n",
     true},
    {"zephyr",
     "{{ '<|user|>\\n' + message['content'] + eos_token }}{{ '<|assistant|>' }}",
     {},
     false,
     "</s>",
     "<|system|>\nbe</s>\n<|user|>\nhi</s>\n<|assistant|>\nyo</s>\n<|user|>\nuse hi</s>\n"
     "<|assistant|>\n",
     true},
    {"mistral",
     "{{ '[INST] ' + message['content'] + ' [/INST]' }}{{ message['content'] + eos_token}}",
     {},
     false,
     "</s>",
     "[INST] be\n\nhi [/INST]yo</s>[INST] use hi [/INST]",
     true},
    {"llama2",
     "{{ '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' }}{{ '[INST] ' + content + ' [/INST]' }}",
     {},
     false,
     "</s>",
     "[INST] <<SYS>>\nbe\n<</SYS>>\n\nhi [/INST]yo </s><s>[INST] use hi [/INST]",
     true},
};

Vocabulary vocabulary_of(const Known& known, bool prefix = false) {
  return known.is_byte_level ? byte_level(known.special) : scored(known.special, prefix);
}

Vocabulary chat_vocabulary(const Known& known, bool prefix = false) {
  Vocabulary v = vocabulary_of(known, prefix);
  std::string why;
  REQUIRE_MESSAGE(tools::set_turns(&v, known.name, &why), why);
  return v;
}

}  // namespace

// ---- Templates ---------------------------------------------------------------------------------

TEST_CASE("turns: known templates by their marks, others not") {
  for (const Known& known : kKnown) {
    const char* name = tools::recognise_template(known.jinja);
    REQUIRE_MESSAGE(name != nullptr, std::string(known.name));
    CHECK(std::string(name) == known.name);
  }
  for (const char* other :
       {"", "{{ messages }}", "{{ '<|user|>\\n' + content + '<|end|>\\n<|assistant|>' }}",
        "{{ '<|user|>\\n' + message['content'] + '\\n<|assistant|>\\n' }}",
        "{{ '<|im_start|>user<|im_sep|>' + content + '<|im_end|>' }}",
        "{{ '<|start_of_role|>user<|end_of_role|>' }}"}) {
    CHECK_MESSAGE(tools::recognise_template(other) == nullptr, std::string(other));
  }
}

TEST_CASE("turns: the token that ends a turn, and vocabularies without it") {
  for (const Known& known : kKnown) {
    const Vocabulary v = chat_vocabulary(known);
    CHECK(v.turns.size() == kTurnTextCount);
    CHECK(v.end_of_turn_id == tools::find_special(v, known.end_of_turn));
    const ChatModel m(v);
    CHECK(thimble_is_end(&m.view, v.end_of_turn_id) == 1);
    CHECK(thimble_is_end(&m.view, v.end_of_turn_id + 1) == 0);
  }
  Vocabulary v = byte_level({});
  std::string why;
  CHECK(!tools::set_turns(&v, "chatml", &why));
  CHECK(why.find("<|im_end|>") != std::string::npos);
  CHECK(!tools::set_turns(&v, "zephyr", &why));
  CHECK(!tools::set_turns(&v, "esperanto", &why));
  CHECK(why.find("chatml") != std::string::npos);
  CHECK(v.turns.empty());
  CHECK(v.end_of_turn_id == -1);
}

TEST_CASE("turns: options instead of a template, and what is said of an unknown one") {
  Vocabulary v = byte_level({"<|im_start|>", "<|im_end|>", "<|stop|>"});
  v.chat_template = "{{ 'Q: '\n }}" + std::string(100, 'x');
  const std::string note = tools::choose_turns({}, &v);
  CHECK(note.find("'{{ 'Q: '\\n }}xxx") != std::string::npos);
  CHECK(note.find(std::string(61, 'x')) == std::string::npos);
  CHECK(v.turns.empty());

  tools::TurnOptions options;
  CHECK(!options.any());
  options.texts[2] = tools::unescaped("Q:\\n");
  options.texts[4] = "<|stop|>A:";
  options.end_of_turn = "<|stop|>";
  CHECK(options.any());
  v.types.back() = kTokenUser;
  CHECK(tools::choose_turns(options, &v).empty());
  CHECK(v.turns == std::vector<std::string>{"", "", "Q:\n", "", "<|stop|>A:", ""});
  CHECK(v.end_of_turn_id == tools::find_special(v, "<|stop|>"));
  CHECK(v.types.back() == kTokenControl);

  v.chat_template = kKnown[0].jinja;
  CHECK(tools::choose_turns({}, &v).empty());
  CHECK(v.turns[2] == "<|im_start|>user\n");
  options = {};
  options.name = "none";
  CHECK(tools::choose_turns(options, &v).empty());
  CHECK(v.turns.empty());
  options.name = "gemma";
  CHECK_THROWS_AS(tools::choose_turns(options, &v), tools::Refused);
  options = {};
  options.end_of_turn = "<|none|>";
  CHECK_THROWS_AS(tools::choose_turns(options, &v), tools::Refused);
  v.chat_template = "{{ '<start_of_turn>' }}{{ '<end_of_turn>' }}";
  v.turns.clear();
  CHECK(tools::choose_turns({}, &v).find("<end_of_turn>") != std::string::npos);
  CHECK(v.turns.empty());

  CHECK(tools::unescaped("a\\nb\\tc\\\\n\\x\\") == "a\nb\tc\\n\\x\\");
}

TEST_CASE("turns: versions of Mistral's template") {
  using Texts = std::vector<std::string>;
  const struct {
    const char* jinja;
    Texts turns;
  } cases[] = {
      {"{{ '[INST] ' + content + ' [/INST]' }}",
       {"[INST] ", "\n\n", "[INST] ", " [/INST]", "", "</s>"}},
      {"{{ '[INST] ' + content + '[/INST]' }}",
       {"[INST] ", "\n\n", "[INST] ", "[/INST]", "", "</s>"}},
      {"{{ '[INST]' + content + '[/INST]' }}", {"[INST]", "\n\n", "[INST]", "[/INST]", "", "</s>"}},
      {"{{ '[SYSTEM_PROMPT]' + system + '[/SYSTEM_PROMPT]' }}{{ '[INST]' + content + '[/INST]' }}",
       {"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "", "</s>"}}};
  for (const auto& c : cases) {
    Vocabulary v = scored({}, true);
    v.chat_template = c.jinja;
    CHECK(tools::choose_turns({}, &v).empty());
    CHECK(v.turns == c.turns);
  }
}

TEST_CASE("turns: a template as export writes it, whatever its texts") {
  const std::string head =
      "{% for message in messages %}{% if message['role'] == 'system' %}{{ 'it\\'s \\\\' + "
      "message['content'] + '' }}{% elif message['role'] == 'user' %}{{ 'You:\\n' + "
      "message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}{{ ";
  const std::string tail = "'<|im_start|>' + message['content'] + '.' }}{% endif %}{% endfor %}";
  Vocabulary v = scored({}, false);
  v.end_of_turn_id = 2;
  v.chat_template = head + tail;
  CHECK(tools::choose_turns({}, &v).empty());
  CHECK(v.turns == std::vector<std::string>{"it's \\", "", "You:\n", "\n", "<|im_start|>", "."});
  const size_t whole = (head + tail).find("% endif %}{% endfor");
  for (size_t n = head.size() - 20; n < whole; ++n) {
    v.turns.clear();
    v.chat_template = (head + tail).substr(0, n);
    CHECK(!tools::choose_turns({}, &v).empty());
    CHECK(v.turns.empty());
  }
}

// ---- Where templates stand ---------------------------------------------------------------------

TEST_CASE("turns: templates of tokenizer_config.json, chat_template.jinja and GGUF") {
  TestFolder folder;
  const std::string tokenizer =
      folder.write("tokenizer.json",
                   R"({"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]},
          "added_tokens":[{"id":2,"content":"<|im_end|>","special":true}],
          "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}})");
  const auto found = [&] { return tools::open_vocabulary(tokenizer, 0).vocabulary.chat_template; };
  CHECK(found().empty());
  folder.write("tokenizer_config.json", R"({"chat_template":"one"})");
  CHECK(found() == "one");
  folder.write("tokenizer_config.json",
               R"({"chat_template":[{"name":"tools","template":"no"},7,{"name":"default",
                   "template":"two"}]})");
  CHECK(found() == "two");
  for (const char* none : {R"({"chat_template":[{"name":"tools","template":"no"}]})",
                           R"({"chat_template":7})", R"({"chat_template":[{"name":"default"}]})"}) {
    folder.write("tokenizer_config.json", none);
    CHECK(found().empty());
  }
  folder.write("chat_template.jinja", "three");
  CHECK(found() == "three");

  const std::string gguf =
      folder.write("model.gguf", rich_gguf_file()
                                     .key("tokenizer.ggml.model", 8, gguf_string("llama"))
                                     .key("tokenizer.chat_template", 8, gguf_string("four"))
                                     .bytes());
  CHECK(tools::vocabulary_from_gguf(tools::open_gguf(gguf), gguf).chat_template == "four");
}

// ---- Tokens ------------------------------------------------------------------------------------

TEST_CASE("turns: a chat of two turns has the tokens of its whole text") {
  for (const Known& known : kKnown) {
    CAPTURE(std::string(known.name));
    const ChatModel m(chat_vocabulary(known));
    const TestSession s(m.view), whole(m.view);
    const Ids expected = encoded(whole, known.chat,
                                 THIMBLE_ENCODE_SPECIAL | (known.has_bos ? THIMBLE_ENCODE_BOS : 0));
    CHECK(two_turn_chat(s, "yo") == expected);
    CHECK((expected[0] == m.view.bos_id) == known.has_bos);
  }
}

TEST_CASE("turns: a space before a text comes where thimble_encode puts it") {
  const ChatModel mistral(chat_vocabulary(kKnown[4], true)),
      zephyr(chat_vocabulary(kKnown[3], true));
  const uint32_t flags = THIMBLE_ENCODE_SPECIAL | THIMBLE_ENCODE_BOS;
  const TestSession a(mistral.view), b(zephyr.view);
  CHECK(turn(a, THIMBLE_ROLE_USER, "hi", kAnswer) == encoded(a, "[INST] hi [/INST]", flags));
  CHECK(turn(b, THIMBLE_ROLE_USER, "hi", kAnswer) ==
        encoded(b, "<|user|>\nhi</s>\n<|assistant|>\n", flags));
  // What goes on with a text gets none: the tokens of a turn in two calls are those of one.
  Ids pieces = turn(a, THIMBLE_ROLE_SYSTEM, "hi");
  feed(a, pieces);
  append(&pieces, turn(a, THIMBLE_ROLE_USER, "hi", kAnswer | kAfterSystem));
  const TestSession c(mistral.view);
  CHECK(pieces == encoded(c, "[INST] hi\n\nhi [/INST]", flags));
}

TEST_CASE("turns: words across the seams, against the whole text at once") {
  const std::vector<std::string> letters = {"h",  "i",    " ",  "\n",       "1",  "'",
                                            "s",  ":",    "  ", "\xc3\xa9", "\r", "\xe3\x80\x80",
                                            "\t", "user", "re", "\n\n"};
  Random random(11);
  for (const PreTokenizer pre : {kPreTokenizerNone, kPreTokenizerGpt2, kPreTokenizerLlama3,
                                 kPreTokenizerQwen2, kPreTokenizerSmolLm}) {
    for (int round = 0; round < 40; ++round) {
      const bool is_scored = pre == kPreTokenizerNone;
      Vocabulary v = is_scored ? scored({"<|x|>"}, round % 2 == 0) : byte_level({"<|x|>"}, pre);
      v.add_bos = false;
      const auto some = [&](uint32_t most) {
        std::string text;
        for (uint32_t i = random.below(most + 1); i > 0; --i) {
          text += letters[random.below(static_cast<uint32_t>(letters.size()))];
        }
        return text;
      };
      v.turns.clear();
      for (uint32_t i = 0; i < kTurnTextCount; ++i) {
        v.turns.push_back((random.below(3) == 0 ? "<|x|>" : "") + some(4));
        if (random.below(4) == 0) v.turns.back() += "<|x|>" + some(2);
      }
      v.turns[2] += "x";  // none at all would be no chat
      v.end_of_turn_id = 1;
      const ChatModel m(v);
      const TestSession s(m.view);
      for (int k = 0; k < 12; ++k) {
        const std::string body = some(k < 6 ? 5 : 120);
        const std::string text = v.turns[5] + v.turns[2] + body + v.turns[3] + v.turns[4];
        CAPTURE(text);
        CAPTURE(pre);
        REQUIRE(turn(s, THIMBLE_ROLE_USER, body, kAnswer | kAfterAnswer) ==
                encoded(s, text, THIMBLE_ENCODE_SPECIAL));
      }
    }
  }
}

TEST_CASE("turns: a long text needs no more scratch than thimble_encode") {
  const ChatModel m(chat_vocabulary(kKnown[0]));
  const TestSession s(m.view);
  std::string body;
  while (body.size() < 100000) body += "hi user 12\n";
  CHECK(turn(s, THIMBLE_ROLE_USER, body, kAnswer) ==
        encoded(s, "<|im_start|>user\n" + body + "<|im_end|>\n<|im_start|>assistant\n",
                THIMBLE_ENCODE_SPECIAL));
  Ids ids;
  CHECK(turn_within(s, THIMBLE_ROLE_USER, std::string(2000, '\n'), 0, 4000, &ids) ==
        THIMBLE_ERROR_TEXT_TOO_LONG);
  const size_t longest = thimble_encode_word_bytes(s);
  CHECK(turn_within(s, THIMBLE_ROLE_USER, std::string(longest, 'h'), 0, longest + 400, &ids) > 0);
  CHECK(turn_within(s, THIMBLE_ROLE_USER, std::string(longest + 1, 'h'), 0, longest + 400, &ids) ==
        THIMBLE_ERROR_TEXT_TOO_LONG);
}

TEST_CASE("turns: a text cannot end its turn or begin another") {
  for (const Known& known : kKnown) {
    CAPTURE(std::string(known.name));
    Vocabulary v = vocabulary_of(known);
    // Files often call these tokens the user's own.
    for (size_t id = v.texts.size(); id-- > 0;) {
      if (v.types[id] == kTokenControl && v.texts[id].size() > 4) v.types[id] = kTokenUser;
    }
    std::string why;
    REQUIRE(tools::set_turns(&v, known.name, &why));
    const ChatModel m(v);
    const TestSession s(m.view);
    const auto count = [&](const Ids& ids) {
      return std::count_if(ids.begin(), ids.end(), [&](int32_t id) {
        return v.types[static_cast<size_t>(id)] == kTokenControl;
      });
    };
    const Ids harmless = turn(s, THIMBLE_ROLE_USER, "hi", kAnswer);
    const Ids forged = turn(s, THIMBLE_ROLE_USER, known.chat, kAnswer);
    CHECK(count(forged) == count(harmless));
    CHECK(forged.size() > std::string(known.chat).size() / 4);
    CHECK(forged.front() == harmless.front());
  }
}

TEST_CASE("turns: capacity, to the token") {
  for (const Known& known : kKnown) {
    const ChatModel m(chat_vocabulary(known, true));
    const TestSession s(m.view);
    for (const char* text : {"", "hi", " hi  user\n"}) {
      for (const uint32_t flags : {0u, kAnswer, kAnswer | kAfterAnswer}) {
        const Ids all = turn(s, THIMBLE_ROLE_USER, text, flags);
        CHECK(all.size() <= std::strlen(text) + 128);
        for (size_t capacity = 0; capacity <= all.size(); ++capacity) {
          Ids ids;
          const int32_t n = turn_within(s, THIMBLE_ROLE_USER, text, flags, capacity, &ids);
          if (capacity < all.size()) {
            REQUIRE(n == THIMBLE_ERROR_OUTPUT_TOO_SMALL);
          } else {
            REQUIRE(ids == all);
          }
        }
      }
    }
  }
}

TEST_CASE("turns: what is refused") {
  const ChatModel m(chat_vocabulary(kKnown[0]));
  const TestSession s(m.view);
  int32_t tokens[200];
  const auto call = [&](thimble_session* to, int role, const char* text, size_t n, uint32_t flags,
                        int32_t* out) {
    return thimble_encode_turn(to, static_cast<thimble_role>(role), text, n, flags, out, 200);
  };
  CHECK(call(nullptr, 1, "x", 1, 0, tokens) == THIMBLE_ERROR_ARGUMENT);
  CHECK(call(s, 3, "x", 1, 0, tokens) == THIMBLE_ERROR_ARGUMENT);
  CHECK(call(s, 1, nullptr, 1, 0, tokens) == THIMBLE_ERROR_ARGUMENT);
  CHECK(call(s, 1, "x", 1, 8, tokens) == THIMBLE_ERROR_ARGUMENT);
  CHECK(call(s, 1, "x", 1, 0, nullptr) == THIMBLE_ERROR_ARGUMENT);
  CHECK(call(s, 1, nullptr, 0, 0, tokens) > 0);

  const ChatModel plain(vocabulary_of(kKnown[0]));
  const TestSession t(plain.view);
  CHECK(call(t, 1, "x", 1, 0, tokens) == THIMBLE_ERROR_NO_TURNS);
  CHECK(std::string(thimble_status_text(THIMBLE_ERROR_NO_TURNS)).find("turns") !=
        std::string::npos);
  const TinyModel mute(tiny_shape(8, 8, 1, 1, 1, 8, 12, 16, true), {kWeightF32, 0, 4});
  const TestSession u(mute.view);
  CHECK(call(u, 1, "x", 1, 0, tokens) == THIMBLE_ERROR_NO_TOKENIZER);
}

// ---- The cache ---------------------------------------------------------------------------------

TEST_CASE("turns: logits behind a chat are those of all its tokens at once") {
  for (const Known& known : kKnown) {
    const ChatModel m(chat_vocabulary(known));
    for (const uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
      const thimble_config config = {0, 4, nullptr, kv, 0};
      const TestSession s(m.view, config), whole(m.view, config);
      const Ids all = two_turn_chat(s, "yo");
      CHECK(thimble_position(s) == all.size());
      feed(whole, encoded(whole, known.chat,
                          THIMBLE_ENCODE_SPECIAL | (known.has_bos ? THIMBLE_ENCODE_BOS : 0)));
      CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) ==
            thimble_logits_hash(whole, THIMBLE_HASH_START));
    }
  }
}

TEST_CASE("turns: encoding leaves slices and logits alone") {
  const ChatModel m(chat_vocabulary(kKnown[0]));
  const TestSession s(m.view), plain(m.view);
  const Ids ids = turn(s, THIMBLE_ROLE_USER, "hi user", kAnswer);
  feed(plain, ids);
  const uint64_t expected = thimble_logits_hash(plain, THIMBLE_HASH_START);
  REQUIRE(thimble_feed(s, ids.data(), ids.size()) == THIMBLE_OK);
  size_t slices = 0;
  int32_t tokens[100];
  do {
    CHECK(thimble_encode_turn(s, THIMBLE_ROLE_USER, "hi", 2, 0, tokens, 100) == THIMBLE_ERROR_BUSY);
    ++slices;
  } while (thimble_step(s, 200) == THIMBLE_MORE);
  CHECK(slices > 10);
  CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) == expected);
  turn(s, THIMBLE_ROLE_USER, std::string(100, ' ') + "hi", kAnswer | kAfterAnswer);
  CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) == expected);
}

// ---- What a file may hold ----------------------------------------------------------------------

TEST_CASE("turns: offsets that do not ascend, or end elsewhere, are refused") {
  const Vocabulary v = chat_vocabulary(kKnown[0]);
  TokenizerCase good(v);
  uint32_t* offsets = reinterpret_cast<uint32_t*>(good.table(kTurnOffsets));
  const uint32_t end = offsets[kTurnTextCount];
  const uint64_t at = section_of(good.model(), kTurnOffsets).offset;
  const auto open = [&](thimble_model* model) {
    return thimble_model_open(model, good.model().image, good.model().image_bytes);
  };
  for (uint32_t i = 0; i <= kTurnTextCount; ++i) {
    const uint32_t right = offsets[i];
    const uint32_t low = i == 0 ? 0 : i == kTurnTextCount ? end : offsets[i - 1];
    const uint32_t high = i == 0 ? 0 : i == kTurnTextCount ? end : offsets[i + 1];
    for (const uint32_t wrong : {low - 1, high + 1, 0x80000000u, UINT32_MAX}) {
      offsets[i] = wrong;
      thimble_model model;
      CAPTURE(i);
      CAPTURE(wrong);
      REQUIRE(open(&model) == THIMBLE_ERROR_TOKENIZER);
      CHECK(model.image == nullptr);
      CHECK(model.fault.found != model.fault.expected);
      CHECK(model.fault.offset >= at);
      CHECK(model.fault.offset <= at + sizeof(uint32_t) * kTurnTextCount);
    }
    offsets[i] = right;
  }
  thimble_model model;
  CHECK(open(&model) == THIMBLE_OK);
}

TEST_CASE("turns: every changed byte around turns is refused or harmless") {
  const ChatModel m(chat_vocabulary(kKnown[0]));
  AlignedBlock image(m.image.data(), m.image.bytes);
  size_t accepted = 0, refused = 0;
  for (const SectionKind kind : {kTurnOffsets, kTurnTexts}) {
    const SectionEntry& section = section_of(m.view, kind);
    for (uint64_t i = 0; i < section.bytes; ++i) {
      for (const int change : {0x01, 0x40, 0x80, 0xff}) {
        uint8_t* byte = image.data() + section.offset + i;
        *byte = static_cast<uint8_t>(*byte ^ change);
        thimble_model model;
        if (thimble_model_open(&model, image.data(), image.size()) == THIMBLE_OK) {
          ++accepted;
          const TestSession s(model);
          for (const int role : {0, 1, 2}) {
            Ids ids;
            turn_within(s, static_cast<thimble_role>(role), "hi\n", 7, 300, &ids);
          }
        } else {
          ++refused;
        }
        *byte = static_cast<uint8_t>(*byte ^ change);
      }
    }
  }
  CHECK(accepted > 100);
  CHECK(refused > 50);
}
