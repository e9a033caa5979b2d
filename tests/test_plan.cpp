// SPDX-License-Identifier: MIT
// thimble plan: its numbers are those of the file and of the engine.
#include <doctest/doctest.h>

#include <string>

#include "capture.h"
#include "json.h"
#include "llama2c_files.h"
#include "memory_store.h"
#include "plan.h"
#include "tiny_model.h"
#include "verbs.h"

using namespace thimble;
using namespace thimble::test;

namespace {

const char kStory[] = "models/story.thimble";

int64_t sum_of(const Json& parts, std::initializer_list<const char*> names) {
  int64_t sum = 0;
  for (const char* name : names) sum += parts[name].as_int();
  return sum;
}

}  // namespace

TEST_CASE("plan: the parts are all of the file and all of the arena, for every configuration") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types(4)) {
      for (bool with_vocabulary : {false, true}) {
        TinyModel m(named.shape, layout, with_vocabulary);
        const tools::FlashPlan flash = tools::plan_flash(m.view);
        CHECK(flash.model() == m.view.image_bytes);
        CHECK((flash.scales > 0) == (layout.type != kWeightF32));
        CHECK((flash.tokenizer > 0) == with_vocabulary);
        for (uint32_t n_ctx : {1u, 16u, 45u}) {
          for (uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
            for (uint32_t n_candidates : {0u, 1u, 40u}) {
              for (uint32_t n_batch : {1u, 7u}) {
                const thimble_config config = {n_ctx, n_batch, nullptr, kv_type, n_candidates};
                const tools::RamPlan ram = tools::plan_ram(m.view, config);
                CHECK(ram.arena == thimble_session_bytes(&m.view, &config));
                const SessionParts& p = ram.parts;
                const uint64_t parts = p.structure + p.tokens + p.cache + p.logits + p.activations;
                CHECK(parts == ram.arena);
                thimble_config drafting = config;
                drafting.n_draft = 4;
                const tools::RamPlan more = tools::plan_ram(m.view, drafting);
                CHECK(more.arena == thimble_session_bytes(&m.view, &drafting));
                CHECK(parts + more.drafts == more.arena);
                CHECK((more.drafts > 0) == (n_ctx > 1));
                drafting.lora_rank = 8;
                const tools::RamPlan most = tools::plan_ram(m.view, drafting);
                CHECK(most.arena == thimble_session_bytes(&m.view, &drafting));
                CHECK(parts + more.drafts + most.lora == most.arena);
                CHECK(most.lora > 0);
                CHECK(ram.total() == ram.arena + THIMBLE_STACK_BYTES);
              }
            }
          }
        }
      }
    }
  }
}

TEST_CASE("plan: weights that are not memory-mapped") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types(4)) {
      const TinyModel mapped(named.shape, layout, true);
      StreamedModel m(mapped.view);
      const tools::FlashPlan flash = tools::plan_flash(m.view),
                             of_mapped = tools::plan_flash(mapped.view);
      CHECK(flash.model() == of_mapped.model());
      CHECK(flash.total() == of_mapped.code + of_mapped.support + tools::kStreamCodeBytes);
      for (const size_t buffer : {size_t{0}, size_t{1} << 16}) {
        const thimble_config config = m.config({16, 3}, buffer);
        const tools::RamPlan ram = tools::plan_ram(m.view, config, 1000);
        CHECK(ram.arena == thimble_session_bytes(&m.view, &config));
        const SessionParts& p = ram.parts;
        CHECK(p.structure + p.stream + p.tokens + p.cache + p.logits + p.activations == ram.arena);
        CHECK(p.stream == kStreamBytes + (buffer ? buffer : thimble_stream_bytes(&m.view)));
        CHECK(ram.total() == ram.arena + 1000 + THIMBLE_STACK_BYTES);
      }
    }
  }

  const auto plan = [](const tools::Words& words) {
    tools::Words all = {kStory, "--ctx", "64", "--json"};
    all.insert(all.end(), words.begin(), words.end());
    const Ended ended = run(tools::plan_verb, all);
    REQUIRE(ended.code == 0);
    return parse_json(ended.out);
  };
  const Json in_ram = plan({"--stream", "--buffer", "32K"});
  const Json in_flash = plan({"--stream", "--buffer", "32K", "--tables", "flash"});
  const Json without = plan({});
  CHECK(!without["flash"]["is_stored"].boolean);
  CHECK(without["ram"]["stream"].as_int() == 0);
  CHECK(in_ram["flash"]["is_stored"].boolean);
  CHECK(in_ram["ram"]["stream"].as_int() == 32768 + kStreamBytes);
  CHECK(in_ram["ram"]["arena"].as_int() ==
        without["ram"]["arena"].as_int() + 32768 + static_cast<int>(kStreamBytes));
  const int64_t tables = in_ram["ram"]["kept_tables"].as_int();
  CHECK(tables > 20000);
  CHECK(in_flash["flash"]["kept_tables"].as_int() == tables);
  CHECK(in_flash["flash"]["total"].as_int() == in_ram["flash"]["total"].as_int() + tables);
  CHECK(in_ram["ram"]["total"].as_int() == in_flash["ram"]["total"].as_int() + tables);

  const auto refuses = [](tools::Words words, const char* says) {
    words.insert(words.begin(), kStory);
    const Ended ended = run(tools::plan_verb, words);
    CHECK(ended.code != 0);
    CHECK_MESSAGE(ended.err.find(says) != std::string::npos, ended.err);
  };
  refuses({"--stream", "--buffer", "1K"}, "a buffer of 1024 bytes was asked for, expected 12288");
  refuses({"--buffer", "32K"}, "option '--buffer' needs '--stream'");
  refuses({"--tables", "flash"}, "option '--tables' needs '--stream'");
  refuses({"--stream", "--tables", "rom"}, "option '--tables' is 'rom', expected ram or flash");
}

