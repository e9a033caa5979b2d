// SPDX-License-Identifier: MIT
// What a person at a terminal meets: control characters, Ctrl-C, pipes.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "capture.h"
#include "engine.h"
#include "eval.h"
#include "interrupt.h"
#include "json.h"
#include "llama2c_files.h"
#include "output.h"
#include "sampling.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string visible(const std::string& text) {
  CapturedStream out(stdout);
  tools::print_visible(text);
  return out.text();
}

std::string read_all(int fd) {
  std::string all;
  char piece[4096];
  for (ssize_t n; (n = read(fd, piece, sizeof piece)) > 0;) {
    all.append(piece, static_cast<size_t>(n));
  }
  return all;
}

// A model that never ends a text, so that only an interruption does before a very long context.
std::string endless_model(const TestFolder& folder) {
  const tools::ModelShape shape = tiny_shape(64, 128, 4, 4, 2, 16, 300, 1u << 16, true);
  tools::Vocabulary v = tiny_vocabulary(300);
  v.bos_id = v.eos_id = v.end_of_turn_id = -1;
  v.turns = {"", "", "ask ", " ", "say ", " "};
  const tools::RowSource rows = [](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                                   float* out) { random_row(1, kind, layer, row, cols, out); };
  const tools::ImageInMemory image =
      tools::build_image_in_memory(shape, {kWeightF32, 0, 16}, &v, rows);
  return folder.write("endless.thimble",
                      {reinterpret_cast<const char*>(image.data()), image.bytes});
}

struct Interrupted {
  std::string out, err;
  int code;
};

// Runs a verb in a process of its own, sends it the signal once it has written something, and keeps
// what it says after that.
Interrupted interrupted(int (*verb)(const tools::Words&), const tools::Words& words, int signal,
                        const TestFolder& folder) {
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  const std::string err_path = folder / "stderr";
  std::fflush(stdout);  // or the child would write what is waiting there
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGINT, SIG_DFL);  // doctest has handlers
    std::signal(SIGTERM, SIG_DFL);
    dup2(open((folder / "stdin").c_str(), O_RDONLY), STDIN_FILENO);
    std::clearerr(stdin);
    dup2(pipe_ends[1], STDOUT_FILENO);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    const int err = open(err_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(err, STDERR_FILENO);
    int code = 99;
    try {
      code = verb(words);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    std::fflush(stdout);
    std::fflush(stderr);
    _exit(code);
  }
  close(pipe_ends[1]);
  std::string start(1, '\0');
  REQUIRE(read(pipe_ends[0], start.data(), 1) == 1);
  kill(child, signal);
  Interrupted result = {start + read_all(pipe_ends[0]), "", 0};
  close(pipe_ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  read_whole_file(err_path, &result.err);
  return result;
}

}  // namespace

TEST_CASE("terminal: control characters are spelled out, all else stays") {
  CHECK(visible("") == "");
  CHECK(visible("plain\ttext\n") == "plain\ttext\n");
  CHECK(visible("caf\xc3\xa9 \xe2\x82\xac \xc2\xa0") == "caf\xc3\xa9 \xe2\x82\xac \xc2\xa0");
  CHECK(visible("\x1b[31mred\x1b[0m") == "\\x1b[31mred\\x1b[0m");
  CHECK(visible(std::string("\0\a\b\r\x7f", 5)) == "\\x00\\x07\\x08\\x0d\\x7f");
  CHECK(visible("\xc2\x9b"
                "31m\xc2\x80\xc2\x9f") == "\\u009b31m\\u0080\\u009f");
  CHECK(visible("\xc2") == "\xc2");
}

TEST_CASE("terminal: a text is spelled out there, and goes into a pipe as it is") {
  const TinyModel m(tiny_shape(16, 16, 1, 2, 2, 8, 300, 16, true), {kWeightF32, 0, 16}, true);
  const auto put = [&] {
    tools::TextStream text(m.view);
    for (const char c : std::string("a\x1b[2J\r\n")) text.put(3 + static_cast<uint8_t>(c));
    text.end();
    std::fflush(stdout);
  };
  {
    CapturedStream out(stdout);
    put();
    CHECK(out.text() == "a\x1b[2J\r\n");
  }
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
    MESSAGE("skipped: no pseudo-terminal here");
    return;
  }
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  std::fflush(stdout);
  const int saved = dup(STDOUT_FILENO);
  dup2(terminal, STDOUT_FILENO);
  put();
  dup2(saved, STDOUT_FILENO);
  close(saved);
  std::string shown;  // in pieces, on a busy machine
  char piece[256];
  while (shown.empty() || shown.back() != '\n') {
    const ssize_t n = read(master, piece, sizeof piece);
    REQUIRE(n > 0);
    shown.append(piece, static_cast<size_t>(n));
  }
  close(terminal);
  close(master);
  // The terminal itself begins lines with a carriage return.
  CHECK(shown == "a\\x1b[2J\\x0d\r\n");
}

