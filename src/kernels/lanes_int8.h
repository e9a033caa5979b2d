// SPDX-License-Identifier: MIT
// Products of int8 and 4-bit matrices over 16 lanes, a part of lanes.h, which says what F and Dot
// are. Dots of a group are exact in any order; the groups' chain is the definition's.
#ifndef THIMBLE_SRC_KERNELS_LANES_INT8_H
#define THIMBLE_SRC_KERNELS_LANES_INT8_H

#include "lanes_f32.h"

namespace thimble {

// 64 bytes of a tile's weights, as Dot wants them: four columns of int8, or eight of 4 bits.
template <class Dot>
struct Q8Columns {
  static constexpr WeightType kType = kWeightQ8;
  static constexpr uint32_t kFours = 1;
  typename Dot::Bytes four[1];
  void load(const int8_t* w) { four[0] = Dot::load(w); }
};
template <class Dot>
struct Q4Columns {
  static constexpr WeightType kType = kWeightQ4;
  static constexpr uint32_t kFours = 2;
  typename Dot::Bytes four[2];
  void load(const int8_t* w) { Dot::load_q4(w, four); }
};

constexpr uint32_t kColumnBytes = 4 * kLanes;  // of one Columns

// x86 fetches ahead within a page of 4 KiB only, so that four streams from memory wait at each
// border: a matrix of so many bytes, which no first or second cache keeps beside the others, is
// asked for so far ahead. Sapphire Rapids decodes with 110M parameters a fifth faster so, and with
// a model that the second cache holds 5 % slower.
#if defined(__x86_64__)
constexpr size_t kFromMemory = 256 << 10;
#else
constexpr size_t kFromMemory = SIZE_MAX;
#endif
constexpr uint32_t kAskedAhead = 2048;

// Columns that a turn of a loop takes: as many as Dot wants unrolled, but no fewer than `least`.
template <class Dot>
constexpr uint32_t turn_of(uint32_t least) {
  return Dot::kUnrolled < least ? least : Dot::kUnrolled;
}

// One row of x times kTiles tiles, `step` tiles apart.
template <class F, class Dot, class Columns, uint32_t kTiles, bool kAsks = false>
static inline void row_q8(float* out, const int8_t* w, const uint16_t* scales, const Matrix& m,
                          const QuantizedRows& x, size_t step) {
  using I = typename Dot::I;
  constexpr uint32_t kColumns = 4 * Columns::kFours;
  const uint32_t cols = m.padded_cols, group = m.group, groups = m.n_groups;
  const size_t tile_bytes = step * (cols / kColumns) * kColumnBytes;
  const size_t tile_scales = step * groups * kLanes;
  const int8_t* values = x.values;
  F acc[kTiles];
  THIMBLE_UNROLL
  for (uint32_t t = 0; t < kTiles; ++t) acc[t] = F::of(0.0f);
  for (uint32_t g = 0; g < groups; ++g) {
    I dot[kTiles];
    const I start = I::of(-Dot::kOffset * x.sums[g]);
    THIMBLE_UNROLL
    for (uint32_t t = 0; t < kTiles; ++t) dot[t] = start;
    const auto columns = [&](uint32_t at) {  // kColumns of them
      Columns weights[kTiles];
      THIMBLE_UNROLL
      for (uint32_t t = 0; t < kTiles; ++t) {
        const int8_t* from = w + t * tile_bytes + at / kColumns * kColumnBytes;
        weights[t].load(from);
        if (kAsks) __builtin_prefetch(from + kAskedAhead, 0, 3);
      }
      THIMBLE_UNROLL
      for (uint32_t k = 0; k < Columns::kFours; ++k) {
        const typename Dot::Four four = Dot::broadcast(values + at + 4 * k);
        THIMBLE_UNROLL
        for (uint32_t t = 0; t < kTiles; ++t) {
          dot[t] = Dot::step(dot[t], Dot::weights(weights[t].four[k]), four);
        }
      }
    };
    uint32_t left = group;
    constexpr uint32_t kTurn = turn_of<Dot>(kColumns);
    for (; left >= kTurn; left -= kTurn) {
      THIMBLE_UNROLL
      for (uint32_t c = 0; c < kTurn; c += kColumns) columns(c);
      w += kTurn / kColumns * kColumnBytes;
      values += kTurn;
    }
    for (; left > 0; left -= kColumns) {  // a whole row as the group may end in less
      columns(0);
      w += kColumnBytes;
      values += kColumns;
    }
    THIMBLE_UNROLL
    for (uint32_t t = 0; t < kTiles; ++t) {
      const F scale = mul(F::load_bf16(scales + t * tile_scales), F::of(x.scales[g]));
      acc[t] = fma(to_float(dot[t]), scale, acc[t]);
    }
    scales += kLanes;
  }
  THIMBLE_UNROLL
  for (uint32_t t = 0; t < kTiles; ++t) acc[t].store(out + t * step * kLanes);
}

// The first cache keeps a panel, and the rows of x that meet it: of 32 KiB, so many columns.
constexpr uint32_t kPanelColumns = 512;
constexpr uint32_t kPartColumns = 384;  // of the only group: more rows meet it at once
constexpr uint32_t kPanelRows = 64;     // of x, at a time
constexpr uint32_t kPanelGroups = kPanelColumns / 32;

// A run of columns of kTiles tiles: whole groups, or a part of the only one. Weights as Dot::step
// takes them, tiles side by side, whatever they are in the model.
template <uint32_t kTiles>
struct Panel {
  uint32_t first_group, n_groups;
  uint32_t first_column, group;  // columns of a group, or of the part
  alignas(64) int8_t weights[kPanelColumns / 4 * kTiles * kColumnBytes];
  alignas(64) float scales[kPanelGroups * kTiles * kLanes];

