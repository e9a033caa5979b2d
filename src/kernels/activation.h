// SPDX-License-Identifier: MIT
// Kernels::activate for any type of vector: body(act) with the function of an ActivationType.
#ifndef THIMBLE_SRC_KERNELS_ACTIVATION_H
#define THIMBLE_SRC_KERNELS_ACTIVATION_H

#include "../exact_math.h"
#include "../format.h"
#include "../parts.h"

namespace thimble {

template <class Body>
static inline void with_activation(uint32_t type, [[maybe_unused]] Body body) {
  switch (type) {
#if THIMBLE_SILU && THIMBLE_NOT_GATED
    case kActivationSilu:
      return body([](auto x) { return exact_silu(x); });
#endif
#if THIMBLE_GELU_TANH
    case kActivationGeluTanh:
      return body([](auto x) { return exact_gelu_tanh(x); });
#endif
#if THIMBLE_GELU
    case kActivationGelu:
      return body([](auto x) { return exact_gelu(x); });
#endif
#if THIMBLE_RELU
    case kActivationRelu:
      return body([](auto x) { return greater(x, x.of(0.0f)); });
#endif
    default:
      return;
  }
}

}  // namespace thimble

#endif
