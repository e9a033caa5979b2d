// SPDX-License-Identifier: MIT
#include "workers.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace thimble::tools::train {

void Workers::run(size_t n, const std::function<void(size_t, uint32_t)>& task) const {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&](uint32_t thread) {
    try {
      for (size_t i = next++; i < n; i = next++) task(i, thread);
    } catch (...) {
      next = n;
      const std::lock_guard<std::mutex> lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t t = 1; t < std::min<size_t>(n_threads_, n); ++t) {
    try {
      threads.emplace_back(work, t);
    } catch (const std::system_error&) {
      break;  // those that there are do it all
    }
  }
  work(0);
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

void Workers::run_pieces(size_t n, size_t piece,
                         const std::function<void(size_t, size_t)>& task) const {
  run((n + piece - 1) / piece,
      [&](size_t i, uint32_t) { task(i * piece, std::min(n, (i + 1) * piece)); });
}

}  // namespace thimble::tools::train
