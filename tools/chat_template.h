// SPDX-License-Identifier: MIT
// The texts around the turns of a chat, known by what a model's own template (in Jinja, which
// nothing here runs) has in it.
#ifndef THIMBLE_TOOLS_CHAT_TEMPLATE_H
#define THIMBLE_TOOLS_CHAT_TEMPLATE_H

#include <array>
#include <optional>
#include <string>

#include "image.h"

namespace thimble::tools {

// The name of a known template by its Jinja text: chatml, llama3, gemma, zephyr, mistral, llama2;
// nullptr if it is none of them.
const char* recognise_template(const std::string& jinja);

// The names, for messages: "chatml, llama3, ...".
std::string template_names();

// Sets v->turns and v->end_of_turn_id to those of a known template; the tokens in its texts become
// control tokens, so that no text from outside can forge them. False, *why saying which, if the
// vocabulary lacks the token that ends a turn (v stays as it is) or `name` is not known.
bool set_turns(Vocabulary* v, const std::string& name, std::string* why);

// What options of `convert` say: the texts instead of, or beside, a template's.
struct TurnOptions {
  std::string name;  // of a known template, "none", "": by v's
  std::array<std::optional<std::string>, kTurnTextCount> texts;  // escapes resolved
  std::optional<std::string> end_of_turn;                        // a token's text
  bool any() const;
};

// Sets a vocabulary's turns by the options and by v->chat_template. Returns what is to be said: a
// template that is not known, by its first characters; "" if all is clear. Throws Refused when
// options ask for what the vocabulary cannot do.
std::string choose_turns(const TurnOptions& options, Vocabulary* v);

// \n, \t and \\ in a text become what they stand for; other backslashes stay.
std::string unescaped(const std::string& text);

}  // namespace thimble::tools

#endif
