/* SPDX-License-Identifier: MIT */
/* Start-up and output of a board under QEMU: no C library's start files, text by semihosting. */
#include "board.h"

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

#if defined(__riscv)
static long semihosting(long operation, const void* argument) {
  register long a0 __asm__("a0") = operation;
  register const void* a1 __asm__("a1") = argument;
  /* The three instructions that debuggers know as a call, which must not be compressed. */
  __asm__ volatile(
      ".option push\n .option norvc\n .balign 16\n"
      "slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop"
      : "+r"(a0)
      : "r"(a1)
      : "memory");
  return a0;
}
#else
static int semihosting(int operation, const void* argument) {
  register int r0 __asm__("r0") = operation;
  register const void* r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}
#endif

void board_write(const char* text) {
  semihosting(0x04, text); /* SYS_WRITE0 */
}

void board_exit(int code) {
  const uintptr_t block[2] = {0x20026, (uintptr_t)code}; /* ADP_Stopped_ApplicationExit */
  semihosting(0x20, block);                              /* SYS_EXIT_EXTENDED */
  for (;;) {
  }
}

/* With the stack set: memory as C wants it, then the program. */
__attribute__((used)) static void start(void) {
  const uint32_t* from = data_load;
  for (uint32_t* to = data_start; to < data_end;) *to++ = *from++;
  for (uint32_t* to = bss_start; to < bss_end;) *to++ = 0;
  board_exit(firmware_main());
}

#if defined(__riscv)
__attribute__((naked, used, section(".vectors"))) void reset(void) {
  __asm__ volatile(
      "la sp, stack_top\n"
#if defined(__riscv_flen)
      "li t0, 0x2000\n csrs mstatus, t0\n" /* the FPU is ours */
#endif
      "j start");
}
#else
void reset(void) {
#if defined(__ARM_FP)
  *(volatile uint32_t*)0xe000ed88 |= 0xfu << 20; /* CPACR: the FPU is ours */
  __asm__ volatile("dsb\n isb");
#endif
  start();
}

static void fault(void) {
  board_write("fault\n");
  board_exit(1);
}

__attribute__((section(".vectors"), used)) static const void* const vectors[16] = {stack_top,
                                                                                   (void*)reset,
                                                                                   (void*)fault,
                                                                                   (void*)fault,
                                                                                   (void*)fault,
                                                                                   (void*)fault,
                                                                                   (void*)fault,
                                                                                   (void*)fault,
                                                                                   0,
                                                                                   0,
                                                                                   0,
                                                                                   (void*)fault,
                                                                                   (void*)fault,
                                                                                   0,
                                                                                   (void*)fault,
                                                                                   (void*)fault};
#endif
