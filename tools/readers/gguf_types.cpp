// SPDX-License-Identifier: MIT
#include "readers/gguf_types.h"

#include <cstring>

namespace thimble::tools {

namespace {

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

uint32_t u16(const uint8_t* p) {
  return static_cast<uint32_t>(p[0] | p[1] << 8);
}

float half(const uint8_t* p) {
  return half_to_float(static_cast<uint16_t>(u16(p)));
}

// Numbers here have at most 16 bits, so this is exact.
float real(int x) {
  return static_cast<float>(x);
}

int low(uint8_t byte) {
  return byte & 15;
}
int high(uint8_t byte) {
  return byte >> 4;
}

// ---- Plain numbers

void read_f32(const uint8_t* data, size_t blocks, float* out) {
  std::memcpy(out, data, blocks * sizeof(float));
}

void read_f16(const uint8_t* data, size_t blocks, float* out) {
  for (size_t i = 0; i < blocks; ++i) out[i] = half(data + 2 * i);
}

void read_bf16(const uint8_t* data, size_t blocks, float* out) {
  for (size_t i = 0; i < blocks; ++i) out[i] = float_of(u16(data + 2 * i) << 16);
}

// ---- Blocks of 32: scale (and minimum), high bits, then nibbles: byte j has elements j and 16 + j

constexpr int kHalfBlock = 16;

void read_q4_0(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 18, out += 32) {
    const float d = half(p);
    const uint8_t* q = p + 2;
    for (int j = 0; j < kHalfBlock; ++j) {
      out[j] = real(low(q[j]) - 8) * d;
      out[j + kHalfBlock] = real(high(q[j]) - 8) * d;
    }
  }
}

void read_q4_1(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 20, out += 32) {
    const float d = half(p), min = half(p + 2);
    const uint8_t* q = p + 4;
    for (int j = 0; j < kHalfBlock; ++j) {
      out[j] = real(low(q[j])) * d + min;
      out[j + kHalfBlock] = real(high(q[j])) * d + min;
    }
  }
}

// Bit `element` of the fifth bits, in its place.
int fifth_bit(const uint8_t* bits, int element) {
  return (bits[element / 8] >> (element % 8) & 1) << 4;
}

void read_q5_0(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 22, out += 32) {
    const float d = half(p);
    const uint8_t *bits = p + 2, *q = p + 6;
    for (int j = 0; j < kHalfBlock; ++j) {
      out[j] = real((low(q[j]) | fifth_bit(bits, j)) - 16) * d;
      out[j + kHalfBlock] = real((high(q[j]) | fifth_bit(bits, j + kHalfBlock)) - 16) * d;
    }
  }
}

void read_q5_1(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 24, out += 32) {
    const float d = half(p), min = half(p + 2);
    const uint8_t *bits = p + 4, *q = p + 8;
    for (int j = 0; j < kHalfBlock; ++j) {
      out[j] = real(low(q[j]) | fifth_bit(bits, j)) * d + min;
      out[j + kHalfBlock] = real(high(q[j]) | fifth_bit(bits, j + kHalfBlock)) * d + min;
    }
  }
}

void read_q8_0(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 34, out += 32) {
    const float d = half(p);
    for (int j = 0; j < 32; ++j) out[j] = real(static_cast<int8_t>(p[2 + j])) * d;
  }
}

// The sixteen values that four bits of the IQ4 types stand for.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

void read_iq4_nl(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 18, out += 32) {
    const float d = half(p);
    const uint8_t* q = p + 2;
    for (int j = 0; j < kHalfBlock; ++j) {
      out[j] = d * real(kIq4Values[low(q[j])]);
      out[j + kHalfBlock] = d * real(kIq4Values[high(q[j])]);
    }
  }
}

// ---- Blocks of 256: parts of 16 or 32 elements have scales of their own, in units of the block's

