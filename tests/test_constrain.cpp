// SPDX-License-Identifier: MIT
// What regular expressions, JSON schemas and grammars are compiled to, and how they are refused.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "constrain/grammar_reader.h"
#include "constrain/json_syntax.h"
#include "constrain/number_ranges.h"
#include "constrain/schema_reader.h"
#include "error.h"
#include "json_reader.h"
#include "tiny_rule.h"

using namespace thimble;
using namespace thimble::test;
using namespace thimble::tools;

namespace {

const thimble_model& vocabulary() {
  static const TinyModel m(tiny_shape(8, 8, 1, 1, 1, 8, 300, 16, true), {kWeightF32, 0, 4}, true);
  return m.view;
}

template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const Refused& refused) {
    return refused.what();
  }
  return "";
}

void check_texts(const TinyRule& rule, const std::vector<const char*>& good,
                 const std::vector<const char*>& bad) {
  for (const char* text : good) {
    CAPTURE(text);
    CHECK(rule.accepts(text));
  }
  for (const char* text : bad) {
    CAPTURE(text);
    CHECK(!rule.accepts(text));
  }
}

void check_regex(const char* pattern, const std::vector<const char*>& good,
                 const std::vector<const char*>& bad) {
  CAPTURE(pattern);
  check_texts(TinyRule(vocabulary(), pattern), good, bad);
}

TinyRule schema_rule(const std::string& schema, uint32_t depth = 2) {
  return TinyRule(vocabulary(), read_schema(read_json(schema, "s.json"), "s.json", depth));
}

void check_schema(const char* schema, const std::vector<const char*>& good,
                  const std::vector<const char*>& bad) {
  CAPTURE(schema);
  check_texts(schema_rule(schema), good, bad);
}

void check_grammar(const char* grammar, const std::vector<const char*>& good,
                   const std::vector<const char*>& bad) {
  CAPTURE(grammar);
  check_texts(TinyRule(vocabulary(), read_grammar(grammar, "g", 3)), good, bad);
}

}  // namespace

TEST_CASE("constrain: regular expressions") {
  check_regex("abc", {"abc"}, {"", "ab", "abcd", "xabc"});
  check_regex("a|bc|", {"a", "bc", ""}, {"b", "abc"});
  check_regex("a*", {"", "a", "aaaa"}, {"b"});
  check_regex("a+b?", {"a", "ab", "aaab"}, {"", "b", "abb"});
  check_regex("(ab){2,3}", {"abab", "ababab"}, {"ab", "abababab", "aba"});
  check_regex("a{2}", {"aa"}, {"a", "aaa"});
  check_regex("a{2,}", {"aa", "aaaaa"}, {"a"});
  check_regex("a{0}b", {"b"}, {"ab"});
  check_regex("(a|b)*?c+?", {"c", "abac", "cc"}, {"ab"});
  check_regex("^abc$", {"abc"}, {"^abc$"});
  check_regex(".", {"a", "\xc3\xa9", "\xf0\x9f\x98\x80"}, {"", "\n", "ab", "\xc3"});
  check_regex("[a-cx]", {"a", "c", "x"}, {"d", "-"});
  check_regex("[^a-c]", {"d", "\xe2\x82\xac"}, {"a", "b"});
  check_regex("[a\\-c]", {"a", "-", "c"}, {"b"});
  check_regex("[-a]", {"-", "a"}, {"b"});
  check_regex("[\xc3\xa0-\xc3\xbf]", {"\xc3\xa0", "\xc3\xa9", "\xc3\xbf"},
              {"\xc3\x9f", "\xc4\x80", "\xc3"});
  check_regex("[\\u{1f600}-\\u{1f64f}]", {"\xf0\x9f\x98\x80"}, {"\xf0\x9f\x97\xbf"});
  check_regex("\\u00e9\\x41\\ud83d\\ude00",
              {"\xc3\xa9"
               "A\xf0\x9f\x98\x80"},
              {});
  check_regex("\\d\\D\\w\\W\\s\\S", {"1aB- x", "0__!\tz"}, {"11a- x", "1aa- \t"});
  check_regex("\\p{L}+\\p{N}",
              {"a1",
               "\xc3\xa9\xd0\x96"
               "9"},
              {"1", "a", "!1"});
  check_regex("\\P{L}", {"1", "!"}, {"a", "\xd0\x96"});
  check_regex("\\.\\*\\n\\t\\\\\\/", {".*\n\t\\/"}, {});
  check_regex("(?:a|b)(?<name>c)", {"ac", "bc"}, {"a"});
  check_regex("a[\\s\\S]*b",
              {"ab",
               "a\n\xe2\x82\xac"
               "b"},
              {"a"});
}

