// SPDX-License-Identifier: MIT
// example.c in C++, with the wrapper of thimble/thimble.hpp and the shared library: example_cpp
// MODEL. Built without exceptions and without RTTI.
#include <stdio.h>

#include "thimble/thimble.hpp"

static thimble::Memory read_file(const char* path) {
  thimble::Memory image;
  FILE* file = fopen(path, "rb");
  if (!file) return image;
  if (fseek(file, 0, SEEK_END) == 0 && ftell(file) > 0) {
    image = thimble::Memory(static_cast<size_t>(ftell(file)));
    rewind(file);
    if (fread(image.data(), 1, image.size(), file) != image.size()) image = thimble::Memory();
  }
  fclose(file);
  return image;
}

static int fail(thimble::Status status) {
  fprintf(stderr, "%s\n", status.text());
  return 1;
}

int main(int argc, char** argv) {
  const thimble::Memory image = read_file(argc == 2 ? argv[1] : "");
  thimble::Model model;
  if (auto status = model.open(image); !status) return fail(status);

  thimble::Config config;
  config.n_ctx = 256;
  config.kv_type = THIMBLE_KV_Q8;
  config.n_candidates = 40;
  const thimble::Memory arena(thimble::session_bytes(model, config));
  thimble::Session session;
  if (auto status = session.init(model, config, arena); !status) return fail(status);

  thimble::Sampling sampling;
  sampling.temperature = 0.7f;
  sampling.top_p = 0.9f;
  sampling.top_k = 40;
  sampling.seed = 7;
  int32_t tokens[32];
  char room[64];
  thimble::Decoder decoder;
  auto next = session.encode("Once upon a time", THIMBLE_ENCODE_BOS, tokens);
  while (next && !model.is_end((*next)[next->size() - 1])) {
    for (int32_t token : *next) {
      if (auto text = decoder.next(model, token, room))
        fwrite(text->data(), 1, text->size(), stdout);
    }
    if (!session.feed(*next)) break;  // the context is full
    while (session.step(100000).is_more()) {
      // other work
    }
    const auto token = session.sample(sampling);
    if (!token) return fail(token.status());
    tokens[0] = *token;
    next = thimble::Span<int32_t>(tokens, 1);
  }
  printf("\n");
  return next ? 0 : fail(next.status());
}
