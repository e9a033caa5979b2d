// SPDX-License-Identifier: MIT
// thimble unpack: the text that a model has packed.
#include <string>

#include "engine.h"
#include "error.h"
#include "files.h"
#include "pack.h"
#include "packing.h"
#include "progress.h"
#include "thimble/thimble.h"
#include "verbs.h"

namespace thimble::tools {

const char kUnpackHelp[] =
    R"(usage: thimble unpack MODEL FILE -o TEXT [options]

Gives the text back that thimble pack has packed, to the byte, by the same model. A file that is
damaged, cut, or of another model is refused; nothing is written then.

  FILE               a packed file, or - for stdin
  -o TEXT            the text to write, or - for stdout
  --kv f32|q8        how keys and values are cached, as it was when packing; default f32
  --ctx N            positions of the context; default: the model's; what it was when packing has to
                     fit, with --sinks be the same
  --sinks N          as it was when packing
  --lora FILE        with an adapter of the model, as it was when packing
  --stats            speed, on stderr
  THIMBLE_ISA=NAME   an environment variable that forces kernels; the text is the same with all

Examples
  thimble unpack story.thimble letter.packed -o letter.txt
  thimble unpack story.thimble letter.packed -o -
)";

namespace {

const char* kv_name(bool is_q8) {
  return is_q8 ? "q8" : "f32";
}

std::string adapter_text(uint16_t name) {
  return name ? format("the one named 0x%04x", name) : "none";
}

// What a packed text of another layout was packed with, and what there is.
std::string other_layout(const PackedHeader& h, const PackingOptions& options, uint32_t n_ctx) {
  const bool is_q8 = h.flags & kPackedKvQ8, wants_q8 = options.config.kv_type == THIMBLE_KV_Q8;
  if (is_q8 != wants_q8) {
    return format("found a cache in %s, expected %s, as --kv has it", kv_name(is_q8),
                  kv_name(wants_q8));
  }
  if (!(h.flags & kPackedWindow)) {
    return format(
        "found a text of more positions, expected at most the context's %u, as --ctx has it",
        n_ctx);
  }
  if (h.n_sinks != options.config.n_sinks) {
    return format("found %u sinks, expected %u, as --sinks has it", h.n_sinks,
                  options.config.n_sinks);
  }
  return format("found a context of %u positions, expected %s%u, as --ctx has it", h.n_ctx,
                h.n_sinks ? "" : "2 to ", n_ctx);
}

std::string fault_of(thimble_status status, const std::string& packed,
                     const PackingOptions& options, const PackingSession& packing) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(packed.data());
  PackedHeader h;
  read_packed_header(&h, bytes, packed.size());
  switch (status) {
    case THIMBLE_ERROR_MAGIC:
      return format(
          "is no packed text: found 0x%02x at its start, expected 0x50 to 0x57; thimble "
          "pack writes one",
          bytes[0]);
    case THIMBLE_ERROR_OTHER_MODEL:
      return format("found a text of another model, named 0x%04x, expected that of %s, 0x%04x",
                    h.model, options.model.c_str(), model_name(packing.loaded().model()));
    case THIMBLE_ERROR_OTHER_ADAPTER:
      return "found a text packed with another adapter, " + adapter_text(h.adapter) +
             ", expected " + adapter_text(adapter_name(packing.session())) + ", as --lora has it";
    case THIMBLE_ERROR_OTHER_LAYOUT:
      return other_layout(h, options, thimble_context_size(packing.session()));
    case THIMBLE_ERROR_TRUNCATED:
      return format("is damaged: found %zu bytes, expected just those that the text takes",
                    packed.size());
    case THIMBLE_ERROR_DATA_CHECKSUM:
      return "is damaged: its checksum is not that of its content";
    default:
      return thimble_status_text(status);
  }
}

}  // namespace

int unpack_verb(const Words& words) {
  const PackingOptions options(words, "a packed file", "the text");
  const PackingSession packing(options);
  const std::string packed = read_text(options.input);
  const Stopwatch watch;
  std::string text;
  naming(options.model, [&] {
    Progress bar("unpack");
    thimble_unpack unpack;
    size_t text_bytes;
    thimble_status status =
        thimble_unpack_begin(&unpack, packing.session(), packed.data(), packed.size(), &text_bytes);
    if (status == THIMBLE_OK) status = THIMBLE_MORE;
    while (status == THIMBLE_MORE) {
      char piece[256];
      size_t n = 0;
      status = thimble_unpack_step(&unpack, 0, piece, sizeof piece, &n);
      text.append(piece, n);
      bar.show(static_cast<double>(text.size()) / static_cast<double>(text_bytes ? text_bytes : 1));
    }
    if (status == THIMBLE_ERROR_NOT_FINITE) throw_not_finite(packing.session());
    if (status != THIMBLE_OK) {
      const std::string name = options.input == "-" ? "stdin" : options.input;
      throw Refused(name + ": " + fault_of(status, packed, options, packing));
    }
  });
  const double seconds = watch.seconds();
  write_output(options.output, text);
  print_packing("unpacked", text.size(), packed.size(), options, seconds);
  return 0;
}

}  // namespace thimble::tools
