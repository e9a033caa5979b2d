// SPDX-License-Identifier: MIT
// Models in a store: the same bits as mapped ones, through buffers of any size; what a store fails
// at is a status, and what it gives cannot do harm.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "crc32.h"
#include "memory_store.h"
#include "model.h"
#include "stream.h"
#include "tiny_adapter.h"
#include "tiny_model.h"
#include "tiny_rule.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// Bytes of all matrices that a token needs, scales included.
uint64_t matrix_bytes(const thimble_model& model) {
  const FileHeader& h = header_of(model);
  const SectionEntry* e = reinterpret_cast<const SectionEntry*>(&h + 1);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < h.n_sections; ++i) {
    const bool is_gathered =
        e[i].kind == kPositionEmbedding || (e[i].kind == kTokenEmbedding && !h.tied_head);
    if (is_matrix_section(e[i].kind) && !is_gathered) bytes += e[i].bytes + e[i].scales_bytes;
  }
  return bytes;
}

// Steps until it is complete, however many reads fail; returns how many did.
int finish_in_spite(thimble_session* session, uint64_t budget = 0) {
  int failed = 0;
  for (;;) {
    const thimble_status status = thimble_step(session, budget);
    if (status == THIMBLE_OK) return failed;
    failed += status == THIMBLE_ERROR_READ;
    if (status != THIMBLE_MORE) REQUIRE(status == THIMBLE_ERROR_READ);
  }
}

struct Opened {
  thimble_status status;
  thimble_fault fault;
};

bool same(const Opened& a, const Opened& b) {
  const bool same_name = a.fault.what == b.fault.what ||
                         (a.fault.what && b.fault.what && !strcmp(a.fault.what, b.fault.what));
  return a.status == b.status && same_name && a.fault.found == b.fault.found &&
         a.fault.expected == b.fault.expected;
}

Opened open_mapped(const AlignedBlock& image) {
  thimble_model model;
  const thimble_status status = thimble_model_open(&model, image.data(), image.size());
  return {status, model.fault};
}

// With room for any tables; those that were read must be as open wants them.
Opened open_streamed(const AlignedBlock& image) {
  MemoryStore store(image.data(), image.size());
  AlignedBlock tables(image.size() + 64);
  Opened o = {};
  o.status = thimble_tables_read(&store.view, tables.data(), tables.size(), &o.fault);
  if (o.status != THIMBLE_OK) return o;
  thimble_model model;
  o.status = thimble_model_open_streamed(&model, &store.view, tables.data(), tables.size());
  o.fault = model.fault;
  return o;
}

void seal_model(AlignedBlock* image) {
  FileHeader h;
  std::memcpy(&h, image->data(), sizeof h);
  if (h.header_bytes > image->size()) return;
  h.header_crc = 0;
  std::memcpy(image->data(), &h, sizeof h);
  h.header_crc = crc32(0, image->data(), h.header_bytes);
  std::memcpy(image->data(), &h, sizeof h);
}

}  // namespace

TEST_CASE("stream: the bits of a mapped model, for every shape, type of weights and buffer") {
  size_t sum = 0;
  for (const NamedShape& named : tiny_shapes()) {
    for (uint32_t row_tile : {1u, 4u, 16u}) {
      for (const tools::WeightLayout& layout : all_weight_types(row_tile)) {
        CAPTURE(named.name);
        CAPTURE(layout_name(layout));
        const TinyModel mapped(named.shape, layout);
        StreamedModel streamed(mapped.view);
        const uint32_t n_ctx = mapped.view.n_ctx;
        const std::vector<int32_t> text = random_tokens(5, 24, mapped.view.vocab_size);
        const size_t least = thimble_stream_bytes(&streamed.view);
        CHECK(least % 128 == 0);
        for (const size_t buffer : {size_t{0}, least + 500, 3 * least, size_t{1} << 20}) {
          if (!in_turn(sum++, 11)) continue;
          thimble_config config{};
          config.n_ctx = n_ctx;
          config.n_batch = 1 + static_cast<uint32_t>(sum % 5);
          config.kv_type = sum % 2 ? THIMBLE_KV_Q8 : THIMBLE_KV_F32;
          config.n_candidates = sum % 4 == 1 ? 3 : 0;
          config.n_draft = sum % 8 == 3 ? 2 : 0;
          const uint64_t budget = sum % 7 == 0 ? 1 : sum % 5 == 0 ? 700 : 0;
          const uint64_t expected = hash_of_text(TestSession(mapped.view, config), text, 7, budget);
          const TestSession session(streamed.view, streamed.config(config, buffer), 0xff);
          CHECK(hash_of_text(session, text, 7, budget) == expected);
          CHECK(streamed.store.pending() == 0);
        }
      }
    }
  }
}

