/* SPDX-License-Identifier: MIT */
/* All that the engine needs of a C library; string.c has it. */
#ifndef THIMBLE_TOOLS_WEB_LIBC_STRING_H
#define THIMBLE_TOOLS_WEB_LIBC_STRING_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

void* memcpy(void* to, const void* from, size_t bytes);
void* memmove(void* to, const void* from, size_t bytes);
void* memset(void* to, int byte, size_t bytes);
int memcmp(const void* a, const void* b, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
