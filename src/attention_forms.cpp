// SPDX-License-Identifier: MIT
#include "attention_forms.h"

#include <string.h>

#include "arena.h"
#include "attention.h"
#include "exact_math.h"
#include "sampler.h"

namespace thimble {
namespace attention {
namespace {

constexpr uint32_t kMaxSide = 1u << 24;
constexpr uint32_t kBlockRows = 32;  // of a projection that are in work at once

// ---- Steps -------------------------------------------------------------------------------------

struct ProjectBuffers {
  float* tile;   // (n_in, kLanes): the weights of 16 outputs
  float* block;  // (kBlockRows, kLanes): 16 outputs of some rows
};

ProjectBuffers take_project_buffers(Arena* arena, uint64_t widest_input) {
  ProjectBuffers b;
  b.tile = arena->take<float>(widest_input * kLanes);
  b.block = arena->take<float>(kBlockRows * kLanes);
  return b;
}

uint32_t inputs_of(const Linear& w) {
  return w.storage == Storage::kInputByOutput ? w.weight.rows : w.weight.cols;
}

uint32_t outputs_of(const Linear& w) {
  return w.storage == Storage::kInputByOutput ? w.weight.cols : w.weight.rows;
}

// The weights of outputs [first, first + 16) as the kernels want them, zeros
// behind the last one.
void pack_tile(float* tile, const Linear& w, uint32_t first, uint32_t count) {
  const uint32_t n_in = inputs_of(w), n_out = outputs_of(w);
  const bool by_output = w.storage == Storage::kOutputByInput;
  const size_t in_step = by_output ? 1 : n_out, out_step = by_output ? n_in : 1;
  const float* from = w.weight.data + first * out_step;
  for (uint32_t c = 0; c < n_in; ++c, from += in_step, tile += kLanes) {
    for (uint32_t r = 0; r < kLanes; ++r) tile[r] = r < count ? from[r * out_step] : 0.0f;
  }
}

// y[i] = (x[i] W + b) * scale, for n rows. x: (n, n_in), y: (n, n_out).
void multiply(const Kernels& kernels, const ProjectBuffers& b, const Linear& w, const float* x,
              uint32_t n, float scale, float* y) {
  const uint32_t n_in = inputs_of(w), n_out = outputs_of(w);
  const Matrix tile = {b.tile, nullptr, kLanes, n_in, n_in, kLanes, 0, 0, kWeightF32};
  for (uint32_t first = 0; first < n_out; first += kLanes) {
    const uint32_t count = n_out - first < kLanes ? n_out - first : kLanes;
    pack_tile(b.tile, w, first, count);
    for (uint32_t begin = 0; begin < n; begin += kBlockRows) {
      const uint32_t rows = n - begin < kBlockRows ? n - begin : kBlockRows;
      kernels.matmul_f32(b.block, kLanes, tile, 0, 1, x + size_t{begin} * n_in, n_in, rows);
      for (uint32_t i = 0; i < rows; ++i) {
        const float* from = b.block + size_t{i} * kLanes;
        float* to = y + size_t{begin + i} * n_out + first;
        for (uint32_t r = 0; r < count; ++r) {
          const float biased = w.bias ? from[r] + w.bias[first + r] : from[r];
          to[r] = biased * scale;
        }
      }
    }
  }
}

// What is left of a row of weights once positions after `position` are zero,
// normalised again.
void mask_after(float* row, uint32_t position, uint32_t n) {
  float sum = 0.0f;
  for (uint32_t t = 0; t <= position; ++t) sum = sum + row[t];
  for (uint32_t t = 0; t < n; ++t) {
    if (t > position) {
      row[t] = 0.0f;
    } else if (sum != 0.0f) {
      row[t] = row[t] / sum;
    }
  }
}

bool is_on(const Dropout& d) {
  return d.p > 0.0f || d.keep_mask;
}

// keep: this row of the mask, or NULL.
void drop(float* row, uint32_t n, const Dropout& d, const uint8_t* keep, uint32_t head,
          uint32_t position) {
  const uint32_t threshold = static_cast<uint32_t>(d.p * 16777216.0f);  // exact: p * 2^24
  const float kept = 1.0f / (1.0f - d.p);
  const uint64_t row_seed = random_bits(d.seed, (uint64_t{head} << 32) | position);
  for (uint32_t t = 0; t < n; ++t) {
    const bool keeps = keep ? keep[t] != 0 : (random_bits(row_seed, t) >> 40) >= threshold;
    row[t] = keeps ? row[t] * kept : 0.0f;
  }
}

// ---- The one function --------------------------------------------------------------------------

struct Buffers {
  ProjectBuffers project;
  float* keys;    // (T, n_kv_heads * head_dim), where there are projections
  float* rows;    // (T, n_heads * head_dim): values, then queries, then contexts
  float* scores;  // (n_heads, stride)
  size_t stride;
  KvCache cache;
};

Buffers take_buffers(Arena* arena, const Form& form, uint32_t n_keys) {
  Buffers b = {};
  const uint64_t n = form.x.rows, q_width = uint64_t{form.n_heads} * form.head_dim;
  const uint64_t kv_width = uint64_t{form.n_kv_heads} * form.head_dim;
  if (form.w) {
    const bool mixes = form.output && q_width > form.x.cols;
    b.project = take_project_buffers(arena, mixes ? q_width : form.x.cols);
    b.keys = arena->take<float>(n * kv_width);
  }
  b.rows = arena->take<float>(n * q_width);
  b.stride = static_cast<size_t>(round_up(n_keys, kLanes));
  b.scores = arena->take<float>(form.n_heads * uint64_t{b.stride});
  if (form.cache) {
    b.cache = *form.cache;
  } else {
    const uint64_t floats = kv_width * round_up(n, kLanes);
    b.cache.keys = arena->take<float>(floats);
    b.cache.values = arena->take<float>(floats);
    b.cache.n_ctx = static_cast<uint32_t>(round_up(form.x.rows, kLanes));
    b.cache.n_kv_heads = form.n_kv_heads;
    b.cache.head_dim = form.head_dim;
    b.cache.tile = kLanes;
  }
  return b;
}

// Keys and values of all inputs into the cache.
void remember(const Kernels& kernels, const Form& form, const Buffers& b) {
  const size_t kv_width = size_t{form.n_kv_heads} * form.head_dim;
  const float *keys = form.x.data, *values = form.x.data;
  if (form.w) {
    multiply(kernels, b.project, form.w->key, form.x.data, form.x.rows, 1.0f, b.keys);
    multiply(kernels, b.project, form.w->value, form.x.data, form.x.rows, 1.0f, b.rows);
    keys = b.keys, values = b.rows;
  }
  if (!form.cache) {  // lanes behind the last position are computed, never read
    kv_cache_clear(b.cache, 1);
  }
  for (uint32_t t = 0; t < form.x.rows; ++t) {
    kv_cache_store(kernels, b.cache, 0, form.past + t, keys + t * kv_width, values + t * kv_width);
  }
}

// Scaling the query once is scaling each of its scores.
void make_queries(const Kernels& kernels, const Form& form, const Buffers& b, uint32_t first,
                  uint32_t count, float scale) {
  const float* x = form.x.data + size_t{first} * form.x.cols;
  if (form.w) {
    multiply(kernels, b.project, form.w->query, x, count, scale, b.rows);
  } else {
    const size_t floats = size_t{count} * form.x.cols;
    for (size_t i = 0; i < floats; ++i) b.rows[i] = x[i] * scale;
  }
}

// The first n columns of a row of n_keys, and `masked` behind them.
void keep_row(float* to, const float* row, uint32_t n, uint32_t n_keys, float masked) {
  memcpy(to, row, n * sizeof(float));
  for (uint32_t t = n; t < n_keys; ++t) to[t] = masked;
}

}  // namespace

uint64_t form_scratch_bytes(const Form& form, uint32_t n_keys) {
  Arena arena(nullptr);
  take_buffers(&arena, form, n_keys);
  return arena.used();
}

void run_form(const Kernels& kernels, const Form& form, const Options& options,
              const Results& results, void* scratch) {
  const uint32_t n_keys = form.past + form.x.rows, first = options.first_query;
  const uint32_t count = options.n_queries ? options.n_queries : form.x.rows - first;
  const size_t q_width = size_t{form.n_heads} * form.head_dim;
  const bool causal = form.masking == Masking::kBefore;
  Arena arena(scratch);
  const Buffers b = take_buffers(&arena, form, n_keys);
  remember(kernels, form, b);
  make_queries(kernels, form, b, first, count, options.scale != 0.0f ? options.scale : form.scale);

  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t position = form.past + first + i;
    const uint32_t n = causal ? position + 1 : n_keys;
    float* q = b.rows + i * q_width;
    float* context = results.context && !form.output ? results.context + i * size_t{form.width} : q;
    const Look look = {
        b.cache, 0,        0,        form.n_kv_heads, form.n_heads / form.n_kv_heads, 0, n, q,
        {},      b.scores, b.stride, context};
    const auto place = [&](uint32_t head) { return (size_t{head} * count + i) * n_keys; };
    attend_heads(
        kernels, look,
        [&] {
          if (!results.scores) return;
          for (uint32_t h = 0; h < form.n_heads; ++h) {
            keep_row(results.scores + place(h), b.scores + h * b.stride, n, n_keys,
                     -__builtin_inff());
          }
        },
        [&] {
          for (uint32_t h = 0; h < form.n_heads; ++h) {
            float* row = b.scores + h * b.stride;
            if (form.masking == Masking::kAfter) mask_after(row, position, n);
            if (is_on(options.dropout)) {
              const uint8_t* keep = options.dropout.keep_mask;
              drop(row, n, options.dropout, keep ? keep + place(h) : nullptr, form.first_head + h,
                   position);
            }
            if (results.weights) keep_row(results.weights + place(h), row, n, n_keys, 0.0f);
          }
        });
  }
  if (form.output && results.context) {
    multiply(kernels, b.project, *form.output, b.rows, count, 1.0f, results.context);
  }
}

namespace {

// ---- Checks ------------------------------------------------------------------------------------

bool has_shape(const MatrixView& m) {
  return m.rows > 0 && m.rows <= kMaxSide && m.cols > 0 && m.cols <= kMaxSide;
}

bool has_shape(const Linear& w, uint32_t n_in, uint32_t n_out) {
  return (w.storage == Storage::kInputByOutput || w.storage == Storage::kOutputByInput) &&
         has_shape(w.weight) && inputs_of(w) == n_in && outputs_of(w) == n_out;
}

// A form of n_heads heads on x; false where the shapes do not fit together.
bool shape_form(Form* form, const MatrixView& x, const Projections& w, uint32_t n_heads,
                uint32_t n_kv_heads, Masking masking) {
  if (!has_shape(x) || n_heads == 0 || n_kv_heads == 0 || n_heads % n_kv_heads != 0) return false;
  const uint32_t width = outputs_of(w.query), head_dim = width / n_heads;
  if (width % n_heads != 0 || !has_shape(w.query, x.cols, width) ||
      !has_shape(w.key, x.cols, n_kv_heads * head_dim) ||
      !has_shape(w.value, x.cols, n_kv_heads * head_dim)) {
    return false;
  }
  *form = {};
  form->x = x;
  form->w = &w;
  form->n_heads = n_heads;
  form->n_kv_heads = n_kv_heads;
  form->head_dim = head_dim;
  form->scale = 1.0f / exact_sqrt(static_cast<float>(head_dim));
  form->masking = masking;
  form->width = width;
  return true;
}

bool shape_simple(Form* form, const MatrixView& x) {
  if (!has_shape(x)) return false;
  *form = {};
  form->x = x;
  form->n_heads = form->n_kv_heads = 1;
  form->head_dim = form->width = x.cols;
  form->scale = 1.0f;
  return true;
}

bool shape_multi_head(Form* form, const MatrixView& x, const MultiHead& m) {
  if (m.mask != Mask::kCausal && m.mask != Mask::kNone) return false;
  const uint32_t n_kv_heads = m.n_kv_heads ? m.n_kv_heads : m.n_heads;
  const Masking masking = m.mask == Mask::kCausal ? Masking::kBefore : Masking::kNone;
  if (!shape_form(form, x, m.w, m.n_heads, n_kv_heads, masking)) return false;
  const MatrixView& o = m.output.weight;
  if (o.data || o.rows || o.cols || m.output.bias) {
    if (!has_shape(m.output, form->width, outputs_of(m.output))) return false;
    form->output = &m.output;
    form->width = outputs_of(m.output);
  }
  return true;
}

// All heads have the first one's shape.
bool shape_wrapper(Form* form, const MatrixView& x, const Projections* heads, uint32_t n_heads) {
  if (!heads || n_heads == 0 || n_heads > kMaxSide) return false;
  for (uint32_t h = n_heads; h-- > 0;) {
    if (outputs_of(heads[h].query) != outputs_of(heads[0].query) ||
        !shape_form(form, x, heads[h], 1, 1, Masking::kBefore)) {
      return false;
    }
  }
  if (uint64_t{form->width} * n_heads > kMaxSide) return false;
  form->width *= n_heads;
  return true;
}

size_t as_size(uint64_t bytes) {
  return bytes <= SIZE_MAX ? static_cast<size_t>(bytes) : 0;
}

bool has_data(const Projections& w) {
  return w.query.weight.data && w.key.weight.data && w.value.weight.data;
}

bool is_valid(const Dropout& d) {
  return d.p >= 0.0f && d.p < 1.0f;  // not for a NaN
}

bool is_finite(float x) {
  return (bits_of(x) & 0x7f800000u) != 0x7f800000u;
}

thimble_status check_scratch(const Scratch& scratch, uint64_t bytes) {
  if (!scratch.data) return THIMBLE_ERROR_ARGUMENT;
  if (reinterpret_cast<uintptr_t>(scratch.data) % alignof(float)) return THIMBLE_ERROR_MISALIGNED;
  return scratch.bytes < bytes ? THIMBLE_ERROR_ARENA_TOO_SMALL : THIMBLE_OK;
}

thimble_status check(const Form& form, const Options& o, const Results& results,
                     const Kernels* kernels, const Scratch& scratch) {
  const bool has_all = form.x.data && (!form.w || has_data(*form.w)) &&
                       (!form.output || form.output->weight.data) &&
                       (results.scores || results.weights || results.context);
  const bool in_range = o.first_query < form.x.rows && o.n_queries <= form.x.rows - o.first_query &&
                        is_finite(o.scale) && is_valid(o.dropout);
  if (!has_all || !in_range) return THIMBLE_ERROR_ARGUMENT;
  if (!kernels) return THIMBLE_ERROR_CONFIG;
  return check_scratch(scratch, form_scratch_bytes(form, form.past + form.x.rows));
}

thimble_status check_and_run(const Form& form, const Options& options, const Results& results,
                             const Scratch& scratch) {
  const Kernels* kernels = kernels_by_name(options.isa);
  const thimble_status status = check(form, options, results, kernels, scratch);
  if (status == THIMBLE_OK) run_form(*kernels, form, options, results, scratch.data);
  return status;
}

thimble_status one_head(const MatrixView& x, const Projections& w, Masking masking,
                        const Options& options, const Results& results, const Scratch& scratch) {
  Form form;
  if (!shape_form(&form, x, w, 1, 1, masking)) return THIMBLE_ERROR_ARGUMENT;
  return check_and_run(form, options, results, scratch);
}

}  // namespace

// ---- The forms ---------------------------------------------------------------------------------

thimble_status simple_self_attention(const MatrixView& x, const Options& options,
                                     const Results& results, const Scratch& scratch) {
  Form form;
  if (!shape_simple(&form, x)) return THIMBLE_ERROR_ARGUMENT;
  return check_and_run(form, options, results, scratch);
}

thimble_status self_attention(const MatrixView& x, const Projections& w, const Options& options,
                              const Results& results, const Scratch& scratch) {
  return one_head(x, w, Masking::kNone, options, results, scratch);
}

thimble_status causal_attention(const MatrixView& x, const Projections& w, const Options& options,
                                const Results& results, const Scratch& scratch) {
  return one_head(x, w, Masking::kBefore, options, results, scratch);
}

thimble_status causal_attention_renormalised(const MatrixView& x, const Projections& w,
                                             const Options& options, const Results& results,
                                             const Scratch& scratch) {
  return one_head(x, w, Masking::kAfter, options, results, scratch);
}

thimble_status multi_head_attention(const MatrixView& x, const MultiHead& layer,
                                    const Options& options, const Results& results,
                                    const Scratch& scratch) {
  Form form;
  if (!shape_multi_head(&form, x, layer)) return THIMBLE_ERROR_ARGUMENT;
  return check_and_run(form, options, results, scratch);
}

thimble_status multi_head_attention_wrapper(const MatrixView& x, const Projections* heads,
                                            uint32_t n_heads, const Options& options,
                                            const Results& results, const Scratch& scratch) {
  Form form;
  if (!shape_wrapper(&form, x, heads, n_heads)) return THIMBLE_ERROR_ARGUMENT;
  const Kernels* kernels = kernels_by_name(options.isa);
  for (uint32_t h = 0; h < n_heads; ++h) {
    form.w = &heads[h];
    const thimble_status status = check(form, options, results, kernels, scratch);
    if (status != THIMBLE_OK) return status;
  }
  const size_t count = options.n_queries ? options.n_queries : x.rows - options.first_query;
  const size_t each = count * x.rows;  // scores of a head
  for (uint32_t h = 0; h < n_heads; ++h) {
    form.w = &heads[h];
    form.first_head = h;
    Options o = options;
    if (o.dropout.keep_mask) o.dropout.keep_mask += h * each;
    const Results r = {results.scores ? results.scores + h * each : nullptr,
                       results.weights ? results.weights + h * each : nullptr,
                       results.context ? results.context + size_t{h} * form.head_dim : nullptr};
    run_form(*kernels, form, o, r, scratch.data);
  }
  return THIMBLE_OK;
}

thimble_status multi_head_attention_cached(const MatrixView& x, const MultiHead& layer,
                                           KeyValueCache* cache, const Options& options,
                                           const Results& results, const Scratch& scratch) {
  Form form;
  if (!cache || !cache->keys || !cache->values || !shape_multi_head(&form, x, layer) ||
      form.masking != Masking::kBefore || cache->n_kv_heads != form.n_kv_heads ||
      cache->head_dim != form.head_dim || cache->n > cache->n_ctx || cache->n_ctx > kMaxSide) {
    return THIMBLE_ERROR_ARGUMENT;
  }
  if (x.rows > cache->n_ctx - cache->n) return THIMBLE_ERROR_CONTEXT_FULL;
  const KvCache kv = {cache->keys,
                      cache->values,
                      nullptr,
                      nullptr,
                      static_cast<uint32_t>(round_up(cache->n_ctx, kLanes)),
                      cache->n_kv_heads,
                      cache->head_dim,
                      kLanes,
                      kWeightF32,
                      nullptr,
                      0,
                      0};
  form.cache = &kv;
  form.past = cache->n;
  const thimble_status status = check_and_run(form, options, results, scratch);
  if (status == THIMBLE_OK) cache->n += x.rows;
  return status;
}

thimble_status project(const MatrixView& x, const Linear& w, float* y, const char* isa,
                       const Scratch& scratch) {
  const size_t bytes = scratch_bytes(x, w);
  if (bytes == 0 || !x.data || !w.weight.data || !y) return THIMBLE_ERROR_ARGUMENT;
  const Kernels* kernels = kernels_by_name(isa);
  if (!kernels) return THIMBLE_ERROR_CONFIG;
  const thimble_status status = check_scratch(scratch, bytes);
  if (status != THIMBLE_OK) return status;
  Arena arena(scratch.data);
  multiply(*kernels, take_project_buffers(&arena, x.cols), w, x.data, x.rows, 1.0f, y);
  return THIMBLE_OK;
}

thimble_status apply_dropout(float* weights, uint32_t rows, uint32_t cols, const Dropout& dropout) {
  if (!has_shape(MatrixView{weights, rows, cols}) || !weights || !is_valid(dropout)) {
    return THIMBLE_ERROR_ARGUMENT;
  }
  if (!is_on(dropout)) return THIMBLE_OK;
  for (uint32_t i = 0; i < rows; ++i) {
    const size_t at = size_t{i} * cols;
    drop(weights + at, cols, dropout, dropout.keep_mask ? dropout.keep_mask + at : nullptr, 0, i);
  }
  return THIMBLE_OK;
}

// ---- Sizes -------------------------------------------------------------------------------------

size_t scratch_bytes(const MatrixView& x) {
  Form form;
  return shape_simple(&form, x) ? as_size(form_scratch_bytes(form, x.rows)) : 0;
}

size_t scratch_bytes(const MatrixView& x, const Projections& w) {
  Form form;
  if (!shape_form(&form, x, w, 1, 1, Masking::kNone)) return 0;
  return as_size(form_scratch_bytes(form, x.rows));
}

size_t scratch_bytes(const MatrixView& x, const Linear& w) {
  if (!has_shape(x) || !has_shape(w, x.cols, outputs_of(w))) return 0;
  Arena arena(nullptr);
  take_project_buffers(&arena, x.cols);
  return as_size(arena.used());
}

size_t scratch_bytes(const MatrixView& x, const MultiHead& layer) {
  Form form;
  return shape_multi_head(&form, x, layer) ? as_size(form_scratch_bytes(form, x.rows)) : 0;
}

size_t scratch_bytes(const MatrixView& x, const Projections* heads, uint32_t n_heads) {
  Form form;
  if (!shape_wrapper(&form, x, heads, n_heads)) return 0;
  return as_size(form_scratch_bytes(form, x.rows));
}

size_t scratch_bytes(const MatrixView& x, const MultiHead& layer, uint32_t n_keys) {
  Form form;
  if (!shape_multi_head(&form, x, layer) || n_keys < x.rows || n_keys > kMaxSide) return 0;
  const KvCache elsewhere = {};
  form.cache = &elsewhere;
  return as_size(form_scratch_bytes(form, n_keys));
}

// ---- The cache ---------------------------------------------------------------------------------

namespace {

struct CacheShape {
  uint32_t n_kv_heads, head_dim;
  uint64_t floats;  // of the keys, and of the values
};

bool shape_cache(CacheShape* shape, const MultiHead& layer, uint32_t n_ctx) {
  Form form;
  const MatrixView one_input = {nullptr, 1, inputs_of(layer.w.query)};
  if (n_ctx == 0 || n_ctx > kMaxSide || !shape_multi_head(&form, one_input, layer)) return false;
  shape->n_kv_heads = form.n_kv_heads;
  shape->head_dim = form.head_dim;
  shape->floats = uint64_t{form.n_kv_heads} * form.head_dim * round_up(n_ctx, kLanes);
  return true;
}

}  // namespace

size_t cache_bytes(const MultiHead& layer, uint32_t n_ctx) {
  CacheShape shape;
  return shape_cache(&shape, layer, n_ctx) ? as_size(2 * shape.floats * sizeof(float)) : 0;
}

thimble_status cache_init(KeyValueCache* cache, const MultiHead& layer, uint32_t n_ctx,
                          const Scratch& memory) {
  CacheShape shape;
  if (!cache || !shape_cache(&shape, layer, n_ctx)) return THIMBLE_ERROR_ARGUMENT;
  const thimble_status status = check_scratch(memory, 2 * shape.floats * sizeof(float));
  if (status != THIMBLE_OK) return status;
  // Zeros, so that what a step computes behind its last position does not
  // depend on old contents.
  memset(memory.data, 0, static_cast<size_t>(2 * shape.floats * sizeof(float)));
  float* keys = static_cast<float*>(memory.data);
  *cache = {keys, keys + shape.floats, n_ctx, shape.n_kv_heads, shape.head_dim, 0};
  return THIMBLE_OK;
}

}  // namespace attention
}  // namespace thimble
