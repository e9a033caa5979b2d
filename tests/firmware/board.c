/* SPDX-License-Identifier: MIT */
/*
 * A board under QEMU: start-up without a C library's start files, text by semihosting, faults that
 * end the program, and what is needed to measure: instructions and stack.
 */
#include "board.h"

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];
int main(void);

/* ---- The way out: semihosting ---- */

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

void uart_write(const char* text, size_t bytes) {
  char piece[65];
  while (bytes > 0) {
    size_t n = 0;
    while (n < bytes && n + 1 < sizeof piece) {
      piece[n] = text[n];
      ++n;
    }
    piece[n] = '\0';
    semihosting(0x04, piece); /* SYS_WRITE0 */
    text += n;
    bytes -= n;
  }
}

void board_exit(int code) {
  const uintptr_t block[2] = {0x20026, (uintptr_t)code}; /* ADP_Stopped_ApplicationExit */
  semihosting(0x20, block);                              /* SYS_EXIT_EXTENDED */
  for (;;) {
  }
}

/* ---- Stack ---- */

static const uint32_t kUntouched = 0x5ac3a53c;
static uint32_t* painted_top;

static uint32_t* painted_bottom(void) {
  uint32_t* bottom = painted_top - kStackPaint / sizeof *painted_top;
  return bottom < bss_end ? bss_end : bottom;
}

/* Below the stack pointer nothing is alive: these cores have no red zone. */
__attribute__((noinline)) void board_paint_stack(void) {
  uintptr_t sp;
#if defined(__riscv)
  __asm__ volatile("mv %0, sp" : "=r"(sp));
#else
  __asm__ volatile("mov %0, sp" : "=r"(sp));
#endif
  painted_top = (uint32_t*)sp;
  for (volatile uint32_t* word = painted_bottom(); word < painted_top; ++word) *word = kUntouched;
}

__attribute__((noinline)) size_t board_stack_used(void) {
  const volatile uint32_t* word = painted_bottom();
  while (word < painted_top && *word == kUntouched) ++word;
  return (size_t)(painted_top - word) * sizeof *word;
}

/* ---- Start, faults and time ---- */

/* With the stack set: memory as C wants it, then the program. */
__attribute__((used)) static void start(void) {
  const uint32_t* from = data_load;
  for (uint32_t* to = data_start; to < data_end;) *to++ = *from++;
  for (uint32_t* to = bss_start; to < bss_end;) *to++ = 0;
  board_exit(main());
}

__attribute__((used)) static void report_fault(uintptr_t pc, uintptr_t cause, uintptr_t status) {
  board_write("fault: pc 0x");
  board_write_hex(pc, 2 * sizeof pc);
  board_write(", cause 0x");
  board_write_hex(cause, 2);
  board_write(", status 0x");
  board_write_hex(status, 2 * sizeof status);
  board_write("\n");
  board_exit(1);
}

#if defined(__riscv)

__attribute__((naked, used, aligned(4))) static void fault(void) {
  __asm__ volatile(
      ".option push\n .option arch, +zicsr\n"
      "csrr a0, mepc\n csrr a1, mcause\n csrr a2, mtval\n"
      ".option pop\n"
      "j report_fault");
}

__attribute__((naked, used, section(".vectors"))) void reset(void) {
  __asm__ volatile(
      ".option push\n .option arch, +zicsr\n"
      "la sp, stack_top\n"
      "la t0, %0\n csrw mtvec, t0\n"
#if defined(__riscv_flen)
      "li t0, 0x2000\n csrs mstatus, t0\n" /* the FPU is ours */
#endif
      ".option pop\n"
      "j start" ::"i"(fault));
}

static uintptr_t retired(void) {
  uintptr_t n;
  __asm__ volatile(".option push\n .option arch, +zicsr\n csrr %0, minstret\n .option pop"
                   : "=r"(n));
  return n;
}

#if __riscv_xlen == 32
uint64_t board_instructions(void) {
  uint32_t high, low, again;
  do {
    __asm__ volatile(".option push\n .option arch, +zicsr\n csrr %0, minstreth\n .option pop"
                     : "=r"(high));
    low = retired();
    __asm__ volatile(".option push\n .option arch, +zicsr\n csrr %0, minstreth\n .option pop"
                     : "=r"(again));
  } while (high != again);
  return (uint64_t)high << 32 | low;
}
#else
uint64_t board_instructions(void) {
  return retired();
}
#endif

#else

#define REGISTER(address) (*(volatile uint32_t*)(address))
enum { kTickBits = 24, kTickMask = (1 << kTickBits) - 1 };
static volatile uint32_t tick_wraps;

static void tick(void) {
  tick_wraps = tick_wraps + 1;
}

/* SysTick counts the processor's clock down; QEMU moves it by virtual time, 1 ns an instruction. */
uint64_t board_instructions(void) {
  uint32_t wraps, ticks;
  do {
    wraps = tick_wraps;
    ticks = kTickMask - (REGISTER(0xe000e018) & kTickMask);
  } while (wraps != tick_wraps);
  return ((uint64_t)wraps << kTickBits | ticks) * 1000 / BOARD_CLOCK_MHZ;
}

void reset(void) {
#if defined(__ARM_FP)
  REGISTER(0xe000ed88) |= 0xfu << 20; /* CPACR: the FPU is ours */
  __asm__ volatile("dsb\n isb");
#endif
  REGISTER(0xe000e014) = kTickMask; /* SysTick: reload value, value, control */
  REGISTER(0xe000e018) = 0;
  REGISTER(0xe000e010) = 7; /* on, with interrupt, from the processor's clock */
  start();
}

__attribute__((used)) static void report_frame(const uint32_t* frame) {
  const uint32_t exception = REGISTER(0xe000ed04) & 0x1ff; /* ICSR */
#if __ARM_ARCH >= 7
  report_fault(frame[6], exception, REGISTER(0xe000ed28)); /* CFSR */
#else
  report_fault(frame[6], exception, 0);
#endif
}

__attribute__((naked)) static void fault(void) {
  __asm__ volatile("mov r0, sp\n ldr r1, =report_frame\n bx r1\n .ltorg");
}

/* Of programs that have no such interrupt. */
void on_pend_sv(void) __attribute__((weak, alias("fault")));
void on_timer(void) __attribute__((weak, alias("fault")));

enum { kPendSv = 14, kSysTick = 15, kTimer0 = 16 + 8 };
__attribute__((section(".vectors"), used)) static const void* const vectors[] = {
    [0] = stack_top,
    [1] = (void*)reset,
    [2 ... 7] = (void*)fault,
    [11 ... 12] = (void*)fault,
    [kPendSv] = (void*)on_pend_sv,
    [kSysTick] = (void*)tick,
    [kTimer0] = (void*)on_timer};
#endif
