// SPDX-License-Identifier: MIT
#include "engine.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <utility>

#include "error.h"
#include "model.h"
#include "session.h"
#include "vocabulary.h"

namespace thimble::tools {

namespace {

// All that a file of any kind has, pipes included. What is no model is not read to its end, which
// it may not have.
AlignedBlock read_model(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (!file) throw Refused(path + ": " + std::strerror(errno));
  constexpr size_t kPiece = size_t{1} << 20;
  std::deque<std::vector<uint8_t>> pieces;
  size_t bytes = 0;
  uint64_t most = sizeof(FileHeader);
  for (;;) {
    std::vector<uint8_t> piece(static_cast<size_t>(std::min<uint64_t>(kPiece, most + 1 - bytes)));
    piece.resize(std::fread(piece.data(), 1, piece.size(), file.get()));
    if (std::ferror(file.get())) {
      throw Refused(path + ": cannot be read: " + std::strerror(errno));
    }
    if (piece.empty()) break;
    if (bytes == 0 && piece.size() >= sizeof(FileHeader)) {
      FileHeader header;
      std::memcpy(&header, piece.data(), sizeof header);
      if (std::memcmp(header.magic, kMagic, sizeof kMagic) == 0) most = header.file_bytes;
    }
    bytes += piece.size();
    pieces.push_back(std::move(piece));
    if (bytes > most) break;
  }
  if (bytes == 0) throw Refused(path + ": is empty (0 bytes)");
  AlignedBlock block(bytes);
  for (size_t at = 0; !pieces.empty(); pieces.pop_front()) {
    std::memcpy(block.data() + at, pieces.front().data(), pieces.front().size());
    at += pieces.front().size();
  }
  return block;
}

}  // namespace

LoadedModel::LoadedModel(const std::string& path, Place place) : path_(path) {
  if (place == kMapped) {
    file_ = std::make_unique<MappedFile>(path);
    model_ = open_model(*file_);
    return;
  }
  if (place == kStored) {
    stored_ = std::make_unique<StoredFile>(path);
    model_ = stored_->model();
    return;
  }
  copy_ = std::make_unique<AlignedBlock>(read_model(path));
  model_ = open_model(path, copy_->data(), copy_->size());
}

std::string chosen_isa(const std::string& wanted) {
  const char* variable = std::getenv("THIMBLE_ISA");
  std::string isa = !wanted.empty() ? wanted : variable ? variable : "";
  if (isa.empty()) return isa;
  std::string here;
  for (size_t i = 0; const char* name = thimble_isa_at(i); ++i) {
    if (isa == name) return isa;
    here += std::string(i ? ", " : "") + name;
  }
  throw WrongUsage(std::string(wanted.empty() ? "THIMBLE_ISA" : "--isa") + " is '" + isa +
                   "', this machine has " + here);
}

uint32_t kv_type_of(const Args& args) {
  const std::string type = args.text("--kv", "f32");
  if (type == "f32") return THIMBLE_KV_F32;
  if (type == "q8") return THIMBLE_KV_Q8;
  throw WrongUsage("option '--kv' is '" + type + "', expected f32 or q8");
}

uint32_t sinks_of(const Args& args) {
  return static_cast<uint32_t>(args.count("--sinks", 0, 1, kMaxSinks));
}

void check_sinks(const LoadedModel& loaded, const thimble_config& config) {
  if (config.n_sinks == 0) return;
  const thimble_model& model = loaded.model();
  if (header_of(model).learned_positions) {
    throw Refused(loaded.path() +
                  ": learned a vector for each position and has none beyond its context, so its "
                  "texts end there: leave --sinks out");
  }
  const uint32_t n_ctx = config.n_ctx ? config.n_ctx : model.n_ctx;
  if (config.n_sinks >= n_ctx) {
    throw Refused(
        format("%s: %u sinks were asked for, expected fewer than the context's %u positions",
               loaded.path().c_str(), config.n_sinks, n_ctx));
  }
}

Session::Session(const LoadedModel& loaded, thimble_config config, size_t arena_bytes) {
  const thimble_model& model = loaded.model();
  if (config.n_ctx > model.n_ctx) {
    throw Refused(format("%s: a context of %u positions was asked for, the model has %u",
                         loaded.path().c_str(), config.n_ctx, model.n_ctx));
  }
  check_sinks(loaded, config);
  if (loaded.stored()) config.store = &loaded.stored()->store();
  const size_t needed = thimble_session_bytes(&model, &config);
  if (needed == 0) checked(THIMBLE_ERROR_CONFIG, "session");
  arena_ = std::make_unique<AlignedBlock>(arena_bytes ? arena_bytes : needed);
  const thimble_status status =
      thimble_session_init(&session_, &model, &config, arena_->data(), arena_->size());
  if (status == THIMBLE_ERROR_ARENA_TOO_SMALL) {
    throw Refused(format("arena: %zu bytes given, %zu needed", arena_->size(), needed));
  }
  checked(status, "session");
}

int32_t checked(int32_t result, const char* what) {
  if (result >= 0) return result;
  throw Refused(std::string(what) + ": " +
                thimble_status_text(static_cast<thimble_status>(result)));
}

void throw_not_finite(const thimble_session* session) {
  throw NotFinite(
      format("found results that are no finite numbers at position %u, expected those of a "
             "trained model; thimble inspect --self-test may say where they come from",
             thimble_position(session) - 1));
}

int32_t draw_token(thimble_session* session, const thimble_sampling& sampling) {
  const int32_t token = thimble_sample(session, &sampling);
  if (token == THIMBLE_ERROR_NOT_FINITE) throw_not_finite(session);
  return checked(token, "sample");
}

void require_finite(thimble_session* session) {
  draw_token(session, thimble_sampling{});
}

void compute(thimble_session* session, const int32_t* tokens, size_t n, uint64_t budget) {
  checked(thimble_feed(session, tokens, n), "feed");
  while (checked(thimble_step(session, budget), "step") == THIMBLE_MORE) {
  }
}

void print_drafts(const thimble_session* session) {
  const thimble_drafts drafts = thimble_draft_counts(session);
  std::fprintf(stderr, "drafts: %u of %u tokens computed ahead were right\n", drafts.accepted,
               drafts.drafted);
}

uint64_t weight_bytes_per_token(const thimble_model& model) {
  const FileHeader& header = header_of(model);
  const SectionEntry* sections = reinterpret_cast<const SectionEntry*>(&header + 1);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < header.n_sections; ++i) {
    const SectionEntry& section = sections[i];
    if (section.kind >= kRopeFrequencies) continue;
    const uint64_t all = section.bytes + section.scales_bytes;
    // An embedding that is no output head gives one row of its many.
    const bool one_row = section.kind == kTokenEmbedding && !header.tied_head;
    bytes += one_row ? all / section.rows : all;
  }
  return bytes;
}

