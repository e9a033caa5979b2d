// SPDX-License-Identifier: MIT
// What a checkpoint leaves out or gets wrong can be said: every option by what the file then has.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "capture.h"
#include "checkpoint_files.h"
#include "files.h"
#include "llama2c_files.h"
#include "model.h"
#include "rope.h"
#include "tokenizer.h"

using namespace thimble;
using namespace thimble::test;
using tools::Words;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A converted file, opened, or why there is none.
struct Converted {
  Converted(const std::string& input, const Words& options) {
    const TestFolder folder;
    Words words = {input, "-o", folder / "out.thimble"};
    words.insert(words.end(), options.begin(), options.end());
    ended = run(tools::convert_verb, words);
    if (ended.code != 0) {
      CHECK(!std::filesystem::exists(folder / "out.thimble"));
      return;
    }
    file = std::make_unique<tools::MappedFile>(folder / "out.thimble");
    model = tools::open_model(*file);
  }
  const FileHeader& header() const {
    REQUIRE_MESSAGE(file != nullptr, ended.err);
    return header_of(model);
  }
  std::vector<uint64_t> rope(uint32_t table = 0) const {
    const uint32_t n = header().head_dim / 2;
    const uint64_t* at = table_of<uint64_t>(model, kRopeFrequencies) + table * n;
    return {at, at + n};
  }
  std::vector<uint32_t> windows() const {
    std::vector<uint32_t> all;
    const uint32_t* kinds = table_of<uint32_t>(model, kLayerKinds);
    for (uint32_t i = 0; i < model.n_layers; ++i) all.push_back(kinds[2 * i]);
    return all;
  }

  Ended ended;
  std::unique_ptr<tools::MappedFile> file;
  thimble_model model = {};
};

std::vector<uint64_t> turns(double theta, uint32_t rotary_dim, uint32_t head_dim) {
  tools::RopeSettings settings;
  settings.theta = theta;
  settings.rotary_dim = rotary_dim;
  return tools::rope_turns(settings, head_dim);
}

}  // namespace

TEST_CASE("field options: numbers that a llama2.c file does not have") {
  const TestFolder folder;
  const std::string input = folder.write("a.bin", small_llama2c().version1());
  const Converted plain(input, {});
  CHECK(plain.rope() == turns(10000, 6, 6));
  CHECK(Converted(input, {"--rope-theta", "500000"}).rope() == turns(500000, 6, 6));
  CHECK(Converted(input, {"--rope-theta", "500000"}).header().rope_theta == 500000.0f);
  CHECK(Converted(input, {"--rotary-dim", "4"}).rope() == turns(10000, 4, 6));
  CHECK(Converted(input, {"--norm-eps", "1e-6"}).header().norm_eps == 1e-6f);
  CHECK(Converted(input, {"--score-scale", "0.25"}).header().score_scale == 0.25f);
  CHECK(Converted(input, {"--embedding-scale", "4.5"}).header().embedding_scale == 4.5f);
  CHECK(Converted(input, {"--logit-scale", "0.5"}).header().logit_scale == 0.5f);
  CHECK(Converted(input, {"--logit-cap", "30"}).header().logit_cap == 30.0f);
  CHECK(Converted(input, {"--logit-cap", "none"}).header().logit_cap == 0.0f);
  CHECK(Converted(input, {"--activation", "gelu"}).header().activation == kActivationGelu);
  CHECK(Converted(input, {"--activation", "gelu_new"}).header().activation == kActivationGeluTanh);
  CHECK(Converted(input, {"--parallel", "yes"}).header().parallel == 1);
  CHECK(Converted(input, {"--parallel", "no"}).header().parallel == 0);
  CHECK(Converted(input, {"--window", "8"}).windows() == std::vector<uint32_t>{8, 8});
  CHECK(Converted(input, {"--window", "none"}).header().has_windows == 0);
  CHECK(Converted(input, {"--heads", "4", "--kv-heads", "2"}).ended.code == 0);

  const auto refused = [&](const Words& options, int code, const std::string& message) {
    const Converted converted(input, options);
    CHECK(converted.ended.code == code);
    CHECK_MESSAGE(contains(converted.ended.err, message), converted.ended.err);
  };
  refused({"--heads", "3"}, 1, "has 4 in its header, where --heads says 3");
  refused({"--kv-heads", "4"}, 1, "has 2 in its header, where --kv-heads says 4");
  refused({"--rotary-dim", "8"}, 1, "--rotary-dim is 8, expected an even number up to the 6");
  refused({"--rope-scaling", "{\"rope_type\":\"linear\",\"factor\":2}"}, 1, "whose tensors");
  refused({"--rope-theta", "0"}, 2, "'--rope-theta' is '0', expected a number from 1 to 1e+12");
  refused({"--norm-eps", "0"}, 2, "'--norm-eps' is '0', expected a number from 1e-12 to 1");
  refused({"--logit-cap", "0"}, 2, "'--logit-cap' is '0'");
  refused({"--window", "0"}, 2, "'--window' is '0', expected a whole number from 1");
  refused({"--parallel", "maybe"}, 2, "'--parallel' is 'maybe', expected no or yes");
  refused({"--activation", "tanh"}, 2, "expected silu, gelu_new, gelu or relu");
  refused({"--rope-scaling", "linear"}, 2, "option '--rope-scaling'");
  refused({"--rope-scaling", "[]"}, 2, "expected a dictionary in JSON");
  refused({"--add-bos", "no"}, 2, "an option of tokenizers needs a tokenizer");
}