TEST_CASE("constrain: regular expressions that are refused say where") {
  const struct {
    const char *pattern, *words;
  } cases[] = {
      {"a)", "character 2 of the pattern: found \")\", expected the end, as no group is open"},
      {"(a", "character 3 of the pattern: found the end, expected ')', which ends the group"},
      {"[a", "found the end, expected ']', which ends the class"},
      {"[z-a]", "expected a character that is not before the range's first one"},
      {"*a", "found \"*\", expected something before it that is repeated"},
      {"a**", "expected no second count"},
      {"a{3,2}", "expected a largest count of at least 3"},
      {"a{999999}", "expected a count of at most 100000"},
      {"a{x}", "expected a count; a brace that is meant is \\{"},
      {"a\\", "expected what the backslash escapes"},
      {"\\q", "expected an escape that is known"},
      {"\\bword", "\\b cannot be compiled"},
      {"(a)\\1", "a reference to a group cannot be compiled"},
      {"(?=a)", "a look around cannot be compiled"},
      {"(?<!a)", "a look around cannot be compiled"},
      {"(?i)a", "'(?' cannot be compiled"},
      {"a^b", "'^' cannot be compiled: an anchor stands at the very beginning only"},
      {"a$b", "'$' cannot be compiled"},
      {"\\p{Greek}", "expected one of the properties L, Letter, N and Number"},
      {"\\u{110000}", "expected a code point, not U+110000"},
      {"\\ud800", "expected a code point, not U+D800"},
      {"[[:alpha:]]", "expected no POSIX class"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.pattern);
    const std::string found = refusal([&] { read_regex(each.pattern, "--regex"); });
    CAPTURE(found);
    CHECK(found.find("--regex: character ") == 0);
    CHECK(found.find(each.words) != std::string::npos);
  }
}

TEST_CASE("constrain: integers between bounds") {
  const int64_t bounds[] = {-1203, -100, -99, -10, -7, -1, 0, 1, 5, 9, 10, 42, 99, 100, 999, 1024};
  for (const int64_t low : bounds) {
    for (const int64_t high : bounds) {
      if (low > high) continue;
      const TinyRule rule(vocabulary(), syntax_of(integers_between(low, high)));
      const TinyRule above(vocabulary(), syntax_of(integers_between(low, std::nullopt)));
      const TinyRule below(vocabulary(), syntax_of(integers_between(std::nullopt, high)));
      for (int64_t n = -1300; n <= 1300; ++n) {
        const std::string text = std::to_string(n);
        REQUIRE(rule.accepts(text) == (n >= low && n <= high));
        REQUIRE(above.accepts(text) == (n >= low));
        REQUIRE(below.accepts(text) == (n <= high));
      }
      check_texts(rule, {}, {"", "-", "00", "01", "-0", "1.0", "+1", "--1"});
    }
  }
}

TEST_CASE("constrain: numbers between bounds") {
  const double bounds[] = {-12.5, -1, -0.125, 0, 0.1, 0.99, 1, 1.5, 9.75, 10, 12.05, 100};
  Random random(3);
  for (const double low : bounds) {
    for (const double high : bounds) {
      for (const bool is_low_open : {false, true}) {
        for (const bool is_high_open : {false, true}) {
          if (low > high || (low == high && (is_low_open || is_high_open))) continue;
          CAPTURE(low);
          CAPTURE(high);
          CAPTURE(is_low_open);
          CAPTURE(is_high_open);
          const TinyRule rule(vocabulary(), syntax_of(numbers_between(Bound{low, is_low_open},
                                                                      Bound{high, is_high_open})));
          const auto check = [&](const std::string& text) {
            const double x = std::strtod(text.c_str(), nullptr);
            const bool is_in =
                (is_low_open ? x > low : x >= low) && (is_high_open ? x < high : x <= high);
            // Of zeros only those without a sign are written.
            const bool is_spelled = !(text[0] == '-' && x == 0);
            CAPTURE(text);
            CHECK(rule.accepts(text) == (is_in && is_spelled));
          };
          for (const double at : {low, high}) {
            for (int step = -30; step <= 30; ++step) check(format("%.3f", at + step * 0.025));
            check(format("%.15g", at));
            check(format("%.3f", at) + "0001");
            check(format("%.3f", at) + "000");
          }
          for (int i = 0; i < 40; ++i) {
            check(format("%.*f", static_cast<int>(1 + random.below(4)),
                         static_cast<double>(random.uniform(-15, 110))));
          }
        }
      }
    }
  }
}

