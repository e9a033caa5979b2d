/* SPDX-License-Identifier: MIT */
/* How a firmware test says which call failed. */
#ifndef THIMBLE_TESTS_FIRMWARE_FAIL_H
#define THIMBLE_TESTS_FIRMWARE_FAIL_H

#include "board.h"
#include "thimble/thimble.h"

/* What main() returns then. */
static inline int fail(const char* what, int32_t status) {
  board_write(what);
  board_write(": FAILED: ");
  board_write(thimble_status_text((thimble_status)status));
  board_write("\n");
  return 1;
}

#endif
