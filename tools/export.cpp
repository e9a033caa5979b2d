// SPDX-License-Identifier: MIT
// thimble export: a model as GGUF, for engines of larger machines.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "args.h"
#include "error.h"
#include "export_family.h"
#include "export_tokenizer.h"
#include "files.h"
#include "gguf_writer.h"
#include "model.h"
#include "progress.h"
#include "readers/gguf_types.h"
#include "size_text.h"
#include "verbs.h"

namespace thimble::tools {

const char kExportHelp[] =
    R"(usage: thimble export MODEL -o OUT.gguf

Writes a model file as GGUF v3, with names and order of llama.cpp's converter, for engines that run
on larger machines. The architecture is the one that computes the same: llama, qwen2, qwen3, gemma3,
gpt2 or gptneox; a model that none of them expresses is refused. Its tokenizer goes with it.

float32 weights stay what they are, to the bit. int8 weights become Q8_0: the same int8 values where
the scale, a bf16, is a half float too (from 2^-17 on it is); otherwise the values or ones rounded
anew, whichever differ less. Rows that are no multiple of 32 become float32.

  -o OUT.gguf          the file to write

Examples
  thimble export story.thimble -o story.gguf
)";

namespace {

class Exporter {
 public:
  Exporter(const thimble_model& model, const std::string& name)
      : model_(model), h_(header_of(model)), shape_(export_shape(model)), f_(*shape_.family) {
    add_keys(name);
    export_tokenizer(model, &out_);
    add_tensors();
  }

  const char* family() const { return f_.name; }
  const GgufWriter& writer() const { return out_; }

 private:
  // ---- Keys

  std::string key(const char* name) const { return std::string(f_.name) + "." + name; }

