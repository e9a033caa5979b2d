/* SPDX-License-Identifier: MIT */
/* A fault has to be told and to end the program, or a broken build would look like a slow one. */
#include "board.h"

int main(void) {
  __builtin_trap(); /* an instruction that no core knows */
}
