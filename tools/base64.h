// SPDX-License-Identifier: MIT
// Bytes as base64 (RFC 4648), without the padding that a browser does not need.
#ifndef THIMBLE_TOOLS_BASE64_H
#define THIMBLE_TOOLS_BASE64_H

#include <cstdint>
#include <string>

#include "page.h"

namespace thimble::tools {

class Base64 {
 public:
  explicit Base64(const TextSink& sink) : sink_(sink) {}
  void put(uint8_t byte) {
    bits_ = (bits_ << 8 | byte) & 0xffff;
    for (n_bits_ += 8; n_bits_ >= 6; n_bits_ -= 6) put_digit(bits_ >> (n_bits_ - 6));
    if (text_.size() < 65536) return;
    sink_(text_);
    text_.clear();
  }
  void end() {
    if (n_bits_ > 0) put_digit(bits_ << (6 - n_bits_));
    sink_(text_);
  }

 private:
  void put_digit(uint32_t digit) {
    text_ += "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[digit & 0x3f];
  }
  const TextSink& sink_;
  std::string text_;
  uint32_t bits_ = 0, n_bits_ = 0;
};

}  // namespace thimble::tools

#endif
