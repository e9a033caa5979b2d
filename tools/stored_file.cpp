// SPDX-License-Identifier: MIT
#include "stored_file.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine.h"
#include "error.h"
#include "files.h"

namespace thimble::tools {
namespace {

// All of them; -1 also at the end of a file that has become shorter.
int read_all(int file, uint64_t offset, uint8_t* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = pread(file, to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    to += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
  return 0;
}

}  // namespace

StoredFile::StoredFile(const std::string& path)
    : path_(path), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (file_ < 0) throw Refused(path + ": " + std::strerror(errno));
  try {
    // What is no model is told as everywhere.
    const MappedFile mapped(path);
    open_model(mapped);
    store_.bytes = mapped.size();
    store_.user = this;
    store_.read = [](void* user, uint64_t offset, void* to, size_t bytes) {
      StoredFile* self = static_cast<StoredFile*>(user);
      ++self->reads_;
      self->bytes_ += bytes;
      return read_all(self->file_, offset, static_cast<uint8_t*>(to), bytes);
    };
    size_t bytes = 0;
    checked(thimble_tables_bytes(&store_, &bytes, nullptr), path.c_str());
    tables_ = AlignedBlock(bytes);
    checked(thimble_tables_read(&store_, tables_.data(), bytes, nullptr), path.c_str());
    checked(thimble_model_open_streamed(&model_, &store_, tables_.data(), bytes), path.c_str());
  } catch (...) {
    close(file_);
    throw;
  }
}

StoredFile::~StoredFile() {
  close(file_);
}

void StoredFile::set_buffer(size_t bytes) {
  const size_t least = thimble_stream_bytes(&model_);
  if (bytes > 0 && bytes < least) {
    throw Refused(
        format("%s: a buffer of %zu bytes was asked for, expected %zu at least, two of "
               "its largest tiles of %u rows",
               path_.c_str(), bytes, least, model_.row_tile));
  }
  store_.buffer_bytes = bytes;
}

}  // namespace thimble::tools