TEST_CASE("stream: every kernel table, each token drawn, drafts, rules and candidates") {
  const TinyModel mapped(tiny_shape(32, 64, 2, 4, 2, 8, 300, 64, true), {kWeightQ8, 32, 4}, true, 1,
                         true);
  StreamedModel streamed(mapped.view);
  const TinyRule rule(mapped.view, "( (one|two|three)){2,}\\.");
  const TinyRule same_rule(streamed.view, "( (one|two|three)){2,}\\.");
  for (size_t i = 0; const char* isa = thimble_isa_at(i); ++i) {
    CAPTURE(isa);
    for (const bool is_ruled : {false, true}) {
      thimble_config config{};
      config.isa = isa;
      config.n_draft = i % 2 ? 3 : 0;
      config.n_candidates = is_ruled ? 0 : 20;
      config.rules = is_ruled;
      const TestSession one(mapped.view, config);
      const TestSession other(streamed.view, streamed.config(config, 2048));
      thimble_sampling sampling{};
      sampling.temperature = 1;
      sampling.top_k = 20;
      std::vector<int32_t> texts[2];
      for (const TestSession* s : {&one, &other}) {
        std::vector<int32_t>& text = texts[s == &other];
        const int32_t prompt[] = {1, 30, 40};
        feed_pieces(*s, prompt, 3, 3);
        if (is_ruled) {
          expect_ok(thimble_session_constrain(*s, s == &one ? &rule.view : &same_rule.view),
                    "rule");
          finish_pass(*s);
        }
        while (thimble_room(*s) > 0) {
          const int32_t token = thimble_sample(*s, &sampling);
          if (token < 0) break;
          text.push_back(token);
          feed_pieces(*s, &token, 1, 1);
        }
      }
      CHECK(texts[0].size() > 4);
      CHECK(texts[0] == texts[1]);
    }
  }
}

TEST_CASE("stream: a token reads each weight once, in as many reads as the buffer makes of them") {
  for (const tools::WeightLayout& layout :
       {tools::WeightLayout{kWeightF32, 0, 16}, tools::WeightLayout{kWeightQ8, 64, 4},
        tools::WeightLayout{kWeightQ4, 64, 4}}) {
    const TinyModel mapped(tiny_shape(256, 512, 2, 4, 2, 64, 320, 64, true), layout);
    StreamedModel streamed(mapped.view);
    const uint64_t all = matrix_bytes(mapped.view);
    for (const size_t buffer : {thimble_stream_bytes(&streamed.view), size_t{1} << 16}) {
      const TestSession session(streamed.view, streamed.config({}, buffer));
      const int32_t token = 7;
      streamed.store.reads = streamed.store.bytes = 0;
      feed_pieces(session, &token, 1, 1);
      const uint64_t embedding = streamed.store.bytes - all;
      const uint64_t of_first = streamed.store.reads;
      CHECK(streamed.store.bytes >= all);
      // One tile of the embedding; and blocks that two runs of tiles share, at both ends.
      CHECK(embedding <= buffer / 2 + of_first * 2 * 64);
      if (layout.type == kWeightF32) CHECK(streamed.store.bytes == all + 16 * 256 * 4);
      streamed.store.reads = streamed.store.bytes = 0;
      feed_pieces(session, &token, 1, 1);
      // A tied head may have left the embedding's tile in the buffer.
      const uint64_t of_next = streamed.store.reads;
      CHECK((of_next == of_first || of_next + 2 == of_first));
      streamed.store.reads = streamed.store.bytes = 0;
      // Slices read nothing twice.
      feed_pieces(session, &token, 1, 1, 1000);
      CHECK(streamed.store.reads == of_next);
      streamed.store.reads = streamed.store.bytes = 0;
      const std::vector<int32_t> prompt = random_tokens(3, 8, 320);
      const TestSession batch(streamed.view, streamed.config({0, 8}, buffer));
      feed_pieces(batch, prompt.data(), 8, 8);
      CHECK(streamed.store.bytes >= all);
      CHECK(streamed.store.bytes <= all + 8 * embedding + 64);
    }
  }
}

