// SPDX-License-Identifier: MIT
// Sentences and answers out of a file of intents.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "constrain/schema_reader.h"
#include "files.h"
#include "intents/answer_schema.h"
#include "intents/phrase_reader.h"
#include "intents/sentences.h"
#include "json_reader.h"
#include "test_folder.h"
#include "value.h"

using namespace thimble;
using namespace thimble::tools;
using test::refusal_when;

namespace {

constexpr char kSlots[] =
    "slot name: text\n"
    "slot kind: light | fan\n"
    "slot level: 0..100\n";

constexpr char kHouse[] =
    "slot name: text\n"
    "slot kind: light | fan\n"
    "slot level: 0..100\n"
    "# a comment\n"
    "open who: anna | ben | carla | david | emma | felix | grace | henry | ida | jack\n"
    "list lamp: <who>'s lamp | 2* desk lamp |\n"
    "  <made-up> lamp\n"
    "list kinds: lights = light | fans = fan\n"
    "list half: halfway = 50\n"
    "heard on: own\n"
    "list before: please\n"
    "list after: now\n"
    "list filler: um\n"
    "list join: and\n"
    "list break: the | to\n"
    "intent On 3\n"
    "turn on the {name=lamp}\n"
    "open the {name=lamp} -> kind=fan\n"
    "turn the {kind=kinds} on\n"
    "switch on the {name=lamp}\n"
    "start the {name=lamp}\n"
    "intent Level\n"
    "set the {name=lamp} to {level=0..100/5} %\n"
    "set the {name=lamp} {level=half}\n"
    "dim [the] {name=lamp} (to|at) {level=10..20} %\n"
    "intent none\n"
    "how are you\n"
    "tell me a (joke | story)\n";

IntentFile house(double held_out = 0.3) {
  return read_intents(kHouse, "house", held_out);
}

struct Line {
  std::string sentence, answer;
};

std::vector<Line> lines_of(const Sentences& sentences, uint64_t seed, uint64_t n) {
  std::vector<Line> lines;
  for (uint64_t i = 0; i < n; ++i) {
    const std::string line = sentences.line(seed, i);
    const size_t tab = line.find('\t');
    REQUIRE(tab != std::string::npos);
    REQUIRE(line.find_first_of("\n\r") == std::string::npos);
    lines.push_back({line.substr(0, tab), line.substr(tab + 1)});
  }
  return lines;
}

std::string refusal_of(const std::string& text) {
  return refusal_when([&] { read_intents(text, "house", 0.1); });
}

}  // namespace

TEST_CASE("intents: a text slot is copied from its sentence, a number is what it says") {
  const IntentFile file = house();
  const Sentences sentences(file, {"no command at all"}, {});
  std::set<std::string> intents;
  int spoken = 0, half = 0;
  for (const Line& line : lines_of(sentences, 1, 2000)) {
    const Value answer = read_json(line.answer, "answer");
    const std::vector<Value> commands = answer.list() ? *answer.list() : std::vector<Value>{answer};
    CHECK(commands.size() == (answer.list() ? 2 : 1));
    for (const Value& command : commands) {
      const std::string& intent = *command.find("intent")->string();
      intents.insert(intent);
      if (const Value* name = command.find("name")) {
        CHECK_MESSAGE(line.sentence.find(*name->string()) != std::string::npos, line.sentence);
        CHECK(name->string()->find(" '") == std::string::npos);
      }
      if (const Value* kind = command.find("kind")) {
        CHECK((*kind->string() == "light" || *kind->string() == "fan"));
      }
      if (const Value* level = command.find("level")) {
        CHECK(*level->integer() <= 100);
        const std::string digits = std::to_string(*level->integer());
        spoken += line.sentence.find(digits) == std::string::npos;
        if (line.sentence.find("halfway") != std::string::npos && !answer.list()) {
          CHECK(*level->integer() == 50);
          ++half;
        }
      }
    }
  }
  CHECK(intents == std::set<std::string>{"Level", "On", "none"});
  CHECK(spoken > 50);
  CHECK(half > 20);
}

TEST_CASE("intents: the same seed gives the same sentences, another one others") {
  const IntentFile file = house();
  const Sentences sentences(file, {"no command at all"}, {});
  int differ = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    CHECK(sentences.line(1, i) == sentences.line(1, i));
    differ += sentences.line(1, i) != sentences.line(2, i);
  }
  CHECK(differ > 60);
}

