// SPDX-License-Identifier: MIT
// The tokens of all texts, in a file without a name: texts may be longer than memory.
#ifndef THIMBLE_TOOLS_TRAIN_TOKEN_STORE_H
#define THIMBLE_TOOLS_TRAIN_TOKEN_STORE_H

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace thimble::tools::train {

class TokenStore {
 public:
  // In `folder`, 2 bytes a token of vocabularies up to 65536, otherwise 4. Throws Refused.
  TokenStore(const std::string& folder, uint32_t vocab_size);
  ~TokenStore();
  TokenStore(const TokenStore&) = delete;
  TokenStore& operator=(const TokenStore&) = delete;

  uint64_t size() const { return size_; }
  void append(const std::vector<int32_t>& tokens);  // throws Refused when the disk is full
  void finish();                                    // after the last one; then they can be read

  int32_t operator[](uint64_t i) const {
    return static_cast<int32_t>(is_wide_ ? static_cast<const uint32_t*>(data_)[i]
                                         : static_cast<const uint16_t*>(data_)[i]);
  }
  uint32_t checksum() const;

 private:
  size_t bytes() const { return static_cast<size_t>(size_) * (is_wide_ ? 4 : 2); }
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string folder_;
  bool is_wide_;
  std::unique_ptr<std::FILE, Close> file_;
  uint64_t size_ = 0;
  const void* data_ = nullptr;
};

}  // namespace thimble::tools::train

#endif
