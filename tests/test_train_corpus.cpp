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

// Records, each of its own length and letters.
std::vector<std::string> records(uint32_t n, uint32_t longest) {
  std::vector<std::string> all(n);
  for (uint32_t i = 0; i < n; ++i) {
    for (uint32_t j = 0; j <= i * 7 % longest; ++j) {
      all[i] += static_cast<char>('a' + (i + j) % 26);
    }
  }
  return all;
}

void add_all(const std::vector<std::string>& texts, Corpus* corpus) {
  for (const std::string& text : texts) {
    corpus->begin_record();
    corpus->add_text(text);
    corpus->end_record();
  }
  corpus->finish("texts");
}

// Positions of the corpus that are a target, and how often.
std::map<uint64_t, int> targets_of(const std::vector<Window>& windows) {
  std::map<uint64_t, int> asked;
  for (const Window& w : windows) {
    for (uint32_t i = w.skipped; i < w.n; ++i) ++asked[w.at + i + 1];
  }
  return asked;
}

}  // namespace

TEST_CASE("train corpus: every token of every record is asked for once an epoch") {
  const Tokenizer t;
  for (const uint32_t n_ctx : {2u, 3u, 8u, 17u, 512u}) {
    Corpus corpus(t.model, n_ctx, t.folder.path);
    add_all(records(40, 60), &corpus);
    for (const Window& w : corpus.windows()) {
      CHECK(w.n <= n_ctx);
      if (w.skipped == 0) continue;
      CHECK(w.n == n_ctx);
      CHECK(w.skipped >= (n_ctx - 1) / 2);  // what came before is there to be looked at
    }
    const std::map<uint64_t, int> asked = targets_of(corpus.windows());
    CHECK(asked.size() == corpus.n_tokens() - 40);
    CHECK(
        std::all_of(asked.begin(), asked.end(), [](const auto& each) { return each.second == 1; }));
  }
}