TEST_CASE("intents: what is held out is not seen in training, and all that is not is") {
  const IntentFile file = house();
  size_t n_templates = 0, n_words = 0;
  for (const Intent& intent : file.intents) {
    CHECK(!intent.templates[0].is_held_out);
    for (const Template& t : intent.templates) n_templates += t.is_held_out;
  }
  std::set<std::string> held_out_words;
  for (const Phrase& part : file.lists.at("who").parts) {
    n_words += part.is_held_out;
    if (part.is_held_out) held_out_words.insert(part.parts[0].text);
  }
  REQUIRE(n_templates > 0);
  REQUIRE(n_words > 0);
  REQUIRE(n_words < 10);
  SentenceOptions options;
  const Sentences training(file, {}, options);
  options.is_training = false;
  const Sentences held_out(file, {}, options);
  const auto with_word = [&](const std::vector<Line>& lines) {
    int n = 0;
    for (const Line& line : lines) {
      n += std::any_of(held_out_words.begin(), held_out_words.end(), [&](const std::string& word) {
        return line.sentence.find(word + "'s") != std::string::npos;
      });
    }
    return n;
  };
  CHECK(with_word(lines_of(training, 1, 3000)) == 0);
  CHECK(with_word(lines_of(held_out, 1, 3000)) > 50);
  // 'dim' is the sentence that no other one is like.
  for (const Intent& intent : file.intents) {
    for (const Template& t : intent.templates) {
      if (t.phrase.parts[0].parts[0].text != "start") continue;
      const auto starts = [&](const std::vector<Line>& lines) {
        return std::count_if(lines.begin(), lines.end(), [](const Line& line) {
          return line.sentence.find("start the") != std::string::npos;
        });
      };
      CHECK((starts(lines_of(training, 1, 3000)) > 0) == !t.is_held_out);
    }
  }
}

TEST_CASE("intents: each way is a sentence of its own, that is held out or not") {
  const std::string text =
      "ways room: hall | the (attic | loft)\n"
      "ways place: in @room | | at home\n"
      "intent A\nlight @place [now]\nintent B\n@room to @room\n";
  const IntentFile file = read_intents(text, "house", 0);
  REQUIRE(file.intents[0].templates.size() == 4);
  REQUIRE(file.intents[1].templates.size() == 4);
  CHECK(file.intents[0].templates[1].line == 4);
  std::set<std::string> said;
  for (const Line& line : lines_of(Sentences(file, {}, {true, 0, 0}), 1, 3000)) {
    std::string sentence = line.sentence;
    for (char& c : sentence) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    said.insert(sentence.substr(0, sentence.find_first_of(".?!")));
  }
  for (const char* sentence : {"light in hall", "light in the loft now", "light", "light at home",
                               "hall to the attic", "the loft to the attic"}) {
    CHECK_MESSAGE(said.count(sentence) == 1, sentence);
  }

  // As if each had a line: the same are held out.
  const auto held_out = [](const std::string& house) {
    std::vector<bool> all;
    const IntentFile read = read_intents(house, "house", 0.4);
    for (const Template& t : read.intents[0].templates) all.push_back(t.is_held_out);
    return all;
  };
  const std::vector<bool> of_ways = held_out(
      "ways a: one | two | three | four\nways b: red | green\nintent A\nthe @a @b lamps\n");
  CHECK(of_ways == held_out("intent A\nthe one red lamps\nthe one green lamps\nthe two red lamps\n"
                            "the two green lamps\nthe three red lamps\nthe three green lamps\n"
                            "the four red lamps\nthe four green lamps\n"));
  CHECK(std::count(of_ways.begin(), of_ways.end(), true) > 0);
}

TEST_CASE("intents: shares of pairs and of no commands are kept") {
  const IntentFile file = house();
  for (const double none : {0.0, 0.5, 1.0}) {
    SentenceOptions options;
    options.none = none;
    options.pairs = none < 1 ? 0.25 : 0;
    const Sentences sentences(file, {"a sentence from outside"}, options);
    int n_none = 0, n_pairs = 0, n_outside = 0;
    for (const Line& line : lines_of(sentences, 3, 2000)) {
      n_none += line.answer == "{\"intent\":\"none\"}";
      n_pairs += line.answer[0] == '[';
      n_outside += line.sentence == "a sentence from outside";
    }
    CHECK(std::abs(n_none - 2000 * none) < 120);
    CHECK(std::abs(n_pairs - 2000 * options.pairs) < 120);
    CHECK((n_outside > 0) == (none > 0));
  }
}

TEST_CASE("intents: numbers in words") {
  train::RandomStream random(1, 1);
  for (const auto& [n, said] : std::map<uint32_t, std::string>{{0, "zero"},
                                                               {7, "seven"},
                                                               {13, "thirteen"},
                                                               {40, "forty"},
                                                               {200, "two hundred"},
                                                               {3000, "three thousand"}}) {
    CHECK(spoken_number(n, &random) == said);
  }
  std::set<std::string> ways;
  for (int i = 0; i < 100; ++i) ways.insert(spoken_number(121, &random));
  CHECK(ways.count("a hundred and twenty one") == 1);
  CHECK(ways.count("one hundred twenty-one") == 1);
}

