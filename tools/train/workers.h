// SPDX-License-Identifier: MIT
// Work for a few threads.
#ifndef THIMBLE_TOOLS_TRAIN_WORKERS_H
#define THIMBLE_TOOLS_TRAIN_WORKERS_H

#include <cstddef>
#include <cstdint>
#include <functional>

namespace thimble::tools::train {

class Workers {
 public:
  explicit Workers(uint32_t n_threads) : n_threads_(n_threads) {}

  uint32_t n_threads() const { return n_threads_; }

  // task(i, thread) for each i below n, thread below n_threads(); the next free thread takes the
  // next one. Returns when all are done, and throws what the first one that failed threw.
  void run(size_t n, const std::function<void(size_t i, uint32_t thread)>& task) const;

  // piece(begin, end) of [0, n), in pieces whose ends do not depend on the number of threads.
  void run_pieces(size_t n, size_t piece,
                  const std::function<void(size_t begin, size_t end)>& task) const;

 private:
  uint32_t n_threads_;
};

}  // namespace thimble::tools::train

#endif
