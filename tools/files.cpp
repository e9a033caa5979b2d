// SPDX-License-Identifier: MIT
#include "files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "error.h"
#include "format.h"

namespace thimble::tools {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw Refused(path + ": " + why);
}

// ---- Removing temporary files when a signal ends the program --------------------------------

// Whatever does so unless it is caught: a user, a limit (ulimit -f, -t), a fault of ours.
constexpr int kEndingSignals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGABRT,   SIGBUS,
                                  SIGFPE,  SIGUSR1, SIGSEGV, SIGUSR2, SIGALRM,   SIGTERM,
                                  SIGXCPU, SIGXFSZ, SIGSYS,  SIGPROF, SIGVTALRM, SIGTRAP};
struct Temporary {
  char path[4096];
  volatile std::sig_atomic_t exists;
};
Temporary g_temporaries[2];

void remove_temporaries(int signal) {
  for (const Temporary& temporary : g_temporaries) {
    if (temporary.exists) unlink(temporary.path);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

// Returns the slot; one that does not guard if the path is too long or all are taken.
size_t guard_temporary(const std::string& path) {
  constexpr size_t kSlots = sizeof g_temporaries / sizeof g_temporaries[0];
  size_t slot = 0;
  while (slot < kSlots && g_temporaries[slot].exists) ++slot;
  if (slot == kSlots || path.size() >= sizeof g_temporaries[slot].path) return kSlots;
  std::memcpy(g_temporaries[slot].path, path.c_str(), path.size() + 1);
  g_temporaries[slot].exists = 1;
  for (int signal : kEndingSignals) {
    // What is ignored (nohup) stays ignored, what is caught (by a sanitizer) stays caught.
    const auto before = std::signal(signal, remove_temporaries);
    if (before != SIG_DFL && before != SIG_ERR) std::signal(signal, before);
  }
  return slot;
}

void unguard_temporary(size_t slot) {
  if (slot < sizeof g_temporaries / sizeof g_temporaries[0]) g_temporaries[slot].exists = 0;
}

// ---- Names of temporary files ----------------------------------------------------------------

// A name beside `path`, cut to what the folder's file system takes.
std::string temporary_beside(const std::string& path, unsigned number) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  std::string name = path.substr(folder.size());
  std::string suffix = format(".part-%ld", static_cast<long>(getpid()));
  if (number > 0) suffix += format("-%u", number);
  const long limit = pathconf(folder.empty() ? "." : folder.c_str(), _PC_NAME_MAX);
  const size_t room = (limit > 64 ? static_cast<size_t>(limit) : 255) - suffix.size();
  if (name.size() > room) {
    size_t end = room;  // between characters
    while (end > 0 && (static_cast<uint8_t>(name[end]) & 0xc0) == 0x80) --end;
    name.resize(end);
  }
  return folder + name + suffix;
}

// ---- What a refused model says -------------------------------------------------------------

std::string hex_bytes(uint64_t value, size_t n) {
  std::string text;
  for (size_t i = 0; i < n; ++i) {
    text += format(i ? " %02x" : "%02x", static_cast<unsigned>(value >> (8 * i) & 0xff));
  }
  return text;
}

double as_float(uint64_t bits) {
  const uint32_t low = static_cast<uint32_t>(bits);
  float value;
  std::memcpy(&value, &low, sizeof value);
  return static_cast<double>(value);
}

// A fault's number, written the way its field is read.
std::string fault_value(thimble_status status, const char* what, uint64_t value, size_t bytes) {
  const std::string field = what;
  switch (status) {
    case THIMBLE_ERROR_MAGIC:
      return hex_bytes(value, bytes < 8 ? bytes : 8);
    case THIMBLE_ERROR_HEADER_CHECKSUM:
    case THIMBLE_ERROR_DATA_CHECKSUM:
    case THIMBLE_ERROR_BYTE_ORDER:
      return format("0x%08llx", static_cast<unsigned long long>(value));
    default:
      break;
  }
  if (field == "norm epsilon" || field == "rope_theta") return format("%g", as_float(value));
  return format("%lld", static_cast<long long>(value));  // ids may be negative
}

std::string describe(thimble_status status, const thimble_fault& fault, size_t file_bytes) {
  std::string text = fault_text(status, fault, file_bytes);
  if (!fault.what) return text;
  if (status == THIMBLE_ERROR_MAGIC) text += "; thimble convert makes models";
  if (status == THIMBLE_ERROR_VERSION) text += "; convert the checkpoint again with this program";
  return text;
}

}  // namespace