TEST_CASE("terminal: Ctrl-C ends a text, and what it took is told") {
  const TestFolder folder;
  const std::string model = endless_model(folder);
  folder.write("stdin", "abc\nmore\n");
  const Interrupted chat =
      interrupted(tools::chat_verb, {model, "--stats", "-t", "0"}, SIGINT, folder);
  CHECK(chat.code == tools::kInterruptedCode + SIGINT);
  CHECK_MESSAGE(contains(chat.err, "turn 1: 0 tokens kept in the cache"), chat.err);
  CHECK(!contains(chat.err, "turn 2"));
  CHECK(!contains(chat.err, "context full"));
  for (const int signal : {SIGINT, SIGTERM}) {
    for (const char* kv : {"f32", "q8"}) {
      const Interrupted ended =
          interrupted(tools::run_verb,
                      {model, "-p", "abc", "-n", "4000000000", "--stats", "--hash", "--kv", kv},
                      signal, folder);
      CHECK(ended.code == tools::kInterruptedCode + signal);
      CHECK_MESSAGE(contains(ended.err, "stopped: interrupted ("), ended.err);
      CHECK(contains(ended.err, "\nprefill: "));
      CHECK(contains(ended.err, "\ndecode: "));
      CHECK(contains(ended.err, "\nmemory: "));
      CHECK(contains(ended.out, "\nlogits-hash 0x"));
      CHECK(ended.out.back() == '\n');
    }
  }
}

TEST_CASE("terminal: a score that is interrupted is that of what came before") {
  const TinyModel m(tiny_shape(16, 16, 1, 2, 2, 8, 300, 64, true), {kWeightF32, 0, 16}, true);
  TestSession session(m.view);
  const std::vector<std::string_view> records = {"abc abc", "def def"};
  const auto score = [&](double until) {
    return tools::score_records(session, m.view, records, tools::BehindContext::kCut,
                                [until](double share) { return share < until; });
  };
  const tools::Score whole = score(2), half = score(0.5), none = score(0);
  CHECK(whole.share == 1.0);
  CHECK(whole.records == 2);
  CHECK(half.records == 1);
  CHECK(half.share == doctest::Approx(0.5));
  CHECK(half.tokens > 0);
  CHECK(half.tokens < whole.tokens);
  CHECK(half.nll < whole.nll);
  CHECK(none.tokens == 1);
}

TEST_CASE("terminal: an interruption while one lives is noted, a second one ends the program") {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
    const tools::Interrupt interrupt;
    std::raise(SIGINT);
    if (interrupt.signal() != SIGINT || tools::exit_code(interrupt) != 128 + SIGINT) _exit(1);
    std::raise(SIGTERM);  // nobody listens any more
    _exit(2);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);

  // What is ignored (nohup) stays ignored, and what was there before is there again.
  const auto before = std::signal(SIGINT, SIG_IGN);
  {
    const tools::Interrupt interrupt;
    std::raise(SIGINT);
    CHECK(interrupt.signal() == 0);
    CHECK(tools::exit_code(interrupt) == 0);
  }
  CHECK((std::signal(SIGINT, SIG_DFL) == SIG_IGN));
  {
    const tools::Interrupt interrupt;
    std::raise(SIGINT);
    CHECK(interrupt.signal() == SIGINT);
  }
  CHECK((std::signal(SIGINT, before) == SIG_DFL));
}

