// SPDX-License-Identifier: MIT
// What the functions of thimble/attention.hpp have in common: all of them are
// one Form with different steps switched on.
#ifndef THIMBLE_SRC_ATTENTION_FORMS_H
#define THIMBLE_SRC_ATTENTION_FORMS_H

#include "kernels/kernels.h"
#include "kv_cache.h"
#include "thimble/attention.hpp"

namespace thimble {
namespace attention {

enum class Masking {
  kNone,    // every position looks at all
  kBefore,  // later scores are minus infinity: they are not computed
  kAfter,   // later weights become zero, and what is left is normalised again
};

struct Form {
  MatrixView x;          // (T, d)
  const Projections* w;  // NULL: the inputs are queries, keys and values themselves
  const Linear* output;  // NULL: the heads' contexts are the result
  uint32_t n_heads, n_kv_heads, head_dim;
  float scale;  // of the scores
  Masking masking;
  const KvCache* cache;  // NULL: one in scratch
  uint32_t past;         // positions in it before x
  uint32_t first_head;   // what dropout takes head 0 for
  uint32_t width;        // of a row of the result, of which a form without output
                         // fills the first n_heads * head_dim
};

// Scratch for n_keys positions, past ones included.
uint64_t form_scratch_bytes(const Form& form, uint32_t n_keys);

// Everything has been checked; options and results as in attention.hpp.
__attribute__((nonnull(5))) void run_form(const Kernels& kernels, const Form& form,
                                          const Options& options, const Results& results,
                                          void* scratch);

}  // namespace attention
}  // namespace thimble

#endif