TEST_CASE("stream: while attention is computed, the weights behind it are on their way") {
  const TinyModel mapped(tiny_shape(32, 64, 2, 4, 2, 8, 64, 64, true), {kWeightQ8, 32, 4});
  StreamedModel streamed(mapped.view);
  const TestSession session(streamed.view, streamed.config({}));
  struct Seen {
    const MemoryStore* store;
    size_t calls, pending;
  } seen = {&streamed.store, 0, 0};
  const auto look = [](void* user, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, const float*,
                       size_t) {
    Seen* s = static_cast<Seen*>(user);
    ++s->calls;
    s->pending += s->store->pending() > 0;
  };
  thimble_on_attention(session, look, &seen);
  const int32_t token = 3;
  feed_pieces(session, &token, 1, 1);
  CHECK(seen.calls >= 2);
  CHECK(seen.pending == seen.calls);
  CHECK(streamed.store.pending() == 0);  // but not between calls

  // A store without wait has read when it returns.
  streamed.store.view.wait = nullptr;
  const TestSession plain(streamed.view, streamed.config({}));
  feed_pieces(plain, &token, 1, 1);
  CHECK(thimble_logits_hash(plain, 0) == thimble_logits_hash(session, 0));
}

TEST_CASE("stream: sizes are exact") {
  for (const NamedShape& named : tiny_shapes()) {
    const TinyModel mapped(named.shape, {kWeightQ8, 32, 4}, true, 1, true);
    StreamedModel streamed(mapped.view);
    // All of the file but its matrices.
    uint64_t matrices = 0;
    for (uint32_t i = 0; i < header_of(mapped.view).n_sections; ++i) {
      const SectionEntry& e = reinterpret_cast<const SectionEntry*>(&header_of(mapped.view) + 1)[i];
      if (is_matrix_section(e.kind)) matrices += expected_file_bytes(e) - e.offset;
    }
    CHECK(streamed.tables.size() == mapped.view.image_bytes - matrices);
    thimble_fault fault;
    AlignedBlock less(streamed.tables.size() - 1);
    CHECK(thimble_tables_read(&streamed.store.view, less.data(), less.size(), &fault) ==
          THIMBLE_ERROR_OUTPUT_TOO_SMALL);
    CHECK(fault.expected == streamed.tables.size());
    CHECK(fault.found == less.size());

    const size_t least = thimble_stream_bytes(&streamed.view);
    CHECK(thimble_stream_bytes(&mapped.view) == 0);
    CHECK(thimble_stream_bytes(nullptr) == 0);
    thimble_config config{};
    const size_t of_mapped = thimble_session_bytes(&mapped.view, &config);
    CHECK(thimble_session_bytes(&streamed.view, &config) == 0);  // no store
    config = streamed.config({});
    CHECK(thimble_session_bytes(&mapped.view, &config) == of_mapped);
    CHECK(thimble_session_bytes(&streamed.view, &config) == of_mapped + kStreamBytes + least);
    config = streamed.config({}, least + 300);
    CHECK(thimble_session_bytes(&streamed.view, &config) == of_mapped + kStreamBytes + least + 256);
    config = streamed.config({}, least - 1);
    CHECK(thimble_session_bytes(&streamed.view, &config) == 0);
    thimble_session* session;
    AlignedBlock arena(of_mapped + kStreamBytes + least);
    CHECK(thimble_session_init(&session, &streamed.view, &config, arena.data(), arena.size()) ==
          THIMBLE_ERROR_CONFIG);
  }
}

