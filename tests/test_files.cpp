// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "error.h"
#include "files.h"
#include "test_folder.h"

using namespace thimble::tools;
using thimble::test::refusal_when;

namespace {

// A folder of its own, gone at the end.
struct Folder {
  std::string path;
  Folder() {
    char pattern[] = "/tmp/thimble-test-XXXXXX";
    path = mkdtemp(pattern);
  }
  ~Folder() { CHECK(std::system(("rm -rf " + path).c_str()) == 0); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  bool is_empty() const { return rmdir(path.c_str()) == 0 && mkdir(path.c_str(), 0700) == 0; }
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Runs f in a process of its own; the signal that ended it, 0 if none did.
template <class F>
int signal_of_child(F f) {
  const pid_t child = fork();
  if (child == 0) {
    for (int signal = 1; signal < 32; ++signal) std::signal(signal, SIG_DFL);  // doctest has some
    const rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    f();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) return WTERMSIG(status);
  CHECK(WEXITSTATUS(status) == 0);
  return 0;
}

}  // namespace

TEST_CASE("a mapped file") {
  const Folder folder;
  std::ofstream(folder / "a") << "text";
  std::ofstream(folder / "empty");
  const MappedFile file(folder / "a");
  CHECK(std::string(reinterpret_cast<const char*>(file.data()), file.size()) == "text");
  CHECK(file.path() == folder / "a");

  const auto refusal = [](const std::string& path) {
    return refusal_when([&] { MappedFile refused(path); });
  };
  CHECK(refusal(folder / "none") == folder / "none: No such file or directory");
  CHECK(refusal(folder.path) == folder.path + ": is a directory, expected a file");
  CHECK(refusal(folder / "empty") == folder / "empty: is empty (0 bytes)");
  CHECK(refusal("/dev/null") == "/dev/null: is no ordinary file, so it cannot be mapped");
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);  // does not wait for a writer
  CHECK(refusal(folder / "pipe") == folder / "pipe: is no ordinary file, so it cannot be mapped");
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n";
  std::ofstream(folder / "lfs") << pointer << "size 1148864\n";
  CHECK(refusal(folder / "lfs") ==
        folder /
            "lfs: is a Git LFS pointer (the file itself has 1148864 bytes), expected the file: "
            "run git lfs pull");
  std::ofstream(folder / "lfs") << pointer;
  CHECK(refusal(folder / "lfs").find("an unknown number of bytes") != std::string::npos);
  std::ofstream(folder / "lfs") << pointer << std::string(1024, ' ');
  CHECK(refusal(folder / "lfs") == "accepted");
}

// Bytes of memory that a mapping takes in this process; -1 where the system does not say.
static long resident_bytes(const void* mapping) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  for (bool is_it = false; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      const auto at = reinterpret_cast<uintptr_t>(mapping);
      is_it = at >= begin && at < end;
    }
    long kilobytes = 0;
    if (is_it && std::sscanf(line.c_str(), "Rss: %ld kB", &kilobytes) == 1) return kilobytes * 1024;
  }
  return -1;
}

TEST_CASE("a mapped file gives back its memory and is read again") {
  const Folder folder;
  std::string text(1 << 20, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 4096);
  std::ofstream(folder / "a", std::ios::binary) << text;
  const MappedFile file(folder / "a");
  const auto read = [&] {
    return std::string(reinterpret_cast<const char*>(file.data()), file.size());
  };
  CHECK(read() == text);
  const long before = resident_bytes(file.data());
  file.forget();
  if (before < 0) {
    MESSAGE("skipped: the system does not say what a mapping takes");
  } else {
    CHECK(before >= 1 << 20);
    CHECK(resident_bytes(file.data()) == 0);
  }
  CHECK(read() == text);
  file.forget();
  file.forget();
  CHECK(read() == text);
}

TEST_CASE("an output file appears when it is complete") {
  const Folder folder;
  {
    OutputFile file(folder / "a");
    file.write("....5678", 8);
    file.seek(0);
    file.write("1234", 4);
    CHECK(access((folder / "a").c_str(), F_OK) != 0);
    file.commit();
  }
  CHECK(contents(folder / "a") == "12345678");
  {
    OutputFile file(folder / "a");
    file.write("new", 3);
  }  // given up
  CHECK(contents(folder / "a") == "12345678");
  {
    OutputFile file(folder / "a");
    file.write("new", 3);
    file.commit();
  }
  CHECK(contents(folder / "a") == "new");

  // A link stays one, and what it points to is replaced.
  REQUIRE(symlink("a", (folder / "link").c_str()) == 0);
  {
    OutputFile file(folder / "link");
    file.write("through", 7);
    file.commit();
  }
  CHECK(contents(folder / "a") == "through");
  char target[8] = {};
  CHECK(readlink((folder / "link").c_str(), target, 7) == 1);

  CHECK(unlink((folder / "a").c_str()) == 0);
  CHECK(unlink((folder / "link").c_str()) == 0);
  CHECK(folder.is_empty());
}

TEST_CASE("two output files at a time") {
  const Folder folder;
  {
    OutputFile first(folder / "a"), second(folder / "b");
    second.write("2", 1);
    second.commit();
  }
  CHECK(contents(folder / "b") == "2");
  CHECK(unlink((folder / "b").c_str()) == 0);
  CHECK(folder.is_empty());

  CHECK(signal_of_child([&] {
          OutputFile first(folder / "a"), second(folder / "b");
          std::raise(SIGTERM);
        }) == SIGTERM);
  CHECK(folder.is_empty());
}