std::string fault_text(thimble_status status, const thimble_fault& fault, size_t file_bytes) {
  std::string text = thimble_status_text(status);
  if (!fault.what) return text;
  if (status == THIMBLE_ERROR_TRUNCATED) {
    return text + format(": found %llu bytes, expected %s%llu",
                         static_cast<unsigned long long>(fault.found),
                         fault.offset == 0 ? "at least " : "",
                         static_cast<unsigned long long>(fault.expected));
  }
  return text + ": " + fault.what + ": found " +
         fault_value(status, fault.what, fault.found, file_bytes) + ", expected " +
         fault_value(status, fault.what, fault.expected, 8) +
         format(" (at byte %llu)", static_cast<unsigned long long>(fault.offset));
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  // Without O_NONBLOCK a named pipe would wait for its writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) refuse(path, std::strerror(errno));
  struct stat info {};
  std::string why;
  if (fstat(fd, &info) != 0) {
    why = std::strerror(errno);
  } else if (S_ISDIR(info.st_mode)) {
    why = "is a directory, expected a file";
  } else if (!S_ISREG(info.st_mode)) {
    why = "is no ordinary file, so it cannot be mapped";
  } else if (info.st_size == 0) {
    why = "is empty (0 bytes)";
  } else {
    void* mapped = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped == MAP_FAILED) {
      why = std::string("cannot be mapped: ") + std::strerror(errno);
    } else {
      data_ = static_cast<const uint8_t*>(mapped);
      size_ = static_cast<size_t>(info.st_size);
    }
  }
  close(fd);
  if (data_ && size_ <= kMaxGitLfsPointerBytes) {
    why = git_lfs_fault({reinterpret_cast<const char*>(data_), size_});
    if (!why.empty()) munmap(const_cast<uint8_t*>(data_), size_);  // no destructor runs
  }
  if (!why.empty()) refuse(path, why);
}

MappedFile::~MappedFile() {
  munmap(const_cast<uint8_t*>(data_), size_);
}

void MappedFile::forget() const {
  madvise(const_cast<uint8_t*>(data_), size_, MADV_DONTNEED);
}

std::string git_lfs_fault(std::string_view text) {
  constexpr std::string_view kStart = "version https://git-lfs.github.com/spec/v1\n";
  if (text.size() > kMaxGitLfsPointerBytes || text.substr(0, kStart.size()) != kStart) return "";
  const size_t size = text.find("\nsize "), digits = size + 6;
  const size_t end = text.find_first_not_of("0123456789", digits);
  std::string bytes = "an unknown number of";
  if (size != std::string_view::npos && end != std::string_view::npos && end > digits &&
      end < digits + 20) {
    bytes = text.substr(digits, end - digits);
  }
  return "is a Git LFS pointer (the file itself has " + bytes +
         " bytes), expected the file: run git lfs pull";
}

bool same_file(const std::string& a, const std::string& b) {
  namespace fs = std::filesystem;
  std::error_code missing;
  if (a.empty() || b.empty()) return false;
  return fs::absolute(a).lexically_normal() == fs::absolute(b).lexically_normal() ||
         fs::equivalent(a, b, missing);
}