TEST_CASE("stream: whichever read fails, the pass goes on to the same bits") {
  for (const uint32_t n_candidates : {0u, 2u}) {
    const TinyModel mapped(tiny_shape(32, 64, 2, 4, 2, 8, 130, 64, n_candidates == 0),
                           {kWeightQ8, 32, 4}, false, 1, true);
    StreamedModel streamed(mapped.view);
    const TinyAdapter adapter(mapped.view, 3);
    thimble_adapter of_streamed;
    expect_ok(thimble_adapter_open(&of_streamed, &streamed.view, adapter.image.data(),
                                   adapter.image.size()),
              "thimble_adapter_open");
    const std::vector<int32_t> text = random_tokens(8, 5, 130);
    thimble_config config{};
    config.n_candidates = n_candidates;
    config.n_batch = 3;
    config.lora_rank = 4;
    for (const bool is_adapted : {false, true}) {
      const TestSession expected(mapped.view, config);
      if (is_adapted) expect_ok(thimble_session_lora(expected, &adapter.view), "lora");
      feed_pieces(expected, text.data(), text.size(), text.size());
      const uint64_t hash = thimble_logits_hash(expected, THIMBLE_HASH_START);
      const thimble_sampling greedy{};
      for (const bool in_wait : {false, true}) {
        for (const uint64_t budget : {uint64_t{0}, uint64_t{900}}) {
          for (uint64_t fails_at = 1;; fails_at += is_adapted == in_wait ? 1 : 5) {
            const TestSession session(streamed.view, streamed.config(config));
            if (is_adapted) expect_ok(thimble_session_lora(session, &of_streamed), "lora");
            streamed.store.reads = 0;
            streamed.store.fails_at = fails_at;
            streamed.store.fails_in_wait = in_wait;
            expect_ok(thimble_feed(session, text.data(), text.size()), "feed");
            const int failed = finish_in_spite(session, budget);
            CHECK(streamed.store.pending() == 0);
            const bool was_last = streamed.store.reads < fails_at;
            REQUIRE(failed == (was_last ? 0 : 1));
            streamed.store.fails_at = 0;
            REQUIRE(thimble_sample(session, &greedy) == thimble_sample(expected, &greedy));
            REQUIRE(thimble_logits_hash(session, THIMBLE_HASH_START) == hash);
            if (was_last) break;
          }
        }
      }
    }
  }
}

TEST_CASE("stream: a store that fails often comes to an end, too") {
  const TinyModel mapped(tiny_shape(32, 64, 2, 4, 2, 8, 130, 64, true), {kWeightQ8, 32, 4});
  StreamedModel streamed(mapped.view);
  const TestSession expected(mapped.view), session(streamed.view, streamed.config({}));
  const int32_t token = 9;
  feed_pieces(expected, &token, 1, 1);
  expect_ok(thimble_feed(session, &token, 1), "feed");
  int failed = 0;
  for (;;) {
    streamed.store.fails_at = streamed.store.reads + 4;
    const thimble_status status = thimble_step(session, 0);
    if (status == THIMBLE_OK) break;
    REQUIRE(status == THIMBLE_ERROR_READ);
    REQUIRE(++failed < 1000);
  }
  CHECK(failed > 5);
  CHECK(thimble_logits_hash(session, 0) == thimble_logits_hash(expected, 0));
}

