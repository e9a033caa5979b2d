/* SPDX-License-Identifier: MIT */
/* Of Arm's MPS2 boards, as QEMU has them: serial line, timer, watchdog, and what the core itself
 * has for interrupts and sleep. */
#ifndef THIMBLE_TESTS_DEVICES_MPS2_H
#define THIMBLE_TESTS_DEVICES_MPS2_H

#include <stddef.h>
#include <stdint.h>

#define MPS2_REGISTER(address) (*(volatile uint32_t*)(address))
enum { kTicksAMillisecond = 25000 }; /* of timer and watchdog */

/* Ends the emulation: board.c. */
void board_exit(int code);

/* UART 0: data, state, control, divider. */
static inline void serial_start(void) {
  MPS2_REGISTER(0x40004010) = 16;
  MPS2_REGISTER(0x40004008) = 1;
}
static inline void serial_write(const char* text, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    while (MPS2_REGISTER(0x40004004) & 1) {
    }
    MPS2_REGISTER(0x40004000) = (uint8_t)text[i];
  }
}

/* Timer 0, whose interrupt comes every so many ticks: on_timer. */
static inline void timer_start(uint32_t ticks) {
  MPS2_REGISTER(0x40000008) = MPS2_REGISTER(0x40000004) = ticks - 1;
  MPS2_REGISTER(0x40000000) = 9;      /* on, with interrupt */
  MPS2_REGISTER(0xe000e100) = 1 << 8; /* enabled in the core */
}
static inline void timer_clear(void) {
  MPS2_REGISTER(0x4000000c) = 1;
}
void on_timer(void); /* the program's */

/* The watchdog: behind so many ticks without being fed it is the core's NMI, a fault here. */
static inline void watchdog_start(uint32_t ticks) {
  MPS2_REGISTER(0x40008c00) = 0x1acce551; /* unlocked */
  MPS2_REGISTER(0x40008000) = ticks;
  MPS2_REGISTER(0x40008008) = 1;
}
static inline void watchdog_feed(void) {
  MPS2_REGISTER(0x4000800c) = 1;
}

/* An interrupt that software asks for, and that every other one comes before: on_pend_sv. */
static inline void pend_sv_start(void) {
  MPS2_REGISTER(0xe000ed20) |= 0xffu << 16;
}
static inline void pend_sv_ask(void) {
  MPS2_REGISTER(0xe000ed04) = 1u << 28;
}
void on_pend_sv(void); /* the program's */

static inline void sleep(void) {
  __asm__ volatile("dsb\n wfi" : : : "memory");
}

#endif
