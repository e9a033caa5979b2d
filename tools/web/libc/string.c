/* SPDX-License-Identifier: MIT */
#include <string.h>

/* With -mbulk-memory these three are an instruction each. */
void* memcpy(void* to, const void* from, size_t bytes) {
  return __builtin_memcpy(to, from, bytes);
}

void* memmove(void* to, const void* from, size_t bytes) {
  return __builtin_memmove(to, from, bytes);
}

void* memset(void* to, int byte, size_t bytes) {
  return __builtin_memset(to, byte, bytes);
}

int memcmp(const void* a, const void* b, size_t bytes) {
  const unsigned char *x = a, *y = b;
  for (size_t i = 0; i < bytes; ++i) {
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  }
  return 0;
}