// 16 bytes: scale (low) and minimum (high) of each 16 elements; 64: two bits each; d, dmin.
void read_q2_k(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 84, out += 256) {
    const uint8_t *scales = p, *q = p + 16;
    const float d = half(p + 80), dmin = half(p + 82);
    for (int part = 0; part < 16; ++part) {
      const float scale = d * real(low(scales[part])), min = dmin * real(high(scales[part]));
      const int shift = part % 8 / 2 * 2, first = part / 8 * 32 + part % 2 * 16;
      for (int i = 0; i < 16; ++i) {
        out[16 * part + i] = scale * real(q[first + i] >> shift & 3) - min;
      }
    }
  }
}

// 32 bytes: third bits; 64: two bits each; 12: scales of six bits, less 32; d.
void read_q3_k(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 110, out += 256) {
    const uint8_t *third = p, *q = p + 32, *scales = p + 96;
    const float d = half(p + 108);
    for (int part = 0; part < 16; ++part) {
      const int low_bits = part < 8 ? low(scales[part]) : high(scales[part - 8]);
      const int high_bits = scales[8 + part % 4] >> part / 4 * 2 & 3;
      const float scale = d * real((low_bits | high_bits << 4) - 32);
      const int shift = part % 8 / 2 * 2, first = part / 8 * 32 + part % 2 * 16;
      for (int i = 0; i < 16; ++i) {
        const bool has_third = (third[part % 2 * 16 + i] >> part / 2 & 1) != 0;
        out[16 * part + i] = scale * real((q[first + i] >> shift & 3) - (has_third ? 0 : 4));
      }
    }
  }
}

// Scale and minimum of part 0..7 of Q4_K and Q5_K, six bits each in 12 bytes: the first four of
// both as they are, of the others the low four bits in the last four bytes and the high two on top
// of the first eight.
struct ScaleAndMin {
  int scale, min;
};
ScaleAndMin scale_and_min(const uint8_t* s, int part) {
  if (part < 4) return {s[part] & 63, s[part + 4] & 63};
  return {low(s[part + 4]) | s[part - 4] >> 6 << 4, high(s[part + 4]) | s[part] >> 6 << 4};
}

// d, dmin; 12 bytes: scales and minima; 128: nibbles, two parts of 32 to each 32 bytes.
void read_q4_k(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 144, out += 256) {
    const float d = half(p), dmin = half(p + 2);
    for (int part = 0; part < 8; ++part) {
      const ScaleAndMin s = scale_and_min(p + 4, part);
      const float scale = d * real(s.scale), min = dmin * real(s.min);
      const uint8_t* q = p + 16 + part / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        out[32 * part + i] = scale * real(part % 2 == 0 ? low(q[i]) : high(q[i])) - min;
      }
    }
  }
}

// As Q4_K, with 32 bytes of fifth bits before the nibbles.
void read_q5_k(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 176, out += 256) {
    const float d = half(p), dmin = half(p + 2);
    const uint8_t* fifth = p + 16;
    for (int part = 0; part < 8; ++part) {
      const ScaleAndMin s = scale_and_min(p + 4, part);
      const float scale = d * real(s.scale), min = dmin * real(s.min);
      const uint8_t* q = p + 48 + part / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int nibble = part % 2 == 0 ? low(q[i]) : high(q[i]);
        out[32 * part + i] = scale * real(nibble | (fifth[i] >> part & 1) << 4) - min;
      }
    }
  }
}

// 128 bytes: low four bits; 64: high two; 16: scales of 16 elements each; d.
void read_q6_k(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 210, out += 256) {
    const float d = half(p + 208);
    for (int part = 0; part < 8; ++part) {  // of 32 elements
      const uint8_t* nibbles = p + part / 4 * 64 + part % 2 * 32;
      const uint8_t* top = p + 128 + part / 4 * 32;
      for (int i = 0; i < 32; ++i) {
        const int nibble = part % 4 < 2 ? low(nibbles[i]) : high(nibbles[i]);
        const int q = (nibble | (top[i] >> part % 4 * 2 & 3) << 4) - 32;
        const float scale = d * real(static_cast<int8_t>(p[192 + 2 * part + i / 16]));
        out[32 * part + i] = scale * real(q);
      }
    }
  }
}

