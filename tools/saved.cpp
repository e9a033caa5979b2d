// SPDX-License-Identifier: MIT
#include "saved.h"

#include <cstring>

#include "error.h"
#include "files.h"
#include "saved_session.h"

namespace thimble::tools {

namespace {

const char* kv_name(uint32_t type) {
  return type == THIMBLE_KV_Q8 ? "q8" : "f32";
}

// Which choice a saved session wants that this one has not.
std::string other_layout(const thimble_session* s, const SavedHeader& h) {
  const uint32_t kv_type = s->cache.type == kWeightQ8 ? THIMBLE_KV_Q8 : THIMBLE_KV_F32;
  if (h.kv_type != kv_type) {
    return format("found a cache in %s, expected %s, as --kv has it", kv_name(h.kv_type),
                  kv_name(kv_type));
  }
  if (h.n_sinks != s->n_sinks) {
    return format("found %u sinks, expected %u, as --sinks has it", h.n_sinks, s->n_sinks);
  }
  if (h.n_sinks > 0) {
    return format("found a context of %u positions, expected %u, as --ctx has it", h.n_ctx,
                  s->n_ctx);
  }
  return format("found a text of %u positions, expected one that fits into the context's %u",
                h.position, s->n_ctx);
}

std::string adapter_name(uint32_t header_crc, uint32_t data_crc) {
  if (header_crc == 0 && data_crc == 0) return "none";
  return format("one with the checksums 0x%08x 0x%08x", header_crc, data_crc);
}

std::string other_adapter(const thimble_session* s, const SavedHeader& h) {
  const bool has_one = s->lora && s->lora->matrices;
  return "found another adapter, " + adapter_name(h.adapter_header_crc, h.adapter_data_crc) +
         ", expected " +
         (has_one ? adapter_name(s->lora->header_crc, s->lora->data_crc) : adapter_name(0, 0)) +
         ", as --lora has it";
}

std::string rule_name(uint32_t header_crc, uint32_t data_crc) {
  return format("one with the checksums 0x%08x 0x%08x", header_crc, data_crc);
}

std::string other_rule(const thimble_session* s, const SavedHeader& h) {
  const std::string found = rule_name(h.rule_header_crc, h.rule_data_crc);
  const std::string expected =
      has_rule(s) ? rule_name(rule_of(s).header_crc, rule_of(s).data_crc) : std::string("none");
  return "found another rule, " + found + ", expected " + expected + ", as --constrain has it";
}

std::string fault_of(thimble_status status, const thimble_session* s, const LoadedModel& loaded,
                     const MappedFile& file) {
  SavedHeader h = {};
  if (file.size() >= sizeof h) std::memcpy(&h, file.data(), sizeof h);
  const FileHeader& model = header_of(s->model);
  switch (status) {
    case THIMBLE_ERROR_MAGIC:
      return "is no saved session; thimble run --save writes one";
    case THIMBLE_ERROR_VERSION:
      return format("found version %u of saved sessions, expected %u", h.version, kSavedVersion);
    case THIMBLE_ERROR_TRUNCATED:
      return file.size() < sizeof h
                 ? format("found %zu bytes, expected at least %zu", file.size(), sizeof h)
                 : format("found %zu bytes, expected %llu", file.size(),
                          static_cast<unsigned long long>(h.bytes));
    case THIMBLE_ERROR_HEADER_CHECKSUM:
    case THIMBLE_ERROR_DATA_CHECKSUM:
      return "is damaged: its checksum is not that of its content";
    case THIMBLE_ERROR_OTHER_MODEL:
      return format(
          "found checksums 0x%08x 0x%08x of another model, expected those of %s, 0x%08x "
          "0x%08x",
          h.model_header_crc, h.model_data_crc, loaded.path().c_str(), model.header_crc,
          model.data_crc);
    case THIMBLE_ERROR_OTHER_ADAPTER:
      return other_adapter(s, h);
    case THIMBLE_ERROR_OTHER_RULE:
      return other_rule(s, h);
    case THIMBLE_ERROR_OTHER_LAYOUT:
      return other_layout(s, h);
    default:
      return thimble_status_text(status);
  }
}

}  // namespace

void save_session(thimble_session* session, const std::string& path) {
  if (thimble_session_save_bytes(session) == 0) {
    checked(thimble_rewind(session, thimble_position(session)), "rewind");
  }
  std::vector<uint8_t> bytes(thimble_session_save_bytes(session));
  checked(thimble_session_save(session, bytes.data(), bytes.size()), "save");
  OutputFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

std::vector<int32_t> load_session(thimble_session* session, const LoadedModel& loaded,
                                  const std::string& path) {
  const MappedFile file(path);
  const thimble_status status = thimble_session_load(session, file.data(), file.size());
  if (status != THIMBLE_OK) throw Refused(path + ": " + fault_of(status, session, loaded, file));
  checked(thimble_step(session, 0), "step");
  SavedHeader h;
  std::memcpy(&h, file.data(), sizeof h);
  std::vector<int32_t> tokens(h.n_tokens);
  std::memcpy(tokens.data(), file.data() + sizeof h, tokens.size() * sizeof tokens[0]);
  return tokens;
}

}  // namespace thimble::tools
