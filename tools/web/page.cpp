// SPDX-License-Identifier: MIT
// Puts the page together: style, body, modules, model and scripts in one file that asks for
// nothing.
//   web_page OUT.html MODEL SIMD128.wasm PLAIN.wasm FOLDER
#include "page.h"

#include <cinttypes>
#include <cstdio>
#include <exception>
#include <filesystem>

#include "base64.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "trace_page.h"

namespace thimble::tools {
namespace {

// What the page opens with.
constexpr char kPrompt[] = "Once upon a time";
constexpr uint32_t kTokens = 200;
constexpr double kTemperature = 0.7, kTopP = 0.9;
constexpr uint64_t kSeed = 33;

// As `thimble run --hash` computes it, here, by this machine's best kernels.
uint64_t hash_on_host(const LoadedModel& loaded) {
  const Session session(loaded, {});
  thimble_sampling sampling = {};
  sampling.temperature = static_cast<float>(kTemperature);
  sampling.top_p = static_cast<float>(kTopP);
  sampling.seed = kSeed;
  std::vector<int32_t> tokens = encode_prompt(session, loaded, kPrompt);
  uint64_t hash = THIMBLE_HASH_START;
  for (uint32_t i = 0; i < kTokens && tokens.size() <= thimble_room(session); ++i) {
    compute(session, tokens.data(), tokens.size());
    hash = thimble_logits_hash(session, hash);
    tokens = {draw_token(session, sampling)};
    if (thimble_is_end(&loaded.model(), tokens[0])) break;
  }
  return hash;
}

std::string opening(const LoadedModel& loaded) {
  const std::string name = std::filesystem::path(loaded.path()).filename().string();
  return "{\"model\":" + script_string(name) + ",\"path\":" + script_string(loaded.path()) +
         format(",\"hash\":\"0x%016" PRIx64 "\",", hash_on_host(loaded)) +
         "\"settings\":{\"prompt\":" + script_string(kPrompt) +
         format(",\"count\":%u,\"temperature\":%g,\"topP\":%g,\"seed\":\"%" PRIu64
                "\",\"kvType\":0}}",
                kTokens, kTemperature, kTopP, kSeed);
}

void put_bytes(const TextSink& sink, const char* id, const std::string& path) {
  const MappedFile file(path);
  sink(std::string("<script type=\"text/plain\" id=\"") + id + "\">");
  Base64 base64(sink);
  for (size_t i = 0; i < file.size(); ++i) base64.put(file.data()[i]);
  base64.end();
  sink("</script>\n");
}

void write_web_page(const std::vector<std::string>& args) {
  const std::string &model = args[1], &folder = args[4];
  const LoadedModel loaded(model);
  OutputFile file(args[0]);
  const TextSink sink = [&](const std::string& piece) { file.write(piece.data(), piece.size()); };
  const std::string style = kTraceStyle + read_text(folder + "/page.css");
  sink(page_head("Thimble in the browser", style.c_str(), " 'wasm-unsafe-eval'"));
  sink(read_text(folder + "/page.html") + kTraceSections);
  sink("<script type=\"application/json\" id=\"first\">" + opening(loaded) + "</script>\n");
  put_bytes(sink, "simd128", args[2]);
  put_bytes(sink, "plain", args[3]);
  put_bytes(sink, "image", model);
  sink(std::string("<script>\n") + kPageScript + read_text(folder + "/engine.js") + kTraceMaps +
       read_text(folder + "/page.js") + "</script>\n</body>\n</html>\n");
  file.commit();
}

}  // namespace
}  // namespace thimble::tools

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: web_page OUT.html MODEL SIMD128.wasm PLAIN.wasm FOLDER\n");
    return 2;
  }
  try {
    thimble::tools::write_web_page({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "web_page: %s\n", error.what());
    return 1;
  }
}
