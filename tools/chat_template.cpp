// SPDX-License-Identifier: MIT
#include "chat_template.h"

#include <algorithm>
#include <iterator>

#include "error.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

// In the texts these stand for the model's own tokens of a text's end and beginning.
#define EOS "\x01"
#define BOS "\x02"

struct Template {
  const char* name;
  const char* mark;      // in the Jinja text of all of them
  const char* and_mark;  // also; nullptr: nothing else
  const char* unless;    // of another one that looks like it; nullptr: there is none
  const char* end_of_turn;
  bool has_bos;  // the model's own template begins with it
  const char* turns[kTurnTextCount];
};

// A template without a role for the system opens the user's turn with the system's text in it.
constexpr Template kTemplates[] = {
    {"llama3",
     "<|start_header_id|>",
     "<|eot_id|>",
     nullptr,
     "<|eot_id|>",
     true,
     {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>",
      "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>",
      "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"}},
    {"chatml",
     "<|im_start|>",
     "<|im_end|>",
     "<|im_sep|>",
     "<|im_end|>",
     false,
     {"<|im_start|>system\n", "<|im_end|>\n", "<|im_start|>user\n", "<|im_end|>\n",
      "<|im_start|>assistant\n", "<|im_end|>\n"}},
    {"gemma",
     "<start_of_turn>",
     "<end_of_turn>",
     nullptr,
     "<end_of_turn>",
     true,
     {"<start_of_turn>user\n", "\n\n", "<start_of_turn>user\n", "<end_of_turn>\n",
      "<start_of_turn>model\n", "<end_of_turn>\n"}},
    {"llama2",
     "[INST]",
     "<<SYS>>",
     nullptr,
     EOS,
     true,
     {"[INST] <<SYS>>\n", "\n<</SYS>>\n\n", "[INST] ", " [/INST]", "", (" " EOS BOS)}},
    {"mistral",
     "[INST]",
     "[/INST]",
     nullptr,
     EOS,
     true,
     {"[INST] ", "\n\n", "[INST] ", " [/INST]", "", EOS}},
    {"zephyr",
     "<|user|>",
     "<|assistant|>",
     "<|end|>",
     EOS,
     false,
     {"<|system|>\n", EOS "\n", "<|user|>\n", EOS "\n", "<|assistant|>\n", EOS "\n"}},
};

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

// Whether the user's text is followed by the end-of-text token: others with <|user|> differ there.
bool closes_with_eos(const std::string& jinja) {
  const size_t user = jinja.find("<|user|>");
  if (user == std::string::npos) return false;
  const size_t content = jinja.find("content", user);
  if (content == std::string::npos) return false;
  const std::string behind = jinja.substr(content, 40);
  return contains(behind, "eos_token") || contains(behind, "</s>");
}

std::string text_of(const Vocabulary& v, int32_t id) {
  return id >= 0 && static_cast<size_t>(id) < v.texts.size() ? v.texts[static_cast<size_t>(id)]
                                                             : "";
}

std::string with_names(const Vocabulary& v, const char* text) {
  std::string out;
  for (; *text; ++text) {
    if (*text == EOS[0]) {
      out += text_of(v, v.eos_id);
    } else if (*text == BOS[0]) {
      out += text_of(v, v.bos_id);
    } else {
      out += *text;
    }
  }
  return out;
}

// The first characters of a text on one line, in quotation marks.
std::string beginning(const std::string& text) {
  std::string shown = "'";
  for (const char c : text) {
    if (shown.size() > 60) return shown + "...'";
    const uint8_t byte = static_cast<uint8_t>(c);
    shown += c == '\n'                     ? "\\n"
             : byte < 0x20 || byte >= 0x7f ? format("\\x%02x", byte)
                                           : std::string(1, c);
  }
  return shown + "'";
}

// Tokens that stand in the texts around turns must not be recognised in others. Those of white
// space are ordinary text.
void make_control(Vocabulary* v) {
  for (size_t id = 0; id < v->texts.size(); ++id) {
    const std::string& text = v->texts[id];
    if (v->types[id] != kTokenUser || text.find_first_not_of(" \t\r\n") == std::string::npos) {
      continue;
    }
    for (const std::string& turn : v->turns) {
      if (contains(turn, text.c_str())) v->types[id] = kTokenControl;
    }
  }
  if (v->end_of_turn_id >= 0) {
    uint8_t& type = v->types[static_cast<size_t>(v->end_of_turn_id)];
    if (type == kTokenUser) type = kTokenControl;
  }
}

// Mistral's versions differ in spaces, and the later ones know a system.
void adapt_to_version(const std::string& jinja, std::vector<std::string>* turns) {
  const std::string open = contains(jinja, "[INST] ") ? "[INST] " : "[INST]";
  (*turns)[0] = (*turns)[2] = open;
  (*turns)[3] = contains(jinja, " [/INST]") ? " [/INST]" : "[/INST]";
  if (contains(jinja, "[SYSTEM_PROMPT]")) {
    (*turns)[0] = "[SYSTEM_PROMPT]";
    (*turns)[1] = "[/SYSTEM_PROMPT]";
  }
}

