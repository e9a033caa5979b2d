// SPDX-License-Identifier: MIT
// What is read, as PKWARE's APPNOTE numbers it: 4.3.7 local headers, 4.3.12 the central directory,
// 4.3.14 to 4.3.16 the records at the end. All numbers are little-endian.
#include "readers/zip_archive.h"

#include <algorithm>
#include <utility>

#include "crc32.h"
#include "error.h"
#include "json_string.h"

namespace thimble::tools {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50,
                   kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50,
                   kLocator64Signature = 0x07064b50;
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                 kLocator64Bytes = 20;
constexpr uint64_t kMaxDirectoryBytes = 64u << 20;
constexpr uint32_t kIn64 = 0xffffffff;  // the number stands in the zip64 field
constexpr uint16_t kZip64Field = 1;
constexpr uint16_t kEncrypted = 1 | 1 << 6 | 1 << 13, kSizesBehind = 1 << 3;

uint64_t little(const uint8_t* p, size_t bytes) {
  uint64_t x = 0;
  while (bytes-- > 0) x = x << 8 | p[bytes];
  return x;
}
uint16_t u16(const uint8_t* p) {
  return static_cast<uint16_t>(little(p, 2));
}
uint32_t u32(const uint8_t* p) {
  return static_cast<uint32_t>(little(p, 4));
}
uint64_t u64(const uint8_t* p) {
  return little(p, 8);
}

unsigned long long number(uint64_t x) {
  return x;
}

struct Entry {
  ZipMember member;
  uint64_t header;  // where its local header is
};

class DirectoryReader {
 public:
  explicit DirectoryReader(const InputFile& file) : file_(file) {}

  std::vector<ZipMember> read() {
    find_end();
    read_directory();
    for (Entry& entry : entries_) read_local(&entry);
    check_overlaps();
    return sorted();
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Refused(file_.path() + ": zip: " + why);
  }
  [[noreturn]] void refuse(const ZipMember& member, const std::string& why) const {
    refuse("member " + shown(member.name) + " " + why);
  }

  // The record at the end, behind which only its comment may follow.
  void find_end() {
    constexpr size_t kMaxComment = 0xffff;
    const size_t bytes = static_cast<size_t>(
        std::min<uint64_t>(file_.size(), kEndBytes + kMaxComment + kLocator64Bytes));
    std::vector<uint8_t> tail(bytes);
    file_.read(file_.size() - bytes, tail.data(), bytes);
    for (size_t at = bytes < kEndBytes ? 0 : bytes - kEndBytes + 1; at-- > 0;) {
      const uint8_t* p = &tail[at];
      if (u32(p) != kEndSignature || u16(p + 20) != bytes - at - kEndBytes) continue;
      const uint64_t place = file_.size() - bytes + at;
      const bool has_64 = at >= kLocator64Bytes && u32(p - kLocator64Bytes) == kLocator64Signature;
      return has_64 ? read_end64(p - kLocator64Bytes, place - kLocator64Bytes) : read_end(p, place);
    }
    refuse("found no directory at its end, expected one; is the file truncated?");
  }

  void read_end(const uint8_t* p, uint64_t place) {
    check_disks(u16(p + 4), u16(p + 6), u16(p + 8), u16(p + 10));
    n_entries_ = u16(p + 10);
    set_directory(u32(p + 16), u32(p + 12), place);
  }

  void read_end64(const uint8_t* locator, uint64_t locator_place) {
    const uint64_t place = u64(locator + 8);
    if (place > locator_place || locator_place - place < kEnd64Bytes) {
      refuse("zip64: found its end record at byte " + std::to_string(place) +
             ", expected it before byte " + std::to_string(locator_place));
    }
    uint8_t p[kEnd64Bytes];
    file_.read(place, p, sizeof p);
    if (u32(p) != kEnd64Signature || u64(p + 4) != locator_place - place - 12) {
      refuse(format("zip64: found no end record at byte %llu, expected one", number(place)));
    }
    check_disks(u32(p + 16), u32(p + 20), u64(p + 24), u64(p + 32));
    n_entries_ = u64(p + 32);
    set_directory(u64(p + 48), u64(p + 40), place);
  }

