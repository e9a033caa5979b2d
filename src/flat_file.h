// SPDX-License-Identifier: MIT
// What the flat files have in common, models, adapters and rules: how they begin, their section
// table, and the checks of both.
#ifndef THIMBLE_SRC_FLAT_FILE_H
#define THIMBLE_SRC_FLAT_FILE_H

#include <string.h>

#include "crc32.h"
#include "kernels/kernels.h"
#include "model.h"
#include "thimble/thimble.h"

namespace thimble {

// A kind of file. Its header begins as FileHeader does, down to `flags`; the section table follows.
struct FileKind {
  const uint8_t (&magic)[8];
  uint32_t version;
  uint32_t header_bytes;  // without the section table
  uint32_t sections_at;   // where the header says how many sections there are
};

constexpr FileKind kModelFile = {kMagic, kFormatVersion, sizeof(FileHeader),
                                 offsetof(FileHeader, n_sections)};

// Several kinds of file share one copy; of one kind, what is called once is inlined there.
#if THIMBLE_LORA || THIMBLE_RULES
#define THIMBLE_SHARED [[gnu::noinline]] inline
#else
#define THIMBLE_SHARED [[gnu::always_inline]] inline
#endif

// What can be said before the header's own checksum: is this a file of the kind, and all of it?
[[gnu::always_inline]] inline thimble_status check_beginning(const FileKind& kind,
                                                             const uint8_t* image, size_t bytes,
                                                             thimble_fault* fault) {
  const auto fail = [fault](thimble_status status, const char* what, uint64_t found,
                            uint64_t expected, uint32_t offset) {
    refuse(fault, what, found, expected, offset);
    return status;
  };
  const uint64_t misplaced = reinterpret_cast<uintptr_t>(image) % THIMBLE_ALIGNMENT;
  if (misplaced != 0) {
    return fail(THIMBLE_ERROR_MISALIGNED, "address of the image, modulo 64", misplaced, 0, 0);
  }
  const size_t prefix = bytes < sizeof kind.magic ? static_cast<size_t>(bytes) : sizeof kind.magic;
  if (bytes == 0 || memcmp(image, kind.magic, prefix) != 0) {
    uint64_t found = 0, expected = 0;
    memcpy(&found, image, prefix);
    memcpy(&expected, kind.magic, sizeof kind.magic);
    return fail(THIMBLE_ERROR_MAGIC, "magic", found, expected, 0);
  }
  if (bytes < kind.header_bytes) {
    return fail(THIMBLE_ERROR_TRUNCATED, "length of the file", bytes, kind.header_bytes, 0);
  }
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(image);
  if (h.byte_order != kByteOrderMark) {
    return fail(THIMBLE_ERROR_BYTE_ORDER, "byte-order mark", h.byte_order, kByteOrderMark, 12);
  }
  if (h.version != kind.version) {
    return fail(THIMBLE_ERROR_VERSION, "version", h.version, kind.version, 8);
  }
  if (h.file_bytes != bytes) {
    return fail(THIMBLE_ERROR_TRUNCATED, "length of the file", bytes, h.file_bytes, 24);
  }
  const uint32_t n_sections = *reinterpret_cast<const uint32_t*>(image + kind.sections_at);
  const uint64_t table = h.header_bytes - static_cast<uint64_t>(kind.header_bytes);
  if (h.header_bytes < kind.header_bytes || h.header_bytes > bytes ||
      table != static_cast<uint64_t>(n_sections) * sizeof(SectionEntry)) {
    return fail(THIMBLE_ERROR_HEADER, "header_bytes", h.header_bytes,
                kind.header_bytes + static_cast<uint64_t>(n_sections) * sizeof(SectionEntry), 16);
  }
  return THIMBLE_OK;
}

// The checksum of header and section table, which lie there.
[[gnu::always_inline]] inline thimble_status check_header_crc(const uint8_t* image,
                                                              thimble_fault* fault) {
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(image);
  const uint32_t zero = 0;
  const size_t crc_at = offsetof(FileHeader, header_crc), crc_end = crc_at + sizeof zero;
  uint32_t crc = crc32(0, image, crc_at);
  crc = crc32(crc, &zero, sizeof zero);
  crc = crc32(crc, image + crc_end, h.header_bytes - crc_end);
  if (crc != h.header_crc) {
    refuse(fault, "checksum of the header", crc, h.header_crc, crc_at);
    return THIMBLE_ERROR_HEADER_CHECKSUM;
  }
  return THIMBLE_OK;
}

// Both.
THIMBLE_SHARED thimble_status check_envelope(const FileKind& kind, const uint8_t* image,
                                             size_t bytes, thimble_fault* fault) {
  const thimble_status status = check_beginning(kind, image, bytes, fault);
  return status == THIMBLE_OK ? check_header_crc(image, fault) : status;
}

// A file's entry has to be the one that the header implies, field by field.
THIMBLE_SHARED bool entries_match(const SectionEntry& found, const SectionEntry& expected,
                                  size_t at, thimble_fault* fault) {
  static constexpr const char* kWords[] = {"kind", "layer",    "type",  "rows",
                                           "cols", "row_tile", "group", "n_groups"};
  static constexpr const char* kWideWords[] = {"offset", "bytes", "scales_offset", "scales_bytes"};
  const uint32_t* words[2] = {&found.kind, &expected.kind};
  for (uint32_t i = 0; i < 8; ++i) {
    if (words[0][i] != words[1][i]) {
      return refuse(fault, kWords[i], words[0][i], words[1][i],
                    static_cast<uint32_t>(at + i * sizeof(uint32_t)));
    }
  }
  const uint64_t* wide[2] = {&found.offset, &expected.offset};
  for (uint32_t i = 0; i < 4; ++i) {
    if (wide[0][i] != wide[1][i]) {
      return refuse(
          fault, kWideWords[i], wide[0][i], wide[1][i],
          static_cast<uint32_t>(at + offsetof(SectionEntry, offset) + i * sizeof(uint64_t)));
    }
  }
  return true;
}

// The checksum of what follows the section table.
[[gnu::always_inline]] inline thimble_status check_data(const uint8_t* image, size_t bytes,
                                                        thimble_fault* fault) {
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(image);
  const uint32_t crc = crc32(0, image + h.header_bytes, bytes - h.header_bytes);
  if (crc == h.data_crc) return THIMBLE_OK;
  refuse(fault, "checksum of the data", crc, h.data_crc, offsetof(FileHeader, data_crc));
  return THIMBLE_ERROR_DATA_CHECKSUM;
}

// The matrix that an entry of a checked table describes. Without an image its pointers are places
// in the file, to be read from there.
[[gnu::always_inline]] inline Matrix matrix_at(const uint8_t* image, const SectionEntry& e) {
  Matrix m;
  const auto at = [image](uint64_t offset) {  // NOLINTNEXTLINE(performance-no-int-to-ptr)
    return reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(image) +
                                         static_cast<uintptr_t>(offset));
  };
  m.data = at(e.offset);
  m.rows = e.rows;
  m.cols = e.cols;
  m.row_tile = e.row_tile;
  m.group = e.group;
  m.n_groups = e.n_groups;
  if (e.group > 0) {
    m.type = THIMBLE_Q4 && e.type == kElementQ4 ? kWeightQ4 : kWeightQ8;
    m.scales = static_cast<const uint16_t*>(at(e.scales_offset));
    m.padded_cols = e.n_groups * e.group;
  } else {
    m.type = kWeightF32;
    m.scales = nullptr;
    m.padded_cols = e.cols;
  }
  return m;
}

}  // namespace thimble

#endif