TEST_CASE("stream: behind a failed read a session is usable as ever") {
  const TinyModel mapped(tiny_shape(32, 64, 2, 4, 2, 8, 300, 64, true), {kWeightQ8, 32, 4}, true, 1,
                         true);
  StreamedModel streamed(mapped.view);
  thimble_config config = streamed.config({});
  const TestSession session(streamed.view, config), expected(mapped.view);
  const std::vector<int32_t> text = random_tokens(8, 6, 300);
  feed_pieces(session, text.data(), 3, 3);
  streamed.store.fails_at = streamed.store.reads + 5;
  expect_ok(thimble_feed(session, &text[3], 1), "feed");
  CHECK(thimble_step(session, 0) == THIMBLE_ERROR_READ);
  CHECK(std::string(thimble_status_text(THIMBLE_ERROR_READ)) == "a read of the store failed");
  CHECK(std::string(thimble_status_text(static_cast<thimble_status>(THIMBLE_ERROR_READ - 1))) ==
        "an unknown status");
  CHECK(thimble_sample(session, nullptr) == THIMBLE_ERROR_ARGUMENT);
  const thimble_sampling greedy{};
  CHECK(thimble_sample(session, &greedy) == THIMBLE_ERROR_NO_LOGITS);
  CHECK(thimble_feed(session, &text[3], 1) == THIMBLE_ERROR_BUSY);
  expect_ok(thimble_rewind(session, 2), "rewind");
  feed_pieces(session, &text[2], 4, 4);
  feed_pieces(expected, text.data(), 6, 6);
  CHECK(thimble_logits_hash(session, 0) == thimble_logits_hash(expected, 0));

  SUBCASE("a self-test") {
    expect_ok(thimble_rewind(session, 0), "rewind");
    streamed.store.fails_at = streamed.store.reads + 7;
    thimble_self_test_report report;
    int failed = 0;
    thimble_status status;
    do {
      status = thimble_self_test(session, 0, &report);
      failed += status == THIMBLE_ERROR_READ;
    } while (status == THIMBLE_MORE || status == THIMBLE_ERROR_READ);
    CHECK(status == THIMBLE_OK);
    CHECK(report.layer == -1);
    CHECK(failed == 1);
  }
  SUBCASE("a hash that needs the head once more") {
    config.n_candidates = 1;
    const TestSession some(streamed.view, config);
    feed_pieces(some, text.data(), 6, 6);
    streamed.store.fails_at = streamed.store.reads + 1;
    CHECK(thimble_logits_hash(some, 5) == 5);
    CHECK(streamed.store.pending() == 0);
    CHECK(thimble_logits_hash(some, 0) == thimble_logits_hash(expected, 0));
  }
  SUBCASE("a saved session, from a mapped one") {
    std::vector<uint8_t> saved(thimble_session_save_bytes(expected));
    expect_ok(thimble_session_save(expected, saved.data(), saved.size()), "save");
    expect_ok(thimble_session_load(session, saved.data(), saved.size()), "load");
    streamed.store.fails_at = streamed.store.reads + 2;
    CHECK(finish_in_spite(session) == 1);
    CHECK(thimble_logits_hash(session, 0) == thimble_logits_hash(expected, 0));
    std::vector<uint8_t> again(thimble_session_save_bytes(session));
    expect_ok(thimble_session_save(session, again.data(), again.size()), "save");
    CHECK(again == saved);
  }
  SUBCASE("a packed text") {
    const std::string long_text = "a text that is packed";
    std::string packed[2];
    for (const bool fails : {false, true}) {
      thimble_pack packing;
      thimble_session* s = fails ? session : expected;
      expect_ok(thimble_pack_begin(&packing, s, long_text.data(), long_text.size()), "pack");
      char out[100];
      thimble_status status;
      int failed = 0;
      if (fails) streamed.store.fails_at = streamed.store.reads + 60;
      do {
        size_t n;
        status = thimble_pack_step(&packing, 0, out, sizeof out, &n);
        packed[fails].append(out, n);
        failed += status == THIMBLE_ERROR_READ;
      } while (status == THIMBLE_MORE || status == THIMBLE_ERROR_READ);
      CHECK(status == THIMBLE_OK);
      CHECK(failed == fails);
    }
    CHECK(packed[0] == packed[1]);
    thimble_unpack unpacking;
    size_t n = 0, written;
    std::string text_again(long_text.size(), ' ');
    expect_ok(thimble_unpack_begin(&unpacking, session, packed[0].data(), packed[0].size(), &n),
              "unpack");
    streamed.store.fails_at = streamed.store.reads + 60;
    CHECK(thimble_unpack_step(&unpacking, 0, &text_again[0], n, &written) == THIMBLE_ERROR_READ);
    size_t at = written;
    CHECK(thimble_unpack_step(&unpacking, 0, &text_again[at], n - at, &written) == THIMBLE_OK);
    CHECK(at + written == n);
    CHECK(text_again == long_text);
  }
}

TEST_CASE("stream: whatever a store gives, sessions stay within their bounds") {
  for (const NamedShape& named : tiny_shapes()) {
    const TinyModel mapped(named.shape, {kWeightQ4, 32, 4, kMatrixEmbedding}, true);
    StreamedModel streamed(mapped.view);
    streamed.store.gives_noise = true;
    const TestSession session(streamed.view, streamed.config({}));
    const std::vector<int32_t> text = random_tokens(8, 12, mapped.view.vocab_size);
    feed_pieces(session, text.data(), text.size(), 5);
    thimble_sampling sampling{};
    sampling.temperature = 1;
    const int32_t token = thimble_sample(session, &sampling);
    CHECK((token >= 0 || token == THIMBLE_ERROR_NOT_FINITE));
  }
}

