// SPDX-License-Identifier: MIT
// Any bytes unpacked end in a status, and any bytes packed come back. The first byte says how: a
// tokenizer of either kind, a context, a budget.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "crc32.h"
#include "pack.h"
#include "spelling_model.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

constexpr size_t kMostText = 1 << 16;  // what a few bytes unpack to may be long

template <class Step>
thimble_status collect(uint64_t budget, std::string* all, Step step) {
  char out[7];
  size_t n = 0;
  thimble_status status = THIMBLE_MORE;
  while (status == THIMBLE_MORE && all->size() < kMostText) {
    status = step(budget, out, sizeof out, &n);
    if (n > sizeof out) std::abort();
    all->append(out, n);
  }
  return status;
}

thimble_status unpack(thimble_session* s, const std::vector<uint8_t>& packed, uint64_t budget,
                      std::string* text) {
  thimble_unpack u;
  size_t n;
  const thimble_status status = thimble_unpack_begin(&u, s, packed.data(), packed.size(), &n);
  if (status != THIMBLE_OK) return status;
  return collect(budget, text, [&](uint64_t slice, char* out, size_t room, size_t* written) {
    return thimble_unpack_step(&u, slice, out, room, written);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static const SpellingModel scored(spelling_shape("plain", 400), tiny_vocabulary(400));
  static const SpellingModel byte_level(spelling_shape("GPT-2", 54), tiny_byte_vocabulary(54));
  if (bytes == 0) return 0;
  const uint8_t how = data[0];
  thimble_config config{};
  config.n_ctx = how & 2 ? 12 : 40;
  config.n_sinks = how & 4 && !(how & 1) ? 2 : 0;
  const thimble_model& model = how & 1 ? byte_level.view : scored.view;
  TestSession s(model, config);
  const uint64_t budget = how & 8 ? 2000 : 0;

  // As packed bytes, as they are and with the model's name.
  std::vector<uint8_t> packed(data + 1, data + bytes);
  std::string text;
  unpack(s, packed, budget, &text);
  if (packed.size() > 3) {
    packed[0] = static_cast<uint8_t>(kPackedKind | (packed[0] & kPackedWindow));
    packed[1] = static_cast<uint8_t>(model_name(model));
    packed[2] = static_cast<uint8_t>(model_name(model) >> 8);
    text.clear();
    expect_ok(thimble_rewind(s, 0), "rewind");
    unpack(s, packed, budget, &text);
  }

  // As a text.
  const std::vector<uint8_t> plain(data + 1, data + bytes);
  thimble_pack p;
  expect_ok(thimble_rewind(s, 0), "rewind");
  expect_ok(thimble_pack_begin(&p, s, plain.data(), plain.size()), "thimble_pack_begin");
  std::string out;
  expect_ok(collect(budget, &out,
                    [&](uint64_t slice, char* to, size_t room, size_t* written) {
                      return thimble_pack_step(&p, slice, to, room, written);
                    }),
            "thimble_pack_step");
  text.clear();
  expect_ok(unpack(s, std::vector<uint8_t>(out.begin(), out.end()), budget, &text), "unpack");
  if (text != std::string(plain.begin(), plain.end())) std::abort();
  return 0;
}