  template <class F>
  void fill_scales(const uint16_t* bf16, const Matrix& m) {
    const size_t tile_scales = size_t{m.n_groups} * kLanes;
    bf16 += size_t{first_group} * kLanes;
    for (uint32_t g = 0; g < n_groups; ++g) {
      for (uint32_t t = 0; t < kTiles; ++t) {
        F::load_bf16(bf16 + t * tile_scales + g * kLanes).store(scales + (g * kTiles + t) * kLanes);
      }
    }
  }
};

// Where a block's weights come from, four columns of a tile at once: a panel,
template <class Dot, uint32_t kTiles>
struct Filled {
  const int8_t* panel;

  void skip(uint32_t columns) { panel += columns / 4 * kTiles * kColumnBytes; }
  typename Dot::Weights load(uint32_t t, uint32_t column) const {
    return Dot::weights(Dot::load_bytes(panel + (column / 4 * kTiles + t) * kColumnBytes));
  }
};

// or the model, into a panel: the first block fills it beside its products, which hide the stores.
template <class Dot, class Columns, uint32_t kTiles>
struct Filling {
  static constexpr uint32_t kFours = Columns::kFours;
  int8_t* panel;
  const int8_t* model;
  size_t tile_bytes;

  void skip(uint32_t columns) {
    panel += columns / 4 * kTiles * kColumnBytes;
    model += columns / (4 * kFours) * kColumnBytes;
  }
  typename Dot::Weights load(uint32_t t, uint32_t column) const {
    int8_t* to = panel + (column / 4 * kTiles + t) * kColumnBytes;
    if (column / 4 % kFours > 0) return Dot::weights(Dot::load_bytes(to));  // came with the last
    Columns columns;
    columns.load(model + t * tile_bytes + column / (4 * kFours) * kColumnBytes);
    THIMBLE_UNROLL
    for (uint32_t k = 0; k < kFours; ++k) {
      Dot::store(to + k * kTiles * kColumnBytes, columns.four[k]);
    }
    return Dot::weights(columns.four[0]);
  }
};

// The products of four columns, from `column` of the source on, with kRows rows of x.
template <class Dot, class Source, uint32_t kTiles, uint32_t kRows>
static inline void add_columns(typename Dot::I (&dot)[kTiles][kRows], const Source& source,
                               uint32_t column, const int8_t* values, size_t stride) {
  typename Dot::Weights weights[kTiles];
  THIMBLE_UNROLL
  for (uint32_t t = 0; t < kTiles; ++t) weights[t] = source.load(t, column);
  THIMBLE_UNROLL
  for (uint32_t i = 0; i < kRows; ++i) {
    const typename Dot::Four four = Dot::broadcast(values + i * stride + column);
    THIMBLE_UNROLL
    for (uint32_t t = 0; t < kTiles; ++t) dot[t][i] = Dot::step(dot[t][i], weights[t], four);
  }
}

// The same of as many columns as q4's bytes hold; returns the source behind them.
constexpr uint32_t kPacked = 8;
template <class Dot, class Source, uint32_t kTiles, uint32_t kRows>
static inline Source add_packed(typename Dot::I (&dot)[kTiles][kRows], Source source,
                                const int8_t* values, size_t stride) {
  add_columns<Dot>(dot, source, 0, values, stride);
  add_columns<Dot>(dot, source, 4, values, stride);
  source.skip(kPacked);
  return source;
}

template <uint32_t kTiles, uint32_t kRows, class Body>
static inline void over_block(Body body) {
  THIMBLE_UNROLL
  for (uint32_t i = 0; i < kRows; ++i) {
    THIMBLE_UNROLL
    for (uint32_t t = 0; t < kTiles; ++t) body(t, i);
  }
}

// Rows of results, of all tiles of a panel side by side.
struct Results {
  float* first;
  size_t stride;
  float* at(uint32_t row, uint32_t tile) const { return first + row * stride + tile * kLanes; }
  Results from(uint32_t row) const { return {at(row, 0), stride}; }
};

// What the blocks of a panel have in common. `so_far` has the chains, or the dots, of the panels
// before it.
template <uint32_t kTiles>
struct Blocks {
  Results so_far, out;
  const Panel<kTiles>* panel;
  const QuantizedRows* x;
  Ahead* ahead;
  bool is_last;
};

// The chains of kTiles tiles and kRows rows, on by a panel's groups. A function of its own: g++ 12
// has registers for all chains and dots where nothing else wants them: on Sapphire Rapids twice as
// many dots with their chains in memory lost a quarter, to the stores.
template <class F, class Dot, class Source, uint32_t kTiles, uint32_t kRows>
[[gnu::noinline]] static void add_groups(const Results& so_far, const Results& out, Source source,
                                         const Panel<kTiles>& panel, const int8_t* values,
                                         size_t stride, const int32_t* sums, const float* x_scales,
                                         size_t x_groups, Ahead* ahead) {
  F chains[kTiles][kRows];
  if (panel.first_group == 0) {
    over_block<kTiles, kRows>([&](uint32_t t, uint32_t i) { chains[t][i] = F::of(0.0f); });
  } else {
    over_block<kTiles, kRows>(
        [&](uint32_t t, uint32_t i) { chains[t][i] = F::load(so_far.at(i, t)); });
  }
  const float* scales = panel.scales;
  const uint32_t n_groups = panel.n_groups, group = panel.group;
  for (uint32_t g = 0; g < n_groups; ++g) {
    ahead->step<F, kTiles>();
    typename Dot::I dot[kTiles][kRows];
    over_block<kTiles, kRows>([&](uint32_t t, uint32_t i) {
      dot[t][i] = Dot::I::of(-Dot::kOffset * sums[i * x_groups + g]);
    });
    for (uint32_t left = group; left > 0; left -= kPacked) {
      source = add_packed<Dot>(dot, source, values, stride);
      values += kPacked;
    }
    over_block<kTiles, kRows>([&](uint32_t t, uint32_t i) {
      const F scale = mul(F::load(scales + t * kLanes), F::of(x_scales[i * x_groups + g]));
      chains[t][i] = fma(to_float(dot[t][i]), scale, chains[t][i]);
    });
    scales += kTiles * kLanes;
  }
  over_block<kTiles, kRows>([&](uint32_t t, uint32_t i) { chains[t][i].store(out.at(i, t)); });
}

// A panel of whole groups times kRows rows of x, from row `first` on.
template <class F, class Dot, class Source, uint32_t kTiles>
struct GroupBlocks {
  Blocks<kTiles> all;
  Source weights;

