// SPDX-License-Identifier: MIT
// thimble pack: a text in as few bytes as its model can predict it.
#include "pack.h"

#include <string>

#include "engine.h"
#include "error.h"
#include "files.h"
#include "packing.h"
#include "progress.h"
#include "thimble/thimble.h"
#include "verbs.h"

namespace thimble::tools {

const char kPackHelp[] =
    R"(usage: thimble pack MODEL TEXT -o OUT [options]

Packs a text by the model: it predicts each token, and only what it did not expect takes bits
(arithmetic coding by the model's own odds). thimble unpack, or thimble_unpack_begin on a chip, gives
the text back to the byte, whatever it holds; it needs the same model, on any machine. Texts of
the kind that the model was trained on become small, others about as long as they are. Records
between <|endoftext|> marks are packed each on its own.

  TEXT               a file, or - for stdin
  -o OUT             the packed file to write, or - for stdout
  --kv f32|q8        how keys and values are cached, the same on both sides; default f32
  --ctx N            positions of the context; a text that outgrows it goes on with the last half of
                     it; default: the model's
  --sinks N          behind the context the text goes on as `thimble run --sinks` has it, the same on
                     both sides
  --lora FILE        with an adapter of the model, the same on both sides
  --stats            speed, on stderr
  THIMBLE_ISA=NAME   an environment variable that forces kernels; the bytes are the same with all

Examples
  thimble pack story.thimble letter.txt -o letter.packed
  echo "The dog was happy." | thimble pack story.thimble - -o - | wc -c
)";

int pack_verb(const Words& words) {
  const PackingOptions options(words, "a text", "the packed file");
  const PackingSession packing(options);
  const std::string text = read_text(options.input);
  const Stopwatch watch;
  std::string packed;
  naming(options.model, [&] {
    Progress bar("pack");
    thimble_pack pack;
    thimble_status status = thimble_pack_begin(&pack, packing.session(), text.data(), text.size());
    if (status == THIMBLE_OK) status = THIMBLE_MORE;
    while (status == THIMBLE_MORE) {
      char piece[256];
      size_t n = 0;
      status = thimble_pack_step(&pack, 0, piece, sizeof piece, &n);
      packed.append(piece, n);
      bar.show(static_cast<double>(packed_text_bytes(pack)) /
               static_cast<double>(text.empty() ? 1 : text.size()));
    }
    if (status == THIMBLE_ERROR_NOT_FINITE) throw_not_finite(packing.session());
    checked(status, options.input.c_str());
  });
  const double seconds = watch.seconds();
  write_output(options.output, packed);
  print_packing("packed", text.size(), packed.size(), options, seconds);
  return 0;
}

}  // namespace thimble::tools