TEST_CASE("plan: the longest context that fits is the longest") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightQ8, 32, 4});
  for (uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
    thimble_config config = {0, 1, nullptr, kv_type, 0};
    for (uint64_t ram = 0; ram < 40000; ram += 517) {
      const uint32_t n = tools::longest_context(m.view, config, ram);
      if (n > 0) {
        config.n_ctx = n;
        CHECK(tools::plan_ram(m.view, config).total() <= ram);
      }
      if (n < m.view.n_ctx) {
        config.n_ctx = n + 1;
        CHECK(tools::plan_ram(m.view, config).total() > ram);
      }
      config.n_ctx = 0;
    }
  }
}

TEST_CASE("plan: text, JSON and exit codes") {
  const Ended json = run(tools::plan_verb, {kStory, "--ctx", "256", "--kv", "q8", "--candidates",
                                            "40", "--flash", "2M", "--ram", "189K", "--json"});
  CHECK(json.code == 1);
  const Json all = parse_json(json.out);
  CHECK(all["kv"].text == "q8");
  const Json &flash = all["flash"], &ram = all["ram"];
  CHECK(sum_of(flash, {"header", "weights", "scales", "weights_padding", "tables", "tokenizer",
                       "self_test", "padding"}) == flash["model"].as_int());
  CHECK(flash["total"].as_int() == flash["model"].as_int() + flash["code_at_most"].as_int() +
                                       flash["library_at_most"].as_int());
  CHECK(sum_of(ram, {"structure", "tokens", "cache", "logits", "activations"}) ==
        ram["arena"].as_int());
  CHECK(ram["total"].as_int() == ram["arena"].as_int() + THIMBLE_STACK_BYTES);
  // What the issue of small boards asked for: the story model in 216 KiB.
  CHECK(ram["total"].as_int() <= 216 * 1024);
  CHECK(all["device"]["flash"]["fits"].boolean);
  CHECK(all["device"]["flash"]["bytes"].as_int() == 2 << 20);

  const int64_t need = ram["total"].as_int();
  const auto with_ram = [&](int64_t bytes) {
    return run(tools::plan_verb, {kStory, "--ctx", "256", "--kv", "q8", "--candidates", "40",
                                  "--ram", std::to_string(bytes)});
  };
  CHECK(with_ram(need).code == 0);
  const Ended short_of = with_ram(need - 1);
  CHECK(short_of.code == 1);
  CHECK(short_of.out.find("RAM: does NOT fit into") != std::string::npos);
  CHECK(short_of.out.find("1 bytes missing") != std::string::npos);
  CHECK(short_of.out.find("fits: --kv q8 --ctx ") != std::string::npos);
  CHECK(run(tools::plan_verb, {kStory, "--ram", "9000"}).out.find("no context fits") !=
        std::string::npos);
}