std::vector<int32_t> encode_prompt(thimble_session* session, const LoadedModel& loaded,
                                   const std::string& prompt, bool of_any_length) {
  const thimble_model& model = loaded.model();
  const bool goes_on = thimble_position(session) > 0;
  const bool has_bos = model.bos_id >= 0 && !goes_on;
  if (model.max_token_bytes == 0) {
    throw Refused(loaded.path() + ": has no tokenizer; convert it with --tokenizer FILE");
  }
  if (prompt.empty() && goes_on) return {};
  if (prompt.empty() && !has_bos) {
    throw Refused(loaded.path() +
                  ": has no beginning-of-text token, so the prompt must not be empty");
  }
  const uint32_t flags = has_bos ? THIMBLE_ENCODE_BOS : 0;
  std::vector<int32_t> tokens(prompt.size() + 2);
  if (of_any_length) {
    tokens = encode_all(model, prompt, flags);
  } else {
    const int32_t n =
        thimble_encode(session, prompt.data(), prompt.size(), flags, tokens.data(), tokens.size());
    if (n == THIMBLE_ERROR_TEXT_TOO_LONG) {
      throw Refused(
          format("the prompt has a word of more than %zu bytes, the longest one that can "
                 "be merged; a larger --batch gives more room",
                 thimble_encode_word_bytes(session)));
    }
    tokens.resize(static_cast<size_t>(checked(n, loaded.path().c_str())));
  }
  const uint32_t room = thimble_room(session);
  if (tokens.size() > room && !is_endless(session)) {
    throw Refused(format("the prompt has %zu tokens, the context of %s holds %u%s", tokens.size(),
                         loaded.path().c_str(), room, goes_on ? " more" : ""));
  }
  return tokens;
}

}  // namespace thimble::tools
