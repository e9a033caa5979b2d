/* SPDX-License-Identifier: MIT */
/* The four functions that the engine wants of a C library, for a compiler that comes without one.
 */
#include <stddef.h>

extern "C" {
void* memcpy(void* to, const void* from, size_t bytes);
void* memmove(void* to, const void* from, size_t bytes);
void* memset(void* to, int value, size_t bytes);
int memcmp(const void* a, const void* b, size_t bytes);
}