TEST_CASE("plan: what layers with windows cache") {
  tools::ModelShape shape = tiny_shapes()[0].shape;
  shape.n_ctx = 100;
  shape.layers.assign(shape.n_layers, {20, 0});
  shape.layers.back().window = 0;
  TinyModel m(shape, {kWeightF32, 0, 4});
  TestFolder folder;
  const std::string path =
      folder.write("windows.thimble",
                   std::string(reinterpret_cast<const char*>(m.image.data()), m.view.image_bytes));
  const Json plan = parse_json(run(tools::plan_verb, {path, "--batch", "4", "--json"}).out);
  int64_t cached = 0, layers = 0;
  for (const Json& group : plan["windows"].items) {
    // 20 + 4 + 14 is 38, and 100 itself, in steps of 16.
    CHECK(group["positions"].as_int() == (group["window"].as_int() == 20 ? 48 : 112));
    cached += group["positions"].as_int() * group["layers"].as_int();
    layers += group["layers"].as_int();
  }
  CHECK(layers == shape.n_layers);
  const int64_t numbers = 2 * cached * shape.n_kv_heads * shape.head_dim;
  const int64_t told = plan["ram"]["cache"].as_int();
  CHECK(told >= numbers * 4);
  CHECK(told < numbers * 4 + 16 * shape.n_layers + 256);  // where layers lie
  const std::string text = run(tools::plan_verb, {path, "--batch", "4"}).out;
  CHECK(text.find(": 48 positions, a window of 20") != std::string::npos);
  CHECK(text.find("1 layer: 112 positions\n") != std::string::npos);
  CHECK(run(tools::plan_verb, {kStory}).out.find("window") == std::string::npos);
}

TEST_CASE("plan: padding within weights is what no weight needs") {
  // 40 columns in groups of 128, 50 rows in tiles of 16: counted by hand.
  const tools::ModelShape shape = test::tiny_shape(40, 40, 1, 2, 2, 20, 50, 16, true);
  const auto within = [&](const tools::WeightLayout& layout) {
    const test::TinyModel m(shape, layout);
    const tools::FlashPlan plan = tools::plan_flash(m.view);
    CHECK(plan.model() == m.view.image_bytes);
    CHECK(plan.within == tools::image_size(shape, layout, nullptr).padding);
    const uint64_t matrices = 40 * (50 + 120 + 40 + 80 + 40);
    CHECK(plan.weights ==
          (layout.type == kWeightQ8 ? matrices + 3 * 40 * 4 : (matrices + 3 * 40) * sizeof(float)));
    return plan.within;
  };
  // Rows of the five matrices: 50, 120, 40, 80, 40, which tiles of 16 make 64, 128, 48, 80, 48.
  const uint64_t rows = 330, padded_rows = 368;
  CHECK(within({kWeightF32, 0, 1}) == 0);
  CHECK(within({kWeightF32, 0, 16}) == (padded_rows - rows) * 40 * 4);
  CHECK(within({kWeightQ8, 128, 1}) == rows * 88);
  CHECK(within({kWeightQ8, 128, 16}) == padded_rows * 128 - rows * 40 + (padded_rows - rows) * 2);
  CHECK(within({kWeightQ8, 32, 1}) == rows * 24);
  CHECK(within({kWeightQ8, 0, 1}) == 0);
}

TEST_CASE("plan: boards, and what it refuses") {
  const Ended list = run(tools::plan_verb, {"--board", "list"});
  CHECK(list.code == 0);
  CHECK(list.out.find("nrf52840") != std::string::npos);
  CHECK(run(tools::plan_verb, {kStory, "--board", "esp32-c3", "--ctx", "64"}).code == 0);
  CHECK(run(tools::plan_verb, {kStory, "--board", "nrf52840", "--ctx", "64"}).code == 1);  // flash
  CHECK(
      run(tools::plan_verb, {kStory, "--board", "nrf52840", "--flash", "2M", "--ctx", "64"}).code ==
      0);
  CHECK(run(tools::plan_verb, {kStory, "--board", "abacus"}).code == 2);
  for (const char* size : {"", "0", "K", "12G", "-1", "1.5M", "99999999999999999999"}) {
    CHECK(run(tools::plan_verb, {kStory, "--ram", size}).code == 2);
  }
  CHECK(run(tools::plan_verb, {kStory, "--ctx", "513"}).code == 2);
  CHECK(run(tools::plan_verb, {kStory, "--kv", "int8"}).code == 2);
  CHECK(run(tools::plan_verb, {}).code == 2);
  CHECK(run(tools::plan_verb, {"models/README.md"}).code == 1);
}