// A string of Jinja at `at`, which moves behind it; nothing if there is none.
std::optional<std::string> jinja_string(const std::string& jinja, size_t* at) {
  if (*at >= jinja.size() || jinja[*at] != '\'') return std::nullopt;
  std::string text;
  for (size_t i = *at + 1; i < jinja.size(); ++i) {
    if (jinja[i] == '\'') {
      *at = i + 1;
      return text;
    }
    if (jinja[i] == '\\' && i + 1 < jinja.size()) {
      ++i;
      text += jinja[i] == 'n' ? '\n' : jinja[i];
    } else {
      text += jinja[i];
    }
  }
  return std::nullopt;
}

// The texts of a template as `thimble export` writes it; none if it is another.
std::vector<std::string> exported_turns(const std::string& jinja) {
  std::vector<std::string> turns;
  for (const char* role : {"system", "user", "assistant"}) {
    const std::string before = std::string("if message['role'] == '") + role + "' %}{{ ";
    const std::string between = " + message['content'] + ", behind = " }}{% e";
    size_t at = jinja.find(before);
    if (at == std::string::npos) return {};
    at += before.size();
    const std::optional<std::string> open = jinja_string(jinja, &at);
    if (!open || jinja.compare(at, between.size(), between) != 0) return {};
    at += between.size();
    const std::optional<std::string> close = jinja_string(jinja, &at);
    if (!close || jinja.compare(at, behind.size(), behind) != 0) return {};
    turns.push_back(*open);
    turns.push_back(*close);
  }
  return turns;
}

}  // namespace

#undef EOS
#undef BOS

const char* recognise_template(const std::string& jinja) {
  for (const Template& t : kTemplates) {
    if (!contains(jinja, t.mark) || !contains(jinja, t.and_mark)) continue;
    if (t.unless && contains(jinja, t.unless)) continue;
    if (std::string(t.name) == "zephyr" && !closes_with_eos(jinja)) continue;
    return t.name;
  }
  return nullptr;
}

std::string template_names() {
  std::string names;
  for (const Template& t : kTemplates) names += std::string(names.empty() ? "" : ", ") + t.name;
  return names;
}

bool set_turns(Vocabulary* v, const std::string& name, std::string* why) {
  const Template* const t = std::find_if(std::begin(kTemplates), std::end(kTemplates),
                                         [&](const Template& each) { return name == each.name; });
  if (t == std::end(kTemplates)) {
    *why = "'" + name + "' is none of " + template_names();
    return false;
  }
  const std::string end = with_names(*v, t->end_of_turn);
  const int32_t id = end.empty() ? v->eos_id : find_special(*v, end);
  if (id < 0) {
    *why = "the tokenizer has no token " + (end.empty() ? "that ends a text" : end) +
           ", which ends a turn of " + name;
    return false;
  }
  v->turns.clear();
  for (const char* text : t->turns) v->turns.push_back(with_names(*v, text));
  v->end_of_turn_id = id;
  if (t->has_bos && v->bos_id >= 0) v->add_bos = true;
  make_control(v);
  return true;
}

namespace {

// By the model's own template. Returns what is to be said.
std::string follow_template(Vocabulary* v) {
  const std::string& jinja = v->chat_template;
  const std::vector<std::string> exported = exported_turns(jinja);
  if (!exported.empty() && v->end_of_turn_id >= 0) {
    v->turns = exported;
    make_control(v);
    return "";
  }
  const char* const name = recognise_template(jinja);
  if (!name) {
    return "the chat template is none of " + template_names() + ": it begins with " +
           beginning(jinja) + "; without --turns or --user-open and so on the model will not chat";
  }
  std::string why;
  if (!set_turns(v, name, &why)) {
    return std::string("the chat template looks like ") + name + ", but " + why +
           "; the model will not chat";
  }
  if (std::string(name) == "mistral") {
    adapt_to_version(jinja, &v->turns);
    make_control(v);
  }
  return "";
}

}  // namespace

bool TurnOptions::any() const {
  return !name.empty() || end_of_turn ||
         std::any_of(std::begin(texts), std::end(texts), [](const auto& text) { return !!text; });
}

std::string choose_turns(const TurnOptions& options, Vocabulary* v) {
  std::string note, why;
  if (options.name == "none") {
    v->turns.clear();
  } else if (!options.name.empty()) {
    if (!set_turns(v, options.name, &why)) throw Refused("--turns " + options.name + ": " + why);
  } else if (!v->chat_template.empty()) {
    note = follow_template(v);
  }
  const bool any_text = std::any_of(std::begin(options.texts), std::end(options.texts),
                                    [](const auto& text) { return !!text; });
  if (any_text) {
    note.clear();
    v->turns.resize(kTurnTextCount);
    for (size_t i = 0; i < kTurnTextCount; ++i) {
      if (options.texts[i]) v->turns[i] = *options.texts[i];
    }
  }
  if (options.end_of_turn) {
    v->end_of_turn_id = find_special(*v, *options.end_of_turn);
    if (v->end_of_turn_id < 0) {
      throw Refused("--end-of-turn: the tokenizer has no token " + beginning(*options.end_of_turn));
    }
  } else if (any_text && v->end_of_turn_id < 0) {
    v->end_of_turn_id = v->eos_id;
  }
  if (any_text || options.end_of_turn) make_control(v);
  return note;
}

std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] == '\\' && (next == 'n' || next == 't' || next == '\\')) {
      out += next == 'n' ? '\n' : next == 't' ? '\t' : '\\';
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace thimble::tools
