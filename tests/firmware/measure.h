/* SPDX-License-Identifier: MIT */
/* The two halves of the measuring program: calls in C, kernels in C++. */
#ifndef THIMBLE_TESTS_FIRMWARE_MEASURE_H
#define THIMBLE_TESTS_FIRMWARE_MEASURE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void report(const char* key, uint64_t value);
void report_of(const char* key, uint32_t number, uint64_t value); /* the key ends in the number */
void measure_kernels(void);

#ifdef __cplusplus
}
#endif

#endif