TEST_CASE("constrain: JSON schemas, keyword by keyword") {
  check_schema(R"({"type":"null"})", {"null"}, {"", "nul", "true", "\"null\""});
  check_schema(R"({"type":"boolean"})", {"true", "false"}, {"null", "0"});
  check_schema(R"({"type":"integer"})", {"0", "-5", "123456789012"}, {"01", "1.5", "-", "1e3"});
  check_schema(R"({"type":"number"})", {"0", "-5.25", "1e9", "1.5E-3"}, {"01", ".5", "1.", "1e"});
  check_schema(R"({"type":"integer","minimum":-1.5,"exclusiveMaximum":3})", {"-1", "0", "2"},
               {"-2", "3"});
  check_schema(R"({"type":"number","exclusiveMinimum":0,"maximum":2.5})",
               {"0.1", "2.5", "2.50", "1"}, {"0", "0.0", "2.51", "3"});
  check_schema(R"({"type":"string"})",
               {"\"\"", "\"a\"", "\"\\\"\\\\\\n\\u0001\"", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
               {"\"", "a", "\"\n\"", "\"\\x\"", "\"\\u0041\"", "\"\"\"", "\"\xc3\""});
  check_schema(R"({"type":"string","minLength":2,"maxLength":3})",
               {"\"ab\"", "\"\xc3\xa9\xc3\xa9\xc3\xa9\"", "\"\\n\\n\""}, {"\"a\"", "\"abcd\""});
  check_schema(R"({"type":"string","pattern":"^a+$"})", {"\"a\"", "\"aaa\""}, {"\"\"", "\"ab\""});
  check_schema(R"({"type":"string","pattern":"b."})", {"\"abc\"", "\"b\\\"\""},
               {"\"b\"", "\"ac\""});
  check_schema(R"({"enum":["x",1,null,{"a":[true]}]})", {"\"x\"", "1", "null", "{\"a\":[true]}"},
               {"x", "2", "{}"});
  check_schema(R"({"type":"string","enum":["x",1]})", {"\"x\""}, {"1"});
  check_schema(R"({"const":{"b":1,"a":[]}})", {"{\"b\":1,\"a\":[]}"}, {"{\"a\":[],\"b\":1}"});
  check_schema(R"({"type":["integer","null"],"maximum":5})", {"5", "null"}, {"6", "true"});
  check_schema(R"({"anyOf":[{"type":"null"},{"type":"integer","minimum":7}]})", {"null", "8"},
               {"6"});
  check_schema(R"({"type":"array","items":{"type":"null"}})", {"[]", "[null]", "[null,null]"},
               {"[null,]", "[,]", "[1]", "[null null]"});
  check_schema(R"({"type":"array","items":{"type":"null"},"minItems":1,"maxItems":2})",
               {"[null]", "[null,null]"}, {"[]", "[null,null,null]"});
  check_schema(R"({"type":"array","items":{"type":"null"},"maxItems":0})", {"[]"}, {"[null]"});
  check_schema(R"({"type":"array","prefixItems":[{"const":1},{"const":2}],"items":false})",
               {"[]", "[1]", "[1,2]"}, {"[2]", "[1,2,3]", "[1,]"});
  check_schema(
      R"({"type":"array","prefixItems":[{"const":1}],"items":{"const":0},"minItems":2,"maxItems":3})",
      {"[1,0]", "[1,0,0]"}, {"[1]", "[0,0]", "[1,0,0,0]"});
  check_schema(R"({"type":"object"})", {"{}", "{\"a\":1}", "{\"a\":1,\"b\":[2]}"},
               {"{\"a\"}", "{,}"});
  check_schema(
      R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"required":["b"]})",
      {"{\"b\":2}", "{\"a\":1,\"b\":2}", "{\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}"},
      {"{}", "{\"a\":1}", "{\"b\":2,\"a\":1}", "{\"b\":2,}", "{,\"b\":2}", "{\"b\":2,\"d\":1}"});
  check_schema(R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2}}})",
               {"{}", "{\"a\":1}", "{\"b\":2}", "{\"a\":1,\"b\":2}"}, {"{\"a\":1\"b\":2}"});
  check_schema(
      R"({"type":"object","properties":{"a":{"const":1}},"additionalProperties":{"const":2}})",
      {"{}", "{\"a\":1}", "{\"a\":1,\"b\":2,\"c\":2}", "{\"aa\":2}", "{\"\":2}"},
      {"{\"a\":2}", "{\"b\":1}", "{\"b\":2,\"a\":2}"});
  check_schema(
      R"({"type":"object","required":["z"],"properties":{}, "additionalProperties":{"const":1}})",
      {"{\"z\":1}", "{\"z\":1,\"y\":1}"}, {"{}", "{\"z\":1,\"z\":1}"});
  check_schema(R"({"properties":{"a":{"const":1}}})", {"7", "\"x\"", "{\"a\":1}"}, {"{\"a\":2}"});
  check_schema("true", {"1", "[[1]]", "{\"a\":{\"b\":null}}"}, {"", "[[[[1]]]]"});
  check_schema(R"({"$ref":"#/$defs/a~1b/anyOf/1","$defs":{"a/b":{"anyOf":[{},{"const":5}]}}})",
               {"5"}, {"6"});
  check_schema(
      R"({"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"type":"null"},{"$ref":"#"}]}},"required":["v","next"]})",
      {"{\"v\":1,\"next\":null}", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3,\"next\":null}}}"},
      {"{\"v\":1}",
       "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3,\"next\":{\"v\":4,\"next\":null}}}}"});
}

