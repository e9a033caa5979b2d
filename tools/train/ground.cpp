// SPDX-License-Identifier: MIT
#include "ground.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "error.h"
#include "opened_model.h"
#include "readers/reader.h"
#include "vocabulary.h"

namespace thimble::tools::train {
namespace {

Vocabulary vocabulary_of(const std::string& path) {
  if (!is_model_file(path)) return open_vocabulary(path, 0).vocabulary;
  const LoadedModel loaded(path);
  return vocabulary_of_model(loaded.model());
}

Vocabulary learn(const Options& options, const TextRecords& texts, std::string* told) {
  std::vector<std::string_view> records;
  records.reserve(texts.training().size());
  for (const TextRecord& record : texts.training()) records.push_back(record.text);
  VocabularyReport report;
  Vocabulary v;
  try {
    v = learn_vocabulary(records, options.vocabulary, &report);
  } catch (const Refused& refused) {
    throw Refused(names_of(options.texts) + ": " + refused.what() +
                  "; expected another --vocab, or --vocab-kind bytes");
  }
  texts.forget();
  *told += format("vocabulary  %zu tokens", v.texts.size());
  if (v.texts.size() < options.vocabulary.vocab_size) {
    *told += format(" (too short a text for %u)", options.vocabulary.vocab_size);
  }
  *told += format(", %.2f bytes of the text each\n",
                  static_cast<double>(report.text_bytes) / static_cast<double>(report.n_tokens));
  return v;
}

void check_teacher(const Options& options, const Ground& ground) {
  const thimble_model& teacher = ground.teacher->model();
  const ImageInMemory own = image_of_vocabulary(ground.vocabulary),
                      other = image_of_vocabulary(vocabulary_of_model(teacher));
  if (own.bytes != other.bytes || std::memcmp(own.data(), other.data(), own.bytes) != 0) {
    throw Refused(options.teacher + ": has another vocabulary than the model that learns of it, " +
                  (options.from.empty() ? options.tokenizer : options.from));
  }
  const uint32_t known = shape_of_model(teacher).n_ctx;
  if (known < ground.n_ctx) {
    throw Refused(
        format("%s: knows %u positions, and %u are to be learnt of it; expected --ctx %u "
               "or less",
               options.teacher.c_str(), known, ground.n_ctx, known));
  }
}

// Positions of a window: a model that was there may know more than memory has room for.
uint32_t context_of(const Options& options, const ModelShape& shape) {
  constexpr uint32_t kUsual = 1024;
  if (options.from.empty()) return shape.n_ctx;
  if (options.n_ctx > shape.n_ctx) {
    throw Refused(format("%s: --ctx %u is more than the %u positions that the model knows",
                         options.from.c_str(), options.n_ctx, shape.n_ctx));
  }
  return options.n_ctx > 0 ? options.n_ctx : std::min(kUsual, shape.n_ctx);
}

ModelShape find_shape(const Options& options, const Vocabulary& vocabulary, std::string* told) {
  const uint32_t vocab_size = static_cast<uint32_t>(vocabulary.texts.size());
  ModelShape shape = options.shape;
  if (options.has_device) {
    const DeviceShape found =
        shape_for(options.device, &vocabulary, vocab_size, shape_options(options, options.shape));
    shape = found.shape;
    shape.rope_theta = options.shape.rope_theta;
    *told += "shape  " + found.text + "\n";
  }
  shape.vocab_size = vocab_size;
  return shape;
}

}  // namespace

ShapeOptions shape_options(const Options& options, const ModelShape& shape) {
  ShapeOptions o;
  o.family = options.is_gpt2 ? ShapeFamily::kGpt2 : ShapeFamily::kLlama;
  o.layout = options.trainer.layout;
  o.n_ctx = shape.n_ctx;
  return o;
}

Ground find_ground(const Options& options, const TextRecords& texts) {
  Ground ground;
  if (!options.teacher.empty()) ground.teacher = std::make_unique<LoadedModel>(options.teacher);
  if (!options.from.empty()) {
    ground.from = std::make_unique<LoadedModel>(options.from);
    ground.shape = shape_of_model(ground.from->model());
    ground.vocabulary = vocabulary_of_model(ground.from->model());
  } else {
    ground.vocabulary = options.tokenizer.empty() ? learn(options, texts, &ground.told)
                                                  : vocabulary_of(options.tokenizer);
  }
  if (ground.vocabulary.texts.empty()) {
    throw Refused((ground.from ? options.from : options.tokenizer) +
                  ": has no tokenizer, and a text has to become tokens");
  }
  if (!ground.from) ground.shape = find_shape(options, ground.vocabulary, &ground.told);
  ground.n_ctx = context_of(options, ground.shape);
  if (ground.teacher) check_teacher(options, ground);
  return ground;
}

}  // namespace thimble::tools::train
