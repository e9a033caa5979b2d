// SPDX-License-Identifier: MIT
// Attention in four steps, as plain functions on plain float matrices, for use without a model:
//   1. simple_self_attention      scores are dot products of the inputs themselves
//   2. self_attention             trained matrices make queries, keys and values of the inputs
//   3. causal_attention           no position looks at later ones; dropout on the weights
//   4. multi_head_attention       several of these side by side, with an output projection
// All four are one function that switches steps on, and its core is the one that the engine's own
// attention runs (src/attention.h). tests/attention_walk.cpp walks them in 50 lines,
// `thimble trace --demo` prints every matrix on the way.
//
// What holds for every call:
//  - Matrices are row-major. T is the number of positions (tokens), d the width of an input.
//  - Nothing is allocated. Results and scratch are the caller's memory; scratch_bytes() with the
//    same leading arguments tells how much scratch is needed, exactly. It may hold anything before
//    and nothing of interest after. It must be aligned as a float is; THIMBLE_ALIGNMENT is fastest.
//  - Memory that is written may not overlap anything else that is handed in.
//  - A call that fails changes no result. Errors, where a call names no others:
//      THIMBLE_ERROR_ARGUMENT         null pointer, zero size, shapes that do not fit together,
//                                     heads that do not divide, p outside [0, 1), infinite scale
//      THIMBLE_ERROR_CONFIG           kernels of that name are not to be had on this machine
//      THIMBLE_ERROR_MISALIGNED       scratch is not aligned as a float
//      THIMBLE_ERROR_ARENA_TOO_SMALL  scratch is smaller than scratch_bytes() tells
//  - Results are the same bits on every chip, kernel and compiler, as the engine's are.
//
// Questions that readers of this path ask. The tests named are in tests/test_attention.cpp.
//
// Why does a dot product measure relatedness, and what do trained matrices change about that?
//   x . y = |x| |y| cos(angle): among vectors of one length it is largest for those that point the
//   same way. Of bare inputs it can only say how alike two tokens are, in both directions the same.
//   With W_query and W_key, x_i W_q . x_j W_k asks whether what i looks for is what j offers: it
//   need not be alike, nor mutual. Tests: "dot products are largest between vectors that point the
//   same way", "trained matrices make relatedness a matter of asking and offering".
// Why is inputs @ inputs.T all the dot products at once?
//   Row i, column j of a product is row i of the left matrix times column j of the right one, and
//   column j of the transpose is row j of the inputs. Test: "the matrix of scores is every dot
//   product, bit for bit".
// Why mask with minus infinity and not with 0, and is the first normalisation needed?
//   exp(-inf) is 0, but exp(0) is 1: a score of 0 is a score like another and would get weight. No:
//   a softmax over the scores that are left gives what normalising twice gives, since the first
//   denominator cancels; and the longer way loses the row when a masked score outweighs the others
//   by e^87 or more. Tests: "a masked score of 0 would still weigh", "minus infinity before one
//   softmax equals the longer way", "the longer way loses what a later token outweighs".
// Are the keys and values those of the KV cache?
//   Yes. A position's key and value depend on its own input alone, so they are computed once and
//   kept; only the query is new at each step. Test: "with a cache, one position at a time equals
//   the whole sequence at once, bit for bit".
// Do several heads look at windows of different length?
//   No. Every head of a position looks at the same positions, 0 up to its own; heads differ in the
//   subspace in which they compare. Test: "all heads look at the same positions".
// What does the matrix form save over separate heads?
//   No arithmetic: it is the same products, bit for bit. Test: "separate heads equal one set of
//   matrices split into heads". It saves narrow matrices, which leave vector lanes empty: with 12
//   heads of width 8 and T = 256 it took 0.77 ms where separate heads took 1.09 (AVX-512, one
//   thread). From width 16 on, where a head fills the lanes, both took the same within 6 %.
//     build/test_thimble -tc="measure: separate heads*" --no-skip -s
#ifndef THIMBLE_ATTENTION_HPP
#define THIMBLE_ATTENTION_HPP

#include <stddef.h>
#include <stdint.h>

#include "thimble/thimble.h"