TEST_CASE("constrain: JSON schemas that are refused name the keyword and the place") {
  const struct {
    const char *schema, *words;
  } cases[] = {
      {R"({"type":"array","uniqueItems":true})",
       "s.json: #/uniqueItems: keyword \"uniqueItems\" cannot be compiled"},
      {R"({"properties":{"a/b":{"multipleOf":2}}})",
       "s.json: #/properties/a~1b/multipleOf: keyword \"multipleOf\" cannot be compiled"},
      {R"({"not":{}})", "#/not: keyword \"not\""},
      {R"({"allOf":[{}]})", "#/allOf: keyword \"allOf\""},
      {R"({"oneOf":[{}]})", "#/oneOf: keyword \"oneOf\""},
      {R"({"if":{}})", "#/if: keyword \"if\""},
      {R"({"patternProperties":{}})", "#/patternProperties: keyword"},
      {R"({"minProperties":1})", "#/minProperties: keyword"},
      {R"({"contains":{}})", "#/contains: keyword"},
      {R"({"format":"date"})", "#/format: keyword"},
      {R"({"type":"text"})", "#/type: found \"\\\"text\\\"\", expected null, boolean"},
      {R"j({"type":"string","pattern":"(?=a)"})j",
       "s.json: #/pattern: character 2 of the pattern: a look around cannot be compiled"},
      {R"({"type":"string","pattern":"a","maxLength":3})",
       "#/pattern: keyword \"pattern\" cannot be "
       "compiled: beside minLength or maxLength"},
      {R"({"anyOf":[{"type":"null"}],"minimum":1})",
       "#/minimum: keyword \"minimum\" cannot be compiled: beside anyOf"},
      {R"({"$ref":"#/$defs/x"})",
       "#/$ref: $ref \"#/$defs/x\" leads to nothing: there is no \"$defs\" in #"},
      {R"({"$ref":"other.json"})", "expected a reference within the file"},
      {R"({"minLength":-1})", "#/minLength: found \"-1\", expected a whole number to 100000"},
      {R"({"items":3})", "#/items: found \"3\", expected a schema"},
      {R"({"properties":[]})", "#/properties: found \"[]\", expected an object of schemas"},
      {R"({"required":"a"})", "#/required: found \"\\\"a\\\"\", expected a list of keys"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.schema);
    const std::string found =
        refusal([&] { read_schema(read_json(each.schema, "s.json"), "s.json", 2); });
    CAPTURE(found);
    CHECK(found.find(each.words) != std::string::npos);
  }
}

