// SPDX-License-Identifier: MIT
// Settings of a caller that was compiled with another version of thimble.h: shorter ones end in
// zeros, longer ones must.
#include <doctest/doctest.h>
#include <string.h>

#include <vector>

#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// A configuration of a later version, in the exact bytes that it has.
struct LaterConfig {
  thimble_config config;
  uint32_t field_to_come;
  uint32_t another;
};
struct LaterSampling {
  thimble_sampling sampling;
  uint64_t field_to_come;
};

struct Arena {
  alignas(THIMBLE_ALIGNMENT) uint8_t bytes[1 << 20];
};

}  // namespace

TEST_CASE("settings: what an older caller does not have counts as 0") {
  TinyModel m(tiny_shapes()[0].shape, {});
  thimble_config all = {};
  all.n_ctx = 20;
  all.n_batch = 3;
  const size_t expected = thimble_session_bytes(&m.view, &all);
  all.n_candidates = 5;  // not seen below
  all.n_draft = 2;
  for (size_t bytes : {offsetof(thimble_config, isa), offsetof(thimble_config, kv_type),
                       offsetof(thimble_config, n_candidates)}) {
    const std::vector<uint8_t> older(reinterpret_cast<const uint8_t*>(&all),
                                     reinterpret_cast<const uint8_t*>(&all) + bytes);
    const auto* config = reinterpret_cast<const thimble_config*>(older.data());
    CHECK(thimble_session_bytes_sized(&m.view, config, bytes) == expected);
    static Arena arena;
    thimble_session* session = nullptr;
    CHECK(thimble_session_init_sized(&session, &m.view, config, bytes, arena.bytes, expected) ==
          THIMBLE_OK);
    CHECK(thimble_context_size(session) == 20);
  }
  CHECK(thimble_session_bytes_sized(&m.view, &all, 0) == thimble_session_bytes(&m.view, nullptr));
  CHECK(thimble_session_bytes_sized(&m.view, nullptr, 1000) ==
        thimble_session_bytes(&m.view, nullptr));
}

TEST_CASE("settings: what a newer caller has more must be 0") {
  TinyModel m(tiny_shapes()[0].shape, {});
  static Arena arena;
  thimble_session *session = nullptr, *other = nullptr;
  LaterConfig later = {};
  later.config.n_ctx = 20;
  const size_t need = thimble_session_bytes(&m.view, &later.config);
  CHECK(thimble_session_bytes_sized(&m.view, &later.config, sizeof later) == need);
  CHECK(thimble_session_init_sized(&session, &m.view, &later.config, sizeof later, arena.bytes,
                                   sizeof arena) == THIMBLE_OK);
  later.another = 1u << 31;
  CHECK(thimble_session_bytes_sized(&m.view, &later.config, sizeof later) == 0);
  CHECK(thimble_session_init_sized(&other, &m.view, &later.config, sizeof later, arena.bytes,
                                   sizeof arena) == THIMBLE_ERROR_UNSUPPORTED);
  CHECK(other == nullptr);

  const int32_t tokens[] = {1, 2, 3};
  REQUIRE(thimble_feed(session, tokens, 3) == THIMBLE_OK);
  REQUIRE(thimble_step(session, 0) == THIMBLE_OK);
  LaterSampling warm = {};
  warm.sampling.temperature = 1.5f;
  warm.sampling.seed = 3;
  const int32_t drawn = thimble_sample(session, &warm.sampling);
  CHECK(drawn >= 0);
  CHECK(thimble_sample_sized(session, &warm.sampling, sizeof warm) == drawn);
  warm.field_to_come = 1;
  CHECK(thimble_sample_sized(session, &warm.sampling, sizeof warm) == THIMBLE_ERROR_UNSUPPORTED);
  warm.sampling.reserved = 1;
  CHECK(thimble_sample(session, &warm.sampling) == THIMBLE_ERROR_UNSUPPORTED);

  // As an older caller: greedy is all that is left of it.
  thimble_sampling greedy = {};
  CHECK(thimble_sample_sized(session, &warm.sampling, 0) == thimble_sample(session, &greedy));
}

TEST_CASE("settings: the library says its version") {
  CHECK(strcmp(thimble_version(), THIMBLE_VERSION) == 0);
}