TEST_CASE("terminal: a model comes through a pipe where it is read to memory") {
  const TestFolder folder;
  const TinyModel m(tiny_shape(16, 16, 1, 2, 2, 8, 300, 64, true), {kWeightF32, 0, 16}, true);
  const std::string pipe_path = folder / "pipe";
  REQUIRE(mkfifo(pipe_path.c_str(), 0600) == 0);
  const auto opened = [&](const std::string& bytes) -> std::string {
    const pid_t writer = fork();
    if (writer == 0) {
      std::signal(SIGPIPE, SIG_IGN);  // the reader may have enough
      const int fd = open(pipe_path.c_str(), O_WRONLY);
      for (size_t done = 0; done < bytes.size();) {
        const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
        if (n < 0) break;
        done += static_cast<size_t>(n);
      }
      _exit(0);
    }
    std::string what;
    try {
      const tools::LoadedModel loaded(pipe_path, tools::LoadedModel::kMemory);
      what = "vocabulary " + std::to_string(loaded.model().vocab_size);
    } catch (const tools::Refused& refused) {
      what = refused.what();
    }
    waitpid(writer, nullptr, 0);
    return what;
  };
  const std::string bytes(reinterpret_cast<const char*>(m.image.data()), m.image.size());
  CHECK(opened(bytes) == "vocabulary 300");
  CHECK(opened(bytes.substr(0, bytes.size() - 1)) ==
        pipe_path + ": the length is not the one that the header states: found " +
            std::to_string(bytes.size() - 1) + " bytes, expected " + std::to_string(bytes.size()));
  CHECK(contains(opened(bytes + std::string(5 << 20, 'x')),
                 "found " + std::to_string(bytes.size() + 1) + " bytes"));
  CHECK(contains(opened(std::string(5 << 20, '\0')), "not a Thimble model"));
  CHECK(contains(opened("hi"), "not a Thimble model"));
  CHECK(contains(opened(""), "is empty (0 bytes)"));
  // Mapped, it says why not.
  try {
    const tools::LoadedModel loaded(pipe_path);
    FAIL("mapped");
  } catch (const tools::Refused& refused) {
    CHECK(contains(refused.what(), "is no ordinary file, so it cannot be mapped"));
  }
}

TEST_CASE("terminal: a random seed is told, and gives that text") {
  const TestFolder folder;
  const TinyModel m(tiny_shape(16, 16, 1, 2, 2, 8, 300, 64, true), {kWeightF32, 0, 16}, true);
  const std::string model =
      folder.write("model", {reinterpret_cast<const char*>(m.image.data()), m.image.size()});
  const auto text = [&](const std::string& seed) {
    return run(tools::run_verb, {model, "-n", "40", "-t", "100", "--top-p", "1", "--seed", seed});
  };
  std::vector<std::string> seeds;
  for (int i = 0; i < 3; ++i) {
    const Ended drawn = text("random");
    REQUIRE(drawn.code == 0);
    REQUIRE(drawn.err.compare(0, 6, "seed: ") == 0);
    seeds.push_back(drawn.err.substr(6, drawn.err.find('\n') - 6));
    CHECK(text(seeds.back()).out == drawn.out);
  }
  CHECK(seeds[0] != seeds[1]);
  CHECK(seeds[1] != seeds[2]);
  CHECK(text("any").code == 2);
}

TEST_CASE(
    "terminal: words of any length where no chip is meant, a size and a remedy where one is") {
  const TestFolder folder;
  const TinyModel m(tiny_shape(8, 8, 1, 1, 1, 8, 300, 64, true), {kWeightF32, 0, 16}, true);
  const std::string model =
      folder.write("model", {reinterpret_cast<const char*>(m.image.data()), m.image.size()});
  const std::string word(2000, 'a'), text = folder.write("text", word);
  const Ended scored = run(tools::eval_verb, {model, text, "--json"});
  CHECK_MESSAGE(scored.code == 0, scored.err);
  CHECK(contains(scored.out, "\"cut_records\": 1"));
  const Ended refused = run(tools::run_verb, {model, "-p", word, "--batch", "1"});
  CHECK(refused.code == 1);
  CHECK(contains(refused.err, "the prompt has a word of more than "));
  CHECK(contains(refused.err, "a larger --batch gives more room"));
  for (const auto verb : {tools::trace_verb, tools::logits_verb}) {
    tools::Words words = {model, "-p", word};
    if (verb == tools::trace_verb) words.insert(words.end(), {"--json", "-"});
    const Ended too_many = run(verb, words);  // all of it is encoded
    CHECK(too_many.code == 1);
    CHECK_MESSAGE(contains(too_many.err, "the prompt has "), too_many.err);
    CHECK_MESSAGE(contains(too_many.err, " tokens, the context of "), too_many.err);
  }
  const TinyModel none(tiny_shape(8, 8, 1, 1, 1, 8, 300, 64, true), {kWeightF32, 0, 16}, false);
  const std::string without =
      folder.write("none", {reinterpret_cast<const char*>(none.image.data()), none.image.size()});
  CHECK(contains(run(tools::eval_verb, {without, text}).err, "has no tokenizer"));
}
