/* SPDX-License-Identifier: MIT */
/* As much of an Arduino core as the example asks for, on a board of tests/firmware/. */
#ifndef THIMBLE_TESTS_DIST_ARDUINO_H
#define THIMBLE_TESTS_DIST_ARDUINO_H

#include <stddef.h>
#include <stdint.h>

extern "C" void board_uart(const char* text, size_t bytes);
inline unsigned long millis() {
  return 0;
}
static struct {
  void begin(unsigned long) {}
  explicit operator bool() const { return true; }
  size_t write(const uint8_t* text, size_t bytes) {
    board_uart(reinterpret_cast<const char*>(text), bytes);
    return bytes;
  }
} Serial;
extern "C" void setup();
extern "C" void loop();

#endif
