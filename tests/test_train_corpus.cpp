// SPDX-License-Identifier: MIT
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "test_folder.h"
#include "tiny_model.h"
#include "train/corpus.h"
#include "vocabulary.h"

using namespace thimble;
using namespace thimble::test;
using namespace thimble::tools;
using namespace thimble::tools::train;

namespace {

struct Tokenizer {
  Tokenizer() : image(image_of_vocabulary(tiny_vocabulary(300))) {
    expect_ok(thimble_model_open(&model, image.data(), image.bytes), "open");
  }
  ImageInMemory image;
  thimble_model model;
  TestFolder folder;
};

// "record 0 x x ...": each of its own length and letter.
std::string records(uint32_t n, uint32_t longest) {
  std::string text;
  for (uint32_t i = 0; i < n; ++i) {
    for (uint32_t j = 0; j <= i * 7 % longest; ++j) text += static_cast<char>('a' + (i + j) % 26);
    text += "\n<|endoftext|>\n";
  }
  return text;
}

}  // namespace

TEST_CASE("train corpus: every token of every record is asked for once an epoch") {
  const Tokenizer t;
  for (const uint32_t n_ctx : {2u, 3u, 8u, 17u, 512u}) {
    Corpus corpus(t.model, n_ctx, 0, 1, t.folder.path);
    const std::string text = records(40, 60);
    corpus.add(text, RecordRule::kMarks);
    corpus.finish();
    CHECK(corpus.n_records() == 40);
    // Positions of the corpus that are a target, and how often.
    std::map<uint64_t, int> asked;
    for (const Window& w : corpus.windows()) {
      CHECK(w.n <= n_ctx);
      for (uint32_t i = w.skipped; i < w.n; ++i) ++asked[w.at + i + 1];
      if (w.skipped == 0) continue;
      CHECK(w.n == n_ctx);
      CHECK(w.skipped >= (n_ctx - 1) / 2);  // what came before is there to be looked at
    }
    CHECK(asked.size() == corpus.n_tokens() - corpus.n_records());
    CHECK(
        std::all_of(asked.begin(), asked.end(), [](const auto& each) { return each.second == 1; }));
  }
}

TEST_CASE("train corpus: sequences begin and end with the text's ends") {
  const Tokenizer t;
  Corpus corpus(t.model, 64, 0, 1, t.folder.path);
  corpus.add("abc<|endoftext|>\n d", RecordRule::kMarks);
  corpus.finish();
  Pack pack;
  for (const Window& w : corpus.windows()) corpus.append(w, &pack);
  REQUIRE(pack.sequences.size() == 2);
  for (const Sequence& s : pack.sequences) {
    CHECK(pack.tokens[s.begin] == t.model.bos_id);
    CHECK(pack.targets[s.begin + s.n - 1] == t.model.eos_id);
    for (uint32_t i = 0; i + 1 < s.n; ++i) {
      CHECK(pack.targets[s.begin + i] == pack.tokens[s.begin + i + 1]);
    }
  }
}

TEST_CASE("train corpus: lines and files as records") {
  const Tokenizer t;
  Corpus lines(t.model, 64, 0, 1, t.folder.path), files(t.model, 64, 0, 1, t.folder.path);
  lines.add("one\n\n  \ntwo\nthree", RecordRule::kLines);
  lines.finish();
  CHECK(lines.n_records() == 3);
  CHECK(lines.n_bytes() == 11);
  files.add("one\n<|endoftext|>two\n", RecordRule::kFiles);
  files.add("  \n", RecordRule::kFiles);
  files.finish();
  CHECK(files.n_records() == 1);
}

TEST_CASE("train corpus: a share of the records is held out, always the same ones") {
  const Tokenizer t;
  Corpus corpus(t.model, 64, 0.2, 5, t.folder.path), longer(t.model, 64, 0.2, 5, t.folder.path),
      other(t.model, 64, 0.2, 6, t.folder.path);
  corpus.add(records(500, 20), RecordRule::kMarks);
  corpus.finish();
  longer.add(records(500, 20) + records(9, 20), RecordRule::kMarks);
  longer.finish();
  other.add(records(500, 20), RecordRule::kMarks);
  other.finish();
  CHECK(corpus.n_held_out_records() > 60);
  CHECK(corpus.n_held_out_records() < 140);
  const auto places = [](const Corpus& c) {
    std::vector<uint64_t> at;
    for (const Window& w : c.held_out()) at.push_back(w.at);
    return at;
  };
  const std::vector<uint64_t> first = places(corpus), second = places(longer);
  CHECK(std::equal(first.begin(), first.end(), second.begin()));
  CHECK(first != places(other));
  // What is held out is not trained on.
  const std::set<uint64_t> held(first.begin(), first.end());
  for (const Window& w : corpus.windows()) CHECK(held.count(w.at) == 0);
}

