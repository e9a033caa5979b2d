// SPDX-License-Identifier: MIT
// Opens models with the engine that this program is linked with, which may lack parts: open_model
// FILE... prints "FILE: good", or what refuses it.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "model.h"

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
    std::vector<char> room(bytes.size() + THIMBLE_ALIGNMENT);
    char* image = room.data();
    while (reinterpret_cast<uintptr_t>(image) % THIMBLE_ALIGNMENT != 0) ++image;
    std::memcpy(image, bytes.data(), bytes.size());
    thimble_model model;
    const thimble_status status = thimble::open_model(&model, image, bytes.size());
    const char* what = status == THIMBLE_OK ? "good" : model.fault.what;
    std::printf("%s: %s\n", argv[i], what ? what : "refused");
  }
  return 0;
}