  void check_disks(uint64_t disk, uint64_t directory_disk, uint64_t here, uint64_t all) const {
    if (disk == 0 && directory_disk == 0 && here == all) return;
    refuse("is one of several parts, expected a whole archive");
  }

  void set_directory(uint64_t offset, uint64_t bytes, uint64_t end) {
    if (offset > end || bytes != end - offset) {
      refuse(format("directory: found %llu bytes at %llu, expected it to end at byte %llu",
                    number(bytes), number(offset), number(end)));
    }
    if (bytes > kMaxDirectoryBytes || n_entries_ > bytes / kCentralBytes) {
      refuse(
          format("directory: found %llu members in %llu bytes, expected %zu bytes or more for "
                 "each and %llu at most",
                 number(n_entries_), number(bytes), kCentralBytes, number(kMaxDirectoryBytes)));
    }
    directory_ = offset;
    directory_bytes_ = static_cast<size_t>(bytes);
  }

  void read_directory() {
    std::vector<uint8_t> bytes(directory_bytes_);
    file_.read(directory_, bytes.data(), bytes.size());
    size_t at = 0;
    for (uint64_t i = 0; i < n_entries_; ++i) {
      const uint8_t* p = bytes.data() + at;
      const size_t left = bytes.size() - at;
      if (left < kCentralBytes || u32(p) != kCentralSignature) {
        refuse(format("directory: found no entry for member %llu of %llu, expected one", number(i),
                      number(n_entries_)));
      }
      const size_t name = u16(p + 28), extra = u16(p + 30), comment = u16(p + 32);
      if (left - kCentralBytes < name + extra + comment) {
        refuse(format("directory: entry %llu ends behind the directory", number(i)));
      }
      const std::string text(reinterpret_cast<const char*>(p) + kCentralBytes, name);
      add(p, text, p + kCentralBytes + name, extra);
      at += kCentralBytes + name + extra + comment;
    }
    if (at != bytes.size()) {
      refuse(format("directory: found %zu bytes for %llu members, expected %zu", bytes.size(),
                    number(n_entries_), at));
    }
  }

  void add(const uint8_t* p, const std::string& name, const uint8_t* extra, size_t extra_bytes) {
    Entry entry{{name, 0, u32(p + 24), u32(p + 16)}, u32(p + 42)};
    uint64_t packed = u32(p + 20);
    read_zip64(extra, extra_bytes, {&entry.member.size, &packed, &entry.header}, entry.member);
    check_method(u16(p + 8), u16(p + 10), entry.member);
    if (packed != entry.member.size) {
      refuse(entry.member, format("has %llu bytes and takes %llu, expected the same, as it is not "
                                  "compressed",
                                  number(entry.member.size), number(packed)));
    }
    entries_.push_back(std::move(entry));
  }

  // The field holds, in this order, those numbers that are kIn64 elsewhere.
  void read_zip64(const uint8_t* extra, size_t bytes, std::initializer_list<uint64_t*> numbers,
                  const ZipMember& member) const {
    while (bytes >= 4) {
      const size_t length = u16(extra + 2);
      if (length > bytes - 4) break;
      if (u16(extra) == kZip64Field) {
        size_t at = 4;
        for (uint64_t* x : numbers) {
          if (*x != kIn64) continue;
          if (at + 8 > length + 4) refuse(member, "has a zip64 field that is too short");
          *x = u64(extra + at);
          at += 8;
        }
        return;
      }
      extra += length + 4;
      bytes -= length + 4;
    }
  }