TEST_CASE("stream: the file's checksum, tables included") {
  TinyModel mapped(tiny_shape(32, 64, 2, 4, 2, 8, 300, 64, false), {kWeightQ8, 32, 4}, true);
  StreamedModel streamed(mapped.view);
  thimble_model* model = &streamed.view;
  const thimble_store* store = &streamed.store.view;
  CHECK(thimble_model_verify_streamed(model, store) == THIMBLE_OK);
  CHECK(thimble_model_verify(model) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_model_verify_streamed(&mapped.view, store) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_model_verify_streamed(model, nullptr) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_model_verify_streamed(nullptr, store) == THIMBLE_ERROR_ARGUMENT);
  streamed.store.fails_at = streamed.store.reads + 3;
  CHECK(thimble_model_verify_streamed(model, store) == THIMBLE_ERROR_READ);
  for (uint32_t i = 0; i < header_of(mapped.view).n_sections; ++i) {
    SectionEntry e;
    std::memcpy(&e, mapped.image.data() + sizeof(FileHeader) + i * sizeof e, sizeof e);
    CAPTURE(e.kind);
    uint8_t* byte = mapped.image.data() + (e.scales_offset ? e.scales_offset + 3 : e.offset);
    if (!is_matrix_section(e.kind)) {
      const SectionEntry* table =
          reinterpret_cast<const SectionEntry*>(streamed.tables.data() + sizeof(FileHeader));
      byte = streamed.tables.data() + table[i].offset;
    }
    *byte ^= 64;
    CHECK(thimble_model_verify_streamed(model, store) == THIMBLE_ERROR_DATA_CHECKSUM);
    CHECK(model->fault.expected == header_of(mapped.view).data_crc);
    *byte ^= 64;
  }
  CHECK(thimble_model_verify_streamed(model, store) == THIMBLE_OK);
}

TEST_CASE("stream: a damaged file is refused as a mapped one is, and says the same") {
  const TinyModel mapped(tiny_shape(16, 20, 2, 2, 1, 8, 64, 16, false), {kWeightQ8, 32, 4}, true, 1,
                         true);
  const FileHeader& h = header_of(mapped.view);
  const auto check = [](const AlignedBlock& image) {
    const Opened one = open_mapped(image), other = open_streamed(image);
    const std::string what[] = {one.fault.what ? one.fault.what : "",
                                other.fault.what ? other.fault.what : ""};
    // Only that a store may be longer than the file it has is another matter.
    if (what[0] == "length of the file") {
      CHECK(other.status != THIMBLE_OK);
      return one.status;
    }
    CAPTURE(what[0]);
    CAPTURE(what[1]);
    CHECK(same(one, other));
    return one.status;
  };
  // Every byte of header and section table, as it is and with the right checksum again.
  int refused = 0;
  for (size_t at = 0; at < h.header_bytes; ++at) {
    CAPTURE(at);
    for (const uint8_t bits : {uint8_t{1}, uint8_t{0x80}}) {
      AlignedBlock image(mapped.image.data(), mapped.image.size());
      image.data()[at] ^= bits;
      refused += check(image) != THIMBLE_OK;
      seal_model(&image);
      check(image);
    }
  }
  CHECK(refused > 2 * static_cast<int>(h.header_bytes) - 20);
  // And of each table.
  for (uint32_t i = 0; i < h.n_sections; ++i) {
    const SectionEntry& e = reinterpret_cast<const SectionEntry*>(&h + 1)[i];
    if (is_matrix_section(e.kind)) continue;
    for (uint64_t at = 0; at < e.bytes; at += 1 + e.bytes / 40) {
      AlignedBlock image(mapped.image.data(), mapped.image.size());
      image.data()[e.offset + at] ^= 0x81;
      check(image);
    }
  }
}

TEST_CASE("stream: tables of any content are refused, or run within their bounds") {
  const TinyModel mapped(tiny_shape(16, 20, 2, 2, 1, 8, 64, 16, false), {kWeightQ8, 32, 4}, true, 1,
                         true);
  const TinyModel other(tiny_shape(16, 20, 2, 2, 1, 8, 64, 16, false), {kWeightQ8, 32, 4}, true, 2);
  StreamedModel good(mapped.view), stranger(other.view);
  thimble_model model;
  const auto open = [&](const AlignedBlock& tables) {
    const thimble_status status =
        thimble_model_open_streamed(&model, &good.store.view, tables.data(), tables.size());
    CHECK((status == THIMBLE_OK) == (model.image != nullptr));
    return status;
  };
  CHECK(open(good.tables) == THIMBLE_OK);
  CHECK(open(stranger.tables) == THIMBLE_ERROR_OTHER_MODEL);
  CHECK(open(AlignedBlock(good.tables.data(), good.tables.size(), 32)) == THIMBLE_ERROR_MISALIGNED);
  for (size_t n = 0; n < good.tables.size(); n += n < 400 ? 1 : 61) {
    const thimble_status status = open(AlignedBlock(good.tables.data(), n));
    CHECK(status == (n < 8 && n == 0 ? THIMBLE_ERROR_MAGIC : THIMBLE_ERROR_TRUNCATED));
  }
  // A file is not its tables, nor the other way around.
  CHECK(open(mapped.image) == THIMBLE_ERROR_UNSUPPORTED);
  CHECK(std::string(model.fault.what) == "flags of tables");
  CHECK(thimble_model_open(&model, good.tables.data(), good.tables.size()) ==
        THIMBLE_ERROR_TRUNCATED);
  AlignedBlock padded(mapped.image.size());
  std::memcpy(padded.data(), good.tables.data(), good.tables.size());
  CHECK(thimble_model_open(&model, padded.data(), padded.size()) == THIMBLE_ERROR_HEADER_CHECKSUM);

  for (size_t at = 0; at < good.tables.size(); ++at) {
    AlignedBlock tables(good.tables.data(), good.tables.size());
    tables.data()[at] ^= static_cast<uint8_t>(1 + at % 255);
    const thimble_status status = open(tables);
    if (at < header_of(good.view).header_bytes) CHECK(status != THIMBLE_OK);
    if (status != THIMBLE_OK) continue;
    const thimble_config config = good.config({});
    const TestSession session(model, config);
    const int32_t token = 5;
    feed_pieces(session, &token, 1, 1);
  }
}

