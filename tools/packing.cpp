// SPDX-License-Identifier: MIT
#include "packing.h"

#include <cstdio>

#include "args.h"
#include "error.h"
#include "output.h"

namespace thimble::tools {

PackingOptions::PackingOptions(const Words& words, const char* what_input,
                               const char* what_output) {
  const Args args(words, {{"-o", true},
                          {"--kv", true},
                          {"--ctx", true},
                          {"--sinks", true},
                          {"--lora", true},
                          {"--stats", false}});
  if (args.positional().size() != 2) {
    throw WrongUsage(format("expected a model file and %s, found %zu arguments", what_input,
                            args.positional().size()));
  }
  model = args.positional()[0];
  input = args.positional()[1];
  output = args.text("-o", "");
  if (output.empty()) throw WrongUsage(format("expected -o OUT, %s to write", what_output));
  for (const std::string& read : args.positional()) {
    if (output != "-" && same_file(output, read)) {
      throw WrongUsage(format("'-o %s' would overwrite '%s', expected another name", output.c_str(),
                              read.c_str()));
    }
  }
  lora = args.text("--lora", "");
  config.kv_type = kv_type_of(args);
  config.n_ctx = static_cast<uint32_t>(args.count("--ctx", 0, 2, UINT32_MAX));
  config.n_sinks = sinks_of(args);
  config.n_batch = 32;
  stats = args.has("--stats");
}

PackingSession::PackingSession(const PackingOptions& options)
    : loaded_(options.model), isa_(chosen_isa()) {
  thimble_config config = options.config;
  config.isa = isa_.c_str();
  if (loaded_.model().max_token_bytes == 0) {
    throw Refused(options.model + ": has no tokenizer; convert it with --tokenizer FILE");
  }
  adapter_ = load_adapter(options.lora, loaded_, &config);
  session_ = std::make_unique<Session>(loaded_, config);
  if (adapter_) use_adapter(*session_, *adapter_);
}

void write_output(const std::string& path, const std::string& bytes) {
  if (path == "-") {
    print_text(bytes);
    return;
  }
  OutputFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

void print_packing(const char* verb, size_t text_bytes, size_t packed_bytes,
                   const PackingOptions& options, double seconds) {
  const bool packs = verb[0] == 'p';
  const std::string bits =
      text_bytes > 0 ? format(", %.3f bits a byte", static_cast<double>(packed_bytes) * 8 /
                                                        static_cast<double>(text_bytes))
                     : "";
  std::fprintf(stderr, "%s: %zu bytes to %zu%s\n", verb, packs ? text_bytes : packed_bytes,
               packs ? packed_bytes : text_bytes, bits.c_str());
  if (options.stats) {
    std::fprintf(stderr, "speed: %.1f KB of text a second\n",
                 static_cast<double>(text_bytes) / seconds / 1000);
  }
}

}  // namespace thimble::tools