  void check_method(uint16_t flags, uint16_t method, const ZipMember& member) const {
    if (flags & kEncrypted) refuse(member, "is encrypted, expected a plain one");
    if (method == 0) return;
    refuse(member, format("is compressed (method %u), expected it stored (method 0), as torch.save "
                          "does; pack the archive again without compression",
                          method));
  }

  void read_local(Entry* entry) const {
    ZipMember& member = entry->member;
    if (entry->header > directory_ || directory_ - entry->header < kLocalBytes) {
      refuse(member, format("begins at byte %llu, expected it before the directory at byte %llu",
                            number(entry->header), number(directory_)));
    }
    uint8_t p[kLocalBytes];
    file_.read(entry->header, p, sizeof p);
    if (u32(p) != kLocalSignature) {
      refuse(member, format("has no header at byte %llu, expected one", number(entry->header)));
    }
    check_method(u16(p + 6), u16(p + 8), member);
    const size_t name = u16(p + 26), extra = u16(p + 28);
    member.offset = entry->header + kLocalBytes + name + extra;
    if (member.offset > directory_ || directory_ - member.offset < member.size) {
      refuse(member, format("has %llu bytes from byte %llu, expected them before the directory at "
                            "byte %llu",
                            number(member.size), number(member.offset), number(directory_)));
    }
    std::string local_name(name, '\0');
    file_.read(entry->header + kLocalBytes, local_name.data(), name);
    if (local_name != member.name) {
      refuse(member, "is called " + shown(local_name) + " by its own header, expected one name");
    }
    const uint32_t size = u32(p + 22);
    const bool elsewhere = (u16(p + 6) & kSizesBehind) != 0 || size == kIn64;
    if (!elsewhere && size != member.size) {
      refuse(member, format("has %u bytes by its own header, %llu by the directory, expected one "
                            "number",
                            size, number(member.size)));
    }
  }

  void check_overlaps() {
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return a.header < b.header; });
    for (size_t i = 1; i < entries_.size(); ++i) {
      const ZipMember& before = entries_[i - 1].member;
      if (entries_[i].header >= before.offset + before.size) continue;
      refuse(entries_[i].member, "overlaps member " + shown(before.name));
    }
  }

  std::vector<ZipMember> sorted() {
    std::vector<ZipMember> members;
    for (Entry& entry : entries_) members.push_back(std::move(entry.member));
    std::sort(members.begin(), members.end(),
              [](const ZipMember& a, const ZipMember& b) { return a.name < b.name; });
    for (size_t i = 1; i < members.size(); ++i) {
      if (members[i].name == members[i - 1].name) refuse(members[i], "is there twice");
    }
    return members;
  }

  const InputFile& file_;
  uint64_t directory_ = 0, n_entries_ = 0;
  size_t directory_bytes_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace

bool is_zip(const InputFile& file) {
  uint8_t start[4];
  if (file.size() < sizeof start) return false;
  file.read(0, start, sizeof start);
  return u32(start) == kLocalSignature;
}

ZipArchive::ZipArchive(std::shared_ptr<const InputFile> file)
    : file_(std::move(file)), members_(DirectoryReader(*file_).read()) {}

const ZipMember* ZipArchive::find(const std::string& name) const {
  const auto found = std::lower_bound(
      members_.begin(), members_.end(), name,
      [](const ZipMember& member, const std::string& wanted) { return member.name < wanted; });
  return found == members_.end() || found->name != name ? nullptr : &*found;
}

void ZipArchive::check(const ZipMember& member) const {
  std::vector<uint8_t> piece(64 * 1024);
  uint32_t crc = 0;
  for (uint64_t done = 0; done < member.size;) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(piece.size(), member.size - done));
    file_->read(member.offset + done, piece.data(), n);
    crc = crc32(crc, piece.data(), n);
    done += n;
  }
  if (crc == member.crc) return;
  throw Refused(
      file_->path() + ": zip: member " + shown(member.name) +
      format(": found checksum 0x%08x, expected 0x%08x: the file is damaged", crc, member.crc));
}

}  // namespace thimble::tools