TEST_CASE(
    "field options: a version 0 file whose tables have another base is refused, with the base") {
  const TestFolder folder;
  const Llama2c model({24, 172, 2, 3, 3, 97, 40}, true);  // heads of 8
  const auto file = [&](double theta, double scaling = 1) {
    return folder.write("a.bin", model.version0(theta, scaling));
  };
  CHECK(Converted(file(10000), {}).ended.code == 0);
  CHECK(Converted(file(0), {}).ended.code == 0);  // without tables
  for (const double theta : {26.0, 1000.0, 11000.0, 500000.0, 1e6}) {
    const std::string said = tools::format("%.10g", theta);
    const Converted refused(file(theta), {});
    CHECK(refused.ended.code == 1);
    CHECK_MESSAGE(contains(refused.ended.err,
                           "its cosines and sines are those of base " + said +
                               "; without --rope-theta the model would be made for 10000, say "
                               "--rope-theta " +
                               said),
                  refused.ended.err);
    const Converted said_so(file(theta), {"--rope-theta", said});
    CHECK(said_so.rope() == turns(theta, 8, 8));
    CHECK(!contains(said_so.ended.err, "note: its"));
    const Converted otherwise(file(theta), {"--rope-theta", "10000"});
    CHECK(otherwise.rope() == turns(10000, 8, 8));
    CHECK_MESSAGE(contains(otherwise.ended.err, "note: its cosines and sines are those of base " +
                                                    said + ", and the model is made for 10000"),
                  otherwise.ended.err);
  }
  const Converted scaled(file(10000, 4), {});
  CHECK(scaled.ended.code == 1);
  CHECK_MESSAGE(contains(scaled.ended.err,
                         "are those of no base: from position 0 to 1 the first "
                         "pair turns by 0.25, expected 1"),
                scaled.ended.err);
  CHECK(Converted(file(10000, 4), {"--rope-theta", "10000"}).ended.code == 0);
}