  template <uint32_t kRows>
  void rows(uint32_t first) const {
    const QuantizedRows* x = all.x;
    const Panel<kTiles>* panel = all.panel;
    const size_t stride = x->padded_cols;
    const size_t at = size_t{first} * x->n_groups + panel->first_group;
    add_groups<F, Dot, Source, kTiles, kRows>(
        all.so_far.from(first), all.out.from(first), weights, *panel,
        x->values + first * stride + panel->first_column, stride, x->sums + at, x->scales + at,
        x->n_groups, all.ahead);
  }
};

// The dots of kTiles tiles and kRows rows, on by a part of the only group; with its scales at the
// end. A function of its own, too.
template <class F, class Dot, class Source, uint32_t kTiles, uint32_t kRows>
[[gnu::noinline]] static void add_part(const Results& so_far, const Results& out, Source source,
                                       const Panel<kTiles>& panel, const int8_t* values,
                                       size_t stride, const int32_t* sums, const float* x_scales,
                                       bool is_last, Ahead* ahead) {
  typename Dot::I dot[kTiles][kRows];
  over_block<kTiles, kRows>([&](uint32_t t, uint32_t i) {
    dot[t][i] = panel.first_column == 0 ? Dot::I::of(-Dot::kOffset * sums[i])
                                        : Dot::I::load(so_far.at(i, t));
  });
  const uint32_t columns = panel.group;
  uint32_t left = columns;
  constexpr uint32_t kTurn = turn_of<Dot>(kPacked);
  static_assert(kTurn % kPacked == 0 && 32 % kTurn == 0,
                "a turn is whole steps, a few of 32 columns");
  for (; left >= kTurn; left -= kTurn) {
    if ((columns - left) % 32 == 0) ahead->step<F, kTiles>();
    THIMBLE_UNROLL
    for (uint32_t c = 0; c < kTurn; c += kPacked, values += kPacked) {
      source = add_packed<Dot>(dot, source, values, stride);
    }
  }
  for (; left >= kPacked; left -= kPacked, values += kPacked) {
    source = add_packed<Dot>(dot, source, values, stride);
  }
  if (left > 0) add_columns<Dot>(dot, source, 0, values, stride);  // of int8, half a step
  if (!is_last) {
    over_block<kTiles, kRows>([&](uint32_t t, uint32_t i) { dot[t][i].store(out.at(i, t)); });
    return;
  }
  over_block<kTiles, kRows>([&](uint32_t t, uint32_t i) {
    const F scale = mul(F::load(panel.scales + t * kLanes), F::of(x_scales[i]));
    fma(to_float(dot[t][i]), scale, F::of(0.0f)).store(out.at(i, t));
  });
}

// A panel that is a part of the only group.
template <class F, class Dot, class Source, uint32_t kTiles>
struct PartBlocks {
  Blocks<kTiles> all;
  Source weights;