TEST_CASE("intents: the schema is one that constrain compiles, and allows its answers") {
  const IntentFile file = house();
  const std::string schema = answer_schema(file);
  const Value value = read_json(schema, "schema");
  CHECK(value.find("anyOf")->list()->size() == 3);
  read_schema(value, "schema", 3);  // throws if it is not one
  const std::vector<Value>& commands = *value.find("$defs")->find("command")->find("anyOf")->list();
  REQUIRE(commands.size() == 2);
  CHECK(commands[0].find("properties")->find("kind") != nullptr);
  CHECK(commands[0].find("properties")->find("level") == nullptr);
  CHECK(commands[1].find("properties")->find("level") != nullptr);
  // 'turn the lights on' has no name; every sentence about levels has both.
  CHECK(commands[0].find("required")->list()->size() == 1);
  CHECK(commands[1].find("required")->list()->size() == 3);
}

TEST_CASE("intents: what a file gets wrong is told with its line") {
  const std::string slots = kSlots;
  const std::pair<std::string, std::string> wrong[] = {
      {"", "has no 'intent'"},
      {"intent A\n", "intent 'A' has no sentence"},
      {"intent A\nx\nintent A\ny\n", "line 3: found intent 'A' again"},
      {"intent A\nturn {what}\n", "line 2: found slot 'what'"},
      {slots + "intent A\nturn {name}\n", "line 5: found list 'name'"},
      {slots + "intent A\nturn {level=0..200}\n", "a range of 0 to 200 for slot 'level'"},
      {slots + "intent A\nturn {name=1..2}\n", "for slot 'name'"},
      {slots + "intent A\nturn on -> kind=lamp\n", "found 'lamp' for slot 'kind'"},
      {slots + "intent A\nturn on -> level=101\n", "expected a number from 0 to 100"},
      {slots + "intent A\nturn on -> kind\n", "expected SLOT=VALUE"},
      {slots + "list k: lamps\nintent A\nturn {kind=k}\n", "found 'lamps' for slot 'kind'"},
      {"list a: <b>\nlist b: <a>\nintent A\n<a>\n", "within itself"},
      {"list a: x\nlist a: y\n", "line 2: found list 'a' again"},
      {"slot a: text\nslot a: text\n", "line 2: found slot 'a' again"},
      {"slot a: x | | y\n", "an empty word"},
      {"slot a: 5..1\n", "an empty range"},
      {"hello\n", "expected slot, list, open, ways, heard or intent"},
      {"ways w: a | b\nways w: c\n", "line 2: found ways 'w' again"},
      {"ways w: a @v\n", "line 1: found '@v', expected '@' and ways that stand before"},
      {"intent A\nthe @ lamp\n", "line 2: found '@'"},
      {"ways w: a | b\nlist l: the @w\n", "line 2: found '@' at column 5"},
      {"ways a: x | x | x | x | x | x | x | x | x | x\nways b: @a@a\nways c: @b@b\nintent A\n"
       "@c@a\n",
       "line 5: found 100000 sentences in one line, expected 10000 at most"},
      {"intent A nine\nx\n", "found 'nine', expected a weight"},
      {"intent A\n(a | b\n", "found the line's end"},
      {"intent A\na)\n", "found ')'"},
      {"intent A\n(a = 5)\n", "behind an alternative of a list only"},
      {"intent A\n0* a\n", "a weight out of range"},
      {"intent A\n<\n", "a list's name"},
      {"list a: x |\n", "a list's end"},
      {"intent A\n\xff\n", "is no UTF-8"},
  };
  for (const auto& [text, expected] : wrong) {
    const std::string refusal = refusal_of(text);
    CHECK_MESSAGE(refusal.find(expected) != std::string::npos, refusal);
    CHECK(refusal.find("house") == 0);
  }
  CHECK(refusal_of("intent A\n" + std::string(40, '(') + "a" + std::string(40, ')') + "\n")
            .find("at most 32") != std::string::npos);
}

TEST_CASE("intents: the command model's own file has every intent, and a slot for each key") {
  const std::string path = "models/command.intents";
  const IntentFile file = read_intents(read_text(path), path, 0.1);
  CHECK(file.intents.size() == 33);
  CHECK(file.slots.size() == 17);
  for (const Intent& intent : file.intents) {
    CHECK_MESSAGE(intent.templates.size() >= 8, intent.name);
  }
  const Sentences sentences(file, {}, {});
  for (const Line& line : lines_of(sentences, 1, 3000)) {
    read_json(line.answer, line.sentence);
    CHECK(!line.sentence.empty());
  }
}