TEST_CASE("field options: what a tokenizer leaves out") {
  const TestFolder folder;
  const std::string input = folder.write("a.bin", small_llama2c().version1());
  const std::string scored = folder.write("tok.bin", tokenizer_bytes(small_tokens(97)));
  const auto flags = [&](const Words& options) {
    Words all = {"--tokenizer", scored};
    all.insert(all.end(), options.begin(), options.end());
    return Converted(input, all).header().tokenizer_flags;
  };
  const uint32_t usual = flags({});
  CHECK((usual & kTokenizerAddsBos) != 0);
  CHECK(flags({"--add-bos", "no"}) == (usual & ~uint32_t{kTokenizerAddsBos}));
  CHECK((usual & kTokenizerAddSpacePrefix) != 0);
  CHECK(flags({"--space-prefix", "no"}) == (usual & ~uint32_t{kTokenizerAddSpacePrefix}));
  CHECK(Converted(input, {"--tokenizer", scored, "--bos", "-1", "--eos", "5"}).model.eos_id == 5);
  for (const Words& words : {Words{"--pre-tokenizer", "llama3"}, Words{"--ignore-merges", "yes"}}) {
    const Converted refused(input, {"--tokenizer", scored, words[0], words[1]});
    CHECK(refused.ended.code == 2);
    CHECK(contains(refused.ended.err, "are for byte-level tokenizers"));
  }

  // Two files that do not say how words are cut: GPT-2's way unless something else is said. Single
  // letters, then pairs that begin with a, b and c.
  std::string vocab = "{";
  std::string merges = "#version: 0.2\n";
  for (int i = 0; i < 97; ++i) {
    const char letter = static_cast<char>('a' + i % 26);
    const std::string text = i < 26   ? std::string(1, letter)
                             : i < 52 ? std::string("a") + letter
                             : i < 78 ? std::string("b") + letter
                                      : std::string("c") + letter;
    vocab += tools::format("%s\"%s\": %d", i ? ", " : "", text.c_str(), i);
    if (i >= 26) merges += text.substr(0, 1) + " " + text.substr(1) + "\n";
  }
  const std::string json = folder.write("vocab.json", vocab + "}");
  folder.write("merges.txt", merges);
  CHECK(Converted(input, {"--tokenizer", json}).header().pre_tokenizer == kPreTokenizerGpt2);
  const struct {
    const char* name;
    PreTokenizer kind;
  } kinds[] = {{"gpt2", kPreTokenizerGpt2},
               {"llama3", kPreTokenizerLlama3},
               {"qwen2", kPreTokenizerQwen2},
               {"smollm", kPreTokenizerSmolLm}};
  for (const auto& kind : kinds) {
    CHECK(Converted(input, {"--tokenizer", json, "--pre-tokenizer", kind.name})
              .header()
              .pre_tokenizer == kind.kind);
  }
  CHECK(
      (Converted(input, {"--tokenizer", json, "--ignore-merges", "yes"}).header().tokenizer_flags &
       kTokenizerIgnoresMerges) != 0);
}

TEST_CASE("field options: a vocabulary larger than the tokenizer") {
  const TestFolder folder;
  const std::string input = folder.write("a.bin", small_llama2c().version1());
  const std::string note = "note: the tokenizer has 90 tokens, the model 97; ids from 90 on are ";
  std::vector<Token> tokens = small_tokens(90);
  const std::string small = folder.write("small.bin", tokenizer_bytes(tokens));
  const Converted refused(input, {"--tokenizer", small});
  CHECK(refused.ended.code == 1);
  CHECK(contains(refused.ended.err,
                 "small.bin: a tokenizer of another size: found 90 tokens, the "
                 "model has 97; if the other ids are fillers, say --fillers yes"));
  tokens.resize(97);
  const std::string filled = folder.write("filled.bin", tokenizer_bytes(tokens));
  // A tokenizer whose file is known to be whole needs no word.
  std::string characters;
  for (int i = 0; i < 90; ++i) characters += static_cast<char>('!' + i);
  const std::string list = folder.write("characters.txt", characters);
  for (const Words& words : {Words{small, "--fillers", "yes"}, Words{filled, "--fillers", "no"},
                             Words{list, "--fillers", "no"}}) {
    const Converted converted(input, {"--tokenizer", words[0], words[1], words[2]});
    CHECK_MESSAGE(contains(converted.ended.err, note), converted.ended.err);
    CHECK(converted.header().n_tokens == 90);
    CHECK(converted.header().vocab_size == 97);
  }
  const std::string whole = folder.write("whole.bin", tokenizer_bytes(small_tokens(97)));
  CHECK(!contains(Converted(input, {"--tokenizer", whole}).ended.err, "fillers"));
}
