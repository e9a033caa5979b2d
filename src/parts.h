// SPDX-License-Identifier: MIT
// What a build can leave out. Everything is there unless a define says 0; `thimble embed --needs`
// writes the defines for a model. thimble_model_open refuses a model that needs what was left out.
#ifndef THIMBLE_SRC_PARTS_H
#define THIMBLE_SRC_PARTS_H

#ifdef THIMBLE_NEEDS  // a header of such defines, as "model_needs.h"
#include THIMBLE_NEEDS
#endif

#ifndef THIMBLE_Q4  // weights of 4 bits
#define THIMBLE_Q4 1
#endif
#ifndef THIMBLE_RMS_NORM
#define THIMBLE_RMS_NORM 1
#endif
#ifndef THIMBLE_LAYER_NORM
#define THIMBLE_LAYER_NORM 1
#endif
#ifndef THIMBLE_NORM_AFTER  // norms behind the blocks, too
#define THIMBLE_NORM_AFTER 1
#endif
#ifndef THIMBLE_PARALLEL  // blocks side by side
#define THIMBLE_PARALLEL 1
#endif
#ifndef THIMBLE_BIASES
#define THIMBLE_BIASES 1
#endif
#ifndef THIMBLE_QK_NORM  // norms of queries and keys
#define THIMBLE_QK_NORM 1
#endif
#ifndef THIMBLE_LEARNED_POSITIONS
#define THIMBLE_LEARNED_POSITIONS 1
#endif
#ifndef THIMBLE_SILU  // gated (SwiGLU) and alone
#define THIMBLE_SILU 1
#endif
#ifndef THIMBLE_GELU_TANH
#define THIMBLE_GELU_TANH 1
#endif
#ifndef THIMBLE_GELU  // with erf
#define THIMBLE_GELU 1
#endif
#ifndef THIMBLE_RELU
#define THIMBLE_RELU 1
#endif
#ifndef THIMBLE_NOT_GATED  // activations that no second matrix is multiplied with
#define THIMBLE_NOT_GATED 1
#endif
#ifndef THIMBLE_WINDOWS  // layers that see less than all positions
#define THIMBLE_WINDOWS 1
#endif
#ifndef THIMBLE_SINKS  // sessions whose text goes on for ever
#define THIMBLE_SINKS 1
#endif
#ifndef THIMBLE_ROPES  // more than one table of rotary frequencies
#define THIMBLE_ROPES 1
#endif
#ifndef THIMBLE_SCALES  // scales of embedding and logits, capped logits
#define THIMBLE_SCALES 1
#endif
#ifndef THIMBLE_SCORED_BPE  // tokenizers of Llama 2's kind
#define THIMBLE_SCORED_BPE 1
#endif
#ifndef THIMBLE_BYTE_BPE  // tokenizers of GPT-2's kind
#define THIMBLE_BYTE_BPE 1
#endif
#ifndef THIMBLE_DRAFT  // sessions that compute tokens ahead
#define THIMBLE_DRAFT 1
#endif
#ifndef THIMBLE_LORA  // low-rank adapters of a model
#define THIMBLE_LORA 1
#endif
#ifndef THIMBLE_PACK  // text packed by a model
#define THIMBLE_PACK 1
#endif
#ifndef THIMBLE_RULES  // rules that a text has to meet
#define THIMBLE_RULES 1
#endif
#ifndef THIMBLE_SHARES  // work that goes to several cores
#define THIMBLE_SHARES 1
#endif
#ifndef THIMBLE_CALLERS  // callers that were compiled with another version of thimble.h
#define THIMBLE_CALLERS 1
#endif
#ifndef THIMBLE_STREAM  // models whose weights are not memory-mapped
#define THIMBLE_STREAM 1
#endif
#ifndef THIMBLE_CHAT  // thimble_encode_turn; without it a model with turn texts still opens
#define THIMBLE_CHAT 1
#endif

#if !(THIMBLE_RMS_NORM || THIMBLE_LAYER_NORM)
#error "A build has THIMBLE_RMS_NORM, THIMBLE_LAYER_NORM or both."
#endif
#if !(THIMBLE_SILU || THIMBLE_GELU_TANH || THIMBLE_GELU || THIMBLE_RELU)
#error "A build has an activation: THIMBLE_SILU, THIMBLE_GELU_TANH, THIMBLE_GELU or THIMBLE_RELU."
#endif
// Layers whose cache moves along with the text.
#define THIMBLE_MOVING (THIMBLE_WINDOWS || THIMBLE_SINKS)
// Activations other than gated SiLU.
#define THIMBLE_ACTIVATIONS (THIMBLE_GELU_TANH || THIMBLE_GELU || THIMBLE_RELU || THIMBLE_NOT_GATED)

#endif
