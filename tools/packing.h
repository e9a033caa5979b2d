// SPDX-License-Identifier: MIT
// What pack and unpack share: their command line, and a session on the model that it names.
#ifndef THIMBLE_TOOLS_PACKING_H
#define THIMBLE_TOOLS_PACKING_H

#include <memory>
#include <string>

#include "adapter_file.h"
#include "engine.h"
#include "files.h"
#include "verbs.h"

namespace thimble::tools {

// MODEL INPUT -o OUT and the options that change what a model computes. Throws WrongUsage.
// `input` and `output` say what these files are.
struct PackingOptions {
  PackingOptions(const Words& words, const char* input, const char* output);

  std::string model, input, output, lora;
  thimble_config config{};
  bool stats = false;
};

class PackingSession {
 public:
  explicit PackingSession(const PackingOptions& options);

  thimble_session* session() const { return *session_; }
  const LoadedModel& loaded() const { return loaded_; }

 private:
  LoadedModel loaded_;
  std::string isa_;
  std::unique_ptr<LoadedAdapter> adapter_;
  std::unique_ptr<Session> session_;
};

// All of it to a file, which appears when it is complete, or to stdout for "-".
void write_output(const std::string& path, const std::string& bytes);

// "packed 120 bytes of story.txt to 31, 2.067 bits a byte", and with `seconds` the speed in the
// text's bytes, on stderr.
void print_packing(const char* verb, size_t text_bytes, size_t packed_bytes,
                   const PackingOptions& options, double seconds);

}  // namespace thimble::tools

#endif
