// SPDX-License-Identifier: MIT
// Zip archives (with and without zip64) whose members are stored as they are, as torch.save writes
// them.
#ifndef THIMBLE_TOOLS_READERS_ZIP_ARCHIVE_H
#define THIMBLE_TOOLS_READERS_ZIP_ARCHIVE_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "readers/input_file.h"

namespace thimble::tools {

struct ZipMember {
  std::string name;
  uint64_t offset;  // of its bytes, in the file
  uint64_t size;
  uint32_t crc;
};

bool is_zip(const InputFile& file);

class ZipArchive {
 public:
  // Reads the directory and each member's own header and checks them: that all lie within the file
  // without overlapping, that none is compressed or encrypted. Throws Refused.
  explicit ZipArchive(std::shared_ptr<const InputFile> file);

  // By name.
  const std::vector<ZipMember>& members() const { return members_; }
  const ZipMember* find(const std::string& name) const;

  // Reads the member once. Throws Refused if its checksum differs.
  void check(const ZipMember& member) const;

 private:
  std::shared_ptr<const InputFile> file_;
  std::vector<ZipMember> members_;
};

}  // namespace thimble::tools

#endif