TEST_CASE("constrain: grammars") {
  check_grammar(
      "root ::= \"a\" b | c\nb ::= [0-9]+ # digits\nc ::= \"\\n\" \"\\x41\" ( \"x\" | \"y\" )?\n",
      {"a1", "a123", "\nA", "\nAx"}, {"a", "\nAz", "b"});
  check_grammar("root ::= item (\",\" item)*\nitem ::= [^,]{1,3}\n", {"a", "a,bcd,e"},
                {"", ",", "abcd"});
  // At its own end a rule begins again; elsewhere it stands three times within itself.
  check_grammar("root ::= \"a\" root | \"b\"", {"b", "ab", "aaaaaaaaaaaaaaab"}, {"a", "bb"});
  check_grammar("root ::= \"(\" root \")\" | \"\"", {"", "()", "((()))"}, {"(", "((((()))))"});
  check_grammar("root ::=\n  \"a\"\n  tail\n\ntail ::= .\n", {"ab", "a\n"}, {"a"});
  const struct {
    const char *grammar, *words;
  } cases[] = {
      {"root ::= \"a\" x\n", "g:1: rule \"x\" is used, but not defined"},
      {"top ::= \"a\"\n", "g: has no rule \"root\""},
      {"root ::= \"a\"\nroot ::= \"b\"\n", "g:2: rule \"root\" is defined a second time"},
      {"root ::= \"a\n", "g:1: found \"\\u000a\", expected '\"', which ends the text"},
      {"root ::= \"a\"\nx = \"b\"", "g:2: found \"=\""},
      {"root ::= (\"a\"", "g:1: found the end, expected ')'"},
      {"root ::= [a", "expected ']', which ends the class"},
      {"root ::= %", "g:1: found \"%\", expected a text in quotes, a class, a group or the name"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.grammar);
    const std::string found = refusal([&] { read_grammar(each.grammar, "g", 3); });
    CAPTURE(found);
    CHECK(found.find(each.words) != std::string::npos);
  }
}

TEST_CASE("constrain: what is too large, or met by nothing, is refused soon") {
  const auto build = [](const Syntax& syntax) { build_rule(syntax, vocabulary()); };
  const auto of_regex = [&](const char* pattern) {
    return refusal([&] { build(syntax_of(read_regex(pattern, "r"))); });
  };
  CHECK(of_regex("[]").find("no text at all meets the rule") == 0);
  CHECK(of_regex("((a{1000}){1000}){1000}").find("the rule is too large") == 0);
  CHECK(of_regex("(a|b)*a(a|b){40}").find("the rule is too large") == 0);  // 2^40 states
  CHECK(
      of_regex("a{70000}").find("the rule is too large: its smallest automaton has 70001 states") ==
      0);
  CHECK(refusal([&] {
          build(read_grammar("root ::= \"(\" root \")\"", "g", 3));
        }).find("no text at all meets the rule") == 0);
  CHECK(refusal([&] {
          build(read_schema(read_json(R"({"$ref":"#"})", "s"), "s", 3));
        }).find("no text at all meets the rule") == 0);

  const TinyModel few(tiny_shape(8, 8, 1, 1, 1, 8, 20, 16, true), {kWeightF32, 0, 4}, true);
  CHECK(refusal([&] { build_rule(syntax_of(read_regex("\xe2\x82\xac", "r")), few.view); }) ==
        "tokens of the model's vocabulary spell no text that meets the rule");
  const TinyModel bare(tiny_shape(8, 8, 1, 1, 1, 8, 20, 16, true), {kWeightF32, 0, 4});
  CHECK(refusal([&] {
          build_rule(syntax_of(read_regex("a", "r")), bare.view);
        }).find("no tokenizer") != std::string::npos);
}