TEST_CASE("stream: what the calls refuse") {
  const TinyModel mapped(tiny_shape(16, 20, 1, 2, 1, 8, 64, 16, true), {kWeightF32, 0, 4});
  StreamedModel good(mapped.view);
  thimble_store store = good.store.view, none{};
  size_t bytes;
  thimble_fault fault;
  thimble_model model;
  AlignedBlock tables(good.tables.size());
  CHECK(thimble_tables_bytes(nullptr, &bytes, &fault) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_tables_bytes(&none, &bytes, &fault) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_tables_bytes(&store, nullptr, &fault) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_tables_read(&store, nullptr, 4096, &fault) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_tables_read(&none, tables.data(), tables.size(), &fault) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_tables_read(&store, tables.data() + 1, tables.size() - 1, &fault) ==
        THIMBLE_ERROR_MISALIGNED);
  CHECK(thimble_tables_read(&store, tables.data(), 100, nullptr) == THIMBLE_ERROR_OUTPUT_TOO_SMALL);
  CHECK(thimble_model_open_streamed(nullptr, &store, tables.data(), 9) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_model_open_streamed(&model, &none, tables.data(), 9) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_model_open_streamed(&model, &store, nullptr, 9) == THIMBLE_ERROR_ARGUMENT);

  // A store that is cut anywhere; a longer one is none.
  for (uint64_t n = 0; n < mapped.view.image_bytes; n += 64) {
    store.bytes = n;
    CHECK(thimble_tables_bytes(&store, &bytes, &fault) == THIMBLE_ERROR_TRUNCATED);
    CHECK(thimble_tables_read(&store, tables.data(), tables.size(), &fault) ==
          THIMBLE_ERROR_TRUNCATED);
    CHECK(fault.found == n);
    CHECK(thimble_model_open_streamed(&model, &store, good.tables.data(), good.tables.size()) ==
          THIMBLE_ERROR_TRUNCATED);
  }
  store.bytes = mapped.view.image_bytes + 12345;
  CHECK(thimble_tables_bytes(&store, &bytes, &fault) == THIMBLE_OK);
  CHECK(bytes == good.tables.size());
  CHECK(thimble_model_open_streamed(&model, &store, good.tables.data(), good.tables.size()) ==
        THIMBLE_OK);

  // Each read that fails.
  for (const bool in_wait : {false, true}) {
    good.store.fails_in_wait = in_wait;
    for (uint64_t i = 1;; ++i) {
      good.store.reads = 0;
      good.store.fails_at = i;
      const thimble_status status =
          thimble_tables_read(&store, tables.data(), tables.size(), &fault);
      if (status == THIMBLE_OK) break;
      CHECK(status == THIMBLE_ERROR_READ);
    }
    good.store.reads = 0;
    good.store.fails_at = 1;
    CHECK(thimble_tables_bytes(&store, &bytes, &fault) == THIMBLE_ERROR_READ);
    good.store.reads = 0;
    CHECK(thimble_model_open_streamed(&model, &store, tables.data(), tables.size()) ==
          THIMBLE_ERROR_READ);
    CHECK(model.image == nullptr);
  }
}
