// SPDX-License-Identifier: MIT
// Row by row: norms, activations, dropout, the loss, the optimizer's step.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_ROWS_H
#define THIMBLE_TOOLS_TRAIN_LANES_ROWS_H

#include "dropout.h"
#include "format.h"
#include "kernels.h"
#include "lanes.h"

namespace thimble::tools::train {
namespace {

// The sum of f(i, lanes) over n floats; behind the end f's vectors are 0.
template <class F>
inline float sum_over(uint32_t n, F f) {
  Vec total = {};
  for_vectors(n, [&](size_t i, auto lanes) { total += f(i, lanes); });
  return sum(total);
}

// ---- Norms

inline float rms_scale(const float* x, uint32_t n, float eps) {
  const float squares = sum_over(n, [&](size_t i, auto lanes) {
    const Vec v = load(x + i, lanes);
    return v * v;
  });
  return 1.0f / root(squares / static_cast<float>(n) + eps);
}

void rms_norm(float* out, const float* x, const float* weight, uint32_t rows, uint32_t n,
              float eps) {
  for (uint32_t row = 0; row < rows; ++row, x += n, out += n) {
    const float scale = rms_scale(x, n, eps);
    for_vectors(n, [&](size_t i, auto lanes) {
      store(out + i, load(x + i, lanes) * scale * load(weight + i, lanes), lanes);
    });
  }
}

// With s = 1 / sqrt(mean(x^2) + eps) and g = dy weight: dx = s g - x s^3 mean(g x).
void rms_norm_backward(float* dx, float* dweight, const float* dy, const float* x,
                       const float* weight, uint32_t rows, uint32_t n, float eps) {
  for (uint32_t row = 0; row < rows; ++row, x += n, dy += n, dx += n) {
    const float scale = rms_scale(x, n, eps);
    const float dot = sum_over(n, [&](size_t i, auto lanes) {
      return load(dy + i, lanes) * load(weight + i, lanes) * load(x + i, lanes);
    });
    const float back = scale * scale * scale * dot / static_cast<float>(n);
    for_vectors(n, [&](size_t i, auto lanes) {
      const Vec v = load(x + i, lanes), d = load(dy + i, lanes);
      store(dx + i, load(dx + i, lanes) + d * load(weight + i, lanes) * scale - v * back, lanes);
      store(dweight + i, load(dweight + i, lanes) + d * v * scale, lanes);
    });
  }
}

struct Spread {
  float mean, scale;
};
inline Spread spread_of(const float* x, uint32_t n, float eps) {
  const float count = static_cast<float>(n);
  const float mean = sum_over(n, [&](size_t i, auto lanes) { return load(x + i, lanes); }) / count;
  const float squares = sum_over(n, [&](size_t i, auto lanes) {
    const Vec v = load(x + i, lanes) - mean;
    return lanes.n == kWidth ? v * v : choose((VecI)(lane_numbers() < lanes.n), v * v, Vec{});
  });
  return {mean, 1.0f / root(squares / count + eps)};
}

void layer_norm(float* out, const float* x, const float* weight, uint32_t rows, uint32_t n,
                float eps) {
  for (uint32_t row = 0; row < rows; ++row, x += n, out += n) {
    const Spread s = spread_of(x, n, eps);
    for_vectors(n, [&](size_t i, auto lanes) {
      const Vec v = (load(x + i, lanes) - s.mean) * s.scale;
      store(out + i, v * load(weight + i, lanes) + load(weight + n + i, lanes), lanes);
    });
  }
}

// With h = (x - mean) s and g = dy weight: dx = s (g - mean(g) - h mean(g h)).
void layer_norm_backward(float* dx, float* dweight, const float* dy, const float* x,
                         const float* weight, uint32_t rows, uint32_t n, float eps) {
  const float count = static_cast<float>(n);
  for (uint32_t row = 0; row < rows; ++row, x += n, dy += n, dx += n) {
    const Spread s = spread_of(x, n, eps);
    const float mean =
        sum_over(n, [&](size_t i,
                        auto lanes) { return load(dy + i, lanes) * load(weight + i, lanes); }) /
        count;
    const float along = sum_over(n,
                                 [&](size_t i, auto lanes) {
                                   return load(dy + i, lanes) * load(weight + i, lanes) *
                                          ((load(x + i, lanes) - s.mean) * s.scale);
                                 }) /
                        count;
    for_vectors(n, [&](size_t i, auto lanes) {
      const Vec h = (load(x + i, lanes) - s.mean) * s.scale, d = load(dy + i, lanes);
      const Vec g = d * load(weight + i, lanes);
      store(dx + i, load(dx + i, lanes) + (g - mean - h * along) * s.scale, lanes);
      store(dweight + i, load(dweight + i, lanes) + d * h, lanes);
      store(dweight + n + i, load(dweight + n + i, lanes) + d, lanes);
    });
  }
}

// ---- Rotary positions

void rotate(float* x, const float* table, uint32_t n_heads, uint32_t head_dim, float scale,
            bool inverse) {
  const float* cosines = table;
  const float* sines = table + head_dim;  // -sin, sin of each pair
  const float turn = inverse ? -scale : scale;
  for (uint32_t h = 0; h < n_heads; ++h, x += head_dim) {
    for_vectors(head_dim, [&](size_t j, auto lanes) {
      const Vec v = load(x + j, lanes);
      store(
          x + j,
          v * (load(cosines + j, lanes) * scale) + moved_by(v, 1) * (load(sines + j, lanes) * turn),
          lanes);
    });
  }
}

// ---- Activations

// Phi(x), the normal distribution: erfc of Abramowitz, Stegun 7.1.26 is too coarse here, so the
// engine's own polynomial (exact_gelu).
inline Vec normal_below(Vec x) {
  const Vec z = greater(x, -x);
  const Vec t = 1.0f / (z * 0.304f + 1.0f);
  Vec p = t * 0.0368735455f - 0.155363098f;
  p = p * t + 0.192302719f;
  p = p * t - 0.0432385169f;
  p = p * t + 0.123613514f;
  p = p * t + 0.10240344f;
  p = p * t + 0.122173987f;
  p = p * t + 0.121234454f;
  const Vec tail = p * t * exp_of(greater(z * z * -0.5f, all(-87.0f)));
  return choose(x > 0.0f, 1.0f - tail, tail);
}

struct Curve {
  Vec value, slope;
};
template <uint32_t kType>
inline Curve curve_of(Vec x) {
  if constexpr (kType == kActivationSilu) {
    const Vec s = sigmoid(x);
    return {x * s, s * (1.0f + x * (1.0f - s))};
  } else if constexpr (kType == kActivationGeluTanh) {
    const Vec s = sigmoid(x * (x * x * 0.0713548163f + 1.59576912f));
    return {x * s, s + x * s * (1.0f - s) * (x * x * 0.2140644489f + 1.59576912f)};
  } else if constexpr (kType == kActivationGelu) {
    const Vec below = normal_below(x);
    return {x * below, below + x * 0.398942280f * exp_of(greater(x * x * -0.5f, all(-87.0f)))};
  } else {
    return {greater(x, Vec{}), choose(x > 0.0f, all(1.0f), Vec{})};
  }
}

template <class F>
inline void with_curve(uint32_t type, F f) {
  switch (type) {
    case kActivationSilu:
      return f([](Vec x) { return curve_of<kActivationSilu>(x); });
    case kActivationGeluTanh:
      return f([](Vec x) { return curve_of<kActivationGeluTanh>(x); });
    case kActivationGelu:
      return f([](Vec x) { return curve_of<kActivationGelu>(x); });
    default:
      return f([](Vec x) { return curve_of<kActivationRelu>(x); });
  }
}

void activate(float* out, const float* x, uint32_t rows, uint32_t n, uint32_t type, bool gated) {
  with_curve(type, [&](auto curve) {
    for (uint32_t row = 0; row < rows; ++row, out += n, x += (gated ? 2 : 1) * size_t{n}) {
      for_vectors(n, [&](size_t i, auto lanes) {
        const Vec value = curve(load(x + i, lanes)).value;
        store(out + i, gated ? value * load(x + n + i, lanes) : value, lanes);
      });
    }
  });
}

void activate_backward(float* x, float* dy, uint32_t rows, uint32_t n, uint32_t type, bool gated) {
  with_curve(type, [&](auto curve) {
    for (uint32_t row = 0; row < rows; ++row, dy += n, x += (gated ? 2 : 1) * size_t{n}) {
      for_vectors(n, [&](size_t i, auto lanes) {
        const Curve c = curve(load(x + i, lanes));
        const Vec d = load(dy + i, lanes);
        if (gated) {
          const Vec up = load(x + n + i, lanes);
          store(x + i, d * up * c.slope, lanes);
          store(x + n + i, d * c.value, lanes);
          store(dy + i, c.value * up, lanes);
        } else {
          store(x + i, d * c.slope, lanes);
          store(dy + i, c.value, lanes);
        }
      });
    }
  });
}

// ---- Dropout

template <class F>
inline void each_dropped(size_t n, float dropout, uint64_t seed, F f) {
  const uint32_t limit = dropout_limit(dropout);
  const Vec scale = all(dropout_scale(dropout));
  for_vectors(n, [&](size_t i, auto lanes) {
    const VecI kept =
        (VecI)((random_bits(lane_numbers() + element_number(seed, i)) >> 16) >= limit);
    f(i, choose(kept, scale, Vec{}), lanes);
  });
}

void add(float* x, const float* y, size_t n) {
  for_vectors(n, [&](size_t i, auto lanes) {
    store(x + i, load(x + i, lanes) + load(y + i, lanes), lanes);
  });
}

void add_dropout(float* out, const float* x, const float* y, size_t n, float dropout,
                 uint64_t seed) {
  if (!(dropout > 0.0f)) {
    return for_vectors(n, [&](size_t i, auto lanes) {
      store(out + i, load(x + i, lanes) + load(y + i, lanes), lanes);
    });
  }
  each_dropped(n, dropout, seed, [&](size_t i, Vec factor, auto lanes) {
    store(out + i, load(x + i, lanes) + load(y + i, lanes) * factor, lanes);
  });
}

void dropout_backward(float* out, const float* dy, size_t n, float dropout, uint64_t seed) {
  each_dropped(n, dropout, seed, [&](size_t i, Vec factor, auto lanes) {
    store(out + i, load(dy + i, lanes) * factor, lanes);
  });
}

// ---- Loss

// f(begin, count): sums of vectors are taken in double, since a vocabulary is long.
template <class F>
inline void each_thousand(uint32_t n, F f) {
  for (uint32_t begin = 0; begin < n; begin += 1024) f(begin, n - begin < 1024 ? n - begin : 1024);
}

// A row becomes e^(x - largest).
struct Odds {
  float largest;
  double sum;
};
inline Odds odds_of(float* row, uint32_t n) {
  Vec most = all(row[0]);
  for_vectors(n, [&](size_t i, auto lanes) {
    const Vec v = load(row + i, lanes);
    most = lanes.n == kWidth ? greater(most, v)
                             : choose((VecI)(lane_numbers() < lanes.n), greater(most, v), most);
  });
  Odds odds = {largest(most), 0};
  each_thousand(n, [&](uint32_t begin, uint32_t count) {
    odds.sum += static_cast<double>(sum_over(count, [&](size_t i, auto lanes) {
      Vec e = exp_of(load(row + begin + i, lanes) - odds.largest);
      if (lanes.n != kWidth) e = choose((VecI)(lane_numbers() < lanes.n), e, Vec{});
      store(row + begin + i, e, lanes);
      return e;
    }));
  });
  return odds;
}

inline float share_of(float scale, const Odds& odds) {
  return static_cast<float>(static_cast<double>(scale) / odds.sum);
}

double cross_entropy(float* logits, size_t ld, const int32_t* targets, uint32_t rows, uint32_t n,
                     float scale) {
  double total = 0;
  for (uint32_t row = 0; row < rows; ++row, logits += ld) {
    const int32_t target = targets[row];
    if (target < 0) {
      for (uint32_t i = 0; i < n; ++i) logits[i] = 0.0f;
      continue;
    }
    const float chosen = logits[target];
    const Odds odds = odds_of(logits, n);
    total +=
        __builtin_log(odds.sum) + static_cast<double>(odds.largest) - static_cast<double>(chosen);
    const float factor = share_of(scale, odds);
    for_vectors(n, [&](size_t i, auto lanes) {
      store(logits + i, load(logits + i, lanes) * factor, lanes);
    });
    logits[target] -= scale;
  }
  return total;
}

double cross_entropy_with(float* logits, float* expected, size_t ld, const int32_t* targets,
                          uint32_t rows, uint32_t n, float scale) {
  double total = 0;
  for (uint32_t row = 0; row < rows; ++row, logits += ld, expected += ld) {
    if (targets[row] < 0) {
      for (uint32_t i = 0; i < n; ++i) logits[i] = 0.0f;
      continue;
    }
    const Odds wanted = odds_of(expected, n);
    double mean = 0;
    each_thousand(n, [&](uint32_t begin, uint32_t count) {
      mean += static_cast<double>(sum_over(count, [&](size_t i, auto lanes) {
        return load(expected + begin + i, lanes) * load(logits + begin + i, lanes);
      }));
    });
    const Odds odds = odds_of(logits, n);
    total += __builtin_log(odds.sum) + static_cast<double>(odds.largest) - mean / wanted.sum;
    const float factor = share_of(scale, odds), less = share_of(scale, wanted);
    for_vectors(n, [&](size_t i, auto lanes) {
      store(logits + i, load(logits + i, lanes) * factor - load(expected + i, lanes) * less, lanes);
    });
  }
  return total;
}

// ---- Sums

void add_rows(float* x, size_t ld, const float* bias, uint32_t rows, uint32_t n) {
  for (uint32_t row = 0; row < rows; ++row) add(x + row * ld, bias, n);
}

void sum_rows(float* total, const float* x, size_t ld, uint32_t rows, uint32_t n) {
  for (uint32_t row = 0; row < rows; ++row) add(total, x + row * ld, n);
}

// AdamW (Loshchilov, Hutter 2019).
void adam(float* w, float* m, float* v, const float* g, size_t n, const AdamStep& s) {
  for_vectors(n, [&](size_t i, auto lanes) {
    const Vec d = load(g + i, lanes) * s.gradient_scale;
    const Vec first = load(m + i, lanes) * s.beta1 + d * (1.0f - s.beta1);
    const Vec second = load(v + i, lanes) * s.beta2 + d * d * (1.0f - s.beta2);
    store(m + i, first, lanes);
    store(v + i, second, lanes);
    Vec size = second * s.correction2;
    for (uint32_t lane = 0; lane < kWidth; ++lane) size[lane] = root(size[lane]);
    const Vec before = load(w + i, lanes);
    store(w + i, before - (first * s.correction1 / (size + s.epsilon) + before * s.decay) * s.rate,
          lanes);
  });
}

// ---- What quantization does

inline float bf16_above(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0xffffu) >> 16 << 16;
  memcpy(&x, &bits, sizeof x);
  return x;
}

void round_int8(float* x, size_t ld, uint32_t rows, uint32_t n, uint32_t group, bool bf16_scale) {
  for (uint32_t row = 0; row < rows; ++row, x += ld) {
    for (uint32_t begin = 0; begin < n; begin += group) {
      const uint32_t count = n - begin < group ? n - begin : group;
      float* values = x + begin;
      Vec most = {};
      for_vectors(count, [&](size_t i, auto lanes) {
        const Vec v = load(values + i, lanes);
        most = greater(most, greater(v, -v));
      });
      const float max = largest(most);
      if (max < 1e-30f) {
        for (uint32_t i = 0; i < count; ++i) values[i] = 0.0f;
        continue;
      }
      const float step = bf16_scale ? bf16_above(max / 127.0f) : max / 127.0f;
      const float inverse = bf16_scale ? 1.0f / step : 127.0f / max;
      for_vectors(count, [&](size_t i, auto lanes) {
        const VecI whole = round_to_int(load(values + i, lanes) * inverse);
        store(values + i, __builtin_convertvector(whole, Vec) * step, lanes);
      });
    }
  }
}

}  // namespace
}  // namespace thimble::tools::train

#endif
