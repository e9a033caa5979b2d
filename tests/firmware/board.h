/* SPDX-License-Identifier: MIT */
/* What a firmware test needs of a board. */
#ifndef THIMBLE_TESTS_FIRMWARE_BOARD_H
#define THIMBLE_TESTS_FIRMWARE_BOARD_H

#include <stdint.h>

void board_write(const char* text);
void board_exit(int code);
int firmware_main(void);

#endif