  template <uint32_t kRows>
  void rows(uint32_t first) const {
    const QuantizedRows* x = all.x;
    const size_t stride = x->padded_cols;
    add_part<F, Dot, Source, kTiles, kRows>(
        all.so_far.from(first), all.out.from(first), weights, *all.panel,
        x->values + first * stride + all.panel->first_column, stride, x->sums + first,
        x->scales + first, all.is_last, all.ahead);
  }
};

// Rows [begin, end) of x.
template <class F, class Dot, class Source, uint32_t kTiles>
static inline void multiply_rows(const Blocks<kTiles>& all, const Source& weights, uint32_t begin,
                                 uint32_t end) {
  if (all.x->n_groups == 1) {
    over_rows<Dot::kBlockRows>(begin, end, PartBlocks<F, Dot, Source, kTiles>{all, weights});
  } else {
    over_rows<Dot::kGroupRows>(begin, end, GroupBlocks<F, Dot, Source, kTiles>{all, weights});
  }
}

// kTiles tiles, behind which `left` are, times n rows, at most kPanelRows.
template <class F, class Dot, class Columns, uint32_t kTiles>
static void tiles_q8(Results out, const int8_t* w, const uint16_t* scales, const Matrix& m,
                     const QuantizedRows& x, uint32_t n, uint32_t left) {
  constexpr uint32_t kColumns = 4 * Columns::kFours;
  const uint32_t cols = m.padded_cols;
  const size_t tile_bytes = size_t{cols / kColumns} * kColumnBytes;
  Panel<kTiles> panel;
  // Rather than `out`, whose rows may be in each other's way.
  alignas(64) float between[kPanelRows][kTiles * kLanes];
  const Results so_far = {between[0], kTiles * kLanes};
  const bool is_one_group = m.n_groups == 1;
  const uint32_t fit =
      kPanelColumns / m.group < kPanelGroups ? kPanelColumns / m.group : kPanelGroups;
  const uint32_t run = is_one_group ? kPartColumns : fit * m.group;
  const auto bytes = [](uint32_t columns) { return size_t{columns / kColumns} * kColumnBytes; };
  const uint32_t block_rows = is_one_group ? Dot::kBlockRows : Dot::kGroupRows;
  for (uint32_t c = 0; c < cols; c += run) {
    const uint32_t here = cols - c < run ? cols - c : run;
    const bool is_last = c + here == cols;
    const Results to = is_last ? out : so_far;
    panel.first_column = c;
    panel.first_group = c / m.group;
    panel.n_groups = is_one_group ? 1 : here / m.group;
    panel.group = is_one_group ? here : m.group;
    panel.template fill_scales<F>(scales, m);
    const uint32_t steps = (n / block_rows + 1) * (is_one_group ? here / 32 + 1 : panel.n_groups);
    Ahead ahead = ahead_of<kTiles>(w, tile_bytes, bytes(c + here), bytes(run), left, steps);
    const Filling<Dot, Columns, kTiles> filling = {panel.weights, w + bytes(c), tile_bytes};
    const Filled<Dot, kTiles> filled = {panel.weights};
    uint32_t in_first = block_rows;
    while (in_first > n) in_first /= 2;
    const Blocks<kTiles> blocks = {so_far, to, &panel, &x, &ahead, is_last};
    multiply_rows<F, Dot>(blocks, filling, 0, in_first);
    multiply_rows<F, Dot>(blocks, filled, in_first, n);
  }
}

template <class F, class Dot, class Columns>
static void matmul_columns(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                           uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  const size_t tile_bytes = weight_bytes(Columns::kType, size_t{w.padded_cols} * kLanes);
  const size_t tile_scales = size_t{w.n_groups} * kLanes;
  const int8_t* data = static_cast<const int8_t*>(w.data) + tile_begin * tile_bytes;
  const uint16_t* scales = w.scales + tile_begin * tile_scales;
  out += size_t{tile_begin} * kLanes;
  uint32_t tiles = tile_end - tile_begin;
  const auto skip = [&](uint32_t count) {
    data += count * tile_bytes;
    scales += count * tile_scales;
    out += size_t{count} * kLanes;
    tiles -= count;
  };
  constexpr uint32_t kTogether = Dot::kStreams;
  if (n == 1) {  // as in matmul_f32_lanes
    const uint32_t each = tiles / kTogether;
    constexpr bool kAsks = kFromMemory < SIZE_MAX;
    const auto multiply = kAsks && tiles * tile_bytes >= kFromMemory
                              ? row_q8<F, Dot, Columns, kTogether, kAsks>
                              : row_q8<F, Dot, Columns, kTogether>;
    for (uint32_t i = 0; i < each; ++i) {
      multiply(out, data, scales, w, x, each);
      skip(1);
    }
    skip((kTogether - 1) * each);
    if (tiles >= 2) {
      row_q8<F, Dot, Columns, 2>(out, data, scales, w, x, 1);
      skip(2);
    }
    if (tiles > 0) row_q8<F, Dot, Columns, 1>(out, data, scales, w, x, 1);
    return;
  }
  // So few rows, such as the heads that attention gives for one token, repay no panel.
  constexpr uint32_t kAlone = 4;
  while (n < kAlone && tiles > 0) {
    const uint32_t here = tiles >= kTogether ? kTogether : tiles >= 2 ? 2 : 1;
    const auto multiply = here == kTogether ? row_q8<F, Dot, Columns, kTogether>
                          : here == 2       ? row_q8<F, Dot, Columns, 2>
                                            : row_q8<F, Dot, Columns, 1>;
    for (uint32_t i = 0; i < n; ++i) {
      multiply(out + i * out_stride, data, scales, w, skip_rows(x, i), 1);
    }
    skip(here);
  }
  constexpr uint32_t kTiles = Dot::kBlockTiles, kTwo = kTiles < 2 ? kTiles : 2;
  while (tiles > 0) {
    const uint32_t here = tiles >= kTiles ? kTiles : tiles >= kTwo ? kTwo : 1;
    const auto multiply = here == kTiles ? tiles_q8<F, Dot, Columns, kTiles>
                          : here == kTwo ? tiles_q8<F, Dot, Columns, kTwo>
                                         : tiles_q8<F, Dot, Columns, 1>;
    for (uint32_t i = 0; i < n; i += kPanelRows) {
      const uint32_t rows = n - i < kPanelRows ? n - i : kPanelRows;
      multiply({out + i * out_stride, out_stride}, data, scales, w, skip_rows(x, i), rows,
               tiles - here);
    }
    skip(here);
  }
}

template <class F, class Dot>
static void matmul_q8_lanes(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                            uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  const auto matmul =
      w.row_tile == kLanes ? matmul_columns<F, Dot, Q8Columns<Dot>> : matmul_q8_reference;
  matmul(out, out_stride, w, tile_begin, tile_end, x, n);
}

template <class F, class Dot>
static void matmul_q4_lanes(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                            uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  const auto matmul =
      w.row_tile == kLanes ? matmul_columns<F, Dot, Q4Columns<Dot>> : matmul_q4_reference;
  matmul(out, out_stride, w, tile_begin, tile_end, x, n);
}

// q4_level of all bits, for shuffles; plus 128 where weights are unsigned.
struct Q4Levels {
  alignas(16) int8_t of[16];
};
static constexpr Q4Levels q4_levels(int32_t offset) {
  Q4Levels levels = {};
  for (uint32_t i = 0; i < 16; ++i) levels.of[i] = static_cast<int8_t>(q4_level(i) + offset);
  return levels;
}
static constexpr Q4Levels kQ4Levels = q4_levels(0);
static constexpr Q4Levels kQ4Unsigned = q4_levels(128);

}  // namespace thimble

#endif
