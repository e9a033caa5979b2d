/* SPDX-License-Identifier: MIT */
/*
 * The public structures as another language sees them: size, and each field's offset and size. A
 * byte that is no field's is told as a gap; in a structure that may grow there must be none, since
 * zeroing it is not promised by C, and a later version may want it. check_shared.sh compares.
 */
#include <stdio.h>

#include "thimble/thimble.h"

static size_t g_end; /* of the field before */

static void structure(const char* name, size_t bytes) {
  printf("struct %s %lu\n", name, (unsigned long)bytes);
  g_end = 0;
}

static void place(const char* name, size_t offset, size_t bytes) {
  if (offset != g_end)
    printf("  (gap) %lu %lu\n", (unsigned long)g_end, (unsigned long)(offset - g_end));
  if (name) printf("  %s %lu %lu\n", name, (unsigned long)offset, (unsigned long)bytes);
  g_end = offset + bytes;
}

#define STRUCT(s) structure(#s, sizeof(s))
#define FIELD(s, f) place(#f, offsetof(s, f), sizeof(((s*)0)->f))
#define END(s) place(NULL, sizeof(s), 0)

int main(void) {
  STRUCT(thimble_config);
  FIELD(thimble_config, n_ctx);
  FIELD(thimble_config, n_batch);
  FIELD(thimble_config, isa);
  FIELD(thimble_config, kv_type);
  FIELD(thimble_config, n_candidates);
  FIELD(thimble_config, n_sinks);
  FIELD(thimble_config, n_draft);
  FIELD(thimble_config, lora_rank);
  FIELD(thimble_config, rules);
  FIELD(thimble_config, n_shares);
  FIELD(thimble_config, share_work);
  FIELD(thimble_config, store);
  END(thimble_config);

  STRUCT(thimble_sampling);
  FIELD(thimble_sampling, temperature);
  FIELD(thimble_sampling, top_p);
  FIELD(thimble_sampling, min_p);
  FIELD(thimble_sampling, repetition_penalty);
  FIELD(thimble_sampling, repetition_window);
  FIELD(thimble_sampling, top_k);
  FIELD(thimble_sampling, seed);
  FIELD(thimble_sampling, temperature_last);
  FIELD(thimble_sampling, reserved);
  END(thimble_sampling);

  STRUCT(thimble_fault);
  FIELD(thimble_fault, what);
  FIELD(thimble_fault, found);
  FIELD(thimble_fault, expected);
  FIELD(thimble_fault, offset);
  END(thimble_fault);

  STRUCT(thimble_model);
  FIELD(thimble_model, image);
  FIELD(thimble_model, image_bytes);
  FIELD(thimble_model, n_params);
  FIELD(thimble_model, dim);
  FIELD(thimble_model, hidden_dim);
  FIELD(thimble_model, n_layers);
  FIELD(thimble_model, n_heads);
  FIELD(thimble_model, n_kv_heads);
  FIELD(thimble_model, head_dim);
  FIELD(thimble_model, vocab_size);
  FIELD(thimble_model, n_ctx);
  FIELD(thimble_model, weight_type);
  FIELD(thimble_model, group);
  FIELD(thimble_model, row_tile);
  FIELD(thimble_model, max_token_bytes);
  FIELD(thimble_model, bos_id);
  FIELD(thimble_model, eos_id);
  FIELD(thimble_model, end_of_turn_id);
  FIELD(thimble_model, n_tokens);
  FIELD(thimble_model, fault);
  END(thimble_model);

  STRUCT(thimble_adapter);
  FIELD(thimble_adapter, image);
  FIELD(thimble_adapter, model_image);
  FIELD(thimble_adapter, image_bytes);
  FIELD(thimble_adapter, n_params);
  FIELD(thimble_adapter, rank);
  FIELD(thimble_adapter, fault);
  END(thimble_adapter);

  STRUCT(thimble_rule);
  FIELD(thimble_rule, image);
  FIELD(thimble_rule, model_image);
  FIELD(thimble_rule, image_bytes);
  FIELD(thimble_rule, n_states);
  FIELD(thimble_rule, fault);
  END(thimble_rule);

  STRUCT(thimble_store);
  FIELD(thimble_store, read);
  FIELD(thimble_store, wait);
  FIELD(thimble_store, user);
  FIELD(thimble_store, bytes);
  FIELD(thimble_store, buffer_bytes);
  END(thimble_store);

  STRUCT(thimble_drafts);
  FIELD(thimble_drafts, drafted);
  FIELD(thimble_drafts, accepted);
  END(thimble_drafts);

  STRUCT(thimble_self_test_report);
  FIELD(thimble_self_test_report, layer);
  FIELD(thimble_self_test_report, found);
  FIELD(thimble_self_test_report, expected);
  END(thimble_self_test_report);

  STRUCT(thimble_decoder);
  FIELD(thimble_decoder, pending);
  FIELD(thimble_decoder, n_pending);
  FIELD(thimble_decoder, started);
  END(thimble_decoder);

  STRUCT(thimble_pack);
  FIELD(thimble_pack, opaque);
  END(thimble_pack);

  STRUCT(thimble_unpack);
  FIELD(thimble_unpack, opaque);
  END(thimble_unpack);
  return 0;
}