TEST_CASE("train corpus: sequences begin and end with the text's ends") {
  const Tokenizer t;
  Corpus corpus(t.model, 64, t.folder.path);
  add_all({"abc", " d"}, &corpus);
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

TEST_CASE("train corpus: what was cut has no beginning and no end") {
  const Tokenizer t;
  for (const bool continues : {false, true}) {
    for (const bool goes_on : {false, true}) {
      Corpus corpus(t.model, 64, t.folder.path);
      corpus.begin_record(continues);
      corpus.add_text(std::string(40, 'a'));
      corpus.add_text(std::string(50, 'b'));
      corpus.end_record(goes_on);
      corpus.add_held_out({"abc", continues, false});
      corpus.finish("texts");
      Pack pack, held_out;
      for (const Window& w : corpus.windows()) corpus.append(w, &pack);
      corpus.append(corpus.held_out()[0], &held_out);
      CHECK((pack.tokens[0] == t.model.bos_id) == !continues);
      CHECK((held_out.tokens[0] == t.model.bos_id) == !continues);
      CHECK((pack.targets.back() == t.model.eos_id) == !goes_on);
      CHECK(std::count(pack.targets.begin(), pack.targets.end(), t.model.bos_id) == 0);
      // So few tokens without a beginning teach nothing of what follows.
      CHECK(corpus.windows()[0].skipped == (continues ? 16 : 0));
    }
  }
  Corpus small(t.model, 64, t.folder.path);
  small.begin_record(true);
  small.add_text("ab");
  small.end_record();
  small.finish("texts");
  CHECK(small.windows()[0].skipped < small.windows()[0].n);  // something is
}

TEST_CASE("train corpus: of an answer's record only the answer is asked for, and its end") {
  const Tokenizer t;
  for (const uint32_t n_ctx : {4u, 8u, 64u}) {
    Corpus corpus(t.model, n_ctx, t.folder.path);
    corpus.begin_record();
    corpus.add_prompt("abcdef\t");
    corpus.add_text("xyz");
    corpus.end_record();
    corpus.add_held_out({"abcdef\txyz", false, false, 7});
    corpus.finish("texts");
    std::vector<int32_t> asked;
    Pack pack;
    for (const Window& w : corpus.windows()) corpus.append(w, &pack);
    for (const int32_t target : pack.targets) {
      if (target >= 0) asked.push_back(target);
    }
    REQUIRE(asked.size() == 4);  // a letter a token
    CHECK(asked[3] == t.model.eos_id);
    // Of one that is held out only what the context has room for, and not its end.
    CHECK(corpus.held_out_tokens() == (n_ctx == 64 ? 3 : n_ctx == 8 ? 1 : 0));
    CHECK(corpus.held_out_bytes() == corpus.held_out_tokens());
  }
}

TEST_CASE("train corpus: pieces side by side are one record again") {
  const Tokenizer t;
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "W" + std::to_string(i) + " ";
  TextRecordsOptions options;
  options.held_out = 0.1;
  options.max_record_bytes = 256;
  const TextRecords texts({t.folder.write("book", text)}, options);
  REQUIRE(texts.training().size() > 40);
  REQUIRE(texts.held_out().size() > 2);
  Corpus corpus(t.model, 64, t.folder.path);
  double share = 0;
  corpus.add(texts, [&](double now) {
    CHECK(now > share);
    share = now;
  });
  corpus.finish("book");
  CHECK(share == 1.0);
  // A record for each run of pieces between those held out.
  size_t runs = 0;
  const char* end = nullptr;
  for (const TextRecord& record : texts.training()) {
    runs += record.text.data() != end;
    end = record.text.data() + record.text.size();
  }
  CHECK(runs <= texts.held_out().size() + 1);
  size_t begun = 0, missing = 0;
  for (size_t i = 0; i < corpus.windows().size(); ++i) {
    const Window& w = corpus.windows()[i];
    if (i > 0 && w.at < corpus.windows()[i - 1].at + 64) continue;
    ++begun;
    missing += 1 + w.skipped;
  }
  CHECK(begun == runs);
  size_t held_out = 0;  // tokens, of pieces that are longer than the context
  for (const TextRecord& record : texts.held_out()) {
    held_out +=
        encode_all(t.model, std::string(record.text), record.continues ? 0 : THIMBLE_ENCODE_BOS)
            .size();
  }
  CHECK(targets_of(corpus.windows()).size() == corpus.n_tokens() - held_out - missing);
}

TEST_CASE("train corpus: what is held out is not trained on") {
  const Tokenizer t;
  std::string text;
  for (const std::string& record : records(500, 20)) text += record + "\n";
  TextRecordsOptions options;
  options.by = RecordsBy::kLines;
  options.held_out = 0.2;
  const TextRecords texts({t.folder.write("lines", text)}, options);
  Corpus corpus(t.model, 64, t.folder.path);
  corpus.add(texts);
  corpus.finish("lines");
  CHECK(corpus.held_out().size() == texts.held_out().size());
  CHECK(corpus.windows().size() == texts.training().size());
  CHECK(corpus.held_out_bytes() == texts.held_out_bytes());
  const std::map<uint64_t, int> asked = targets_of(corpus.windows());
  for (const auto& [at, times] : targets_of(corpus.held_out())) CHECK(asked.count(at) == 0);
}

TEST_CASE("train corpus: nothing to learn is refused, bytes that are no text are learnt") {
  const Tokenizer t;
  Corpus empty(t.model, 64, t.folder.path);
  CHECK(refusal_when([&] { empty.finish("a.txt"); }) ==
        "a.txt: holds nothing to learn: expected a record of at least 2 tokens");
  Corpus bytes(t.model, 64, t.folder.path);
  add_all({"a\xff\xfe b\xc3("}, &bytes);  // no UTF-8: bytes have tokens
  CHECK(bytes.windows().size() == 1);
}

TEST_CASE("train batches: each window once an epoch, in another order, and from any place on") {
  const Tokenizer t;
  Corpus corpus(t.model, 32, t.folder.path);
  add_all(records(60, 30), &corpus);
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