TEST_CASE("no signal that ends the program leaves a part behind") {
  const Folder folder;
  for (const int signal :
       {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGUSR1, SIGSEGV, SIGUSR2,
        SIGALRM, SIGTERM, SIGXCPU, SIGXFSZ, SIGSYS, SIGPROF, SIGVTALRM, SIGTRAP}) {
    CAPTURE(signal);
    CHECK(signal_of_child([&] {
            OutputFile file(folder / "a");
            file.write("text", 4);
            std::raise(signal);
          }) == signal);
    CHECK(folder.is_empty());
    // Ignored, it is no end.
    CHECK(signal_of_child([&] {
            std::signal(signal, SIG_IGN);
            OutputFile file(folder / "a");
            std::raise(signal);
            file.commit();
          }) == 0);
    CHECK(unlink((folder / "a").c_str()) == 0);
  }
  // A file beyond its limit.
  const auto write_beyond = [&] {
    const rlimit limit = {1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    OutputFile file(folder / "a");
    file.write(std::string(5000, 'x').data(), 5000);
    file.commit();
  };
  CHECK(signal_of_child(write_beyond) == SIGXFSZ);
  CHECK(folder.is_empty());
  // As main() has it, it is an error like others.
  CHECK(signal_of_child([&] {
          std::signal(SIGXFSZ, SIG_IGN);
          if (refusal_when(write_beyond) != folder / "a: cannot be written: File too large")
            _exit(1);
        }) == 0);
  CHECK(folder.is_empty());
}

TEST_CASE("an output file's name may be as long as names can be") {
  const Folder folder;
  const auto write = [&](const std::string& name, const std::string& text) {
    OutputFile file(folder / name);
    file.write(text.data(), text.size());
    file.commit();
    CHECK(contents(folder / name) == text);
    CHECK(unlink((folder / name).c_str()) == 0);
    CHECK(folder.is_empty());
  };
  for (size_t n : {240u, 241u, 245u, 248u, 254u, 255u}) write(std::string(n, 'n'), "text");
  // Cut between characters, and to the same for two of them.
  std::string umlauts;
  for (int i = 0; i < 127; ++i) umlauts += "\xc3\xa4";
  write(umlauts, "text");
  {
    OutputFile first(folder / (std::string(254, 'n') + "1")),
        second(folder / (std::string(254, 'n') + "2"));
    first.write("1", 1);
    second.write("2", 1);
    first.commit();
    second.commit();
  }
  CHECK(contents(folder / (std::string(254, 'n') + "1")) == "1");
  CHECK(contents(folder / (std::string(254, 'n') + "2")) == "2");
  CHECK(refusal_when([&] {
          OutputFile refused(folder / std::string(256, 'n'));
        }).find("too long") != std::string::npos);
}

TEST_CASE("an output file that may not be written is not replaced, and its mode stays") {
  const Folder folder;
  const auto mode_of = [](const std::string& path) {
    struct stat info {};
    REQUIRE(stat(path.c_str(), &info) == 0);
    return info.st_mode & 0777u;
  };
  std::ofstream(folder / "a") << "old";
  REQUIRE(chmod((folder / "a").c_str(), 0444) == 0);
  CHECK(refusal_when([&] { OutputFile refused(folder / "a"); }) ==
        folder / "a: may not be written (mode 444), so it is not replaced");
  CHECK(contents(folder / "a") == "old");
  for (const mode_t mode : {0600u, 0640u, 0755u}) {
    REQUIRE(chmod((folder / "a").c_str(), mode) == 0);
    OutputFile file(folder / "a");
    file.write("new", 3);
    file.commit();
    CHECK(contents(folder / "a") == "new");
    CHECK(mode_of(folder / "a") == mode);
  }
}

TEST_CASE("one file under two names") {
  const Folder folder;
  std::ofstream(folder / "a") << "text";
  REQUIRE(symlink((folder / "a").c_str(), (folder / "link").c_str()) == 0);
  CHECK(same_file(folder / "a", folder / "./a"));
  CHECK(same_file(folder / "a", folder / "link"));
  CHECK(same_file(folder / "none", folder / "none"));
  CHECK(!same_file(folder / "a", folder / "b"));
  CHECK(!same_file("", ""));
}

TEST_CASE("an output file that cannot be") {
  const Folder folder;
  const auto refusal = [](const std::string& path) {
    return refusal_when([&] { OutputFile refused(path); });
  };
  CHECK(refusal(folder / "none/a") ==
        folder / "none/a: cannot be written: No such file or directory");
  CHECK(refusal(folder.path) ==
        folder.path + ": is a directory, expected the name of a file to write");
  CHECK(refusal("/dev/null") == "/dev/null: is no ordinary file, so it cannot be replaced");
  CHECK(folder.is_empty());
}

TEST_CASE("a text") {
  const Folder folder;
  const std::string text = std::string(100000, 'x') + std::string(1, '\0') + "\r\n";
  std::ofstream(folder / "a", std::ios::binary) << text;
  CHECK(read_text(folder / "a") == text);
  CHECK(read_text("/dev/null") == "");
  CHECK(refusal_when([&] { read_text(folder / "none"); }) ==
        folder / "none: No such file or directory");
  CHECK(refusal_when([&] { read_text(folder.path); }) ==
        folder.path + ": cannot be read: Is a directory");
}
