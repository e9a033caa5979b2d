// SPDX-License-Identifier: MIT
// The end of writing an adapter or a rule: header and section table before the data, checksums in
// both.
#ifndef THIMBLE_TOOLS_SEALED_IMAGE_H
#define THIMBLE_TOOLS_SEALED_IMAGE_H

#include <cstring>
#include <vector>

#include "crc32.h"
#include "image.h"

namespace thimble::tools {

// bytes: (file_bytes), whose first header_bytes are free for the header, and the sections behind
// it.
template <class Header>
ImageInMemory sealed_image(std::vector<uint8_t> bytes, Header h,
                           const std::vector<SectionEntry>& sections) {
  h.data_crc = crc32(0, bytes.data() + h.header_bytes, bytes.size() - h.header_bytes);
  h.header_crc = 0;
  std::memcpy(bytes.data() + sizeof h, sections.data(), sections.size() * sizeof sections[0]);
  std::memcpy(bytes.data(), &h, sizeof h);
  h.header_crc = crc32(0, bytes.data(), h.header_bytes);
  std::memcpy(bytes.data(), &h, sizeof h);
  ImageInMemory image;
  image.block = AlignedBlock(bytes.size());
  image.bytes = bytes.size();
  std::memcpy(image.block.data(), bytes.data(), bytes.size());
  return image;
}

}  // namespace thimble::tools

#endif
