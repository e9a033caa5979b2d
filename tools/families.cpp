// SPDX-License-Identifier: MIT
#include "families.h"

#include <cstring>

namespace thimble::tools {
namespace {

using P = Part;

// Norms carry a bias where they are LayerNorms; it is found by the name with ".bias".
const std::vector<PartName> kLlamaNames = {
    {P::kEmbedding, "embed_tokens"},
    {P::kAttentionNorm, "layers.{}.input_layernorm"},
    {P::kQ, "layers.{}.self_attn.q_proj"},
    {P::kK, "layers.{}.self_attn.k_proj"},
    {P::kV, "layers.{}.self_attn.v_proj"},
    {P::kQNorm, "layers.{}.self_attn.q_norm"},
    {P::kKNorm, "layers.{}.self_attn.k_norm"},
    {P::kOutput, "layers.{}.self_attn.o_proj"},
    {P::kFeedForwardNorm, "layers.{}.post_attention_layernorm"},
    {P::kGate, "layers.{}.mlp.gate_proj"},
    {P::kUp, "layers.{}.mlp.up_proj"},
    {P::kDown, "layers.{}.mlp.down_proj"},
    {P::kFinalNorm, "norm"},
    {P::kHead, "^lm_head"}};

const std::vector<PartName> kGemma3Names = {
    {P::kEmbedding, "embed_tokens"},
    {P::kAttentionNorm, "layers.{}.input_layernorm"},
    {P::kQ, "layers.{}.self_attn.q_proj"},
    {P::kK, "layers.{}.self_attn.k_proj"},
    {P::kV, "layers.{}.self_attn.v_proj"},
    {P::kQNorm, "layers.{}.self_attn.q_norm"},
    {P::kKNorm, "layers.{}.self_attn.k_norm"},
    {P::kOutput, "layers.{}.self_attn.o_proj"},
    {P::kAttentionPostNorm, "layers.{}.post_attention_layernorm"},
    {P::kFeedForwardNorm, "layers.{}.pre_feedforward_layernorm"},
    {P::kGate, "layers.{}.mlp.gate_proj"},
    {P::kUp, "layers.{}.mlp.up_proj"},
    {P::kDown, "layers.{}.mlp.down_proj"},
    {P::kFeedForwardPostNorm, "layers.{}.post_feedforward_layernorm"},
    {P::kFinalNorm, "norm"},
    {P::kHead, "^lm_head"}};

const std::vector<PartName> kGpt2Names = {
    {P::kEmbedding, "wte"},           {P::kPositions, "wpe"},
    {P::kAttentionNorm, "h.{}.ln_1"}, {P::kQkv, "h.{}.attn.c_attn"},
    {P::kOutput, "h.{}.attn.c_proj"}, {P::kFeedForwardNorm, "h.{}.ln_2"},
    {P::kUp, "h.{}.mlp.c_fc"},        {P::kDown, "h.{}.mlp.c_proj"},
    {P::kFinalNorm, "ln_f"},          {P::kHead, "^lm_head"}};

const std::vector<PartName> kGptNeoNames = {{P::kEmbedding, "wte"},
                                            {P::kPositions, "wpe"},
                                            {P::kAttentionNorm, "h.{}.ln_1"},
                                            {P::kQ, "h.{}.attn.attention.q_proj"},
                                            {P::kK, "h.{}.attn.attention.k_proj"},
                                            {P::kV, "h.{}.attn.attention.v_proj"},
                                            {P::kOutput, "h.{}.attn.attention.out_proj"},
                                            {P::kFeedForwardNorm, "h.{}.ln_2"},
                                            {P::kUp, "h.{}.mlp.c_fc"},
                                            {P::kDown, "h.{}.mlp.c_proj"},
                                            {P::kFinalNorm, "ln_f"},
                                            {P::kHead, "^lm_head"}};

const std::vector<PartName> kGptNeoXNames = {
    {P::kEmbedding, "embed_in"},
    {P::kAttentionNorm, "layers.{}.input_layernorm"},
    {P::kQkv, "layers.{}.attention.query_key_value"},
    {P::kOutput, "layers.{}.attention.dense"},
    {P::kFeedForwardNorm, "layers.{}.post_attention_layernorm"},
    {P::kUp, "layers.{}.mlp.dense_h_to_4h"},
    {P::kDown, "layers.{}.mlp.dense_4h_to_h"},
    {P::kFinalNorm, "final_layer_norm"},
    {P::kHead, "^embed_out"}};

// One list for all of GGUF: a family has those of them that its files have.
const std::vector<PartName> kGgufNames = {{P::kEmbedding, "token_embd"},
                                          {P::kPositions, "position_embd"},
                                          {P::kAttentionNorm, "blk.{}.attn_norm"},
                                          {P::kQ, "blk.{}.attn_q"},
                                          {P::kK, "blk.{}.attn_k"},
                                          {P::kV, "blk.{}.attn_v"},
                                          {P::kQkv, "blk.{}.attn_qkv"},
                                          {P::kQNorm, "blk.{}.attn_q_norm"},
                                          {P::kKNorm, "blk.{}.attn_k_norm"},
                                          {P::kOutput, "blk.{}.attn_output"},
                                          {P::kAttentionPostNorm, "blk.{}.post_attention_norm"},
                                          {P::kFeedForwardNorm, "blk.{}.ffn_norm"},
                                          {P::kGate, "blk.{}.ffn_gate"},
                                          {P::kUp, "blk.{}.ffn_up"},
                                          {P::kDown, "blk.{}.ffn_down"},
                                          {P::kFeedForwardPostNorm, "blk.{}.post_ffw_norm"},
                                          {P::kFinalNorm, "output_norm"},
                                          {P::kHead, "output"},
                                          {P::kRopeDivisors, "rope_freqs"}};

// The GPTModel of 'Build a Large Language Model (From Scratch)'.
const std::vector<PartName> kBookNames = {{P::kEmbedding, "tok_emb"},
                                          {P::kPositions, "pos_emb"},
                                          {P::kAttentionNorm, "!trf_blocks.{}.norm1.scale"},
                                          {P::kAttentionNormBias, "!trf_blocks.{}.norm1.shift"},
                                          {P::kQ, "trf_blocks.{}.att.W_query"},
                                          {P::kK, "trf_blocks.{}.att.W_key"},
                                          {P::kV, "trf_blocks.{}.att.W_value"},
                                          {P::kQkv, "trf_blocks.{}.att.qkv"},
                                          {P::kOutput, "trf_blocks.{}.att.out_proj"},
                                          {P::kOutput, "trf_blocks.{}.att.proj"},
                                          {P::kFeedForwardNorm, "!trf_blocks.{}.norm2.scale"},
                                          {P::kFeedForwardNormBias, "!trf_blocks.{}.norm2.shift"},
                                          {P::kUp, "trf_blocks.{}.ff.layers.0"},
                                          {P::kDown, "trf_blocks.{}.ff.layers.2"},
                                          {P::kFinalNorm, "!final_norm.scale"},
                                          {P::kFinalNormBias, "!final_norm.shift"},
                                          {P::kHead, "out_head"}};

const std::vector<PartName> kNanoGptNames = {
    {P::kEmbedding, "transformer.wte"},           {P::kPositions, "transformer.wpe"},
    {P::kAttentionNorm, "transformer.h.{}.ln_1"}, {P::kQkv, "transformer.h.{}.attn.c_attn"},
    {P::kOutput, "transformer.h.{}.attn.c_proj"}, {P::kFeedForwardNorm, "transformer.h.{}.ln_2"},
    {P::kUp, "transformer.h.{}.mlp.c_fc"},        {P::kDown, "transformer.h.{}.mlp.c_proj"},
    {P::kFinalNorm, "transformer.ln_f"},          {P::kHead, "lm_head"}};

const std::vector<PartName> kMetaNames = {{P::kEmbedding, "tok_embeddings"},
                                          {P::kAttentionNorm, "layers.{}.attention_norm"},
                                          {P::kQ, "layers.{}.attention.wq"},
                                          {P::kK, "layers.{}.attention.wk"},
                                          {P::kV, "layers.{}.attention.wv"},
                                          {P::kOutput, "layers.{}.attention.wo"},
                                          {P::kFeedForwardNorm, "layers.{}.ffn_norm"},
                                          {P::kGate, "layers.{}.feed_forward.w1"},
                                          {P::kUp, "layers.{}.feed_forward.w3"},
                                          {P::kDown, "layers.{}.feed_forward.w2"},
                                          {P::kFinalNorm, "norm"},
                                          {P::kHead, "output"}};

bool is_bias(Part part) {
  switch (part) {
    case P::kAttentionNormBias:
    case P::kQBias:
    case P::kKBias:
    case P::kVBias:
    case P::kQkvBias:
    case P::kOutputBias:
    case P::kFeedForwardNormBias:
    case P::kGateBias:
    case P::kUpBias:
    case P::kDownBias:
    case P::kFinalNormBias:
      return true;
    default:
      return false;
  }
}

}  // namespace

const std::vector<Family>& families() {
  constexpr auto kHf = Naming::kHuggingFace, kGguf = Naming::kGguf, kTorch = Naming::kPyTorch;
  constexpr auto kRms = kNormRms;
  constexpr auto kLayer = kNormLayer;
  constexpr auto kSilu = kActivationSilu;
  constexpr auto kTanh = kActivationGeluTanh;
  constexpr auto kErf = kActivationGelu;
  constexpr auto kHalves = RopePairs::kHalves, kNeighbours = RopePairs::kNeighbours;
  constexpr auto kBlocks = QkvOrder::kBlocks, kHeads = QkvOrder::kHeads;
  using W = WindowRule;
  // name, naming, architectures, norm, activation, gated, tied, rotary pairs, transposed, q/k/v,
  // windows, learned positions, Gemma's, score scale, names
  static const std::vector<Family> table = {
      {"Llama", kHf, "LlamaForCausalLM llama", kRms, kSilu, true, false, kHalves, false, kBlocks,
       W::kNone, false, false, 0, kLlamaNames},
      {"Mistral", kHf, "MistralForCausalLM mistral", kRms, kSilu, true, false, kHalves, false,
       kBlocks, W::kAll, false, false, 0, kLlamaNames},
      {"Qwen 2", kHf, "Qwen2ForCausalLM qwen2", kRms, kSilu, true, false, kHalves, false, kBlocks,
       W::kQwen, false, false, 0, kLlamaNames},
      {"Qwen 3", kHf, "Qwen3ForCausalLM qwen3", kRms, kSilu, true, false, kHalves, false, kBlocks,
       W::kQwen, false, false, 0, kLlamaNames},
      {"GPT-2", kHf, "GPT2LMHeadModel GPT2Model gpt2", kLayer, kTanh, false, true, kHalves, true,
       kBlocks, W::kNone, true, false, 0, kGpt2Names},
      {"GPT-Neo", kHf, "GPTNeoForCausalLM GPTNeoModel gpt_neo", kLayer, kTanh, false, true, kHalves,
       false, kBlocks, W::kAttentionLayers, true, false, 1, kGptNeoNames},
      {"GPT-NeoX", kHf, "GPTNeoXForCausalLM gpt_neox", kLayer, kErf, false, false, kHalves, false,
       kHeads, W::kNone, false, false, 0, kGptNeoXNames},
      {"Gemma 3", kHf, "Gemma3ForCausalLM gemma3_text", kRms, kTanh, true, true, kHalves, false,
       kBlocks, W::kLayerTypes, false, true, 0, kGemma3Names},

      {"Llama", kGguf, "llama", kRms, kSilu, true, true, kNeighbours, false, kBlocks, W::kNone,
       false, false, 0, kGgufNames},
      {"Qwen 2", kGguf, "qwen2", kRms, kSilu, true, true, kHalves, false, kBlocks, W::kNone, false,
       false, 0, kGgufNames},
      {"Qwen 3", kGguf, "qwen3", kRms, kSilu, true, true, kHalves, false, kBlocks, W::kNone, false,
       false, 0, kGgufNames},
      {"GPT-2", kGguf, "gpt2", kLayer, kTanh, false, true, kHalves, false, kBlocks, W::kNone, true,
       false, 0, kGgufNames},
      {"GPT-NeoX", kGguf, "gptneox", kLayer, kErf, false, true, kHalves, false, kBlocks, W::kNone,
       false, false, 0, kGgufNames},
      {"Gemma 3", kGguf, "gemma3", kRms, kTanh, true, true, kHalves, false, kBlocks, W::kLayerTypes,
       false, true, 0, kGgufNames},

      {"GPTModel", kTorch, "", kLayer, kTanh, false, false, kHalves, false, kBlocks, W::kNone, true,
       false, 0, kBookNames},
      {"nanoGPT", kTorch, "", kLayer, kErf, false, true, kHalves, false, kBlocks, W::kNone, true,
       false, 0, kNanoGptNames},
      {"Llama (Meta, llama2.c)", kTorch, "", kRms, kSilu, true, true, kNeighbours, false, kBlocks,
       W::kNone, false, false, 0, kMetaNames},
  };
  return table;
}

const Family* find_family(Naming naming, const std::string& architecture) {
  for (const Family& family : families()) {
    if (family.naming != naming) continue;
    const std::string names = std::string(" ") + family.architectures + " ";
    if (names.find(" " + architecture + " ") != std::string::npos) return &family;
  }
  return nullptr;
}

std::string known_architectures(Naming naming) {
  std::string text;
  for (const Family& family : families()) {
    if (family.naming != naming || !*family.architectures) continue;
    const char* end = std::strchr(family.architectures, ' ');
    if (!text.empty()) text += ", ";
    text += end ? std::string(family.architectures, end) : std::string(family.architectures);
  }
  return text;
}

std::string part_name(const Family& family, Part part, uint32_t layer, size_t nth) {
  const auto fill = [layer](std::string name) {
    const size_t at = name.find("{}");
    if (at != std::string::npos) name.replace(at, 2, std::to_string(layer));
    return name;
  };
  size_t skip = nth;
  for (const PartName& entry : family.names) {
    if (entry.part != part || skip-- > 0) continue;
    return *entry.name == '!' ? fill(entry.name + 1) : fill(entry.name) + ".weight";
  }
  if (!is_bias(part)) return "";
  // A bias lies beside its weight.
  const Part weight = static_cast<Part>(static_cast<int>(part) - 1);
  skip = nth;
  for (const PartName& entry : family.names) {
    if (entry.part != weight || *entry.name == '!' || skip-- > 0) continue;
    return fill(entry.name) + ".bias";
  }
  return "";
}

}  // namespace thimble::tools
