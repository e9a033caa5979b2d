// SPDX-License-Identifier: MIT
// What was measured, as text and as JSON.
#ifndef THIMBLE_TOOLS_BENCH_REPORT_H
#define THIMBLE_TOOLS_BENCH_REPORT_H

#include <cstddef>
#include <string>
#include <vector>

#include "bench_measure.h"
#include "thimble/thimble.h"

namespace thimble::tools {

struct BenchReport {
  std::string name;  // of the model
  thimble_model model{};
  BenchWork work;
  std::vector<BenchResult> results;
  size_t peak_rss_bytes = 0;
  bool has_limits = false;
  MachineLimits limits;
};
std::string to_text(const BenchReport& report);
std::string to_json(const BenchReport& report);

}  // namespace thimble::tools

#endif