  void add_keys(const std::string& name) {
    out_.text("general.architecture", f_.name);
    out_.text("general.name", name);
    out_.u32("general.file_type", h_.weight_type == kWeightQ8 ? 7 : 0);  // mostly Q8_0, all F32
    out_.u32("general.quantization_version", 2);
    out_.u32(key("context_length"), h_.n_ctx);
    out_.u32(key("embedding_length"), h_.dim);
    out_.u32(key("block_count"), h_.n_layers);
    out_.u32(key("feed_forward_length"), h_.hidden_dim);
    out_.u32(key("attention.head_count"), h_.n_heads);
    if (!f_.joined_qkv) out_.u32(key("attention.head_count_kv"), h_.n_kv_heads);
    out_.real(
        key(f_.layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"),
        h_.norm_eps);
    if (f_.key_length) {
      out_.u32(key("attention.key_length"), h_.head_dim);
      out_.u32(key("attention.value_length"), h_.head_dim);
    }
    if (f_.local_layers) out_.u32(key("attention.sliding_window"), shape_.local_window);
    if (f_.may_be_parallel) out_.boolean(key("use_parallel_residual"), h_.parallel != 0);
    out_.u32(key("vocab_size"), h_.vocab_size);
    if (f_.learned_positions) return;
    if (f_.partial_rotary) out_.u32(key("rope.dimension_count"), shape_.rope.width);
    out_.real(key("rope.freq_base"), shape_.rope.theta);
    if (shape_.rope.linear != 1.0f) {
      out_.text(key("rope.scaling.type"), "linear");
      out_.real(key("rope.scaling.factor"), shape_.rope.linear);
    }
  }

  // ---- Tensors

  bool has(SectionKind kind) const {
    for (uint32_t i = 0; i < h_.n_sections; ++i) {
      if (sections()[i].kind == kind) return true;
    }
    return false;
  }
  const SectionEntry* sections() const {
    return reinterpret_cast<const SectionEntry*>(model_.image + sizeof(FileHeader));
  }

  // A row of the file's matrix, from the engine's.
  static void fill_row(const Matrix& m, uint32_t row, uint32_t type, uint8_t* out) {
    if (type == kGgufF32) {
      std::vector<float> values(m.cols);
      read_row(values.data(), m, row);
      std::memcpy(out, values.data(), values.size() * sizeof(float));
      return;
    }
    const size_t tile = row / m.row_tile, lane = row % m.row_tile;
    const int8_t* data =
        static_cast<const int8_t*>(m.data) + tile * m.padded_cols * m.row_tile + lane * 4;
    const uint16_t* scales = m.scales + tile * m.n_groups * m.row_tile + lane;
    for (uint32_t c = 0; c < m.cols; c += kQ8BlockWeights) {  // groups are multiples of it, or all
      int8_t values[kQ8BlockWeights];
      for (uint32_t i = 0; i < kQ8BlockWeights; ++i) {
        values[i] = data[static_cast<size_t>((c + i) / 4) * m.row_tile * 4 + (c + i) % 4];
      }
      const uint32_t bits = uint32_t{scales[static_cast<size_t>(c / m.group) * m.row_tile]} << 16;
      float scale;
      std::memcpy(&scale, &bits, sizeof scale);
      const Q8Block block = q8_block(values, scale);
      std::memcpy(out, &block, sizeof block);
      out += sizeof block;
    }
  }

  // The engine's row of a head that is row `row` of the file's.
  uint32_t head_row(uint32_t row) const {
    const uint32_t in_head = row % h_.head_dim, width = shape_.rope.width;
    if (!f_.halves || in_head >= width) return row;
    const bool second = in_head >= width / 2;
    return row - in_head + (second ? 2 * in_head - width + 1 : 2 * in_head);
  }

  // Rows [first, first + rows) of a section; `by_head`: in the file's order of rotary pairs.
  void matrix(const std::string& name, SectionKind kind, uint32_t layer, uint32_t first,
              uint32_t rows, bool by_head = false) {
    const Matrix m = matrix_of(model_, kind, layer);
    const bool q8 = m.type == kWeightQ8 && m.cols % kQ8BlockWeights == 0;
    const uint32_t type = q8 ? kGgufQ8 : kGgufF32;
    out_.tensor(name, rows, m.cols, type,
                [this, m, first, type, by_head](uint32_t row, uint8_t* out) {
                  fill_row(m, first + (by_head ? head_row(row) : row), type, out);
                });
  }

  // Numbers [first, first + n) of a section that is a table of float32; zeros where there is none.
  void vector(const std::string& name, SectionKind kind, uint32_t layer, uint32_t first, uint32_t n,
              bool by_head = false) {
    const float* values = has(kind) ? table_of<float>(model_, kind, layer) + first : nullptr;
    out_.tensor(name, 0, n, kGgufF32, [this, values, n, by_head](uint32_t, uint8_t* out) {
      std::vector<float> row(n);
      for (uint32_t i = 0; values && i < n; ++i) row[i] = values[by_head ? head_row(i) : i];
      std::memcpy(out, row.data(), row.size() * sizeof(float));
    });
  }

  void norm(const std::string& name, SectionKind kind, uint32_t layer) {
    vector(name + ".weight", kind, layer, 0, h_.dim);
    if (f_.layer_norm) vector(name + ".bias", kind, layer, h_.dim, h_.dim);
  }

  // A matrix's rows and, if there are any or the architecture wants them, their biases.
  struct Part {
    SectionKind kind, bias;
    uint32_t bias_bit, first, rows;
    bool by_head;
  };
  void linear(const std::string& name, uint32_t layer, const Part& p) {
    matrix(name + ".weight", p.kind, layer, p.first, p.rows, p.by_head);
    if (((h_.biases | f_.needs_biases) & p.bias_bit) == 0) return;
    vector(name + ".bias", p.bias, layer, p.first, p.rows, p.by_head);
  }

  void attention(const std::string& block, uint32_t layer) {
    const uint32_t q = h_.n_heads * h_.head_dim, kv = h_.n_kv_heads * h_.head_dim;
    const auto part = [&](uint32_t first, uint32_t rows, bool by_head) {
      return Part{kAttentionQkv, kAttentionQkvBias, kBiasQkv, first, rows, by_head};
    };
    if (f_.joined_qkv) {
      joined_qkv(block + "attn_qkv", layer, q);
    } else {
      linear(block + "attn_q", layer, part(0, q, true));
      linear(block + "attn_k", layer, part(q, kv, true));
      linear(block + "attn_v", layer, part(q + kv, kv, false));
    }
    if (f_.qk_norm) {
      vector(block + "attn_q_norm.weight", kQkNorm, layer, 0, h_.head_dim, true);
      vector(block + "attn_k_norm.weight", kQkNorm, layer, h_.head_dim, h_.head_dim, true);
    }
    linear(block + "attn_output", layer,
           {kAttentionOutput, kAttentionOutputBias, kBiasAttentionOutput, 0, h_.dim, false});
  }

  // q, k and v, `n` rows each: those of q and k are in the file's order of pairs.
  void joined_qkv(const std::string& name, uint32_t layer, uint32_t n) {
    const Matrix m = matrix_of(model_, kAttentionQkv, layer);
    const uint32_t type = m.type == kWeightQ8 && m.cols % kQ8BlockWeights == 0 ? kGgufQ8 : kGgufF32;
    const auto from = [this, n](uint32_t row) { return row < 2 * n ? head_row(row) : row; };
    out_.tensor(name + ".weight", 3 * n, m.cols, type,
                [=](uint32_t row, uint8_t* out) { fill_row(m, from(row), type, out); });
    const float* bias =
        has(kAttentionQkvBias) ? table_of<float>(model_, kAttentionQkvBias, layer) : nullptr;
    out_.tensor(name + ".bias", 0, 3 * n, kGgufF32, [=](uint32_t, uint8_t* out) {
      std::vector<float> row(3 * n);
      for (uint32_t i = 0; bias && i < 3 * n; ++i) row[i] = bias[from(i)];
      std::memcpy(out, row.data(), row.size() * sizeof(float));
    });
  }

  void feed_forward(const std::string& block, uint32_t layer) {
    const uint32_t n = h_.hidden_dim;
    const auto part = [&](uint32_t first) {
      return Part{kFeedForwardGateUp, kFeedForwardGateUpBias, kBiasFeedForwardIn, first, n, false};
    };
    if (f_.gated) linear(block + "ffn_gate", layer, part(0));
    linear(block + "ffn_up", layer, part(f_.gated ? n : 0));
    linear(block + "ffn_down", layer,
           {kFeedForwardDown, kFeedForwardDownBias, kBiasFeedForwardDown, 0, h_.dim, false});
  }

  void add_tensors() {
    const std::vector<float>& factors = shape_.rope.factors;
    if (!factors.empty()) {
      out_.tensor("rope_freqs.weight", 0, static_cast<uint32_t>(factors.size()), kGgufF32,
                  [factors](uint32_t, uint8_t* out) {
                    std::memcpy(out, factors.data(), factors.size() * sizeof(float));
                  });
    }
    matrix("token_embd.weight", kTokenEmbedding, 0, 0, h_.vocab_size);
    if (f_.learned_positions) matrix("position_embd.weight", kPositionEmbedding, 0, 0, h_.n_ctx);
    for (uint32_t layer = 0; layer < h_.n_layers; ++layer) {
      const std::string block = format("blk.%u.", layer);
      norm(block + "attn_norm", kAttentionNorm, layer);
      attention(block, layer);
      if (f_.norm_after) norm(block + "post_attention_norm", kAttentionPostNorm, layer);
      norm(block + "ffn_norm", kFeedForwardNorm, layer);
      feed_forward(block, layer);
      if (f_.norm_after) norm(block + "post_ffw_norm", kFeedForwardPostNorm, layer);
    }
    norm("output_norm", kFinalNorm, 0);
    if (!h_.tied_head) {
      matrix("output.weight", kOutputHead, 0, 0, h_.vocab_size);
    } else if (f_.needs_head) {
      matrix("output.weight", kTokenEmbedding, 0, 0, h_.vocab_size);
    }
  }

  const thimble_model& model_;
  const FileHeader& h_;
  ExportShape shape_;
  const ExportFamily& f_;
  GgufWriter out_;
};

}  // namespace

int export_verb(const Words& words) {
  const Args args(words, {{"-o", true}});
  const std::string& input = args.one_positional("a model file to export");
  const std::string output_path = args.text("-o", "");
  if (output_path.empty()) throw WrongUsage("expected -o OUT.gguf, the file to write");
  if (same_file(output_path, input)) {
    throw WrongUsage("'-o " + output_path + "' would overwrite the input, expected another name");
  }
  const MappedFile file(input);
  const thimble_model model = open_model(file);
  try {
    const Exporter exporter(model, std::filesystem::path(input).stem().string());
    OutputFile output(output_path);
    uint64_t bytes = 0;
    {
      Progress progress("exporting");
      bytes = exporter.writer().write([&](const void* data, size_t n) { output.write(data, n); },
                                      [&](double share) { progress.show(share); });
    }
    output.commit();
    std::fprintf(stderr, "wrote  %s: GGUF v3, %s, %s\n", output_path.c_str(), exporter.family(),
                 size_text(bytes).c_str());
    if (model.weight_type == kWeightQ4) {
      std::fprintf(stderr, "note: weights of 4 bits are written as F32, to the bit\n");
    }
  } catch (const RefusedExport& refused) {
    throw Refused(input + ": " + refused.what());
  }
  return 0;
}

}  // namespace thimble::tools
