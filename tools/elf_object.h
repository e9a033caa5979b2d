// SPDX-License-Identifier: MIT
// A relocatable object file (ELF) that holds one block of read-only bytes.
#ifndef THIMBLE_TOOLS_ELF_OBJECT_H
#define THIMBLE_TOOLS_ELF_OBJECT_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace thimble::tools {

// What tells linkers apart; all are little-endian.
struct ElfMachine {
  const char* name;  // for messages
  uint16_t id;       // e_machine
  bool is_64;        // ELF64, pointers and size_t of 8 bytes
  bool stack_note;   // .note.GNU-stack
  uint32_t flags;    // e_flags
};

// e_machine is the ELF gABI's; e_flags are those of the supplements named in elf_object.cpp. An
// object with data alone has no floating-point calling convention: Arm's linker asks for none and
// GNU ld for RISC-V does not look; lld does, so RISC-V's are those of the usual ABI, ilp32 (soft)
// and lp64d. On Linux the stack is executable if one object lacks the note; on bare metal, where
// compilers write none, GNU ld for Arm blames every other object if one has it.
inline constexpr ElfMachine kElfArm{"ELF32 for Arm", 40, false, false, 0x05000000};  // EABI 5
inline constexpr ElfMachine kElfArmLinux{"ELF32 for Arm", 40, false, true, 0x05000000};
inline constexpr ElfMachine kElfX86_64{"ELF64 for x86-64", 62, true, true, 0};
inline constexpr ElfMachine kElfAarch64{"ELF64 for AArch64", 183, true, true, 0};
inline constexpr ElfMachine kElfRiscv32{"ELF32 for RISC-V", 243, false, true, 0};
inline constexpr ElfMachine kElfRiscv64{"ELF64 for RISC-V", 243, true, true, 4};  // double floats

// The machine that this program was built for; null if it is none of these.
#if defined(__x86_64__) && defined(__LP64__)
inline constexpr const ElfMachine* kElfHost = &kElfX86_64;
#elif defined(__aarch64__) && defined(__LP64__) && !defined(__AARCH64EB__)
inline constexpr const ElfMachine* kElfHost = &kElfAarch64;
#elif defined(__riscv) && __riscv_xlen == 64
inline constexpr const ElfMachine* kElfHost = &kElfRiscv64;
#elif defined(__riscv)
inline constexpr const ElfMachine* kElfHost = &kElfRiscv32;
#elif defined(__arm__) && !defined(__ARMEB__)
inline constexpr const ElfMachine* kElfHost = &kElfArmLinux;
#else
inline constexpr const ElfMachine* kElfHost = nullptr;
#endif

// What lies in the object: `bytes` bytes at `data`, alone in `section`, and these symbols:
//   NAME        the first byte, aligned to THIMBLE_ALIGNMENT
//   NAME_end    behind the last byte
//   NAME_bytes  a size_t, in the section .rodata.NAME_bytes
struct ElfContent {
  std::string name, section;
  std::string source;  // the file that the bytes come from, as the linker's map will name it
  const uint8_t* data;
  size_t bytes;
};

using ByteSink = std::function<void(const void* data, size_t bytes)>;

// Writes the object from its first byte to its last; the same content gives the same bytes. Throws
// Refused, before anything is written, if it does not fit into a 32-bit object.
void write_elf_object(const ElfMachine& machine, const ElfContent& content, const ByteSink& sink);

}  // namespace thimble::tools

#endif
