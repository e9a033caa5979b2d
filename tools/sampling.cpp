// SPDX-License-Identifier: MIT
#include "sampling.h"

#include <algorithm>
#include <cfloat>
#include <cstdio>
#include <random>

#include "engine.h"
#include "error.h"
#include "output.h"

namespace thimble::tools {

std::vector<Option> with_sampling_options(std::vector<Option> own) {
  for (const char* name :
       {"-t", "--top-p", "--top-k", "--min-p", "--repeat-penalty", "--repeat-window", "--seed"}) {
    own.push_back({name, true});
  }
  own.push_back({"--temperature-last", false});
  return own;
}

thimble_sampling sampling_of(const Args& args) {
  thimble_sampling s = {};
  s.temperature = static_cast<float>(args.real("-t", 0.8, 0, 100));
  // The engine's 0 means no limit; that of a person, and what is too small for a float, the
  // narrowest one.
  s.top_p = std::max(static_cast<float>(args.real("--top-p", 0.9, 0, 1)), FLT_MIN);
  if (args.text("--top-k", "all") == "0") {
    throw WrongUsage("option '--top-k' is '0', expected 1 or more, or all");
  }
  if (args.text("--top-k", "all") != "all") {
    s.top_k = static_cast<uint32_t>(args.count("--top-k", 0, 1, UINT32_MAX));
  }
  s.min_p = static_cast<float>(args.real("--min-p", 0, 0, 1));
  s.temperature_last = args.has("--temperature-last") ? 1 : 0;
  s.repetition_penalty = static_cast<float>(args.real("--repeat-penalty", 1, 0.01, 100));
  s.repetition_window = static_cast<uint32_t>(args.count("--repeat-window", 64, 1, 256));
  if (args.text("--seed", "") == "random") {
    std::random_device random;
    s.seed = uint64_t{random()} << 32 | random();
    std::fprintf(stderr, "seed: %llu\n", static_cast<unsigned long long>(s.seed));
  } else {
    s.seed = args.count("--seed", 0, 0, UINT64_MAX);
  }
  return s;
}

TextStream::TextStream(const thimble_model& model)
    : model_(model), buffer_(3 * model.max_token_bytes + 3) {
  // The C library would allocate one with the first byte.
  static char stdout_buffer[4096];
  std::setvbuf(stdout, stdout_buffer, _IOFBF, sizeof stdout_buffer);
}

void TextStream::put(int32_t token) {
  if (thimble_is_end(&model_, token)) return;
  write(thimble_decode(&model_, &decoder_, token, buffer_.data(), buffer_.size()));
}

void TextStream::end() {
  write(thimble_decode_end(&decoder_, buffer_.data(), buffer_.size()));
}

void TextStream::write(int32_t bytes) {
  print_text(buffer_.data(), static_cast<size_t>(checked(bytes, "text of a token")));
}

}  // namespace thimble::tools
