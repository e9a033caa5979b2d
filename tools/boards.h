// SPDX-License-Identifier: MIT
// Memory of boards, for `thimble plan --board`: the only table that a new one is added to. Figures
// are those of the chips' data sheets, RAM the largest block that lies together; what else lives
// there (a radio's software, a boot loader) is the user's to take off.
#ifndef THIMBLE_TOOLS_BOARDS_H
#define THIMBLE_TOOLS_BOARDS_H

#include <cstdint>
#include <string>

namespace thimble::tools {

struct Board {
  const char* name;
  const char* what;
  const char* target;   // of `thimble convert --for`
  uint64_t flash, ram;  // bytes
};

constexpr uint64_t kKiB = 1024, kMiB = 1024 * 1024;

constexpr Board kBoards[] = {
    {"stm32l476", "Cortex-M4F, SRAM1", "cortex-m4", 1 * kMiB, 96 * kKiB},
    {"stm32f407", "Cortex-M4F, SRAM1 and 2", "cortex-m4", 1 * kMiB, 128 * kKiB},
    {"nrf52840", "Cortex-M4F", "cortex-m4", 1 * kMiB, 256 * kKiB},
    {"samd51p20", "Cortex-M4F", "cortex-m4", 1 * kMiB, 256 * kKiB},
    {"rp2040", "Cortex-M0+, Pico with 2 MiB of flash", "cortex-m0", 2 * kMiB, 264 * kKiB},
    {"stm32f746", "Cortex-M7F", "cortex-m7", 1 * kMiB, 320 * kKiB},
    {"esp32-c3", "RV32IMC, module with 4 MiB of flash", "riscv", 4 * kMiB, 400 * kKiB},
    {"nrf5340", "Cortex-M33, application core", "cortex-m33", 1 * kMiB, 512 * kKiB},
    {"stm32h743", "Cortex-M7F, AXI SRAM", "cortex-m7", 2 * kMiB, 512 * kKiB},
    {"rp2350", "Cortex-M33, Pico 2 with 4 MiB of flash", "cortex-m33", 4 * kMiB, 520 * kKiB},
    {"stm32u585", "Cortex-M33, SRAM1 to 3", "cortex-m33", 2 * kMiB, 768 * kKiB},
    {"imxrt1062", "Cortex-M7F, Teensy 4.1, OCRAM", "cortex-m7", 8 * kMiB, 512 * kKiB},
    {"ensemble-e7", "Cortex-M55, SRAM0", "cortex-m55", 5632 * kKiB, 4 * kMiB},
};

inline const Board* find_board(const std::string& name) {
  for (const Board& board : kBoards) {
    if (name == board.name) return &board;
  }
  return nullptr;
}

}  // namespace thimble::tools

#endif