namespace thimble {
namespace attention {

// A matrix in the caller's memory, row by row without gaps. Rows and columns: 1 to 2^24.
struct MatrixView {
  const float* data;  // (rows, cols)
  uint32_t rows, cols;
};

// The two ways in which people store the matrix of y = x W + b.
enum class Storage {
  kInputByOutput,  // (n_in, n_out): a bare parameter matrix, y = x @ W
  kOutputByInput,  // (n_out, n_in): the weight of a linear layer, y = x @ W.T
};

// y = x W + b
struct Linear {
  MatrixView weight;
  Storage storage;
  const float* bias;  // (n_out), or NULL for none
};

// What turns inputs into queries, keys and values. Queries and keys are compared, so they have the
// same width, and so have values here.
struct Projections {
  Linear query, key, value;
};

// Memory to work in.
struct Scratch {
  void* data;
  size_t bytes;
};

// What is wanted of a call; NULL where something is not, but not everywhere. n_queries is the
// number of positions that are asked for, n_keys the number of positions there are.
struct Results {
  float* scores;   // (n_heads, n_queries, n_keys): scaled; minus infinity where masked
  float* weights;  // (n_heads, n_queries, n_keys): what multiplies the values, after dropout
  float* context;  // (n_queries, width of the result)
};

// Dropout on attention weights (Srivastava et al. 2014): each weight is dropped with probability p,
// the others are multiplied by 1 / (1 - p), so that the mean stays. It is what training uses; at
// inference, many seeds give a repeatable Monte-Carlo estimate of how sure the model is (Gal,
// Ghahramani 2016). Whether a weight is dropped depends on seed, head, query and key position
// alone, not on how a sequence is cut into calls.
struct Dropout {
  float p;                   // in [0, 1), in steps of 2^-24; 0: off
  uint64_t seed;             // same seed, same weights dropped, on every chip
  const uint8_t* keep_mask;  // shaped as the weights, 0: dropped; NULL: drawn from the seed
};

// Zero-initialise it for the defaults.
struct Options {
  uint32_t first_query;  // the first row of the inputs whose attention is wanted
  uint32_t n_queries;    // and how many; 0: all from there on
  float scale;           // of the scores; 0: what the form has, 1 or 1 / sqrt(head width)
  Dropout dropout;       // off unless asked for
  const char* isa;       // kernels by name, as thimble_isa_at() gives them; NULL or "": the best
};

// ---- 1 ------------------------------------------------------------------------------------

// Self-attention without trainable weights. x: (T, d).
//   scores = x x^T, weights = softmax of each row, context = weights x: (T, d)
thimble_status simple_self_attention(const MatrixView& x, const Options& options,
                                     const Results& results, const Scratch& scratch);

// Scratch in bytes. Here as below only shapes count, pointers to data may be NULL, and 0 means that
// the call would refuse the shapes.
size_t scratch_bytes(const MatrixView& x);

// ---- 2 ------------------------------------------------------------------------------------

// Scaled dot-product self-attention with trained matrices. x: (T, d), all projections n_in = d.
//   q = x W_q, k = x W_k, v = x W_v
//   scores = q k^T / sqrt(n_out), weights = softmax of each row, context = weights v: (T, n_out)
// Without the scaling, scores of wide keys grow and softmax tends to a single 1 (Vaswani et al.
// 2017).
thimble_status self_attention(const MatrixView& x, const Projections& w, const Options& options,
                              const Results& results, const Scratch& scratch);

// Scratch of self_attention, causal_attention and causal_attention_renormalised.
size_t scratch_bytes(const MatrixView& x, const Projections& w);

// A projection on its own: y = x W + b, y: (x.rows, n_out). So queries, keys and values can be had.
thimble_status project(const MatrixView& x, const Linear& w, float* y, const char* isa,
                       const Scratch& scratch);

// Scratch of project.
size_t scratch_bytes(const MatrixView& x, const Linear& w);

// ---- 3 ------------------------------------------------------------------------------------

// self_attention in which position i looks at positions 0 to i only: later scores are minus
// infinity before the one softmax, so their weights are 0. Therefore they are not computed.
thimble_status causal_attention(const MatrixView& x, const Projections& w, const Options& options,
                                const Results& results, const Scratch& scratch);

// The longer way to the same weights: softmax over all scores, zeros above the diagonal, each row
// divided by what is left of its sum. Computes twice as much, and where a later token outweighs
// all others by e^87 or more, nothing is left to divide: the row is zeros. Its scores are those
// before the mask.
thimble_status causal_attention_renormalised(const MatrixView& x, const Projections& w,
                                             const Options& options, const Results& results,
                                             const Scratch& scratch);

// Dropout on any matrix of weights (rows, cols), in place: rows are query positions from 0 on, of
// head 0.
thimble_status apply_dropout(float* weights, uint32_t rows, uint32_t cols, const Dropout& dropout);

// ---- 4 ------------------------------------------------------------------------------------

enum class Mask {
  kCausal,  // position i looks at positions 0 to i
  kNone,    // every position looks at all
};

// One set of matrices, whose outputs are split into heads. Query head h lies in columns
// [h, h + 1) * head_dim of the queries and looks through KV head h / (n_heads / n_kv_heads).
// Fewer KV heads than heads is grouped-query attention (Ainslie et al. 2023), one is multi-query
// (Shazeer 2019): a smaller cache, the same code.
struct MultiHead {
  Projections w;        // query: d to n_heads * head_dim; key, value: d to n_kv_heads * head_dim
  uint32_t n_heads;     // divides the query's width, which gives head_dim
  uint32_t n_kv_heads;  // divides n_heads; 0: n_heads
  Linear output;        // mixes the heads: n_in = n_heads * head_dim; weight.data NULL: none
  Mask mask;            // causal unless asked otherwise
};

// Multi-head attention. x: (T, d). Context: (T, output.n_out), or (T, n_heads * head_dim) without
// an output projection.
thimble_status multi_head_attention(const MatrixView& x, const MultiHead& layer,
                                    const Options& options, const Results& results,
                                    const Scratch& scratch);

size_t scratch_bytes(const MatrixView& x, const MultiHead& layer);

// The same as separate heads, one causal_attention each, whose contexts are put side by side:
// (T, n_heads * n_out). All heads have the same shapes.
thimble_status multi_head_attention_wrapper(const MatrixView& x, const Projections* heads,
                                            uint32_t n_heads, const Options& options,
                                            const Results& results, const Scratch& scratch);

// Scratch of multi_head_attention_wrapper: that of one head, whatever their number.
size_t scratch_bytes(const MatrixView& x, const Projections* heads, uint32_t n_heads);

// Keys and values of the positions so far, so that a new position computes its own only. The memory
// is the caller's; fields are for reading.
struct KeyValueCache {
  float* keys;    // (n_kv_heads, tiles of 16 positions, head_dim, 16)
  float* values;  // (n_kv_heads, n_ctx rounded up to 16, head_dim)
  uint32_t n_ctx;
  uint32_t n_kv_heads;
  uint32_t head_dim;
  uint32_t n;  // positions in it; may be set back to forget the last ones
};

// Bytes for a cache of n_ctx positions, exactly. 0: cache_init would refuse.
size_t cache_bytes(const MultiHead& layer, uint32_t n_ctx);

// An empty cache for `layer` in the caller's memory. Errors: as above; memory is as scratch is.
thimble_status cache_init(KeyValueCache* cache, const MultiHead& layer, uint32_t n_ctx,
                          const Scratch& memory);

// multi_head_attention of positions cache->n on, whose inputs are x: (n_new, d), to all positions
// up to each. Appends the new ones to the cache. n_keys is cache->n + n_new; queries count from
// the first new one. However a sequence is cut into calls, its contexts are the same bits.
// Errors: also THIMBLE_ERROR_CONTEXT_FULL (the new ones do not fit), and ARGUMENT for a layer that
// is not causal or not that of the cache.
thimble_status multi_head_attention_cached(const MatrixView& x, const MultiHead& layer,
                                           KeyValueCache* cache, const Options& options,
                                           const Results& results, const Scratch& scratch);

// n_keys grows, and scratch with it: cache.n_ctx as n_keys gives enough for every step.
size_t scratch_bytes(const MatrixView& x, const MultiHead& layer, uint32_t n_keys);

}  // namespace attention
}  // namespace thimble

#endif