std::string read_text(const std::string& path) {
  constexpr size_t kLimit = size_t{64} << 20;
  const bool is_stdin = path == "-";
  const std::string name = is_stdin ? "stdin" : path;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(
      is_stdin ? nullptr : std::fopen(path.c_str(), "rb"), std::fclose);
  std::FILE* file = is_stdin ? stdin : opened.get();
  if (!file) refuse(name, std::strerror(errno));
  std::string text;
  char piece[65536];
  size_t n;
  while (text.size() <= kLimit && (n = std::fread(piece, 1, sizeof piece, file)) > 0) {
    text.append(piece, n);
  }
  if (std::ferror(file)) refuse(name, std::string("cannot be read: ") + std::strerror(errno));
  if (text.size() > kLimit) refuse(name, format("is longer than %zu bytes", kLimit));
  return text;
}

OutputFile::OutputFile(const std::string& path) : path_(path) {
  struct stat info {};
  const bool exists = stat(path.c_str(), &info) == 0;
  if (!exists && errno == ENAMETOOLONG) fail();  // not only when all is written
  if (exists) {
    if (S_ISDIR(info.st_mode)) refuse(path, "is a directory, expected the name of a file to write");
    if (!S_ISREG(info.st_mode)) refuse(path, "is no ordinary file, so it cannot be replaced");
    // A rename would not ask. The mode counts for root, too.
    if ((info.st_mode & 0222) == 0 || faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) {
      refuse(path, format("may not be written (mode %03o), so it is not replaced",
                          static_cast<unsigned>(info.st_mode & 0777)));
    }
    // What a symbolic link points to is replaced, not the link.
    if (char* real = realpath(path.c_str(), nullptr)) {
      path_ = real;
      std::free(real);
    }
  }
  constexpr unsigned kTries = 100;  // names may have been left behind, or be cut to the same
  int fd = -1;
  for (unsigned number = 0; fd < 0 && number < kTries; ++number) {
    temporary_ = temporary_beside(path_, number);
    fd = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno != EEXIST) break;
  }
  if (fd < 0) refuse(path, std::string("cannot be written: ") + std::strerror(errno));
  // Who may read a file does not change when it is replaced.
  if (exists) fchmod(fd, info.st_mode & 0777);
  guard_ = guard_temporary(temporary_);
  file_ = fdopen(fd, "wb");
  if (!file_) {
    close(fd);
    unlink(temporary_.c_str());
    unguard_temporary(guard_);
    refuse(path, "cannot be written: out of memory");
  }
}

OutputFile::~OutputFile() {
  if (!file_) return;
  std::fclose(file_);
  unlink(temporary_.c_str());
  unguard_temporary(guard_);
}

void OutputFile::fail() const {
  refuse(path_, std::string("cannot be written: ") + std::strerror(errno));
}

void OutputFile::write(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_) != bytes) fail();
}

void OutputFile::seek(uint64_t offset) {
  if (fseeko(file_, static_cast<off_t>(offset), SEEK_SET) != 0) fail();
}

const std::string& OutputFile::flush() {
  if (std::fflush(file_) != 0) fail();
  return temporary_;
}

void OutputFile::commit() {
  // On the disk before it has its name, so that a power cut leaves the old file or the new one.
  if (std::fflush(file_) != 0 || fsync(fileno(file_)) != 0) fail();
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail();
  unguard_temporary(guard_);
  std::FILE* file = file_;
  file_ = nullptr;
  if (std::fclose(file) != 0) fail();
}

thimble_model open_model(const std::string& path, const void* data, size_t bytes, bool verify) {
  thimble_model model;
  thimble_status status = thimble_model_open(&model, data, bytes);
  if (status == THIMBLE_OK && verify) status = thimble_model_verify(&model);
  if (status != THIMBLE_OK) refuse(path, describe(status, model.fault, bytes));
  return model;
}

thimble_model open_model(const MappedFile& file) {
  return open_model(file.path(), file.data(), file.size());
}

}  // namespace thimble::tools
