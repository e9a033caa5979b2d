/* SPDX-License-Identifier: MIT */
/* A program with an embedded model and without a C library: exit code 0 if the model lies there
 * whole. C99 and C++; -DBYTES= is the model's length, -DCRC= its CRC-32; story_model.h is what
 * embed wrote. */
#include "story_model.h"

#ifdef END_SYMBOL /* the end as the object and assembler files define it, not as the header does \
                   */
#undef story_model_end
extern const uint8_t story_model_end[];
#endif

/* As gzip has it, four bits at a time. */
static uint32_t crc_of(const uint8_t* data, const uint8_t* end) {
  uint32_t table[16], crc = 0xffffffffu;
  for (uint32_t i = 0; i < 16; ++i) {
    table[i] = i;
    for (int bit = 0; bit < 4; ++bit) {
      table[i] = (table[i] >> 1) ^ (0xedb88320u & (0u - (table[i] & 1u)));
    }
  }
  while (data != end) {
    crc ^= *data++;
    crc = (crc >> 4) ^ table[crc & 15u];
    crc = (crc >> 4) ^ table[crc & 15u];
  }
  return ~crc;
}

int main(void) {
  if ((uintptr_t)story_model % 64 != 0) return 1;
  if (story_model_bytes != BYTES) return 2;
  if (story_model_end != story_model + story_model_bytes) return 3;
  return crc_of(story_model, story_model_end) == CRC ? 0 : 4;
}

#ifdef BARE /* no start files: ends by the kernel's exit(), for QEMU's user mode */
void _start(void);
void _start(void) {
#if defined(__arm__)
  register int code __asm__("r0") = main();
  register int call __asm__("r7") = 1;
  __asm__ volatile("svc 0" : : "r"(code), "r"(call));
#elif defined(__aarch64__)
  register int code __asm__("x0") = main();
  register long call __asm__("x8") = 93;
  __asm__ volatile("svc 0" : : "r"(code), "r"(call));
#elif defined(__riscv)
  register int code __asm__("a0") = main();
  register long call __asm__("a7") = 93;
  __asm__ volatile("ecall" : : "r"(code), "r"(call));
#endif
  for (;;) {
  }
}
#endif