// d; 2 bytes: high two bits of the scales of 32 elements each; 4: low four; 128: nibbles.
void read_iq4_xs(const uint8_t* p, size_t blocks, float* out) {
  for (; blocks > 0; --blocks, p += 136, out += 256) {
    const float d = half(p);
    const int top = static_cast<int>(u16(p + 2));
    for (int part = 0; part < 8; ++part) {
      const int nibble = p[4 + part / 2] >> part % 2 * 4 & 15;
      const float scale = d * real((nibble | (top >> 2 * part & 3) << 4) - 32);
      const uint8_t* q = p + 8 + 16 * part;
      for (int j = 0; j < kHalfBlock; ++j) {
        out[32 * part + j] = scale * real(kIq4Values[low(q[j])]);
        out[32 * part + j + kHalfBlock] = scale * real(kIq4Values[high(q[j])]);
      }
    }
  }
}

// Numbers that are missing here belonged to types that were given up before GGUF v2 or are packed
// for one machine; no converter writes them.
constexpr GgufType kTypes[] = {
    {0, "F32", 1, 4, read_f32},          {1, "F16", 1, 2, read_f16},
    {2, "Q4_0", 32, 18, read_q4_0},      {3, "Q4_1", 32, 20, read_q4_1},
    {6, "Q5_0", 32, 22, read_q5_0},      {7, "Q5_1", 32, 24, read_q5_1},
    {8, "Q8_0", 32, 34, read_q8_0},      {9, "Q8_1", 32, 36, nullptr},
    {10, "Q2_K", 256, 84, read_q2_k},    {11, "Q3_K", 256, 110, read_q3_k},
    {12, "Q4_K", 256, 144, read_q4_k},   {13, "Q5_K", 256, 176, read_q5_k},
    {14, "Q6_K", 256, 210, read_q6_k},   {15, "Q8_K", 256, 292, nullptr},
    {16, "IQ2_XXS", 256, 66, nullptr},   {17, "IQ2_XS", 256, 74, nullptr},
    {18, "IQ3_XXS", 256, 98, nullptr},   {19, "IQ1_S", 256, 50, nullptr},
    {20, "IQ4_NL", 32, 18, read_iq4_nl}, {21, "IQ3_S", 256, 110, nullptr},
    {22, "IQ2_S", 256, 82, nullptr},     {23, "IQ4_XS", 256, 136, read_iq4_xs},
    {24, "I8", 1, 1, nullptr},           {25, "I16", 1, 2, nullptr},
    {26, "I32", 1, 4, nullptr},          {27, "I64", 1, 8, nullptr},
    {28, "F64", 1, 8, nullptr},          {29, "IQ1_M", 256, 56, nullptr},
    {30, "BF16", 1, 2, read_bf16},       {34, "TQ1_0", 256, 54, nullptr},
    {35, "TQ2_0", 256, 66, nullptr},     {39, "MXFP4", 32, 17, nullptr},
    {40, "NVFP4", 64, 36, nullptr},
};

}  // namespace

const GgufType* gguf_type(uint32_t id) {
  for (const GgufType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

std::string gguf_types_read() {
  std::string names;
  for (const GgufType& type : kTypes) {
    if (type.to_float) names += (names.empty() ? "" : ", ") + std::string(type.name);
  }
  return names;
}

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 31, mantissa = half & 0x3ff;
  if (exponent == 31) return float_of(sign | 0x7f800000 | mantissa << 13);  // infinity, NaN
  if (exponent == 0) {  // zero and subnormals: units of 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return float_of(sign | bits_of(magnitude));
  }
  return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t float_to_half(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  uint32_t half;
  if (magnitude > 0x7f800000) {
    half = 0x7e00;  // NaN
  } else if (magnitude >= 0x477ff000) {
    half = 0x7c00;  // rounds to 2^16 and more, or is infinite
  } else if (magnitude < 0x38800000) {
    // Below 2^-14: adding 1/2 leaves units of 2^-24 in the low bits, rounded to nearest even.
    half = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  } else {
    half = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace thimble::tools
