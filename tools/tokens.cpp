// SPDX-License-Identifier: MIT
// thimble tokens: what a tokenizer makes of a text.
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "args.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "image.h"
#include "json_string.h"
#include "model.h"
#include "odd_text.h"
#include "output.h"
#include "readers/input_file.h"
#include "readers/reader.h"
#include "thimble/thimble.h"
#include "verbs.h"
#include "vocabulary.h"

namespace thimble::tools {

const char kTokensHelp[] =
    R"(usage: thimble tokens MODEL|TOKENIZER -p TEXT [options]

Shows the tokens of a text, one a line: the id, then its text in quotes. Takes a model file, a file
or folder of a tokenizer as convert reads it, or a GGUF file. Nothing is added to the text but the
space that some tokenizers begin with.

  -p TEXT              the text; `-p -` reads all bytes of stdin
  --bos                put the beginning-of-text token first
  --special            control tokens that are spelled out in the text are meant
  --json               {"ids":[...],"pieces":[...]}; what is no UTF-8 is shown as U+FFFD

Examples
  thimble tokens story.thimble -p "Once upon a time"
  thimble tokens SmolLM2-135M/ --special -p "<|im_start|>user" --json
  thimble tokens tokenizer.json -p - <book.txt | wc -l
)";

namespace {

// A model file, or the image of one around a tokenizer alone.
class Tokenizer {
 public:
  explicit Tokenizer(const std::string& path) {
    if (is_model(path)) {
      loaded_ = std::make_unique<LoadedModel>(path);
      model_ = loaded_->model();
    } else {
      const VocabularyFile file = open_vocabulary(path, 0);
      if (!file.vocabulary.note.empty()) {
        std::fprintf(stderr, "note: %s: %s\n", path.c_str(), file.vocabulary.note.c_str());
      }
      image_ = image_of_vocabulary(file.vocabulary);
      model_ = open_model(path, image_.data(), image_.bytes);
    }
    if (header_of(model_).tokenizer == kTokenizerNone) {
      throw Refused(path + ": has no tokenizer; convert it with --tokenizer FILE");
    }
  }

  const thimble_model& model() const { return model_; }

  std::string text(int32_t id) const {
    const uint32_t* offsets = table_of<uint32_t>(model_, kTokenOffsets) + id;
    const char* bytes = table_of<char>(model_, kTokenBytes);
    return std::string(bytes + offsets[0], offsets[1] - offsets[0]);
  }

 private:
  static bool is_model(const std::string& path) {
    struct stat info {};
    if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return false;
    const InputFile file(path);
    char start[sizeof kMagic] = {};
    file.read(0, start, static_cast<size_t>(std::min<uint64_t>(file.size(), sizeof start)));
    return std::memcmp(start, kMagic, sizeof start) == 0;
  }

  std::unique_ptr<LoadedModel> loaded_;
  ImageInMemory image_;
  thimble_model model_;
};

constexpr size_t kPrintAt = 1 << 16;  // a long text is written piece by piece

// `item` of each id, with `between` between them.
template <class Item>
void print_each(const std::vector<int32_t>& ids, const char* between, const Item& item) {
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += between;
    out += item(ids[i]);
    if (out.size() < kPrintAt) continue;
    print_text(out);
    out.clear();
  }
  print_text(out);
}

}  // namespace

int tokens_verb(const Words& words) {
  const Args args(words, {{"-p", true}, {"--bos", false}, {"--special", false}, {"--json", false}});
  const std::string& path = args.one_positional("a model file or a tokenizer");
  if (!args.has("-p")) throw WrongUsage("option '-p TEXT' is missing");
  const std::string given = args.text("-p", "");
  const Tokenizer tokenizer(path);
  if (args.has("--bos") && tokenizer.model().bos_id < 0) {
    throw Refused(path + ": has no beginning-of-text token");
  }
  const uint32_t flags = (args.has("--bos") ? THIMBLE_ENCODE_BOS : 0) |
                         (args.has("--special") ? THIMBLE_ENCODE_SPECIAL : 0);
  std::string text = given;
  if (given == "-") note_oddities(text = read_text("-"), "stdin");
  const std::vector<int32_t> ids = encode_all(tokenizer.model(), text, flags);
  if (args.has("--json")) {
    print_text("{\"ids\":[");
    print_each(ids, ",", [](int32_t id) { return std::to_string(id); });
    print_text("],\"pieces\":[");
    print_each(ids, ",", [&](int32_t id) { return json_string(tokenizer.text(id)); });
    print_text("]}\n");
  } else {
    print_each(ids, "", [&](int32_t id) {
      return format("%6d  ", id) + json_string(tokenizer.text(id)) + "\n";
    });
  }
  return 0;
}

}  // namespace thimble::tools
