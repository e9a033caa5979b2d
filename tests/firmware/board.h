/* SPDX-License-Identifier: MIT */
/* What a firmware test needs of a board. host.c gives the part without a chip to a computer. */
#ifndef THIMBLE_TESTS_FIRMWARE_BOARD_H
#define THIMBLE_TESTS_FIRMWARE_BOARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The model file, linked in where it is only read. */
extern const uint8_t model_image[], model_image_end[];

/* The way out: board.c by semihosting, host.c by stdio. */
void uart_write(const char* text, size_t bytes);

/* text.c, on top of it. */
void board_write(const char* text); /* up to the terminating zero */
void board_write_number(int64_t value);
void board_write_hex(uint64_t value, int digits);

/* ---- Boards only ---- */

/* Ends the emulation; also what main() returns ends up here. */
void board_exit(int code);

/* Instructions since the start, if QEMU was started with `-icount shift=0`; exact to 40 on Arm. */
uint64_t board_instructions(void);

/* Fills what is free below the caller's stack frame, at most kStackPaint bytes, with a pattern. */
enum { kStackPaint = 64 * 1024 };
void board_paint_stack(void);
/* Bytes of stack that were used since, below that frame; kStackPaint: all of them, or more. */
size_t board_stack_used(void);

#ifdef __cplusplus
}
#endif

#endif
