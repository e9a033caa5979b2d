// SPDX-License-Identifier: MIT
#include "token_store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "crc32.h"
#include "error.h"

namespace thimble::tools::train {
namespace {

[[noreturn]] void refuse(const std::string& folder) {
  throw Refused(folder + ": no room for the tokens of the texts: " + std::strerror(errno));
}

// -1, with errno, if there can be none.
int open_nameless(const std::string& folder) {
#ifdef O_TMPFILE
  const int nameless = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (nameless >= 0) return nameless;
#endif
  std::string path = folder + "/.tokens-XXXXXX";
  const int fd = mkstemp(path.data());
  if (fd >= 0) unlink(path.c_str());  // it lives on until it is closed
  return fd;
}

}  // namespace

TokenStore::TokenStore(const std::string& folder, uint32_t vocab_size)
    : folder_(folder), is_wide_(vocab_size > 65536) {
  const int fd = open_nameless(folder);
  if (fd < 0) refuse(folder_);
  file_.reset(fdopen(fd, "w+b"));
  if (!file_) {
    close(fd);
    refuse(folder_);
  }
}

TokenStore::~TokenStore() {
  if (data_) munmap(const_cast<void*>(data_), bytes());
}

void TokenStore::append(const std::vector<int32_t>& tokens) {
  if (tokens.empty()) return;
  const auto write = [&](const auto& values) {
    if (std::fwrite(values.data(), sizeof values[0], values.size(), file_.get()) != values.size()) {
      refuse(folder_);
    }
  };
  if (is_wide_) {
    write(tokens);
  } else {
    write(std::vector<uint16_t>(tokens.begin(), tokens.end()));
  }
  size_ += tokens.size();
}

void TokenStore::finish() {
  if (std::fflush(file_.get()) != 0) refuse(folder_);
  if (size_ == 0) return;
  void* mapped = mmap(nullptr, bytes(), PROT_READ, MAP_SHARED, fileno(file_.get()), 0);
  if (mapped == MAP_FAILED) refuse(folder_);
  data_ = mapped;
}

uint32_t TokenStore::checksum() const {
  return crc32(0, data_, bytes());
}

}  // namespace thimble::tools::train
