// SPDX-License-Identifier: MIT
#include "checkpoint.h"

#include <cstring>
#include <sstream>

#include "crc32.h"
#include "error.h"
#include "files.h"
#include "model.h"

namespace thimble::tools::train {
namespace {

constexpr uint8_t kTrainMagic[8] = {0x89, 'T', 'H', 'T', 'R', 'A', 'I', '\n'};
constexpr uint32_t kVersion = 1, kOrder = 0x01020304u;

// Then the settings, the blocks, and a CRC-32 of all before it.
struct Header {
  uint8_t magic[8];
  uint32_t version, byte_order;
  uint64_t file_bytes, settings_bytes, n_blocks, block_bytes;
  uint64_t step, total_steps, epoch, at, tokens;
  double seconds;
};
static_assert(sizeof(Header) == 96, "no padding");

uint64_t bytes_of(const std::vector<const Floats*>& blocks) {
  uint64_t bytes = 0;
  for (const Floats* block : blocks) bytes += block->size() * sizeof(float);
  return bytes;
}

// The first line that two settings do not share.
std::string difference(const std::string& found, const std::string& expected) {
  std::istringstream a(found), b(expected);
  for (;;) {
    std::string x, y;
    const bool has_x = static_cast<bool>(std::getline(a, x));
    const bool has_y = static_cast<bool>(std::getline(b, y));
    if (!has_x && !has_y) return "nothing";
    if (x != y) return format("'%s', and this command says '%s'", x.c_str(), y.c_str());
  }
}

}  // namespace

void write_checkpoint(const std::string& path, const std::string& settings, const RunState& state,
                      const std::vector<const Floats*>& blocks) {
  Header h{};
  std::memcpy(h.magic, kTrainMagic, sizeof h.magic);
  h.version = kVersion;
  h.byte_order = kOrder;
  h.settings_bytes = settings.size();
  h.n_blocks = blocks.size();
  h.block_bytes = bytes_of(blocks);
  h.file_bytes = sizeof h + settings.size() + h.block_bytes + sizeof(uint32_t);
  h.step = state.step;
  h.total_steps = state.total_steps;
  h.epoch = state.epoch;
  h.at = state.at;
  h.tokens = state.tokens;
  h.seconds = state.seconds;
  OutputFile file(path);
  uint32_t crc = 0;
  const auto put = [&](const void* data, size_t bytes) {
    crc = crc32(crc, data, bytes);
    file.write(data, bytes);
  };
  put(&h, sizeof h);
  put(settings.data(), settings.size());
  for (const Floats* block : blocks) put(block->data(), block->size() * sizeof(float));
  file.write(&crc, sizeof crc);
  file.commit();
}

RunState read_checkpoint(const std::string& path, const std::string& settings,
                         const std::vector<const Floats*>& blocks) {
  const MappedFile file(path);
  const uint8_t* at = file.data();
  Header h{};
  if (file.size() < sizeof h || std::memcmp(at, kTrainMagic, sizeof kTrainMagic) != 0) {
    throw Refused(path + ": is no checkpoint of `thimble train`");
  }
  std::memcpy(&h, at, sizeof h);
  if (h.version != kVersion || h.byte_order != kOrder) {
    throw Refused(format("%s: is a checkpoint of version %u (byte order %08x), expected %u (%08x)",
                         path.c_str(), h.version, h.byte_order, kVersion, kOrder));
  }
  if (h.file_bytes != file.size()) {
    throw Refused(format("%s: has %zu bytes, expected %llu: it was cut", path.c_str(), file.size(),
                         static_cast<unsigned long long>(h.file_bytes)));
  }
  uint32_t crc = 0;
  std::memcpy(&crc, at + file.size() - sizeof crc, sizeof crc);
  const uint32_t found = crc32(0, at, file.size() - sizeof crc);
  if (found != crc || h.settings_bytes > file.size() - sizeof h - sizeof crc) {
    throw Refused(
        format("%s: is damaged: its checksum is %08x, expected %08x", path.c_str(), found, crc));
  }
  at += sizeof h;
  const std::string before(reinterpret_cast<const char*>(at),
                           static_cast<size_t>(h.settings_bytes));
  if (before != settings) {
    throw Refused(path + ": belongs to another run: it has " + difference(before, settings));
  }
  if (h.n_blocks != blocks.size() || h.block_bytes != bytes_of(blocks)) {
    throw Refused(format("%s: holds %llu bytes of weights, expected %llu", path.c_str(),
                         static_cast<unsigned long long>(h.block_bytes),
                         static_cast<unsigned long long>(bytes_of(blocks))));
  }
  at += h.settings_bytes;
  for (const Floats* block : blocks) {
    std::memcpy(block->data(), at, block->size() * sizeof(float));
    at += block->size() * sizeof(float);
  }
  RunState state;
  state.step = h.step;
  state.total_steps = h.total_steps;
  state.epoch = h.epoch;
  state.at = h.at;
  state.tokens = h.tokens;
  state.seconds = h.seconds;
  return state;
}

std::string settings_of_model(const char* what, const thimble_model* model) {
  if (!model) return "";
  const FileHeader& h = header_of(*model);
  return format("%s %08x %08x\n", what, h.header_crc, h.data_crc);
}

}  // namespace thimble::tools::train
