// SPDX-License-Identifier: MIT
#include "model_writer.h"

#include <algorithm>

#include "error.h"
#include "files.h"
#include "progress.h"

namespace thimble::tools {

WrittenModel write_model(const std::string& path, const std::string& source,
                         const std::string& label, const ModelShape& shape,
                         const WeightLayout& layout, const Vocabulary* vocabulary,
                         const RowSource& rows) {
  WrittenModel written;
  OutputFile output(path);
  uint64_t at = 0;
  const Sink sink = [&](uint64_t offset, const void* data, size_t bytes) {
    if (offset != at) output.seek(offset);
    output.write(data, bytes);
    at = offset + bytes;
    written.bytes = std::max(written.bytes, at);
  };
  SelfTestPlan self_test;
  self_test.tokens = self_test_prompt(shape, vocabulary);
  self_test.hashes = [&] {
    const MappedFile file(output.flush());
    const thimble_model model = open_model(file.path(), file.data(), file.size(), false);
    return self_test_hashes(model, [&] { file.forget(); });
  };
  try {
    Progress progress(label);
    written.reports = build_image(
        shape, layout, vocabulary, rows, sink, [&](double share) { progress.show(share); },
        self_test);
  } catch (const RefusedModel& refused) {
    throw Refused(source + ": " + refused.what());
  }
  output.commit();
  return written;
}

}  // namespace thimble::tools
