// SPDX-License-Identifier: MIT
#include "readers/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"
#include "files.h"

namespace thimble::tools {

InputFile::InputFile(const std::string& path) : path_(path) {
  // Without O_NONBLOCK a named pipe would wait for its writer.
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) throw Refused(path + ": " + std::strerror(errno));
  struct stat info {};
  std::string why;
  if (fstat(fd_, &info) != 0) {
    why = std::strerror(errno);
  } else if (S_ISDIR(info.st_mode)) {
    why = "is a directory, expected a file";
  } else if (!S_ISREG(info.st_mode)) {
    why = "is no ordinary file, so it cannot be read in pieces";
  } else if (info.st_size == 0) {
    why = "is empty (0 bytes)";
  }
  if (!why.empty()) {
    close(fd_);
    throw Refused(path + ": " + why);
  }
  size_ = static_cast<uint64_t>(info.st_size);
  try {
    refuse_git_lfs_pointer(*this);
  } catch (...) {
    close(fd_);  // no destructor runs
    throw;
  }
}

InputFile::~InputFile() {
  close(fd_);
}

void InputFile::read(uint64_t offset, void* data, size_t bytes) const {
  uint8_t* out = static_cast<uint8_t*>(data);
  while (bytes > 0) {
    const ssize_t n = pread(fd_, out, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Refused(path_ + ": cannot be read: " + std::strerror(errno));
    if (n == 0) {
      throw Refused(format("%s: ends at byte %llu, expected %zu bytes more", path_.c_str(),
                           static_cast<unsigned long long>(offset), bytes));
    }
    out += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

void refuse_git_lfs_pointer(const InputFile& file) {
  if (file.size() > kMaxGitLfsPointerBytes) return;
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, text.data(), text.size());
  const std::string why = git_lfs_fault(text);
  if (!why.empty()) throw Refused(file.path() + ": " + why);
}

std::string read_whole_file(const InputFile& file, uint64_t max_bytes) {
  if (file.size() > max_bytes) {
    throw Refused(format("%s: found %llu bytes, expected at most %llu", file.path().c_str(),
                         static_cast<unsigned long long>(file.size()),
                         static_cast<unsigned long long>(max_bytes)));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

std::string read_whole_file(const std::string& path, uint64_t max_bytes) {
  return read_whole_file(InputFile(path), max_bytes);
}

}  // namespace thimble::tools