TEST_CASE("train corpus: texts of nothing are refused, a single record is learnt all the same") {
  const Tokenizer t;
  Corpus empty(t.model, 64, 0.1, 1, t.folder.path);
  empty.add(" \n<|endoftext|>\n", RecordRule::kMarks);
  CHECK(refusal_when([&] { empty.finish(); }) ==
        "the texts hold nothing to learn from: expected records of at least 2 tokens");
  for (uint64_t seed = 0; seed < 20; ++seed) {  // some would hold it out
    Corpus single(t.model, 64, 0.5, seed, t.folder.path);
    single.add("a", RecordRule::kMarks);
    single.finish();
    CHECK(single.windows().size() == 1);
    CHECK(single.held_out().empty());
  }
  Corpus bytes(t.model, 64, 0, 1, t.folder.path);
  bytes.add("a\xff\xfe b\xc3(", RecordRule::kMarks);  // no UTF-8: bytes have tokens
  bytes.finish();
  CHECK(bytes.windows().size() == 1);
}

TEST_CASE("train batches: each window once an epoch, in another order, and from any place on") {
  const Tokenizer t;
  Corpus corpus(t.model, 32, 0, 1, t.folder.path);
  corpus.add(records(60, 30), RecordRule::kMarks);
  corpus.finish();
  Batches batches(corpus, 3, 100, 64);
  std::vector<std::vector<Pack>> all;
  std::vector<Batches::Place> places;
  for (int i = 0; i < 40; ++i) {
    places.push_back(batches.place());
    all.push_back(batches.next());
    size_t tokens = 0;
    for (const Pack& pack : all.back()) {
      CHECK(pack.tokens.size() <= 64);
      CHECK(pack.tokens.size() == pack.targets.size());
      tokens += pack.tokens.size();
    }
    CHECK(tokens >= 100);
    CHECK(tokens < 132);
  }
  CHECK(batches.place().epoch >= 2);
  Batches again(corpus, 3, 100, 64);
  for (const size_t i : {17u, 0u, 39u}) {
    again.go_to(places[i]);
    const std::vector<Pack> packs = again.next();
    REQUIRE(packs.size() == all[i].size());
    for (size_t k = 0; k < packs.size(); ++k) CHECK(packs[k].tokens == all[i][k].tokens);
  }
  // One epoch holds all windows.
  Batches epoch(corpus, 3, static_cast<uint32_t>(corpus.n_tokens()), 64);
  std::multiset<std::vector<int32_t>> found, expected;
  const size_t n = corpus.windows().size();
  for (const Pack& pack : epoch.next()) {
    for (const Sequence& s : pack.sequences) {
      if (found.size() == n) break;
      found.insert({pack.tokens.begin() + s.begin, pack.tokens.begin() + s.begin + s.n});
    }
  }
  for (const Window& w : corpus.windows()) {
    Pack pack;
    corpus.append(w, &pack);
    expected.insert(pack.tokens);
  }
  CHECK(found == expected);
}

TEST_CASE("train token store: two or four bytes a token, in a file without a name") {
  const TestFolder folder;
  for (const uint32_t vocab_size : {1024u, 65536u, 65537u, 200000u}) {
    TokenStore store(folder.path, vocab_size);
    const std::vector<int32_t> tokens = {0, 7, static_cast<int32_t>(vocab_size) - 1};
    store.append(tokens);
    store.append({});
    store.append({5});
    store.finish();
    REQUIRE(store.size() == 4);
    for (size_t i = 0; i < tokens.size(); ++i) CHECK(store[i] == tokens[i]);
    CHECK(store[3] == 5);
    CHECK(std::filesystem::is_empty(folder.path));
  }
  CHECK(refusal_when([&] { TokenStore("/no/such/folder", 9); }).find("/no/such/folder: ") == 0);
}
