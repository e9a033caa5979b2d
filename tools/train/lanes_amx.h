// SPDX-License-Identifier: MIT
// Products of the whole numbers of lanes_whole.h by AMX (Intel, Architecture Instruction Set
// Extensions: Advanced Matrix Extensions), which multiplies bytes, 1024 of them a cycle. A number
// is 256 high + low, high with a sign and low without; a sum of products is
//   65536 sum(high high) + 256 sum(high low + low high) + sum(low low)
// modulo 2^32, which it does not leave. Whole numbers are added in any order: steps and floats
// being those of lanes_pairs.h, results have its bits.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_AMX_H
#define THIMBLE_TOOLS_TRAIN_LANES_AMX_H

#include <immintrin.h>

#include <utility>

#include "kernels.h"
#include "lanes.h"
#include "lanes_whole.h"

namespace thimble::tools::train {
namespace {

// ---- Tiles

// A tile has 16 rows of 64 bytes. A left one is 16 rows of a matrix, a right one 16 columns, of
// kTileDepth elements each; a result 16 by 16 sums. Row l of a right one has, of each column, the
// four elements that a left one has in bytes 4 l to 4 l + 3 of each row.
constexpr uint32_t kSide = 16, kTileDepth = 64, kTileBytes = kSide * kTileDepth;
constexpr uint32_t kMostTiles = 2 * kPairs / kTileDepth;  // of a block's depth
static_assert(kSide == kWidth && kMostTiles * kTileDepth == 2 * kPairs, "tiles fill blocks");

inline uint32_t tiles_of(uint32_t depth) {
  return ceil_div(depth, kTileDepth);
}

// Tiles are there as long as this is.
class UseOfTiles {
 public:
  UseOfTiles() {
    struct alignas(64) Config {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    static constexpr Config kAllOfThem{};
    _tile_loadconfig(&kAllOfThem);
  }
  ~UseOfTiles() { _tile_release(); }
  UseOfTiles(const UseOfTiles&) = delete;
  UseOfTiles& operator=(const UseOfTiles&) = delete;
};

// A compiler need not know that loading a tile reads memory: what was written is there now.
inline void finish_writing() {
  __asm__ volatile("" ::: "memory");
}

// High and low bytes of the elements of two vectors of pairs, four of them a lane. Which four does
// not matter as long as both sides have the same ones.
struct Bytes {
  VecI high, low;
};
inline Bytes bytes_of(VecI x, VecI y) {
  const VecU a = (VecU)x, b = (VecU)y;
  constexpr uint32_t kLow = 0x00ff00ffu;
  return {(VecI)((a >> 8 & kLow) | (b & ~kLow)), (VecI)((a & kLow) | (b << 8 & ~kLow))};
}

// Two tiles of 16 rows or columns: their high bytes, then their low ones.
struct ByteTiles {
  int32_t high[kSide][kWidth], low[kSide][kWidth];
};
constexpr size_t kTilesFloats = sizeof(ByteTiles) / sizeof(float);

// ---- The right matrix

// A block of a panel: steps (kPanel), then 16 columns after 16 columns, of each the depth's tiles.
inline size_t byte_block_floats(uint32_t depth) {
  return kPanel + kPanel / kSide * tiles_of(depth) * kTilesFloats;
}
inline size_t byte_panel_floats(uint32_t k) {
  size_t floats = 0;
  for_pair_blocks(k,
                  [&](uint32_t, uint32_t, uint32_t depth) { floats += byte_block_floats(depth); });
  return floats;
}
size_t packed_bytes_floats(uint32_t k, uint32_t n) {
  return byte_panel_floats(k) * ceil_div(n, kPanel);
}

// A block of pack_block's: steps, then pairs, with room for kPairs of them.
struct alignas(64) PairBlock {
  float steps[kPanel];
  int32_t pairs[kPairs][kPanel];
  float* data() { return reinterpret_cast<float*>(this); }
};
// As tiles. Zeros follow the depth, so that whatever the other side has there does not count.
inline void split_block(float* out, PairBlock* block, uint32_t depth) {
  const uint32_t n_tiles = tiles_of(depth);
  for (uint32_t p = ceil_div(depth, 2); p < n_tiles * kTileDepth / 2; ++p) {
    memset(block->pairs[p], 0, sizeof block->pairs[p]);
  }
  memcpy(out, block->steps, sizeof block->steps);
  ByteTiles* tiles = reinterpret_cast<ByteTiles*>(out + kPanel);
  for (uint32_t column = 0; column < kPanel; column += kSide) {
    for (uint32_t t = 0; t < n_tiles; ++t, ++tiles) {
      const auto* pairs = block->pairs + t * kTileDepth / 2;
      for (uint32_t l = 0; l < kSide; ++l) {
        const Bytes bytes =
            bytes_of(load_pairs(pairs[l] + column), load_pairs(pairs[kSide + l] + column));
        store_pairs(tiles->high[l], bytes.high);
        store_pairs(tiles->low[l], bytes.low);
      }
    }
  }
}

void pack_bytes(float* out, const float* b, size_t k_stride, size_t n_stride, uint32_t k,
                uint32_t n) {
  PairBlock block;
  for (uint32_t column = 0; column < n; column += kPanel) {
    const uint32_t columns = n - column < kPanel ? n - column : kPanel;
    for_pair_blocks(k, [&](uint32_t, uint32_t first, uint32_t depth) {
      pack_block(block.data(), b + first * k_stride + column * n_stride, k_stride, n_stride, depth,
                 columns);
      split_block(out, &block, depth);
      out += byte_block_floats(depth);
    });
  }
}

// ---- The left matrix

// 16 rows of it.
struct LeftTiles {
  ByteTiles bytes[kMostTiles];
  float steps[kSide];
};

// The lower, or upper, `half` lanes of each run of 2 half lanes of a, and those of b behind them.
template <uint32_t half, uint32_t upper, size_t... i>
__attribute__((always_inline)) inline Vec halves(Vec a, Vec b, std::index_sequence<i...>) {
  return __builtin_shufflevector(
      a, b, static_cast<int>((i & half ? kWidth + i - half : i) + upper * half)...);
}

// Vectors [0, 2 count) become `count`, each the halves of two of them put together by f.
template <uint32_t count, class F>
__attribute__((always_inline)) inline void halve(Vec* v, F f) {
  constexpr auto lanes = std::make_index_sequence<kWidth>();
#pragma GCC unroll 8
  for (uint32_t i = 0; i < count; ++i) {
    v[i] =
        f(halves<count, 0>(v[i], v[count + i], lanes), halves<count, 1>(v[i], v[count + i], lanes));
  }
}

// What lanes.h's sum (f adds) or largest give of each of 16 vectors, to the bit: of two vectors the
// halves are put together, so that the next halving is one for both. v is written over.
template <class F>
inline Vec reduce_all(Vec (&v)[kSide], F f) {
  halve<8>(v, f);
  halve<4>(v, f);
  halve<2>(v, f);
  halve<1>(v, f);
  return v[0];
}

// 32 floats as pairs of neighbours.
inline VecI neighbours(const float* x, Vec inverse) {
  typedef uint16_t Halves __attribute__((vector_size(4 * kWidth)));
  const VecU first = whole_of(load(x), inverse), second = whole_of(load(x + kWidth), inverse);
  return (VecI)__builtin_shufflevector((Halves)first, (Halves)second, 0, 2, 4, 6, 8, 10, 12, 14, 16,
                                       18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44, 46,
                                       48, 50, 52, 54, 56, 58, 60, 62);
}

// Rows of floats, `rows` of them, as round_row does; what the others have goes nowhere.
inline void round_rows(LeftTiles* out, const float* x, size_t ld, uint32_t rows, uint32_t depth) {
  Vec squares[kSide] = {}, most[kSide] = {};
  for (uint32_t r = 0; r < rows; ++r) measure(x + r * ld, depth, &squares[r], &most[r]);
  const Steps steps = steps_of(reduce_all(squares, [](Vec a, Vec b) { return a + b; }),
                               reduce_all(most, [](Vec a, Vec b) { return greater(a, b); }));
  store(out->steps, steps.step);
  for (uint32_t r = 0; r < rows; ++r) {
    const float* row = x + r * ld;
    const Vec inverse = all(steps.inverse[r]);
    for (uint32_t t = 0, first = 0; first < depth; ++t, first += kTileDepth) {
      Bytes bytes;
      if (first + kTileDepth <= depth) {
        bytes = bytes_of(neighbours(row + first, inverse), neighbours(row + first + 32, inverse));
      } else {
        alignas(64) float rest[kTileDepth] = {};
        for_vectors(depth - first,
                    [&](size_t i, auto lanes) { store(rest + i, load(row + first + i, lanes)); });
        bytes = bytes_of(neighbours(rest, inverse), neighbours(rest + 32, inverse));
      }
      store_pairs(out->bytes[t].high[r], bytes.high);
      store_pairs(out->bytes[t].low[r], bytes.low);
    }
  }
}

// 16 vectors become their own columns.
inline void transpose(VecI (&v)[kWidth]) {
  VecI w[kWidth];
#pragma GCC unroll 8
  for (uint32_t i = 0; i < kWidth; i += 2) {
    w[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28,
                                   13, 29);
    w[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27,
                                       14, 30, 15, 31);
  }
#pragma GCC unroll 8
  for (uint32_t i = 0; i < kWidth; i += 2) {
    const uint32_t from = i / 4 * 4 + i % 4 / 2;
    v[i] = __builtin_shufflevector(w[from], w[from + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25,
                                   12, 13, 28, 29);
    v[i + 1] = __builtin_shufflevector(w[from], w[from + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26,
                                       27, 14, 15, 30, 31);
  }
  // Quarter q of v[4 i + j] is now elements 4 i to 4 i + 3 of column 4 q + j.
  const auto even_quarters = [](VecI a, VecI b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
  };
  const auto odd_quarters = [](VecI a, VecI b) {
    return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30,
                                   31);
  };
#pragma GCC unroll 4
  for (uint32_t j = 0; j < 4; ++j) {
    const VecI even = even_quarters(v[j], v[4 + j]), odd = odd_quarters(v[j], v[4 + j]);
    const VecI later_even = even_quarters(v[8 + j], v[12 + j]);
    const VecI later_odd = odd_quarters(v[8 + j], v[12 + j]);
    v[j] = even_quarters(even, later_even);
    v[4 + j] = even_quarters(odd, later_odd);
    v[8 + j] = odd_quarters(even, later_even);
    v[12 + j] = odd_quarters(odd, later_odd);
  }
}

// Columns of floats, `columns` of them, become rows.
inline void round_columns_to_rows(LeftTiles* out, const float* x, size_t ld, uint32_t columns,
                                  uint32_t depth) {
  alignas(64) int32_t pairs[kPairs][kWidth];
  if (columns == kWidth) {
    round_columns(pairs[0], kWidth, out->steps, x, ld, depth, Whole{});
  } else {
    round_columns(pairs[0], kWidth, out->steps, x, ld, depth, Part{columns});
  }
  for (uint32_t p = ceil_div(depth, 2); p < tiles_of(depth) * kTileDepth / 2; ++p) {
    store_pairs(pairs[p], VecI{});
  }
  for (uint32_t t = 0; t < tiles_of(depth); ++t) {
    const auto* from = pairs + t * kTileDepth / 2;
    VecI high[kSide], low[kSide];
#pragma GCC unroll 16
    for (uint32_t l = 0; l < kSide; ++l) {
      const Bytes bytes = bytes_of(load_pairs(from[l]), load_pairs(from[kSide + l]));
      high[l] = bytes.high;
      low[l] = bytes.low;
    }
    transpose(high);
#pragma GCC unroll 16
    for (uint32_t r = 0; r < kSide; ++r) store_pairs(out->bytes[t].high[r], high[r]);
    transpose(low);
#pragma GCC unroll 16
    for (uint32_t r = 0; r < kSide; ++r) store_pairs(out->bytes[t].low[r], low[r]);
  }
}

// ---- Products

// Where a tile of the result belongs.
struct TilePlace {
  float* c;
  size_t ldc;
  uint32_t rows, columns;
  bool in_whole_vectors, add;
};

// Computes tiles of the result one after another, and puts each where it belongs while the next one
// is computed, some rows after each instruction that multiplies: one takes 16 cycles.
class TileProducts {
 public:
  TileProducts() = default;
  TileProducts(const TileProducts&) = delete;
  TileProducts& operator=(const TileProducts&) = delete;
  ~TileProducts() { put_last(); }

  // Both sides have n_tiles along the depth.
  __attribute__((always_inline)) inline void multiply(const LeftTiles& left, const ByteTiles* right,
                                                      const float* column_steps, uint32_t n_tiles,
                                                      const TilePlace& place) {
    Sums& sums = sums_[now_];
    const Sums* const last = &sums_[1 - now_];
    float* const to = place_.c;
    const size_t ldc = place_.ldc;
    if (!last_is_plain_) {
      put_last();
      multiply_while(&sums, left.bytes, right, n_tiles, [](uint32_t) {});
    } else if (place_.add) {
      multiply_while(&sums, left.bytes, right, n_tiles,
                     [last, to, ldc](uint32_t r) { put_rows<true>(*last, to, ldc, r, 2); });
    } else {
      multiply_while(&sums, left.bytes, right, n_tiles,
                     [last, to, ldc](uint32_t r) { put_rows<false>(*last, to, ldc, r, 2); });
    }
    memcpy(sums.row_steps, left.steps, sizeof left.steps);
    memcpy(sums.column_steps, column_steps, sizeof sums.column_steps);
    place_ = place;
    last_is_plain_ = place.in_whole_vectors && place.rows == kSide;
    now_ = 1 - now_;
  }

 private:
  // Sums of products of high bytes, of high and low ones, of low ones.
  struct alignas(64) Sums {
    int32_t high[kSide][kWidth], mixed[kSide][kWidth], low[kSide][kWidth];
    float row_steps[kSide], column_steps[kWidth];
  };

  template <class F>
  __attribute__((always_inline)) static inline void multiply_while(Sums* sums,
                                                                   const ByteTiles* left,
                                                                   const ByteTiles* right,
                                                                   uint32_t n_tiles, F put) {
    static_assert(kMostTiles == 2, "eight products, each beside two of sixteen rows");
    const auto multiply_two = [left, right, put](uint32_t t, uint32_t r) {
      constexpr size_t kRow = kTileBytes / kSide;
      finish_writing();
      _tile_loadd(4, left[t].high, kRow);
      _tile_loadd(6, right[t].high, kRow);
      _tile_dpbssd(0, 4, 6);
      put(r);
      finish_writing();
      _tile_loadd(7, right[t].low, kRow);
      _tile_dpbsud(1, 4, 7);
      put(r + 2);
      finish_writing();
      _tile_loadd(5, left[t].low, kRow);
      _tile_dpbuud(2, 5, 7);
      put(r + 4);
      finish_writing();
      _tile_dpbusd(1, 5, 6);
      put(r + 6);
    };
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    multiply_two(0, 0);
    if (n_tiles > 1) {
      multiply_two(1, 8);
    } else {
      for (uint32_t r = 8; r < kSide; r += 2) put(r);
    }
    constexpr size_t kRow = kTileBytes / kSide;
    _tile_stored(0, sums->high, kRow);
    _tile_stored(2, sums->low, kRow);
    _tile_stored(1, sums->mixed, kRow);
  }

  template <bool kAdd>
  __attribute__((always_inline)) static inline void put_rows(const Sums& sums, float* c, size_t ldc,
                                                             uint32_t first, uint32_t rows) {
#pragma GCC unroll 2
    for (uint32_t r = first; r < first + rows; ++r) {
      put_product(c + r * ldc, sum_of(sums, r), scale_of(sums, r), kAdd);
    }
  }
  static VecI sum_of(const Sums& sums, uint32_t r) {
    return (VecI)(((VecU)load_pairs(sums.high[r]) << 16) + ((VecU)load_pairs(sums.mixed[r]) << 8) +
                  (VecU)load_pairs(sums.low[r]));
  }
  static Vec scale_of(const Sums& sums, uint32_t r) {
    return load(sums.column_steps) * all(sums.row_steps[r]);
  }

  void put_last() {
    if (place_.in_whole_vectors) {
      const Sums& sums = sums_[1 - now_];
      place_.add ? put_rows<true>(sums, place_.c, place_.ldc, 0, place_.rows)
                 : put_rows<false>(sums, place_.c, place_.ldc, 0, place_.rows);
    } else {
      put_part();
    }
    place_.rows = 0;
  }
  // As to_whole_vectors does: rounded before it is added.
  void put_part() {
    const Sums& sums = sums_[1 - now_];
    for (uint32_t r = 0; r < place_.rows; ++r) {
      float product[kWidth];
      put_product(product, sum_of(sums, r), scale_of(sums, r), false);
      finish_writing();
      float* to = place_.c + r * place_.ldc;
      for (uint32_t i = 0; i < place_.columns; ++i) {
        to[i] = place_.add ? to[i] + product[i] : product[i];
      }
    }
  }

  Sums sums_[2];
  TilePlace place_ = {};  // of the last one, in sums_[1 - now_]
  bool last_is_plain_ = false;
  uint32_t now_ = 0;
};

// Rows of the left matrix times a block of a panel, of which the result has `columns`.
__attribute__((always_inline)) inline void multiply_bytes(TileProducts* products,
                                                          const LeftTiles* left, uint32_t rows,
                                                          const float* block, uint32_t depth,
                                                          float* c, size_t ldc, uint32_t columns,
                                                          bool add) {
  const uint32_t n_tiles = tiles_of(depth);
  const ByteTiles* right = reinterpret_cast<const ByteTiles*>(block + kPanel);
  for (uint32_t j = 0; j < columns; j += kSide, right += n_tiles) {
    for (uint32_t i = 0; i < rows; i += kSide) {
      products->multiply(left[i / kSide], right, block + j, n_tiles,
                         {c + i * ldc + j, ldc, rows - i < kSide ? rows - i : kSide,
                          columns - j < kSide ? columns - j : kSide, columns % kWidth == 0, add});
    }
  }
}

// Rows of the left matrix that stay in the first cache while all panels pass.
constexpr uint32_t kRowsOfTiles = 64;

void multiply_by_bytes(float* c, size_t ldc, const float* a, size_t lda, const PackedMatrix& b,
                       uint32_t m, bool add, float* scratch) {
  static_assert(kRowsOfTiles / kSide * sizeof(LeftTiles) <= kProductScratch * sizeof(float),
                "rows and their steps fit");
  const UseOfTiles use;
  TileProducts products;
  LeftTiles* left = reinterpret_cast<LeftTiles*>(scratch);
  const size_t panel_floats = byte_panel_floats(b.k);
  for (uint32_t row = 0; row < m; row += kRowsOfTiles) {
    const uint32_t rows = m - row < kRowsOfTiles ? m - row : kRowsOfTiles;
    const float* first_panel = b.data;
    for_pair_blocks(b.k, [&](uint32_t block, uint32_t first, uint32_t depth) {
      for (uint32_t r = 0; r < rows; r += kSide) {
        round_rows(&left[r / kSide], a + (row + r) * lda + first, lda,
                   rows - r < kSide ? rows - r : kSide, depth);
      }
      finish_writing();
      const float* panel = first_panel;
      for (uint32_t n = 0; n < b.n; n += kPanel, panel += panel_floats) {
        multiply_bytes(&products, left, rows, panel, depth, c + row * ldc + n, ldc,
                       b.n - n < kPanel ? b.n - n : kPanel, add || block > 0);
      }
      first_panel += byte_block_floats(depth);
    });
  }
}

// Columns of the right matrix that stay in the second cache.
constexpr uint32_t kColumnsOfTiles = 384;

void add_outer_by_bytes(float* c, size_t ldc, const float* a, size_t lda, const float* b,
                        size_t ldb, uint32_t m, uint32_t n, uint32_t k, float* scratch) {
  constexpr size_t kMostOfBlock = sizeof(PairBlock) / sizeof(float);
  static_assert(sizeof(LeftTiles) / sizeof(float) + kColumnsOfTiles / kPanel * kMostOfBlock <=
                    kProductScratch,
                "both sides fit");
  const UseOfTiles use;
  TileProducts products;
  LeftTiles* left = reinterpret_cast<LeftTiles*>(scratch);
  float* right = scratch + sizeof(LeftTiles) / sizeof(float);
  PairBlock pairs;
  for_pair_blocks(m, [&](uint32_t, uint32_t first, uint32_t depth) {
    const size_t panel_floats = byte_block_floats(depth);
    for (uint32_t j = 0; j < k; j += kColumnsOfTiles) {
      const uint32_t width = k - j < kColumnsOfTiles ? k - j : kColumnsOfTiles;
      for (uint32_t p = 0; p < width; p += kPanel) {
        pack_block(pairs.data(), b + first * ldb + j + p, ldb, depth,
                   width - p < kPanel ? width - p : kPanel);
        split_block(right + p / kPanel * panel_floats, &pairs, depth);
      }
      for (uint32_t i = 0; i < n; i += kSide) {
        const uint32_t rows = n - i < kSide ? n - i : kSide;
        round_columns_to_rows(left, a + first * lda + i, lda, rows, depth);
        finish_writing();
        for (uint32_t p = 0; p < width; p += kPanel) {
          multiply_bytes(&products, left, rows, right + p / kPanel * panel_floats, depth,
                         c + i * ldc + j + p, ldc, width - p < kPanel ? width - p : kPanel, true);
        }
      }
    }
  });
}

}  // namespace
}  // namespace thimble::tools::train

#endif
