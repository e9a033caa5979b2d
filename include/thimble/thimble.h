/* SPDX-License-Identifier: MIT */
/*
 * Thimble: inference of small causal transformers, for firmware. The whole C99 API of the engine.
 *
 * Order of calls: thimble_model_open, thimble_session_bytes, thimble_session_init, then any number
 * of rounds of thimble_encode, thimble_feed, thimble_step, thimble_sample, thimble_decode.
 *
 * What holds for every call:
 *  - Nothing is allocated, printed, aborted or thrown, and there is no global mutable state.
 *    Two sessions may run in two threads; one session belongs to one thread at a time.
 *  - The model image and the arena belong to the caller, must outlive the session, and must not
 *    move. The image is only read.
 *  - Strings that go in are (pointer, length) in bytes and need no terminating zero.
 *  - A call that fails changes nothing, but for what it is there to fill: thimble_model_open still
 *    sets the model (its image to NULL, its fault to the reason), thimble_encode and _encode_turn
 * may have written to tokens[], and a self-test that fails leaves the session empty.
 *  - Counts are >= 0, errors are negative values of thimble_status.
 *  - Results are the same bits on every chip, kernel and compiler. They need the floating-point
 *    environment that C starts with: round to nearest, denormals kept.
 */
#ifndef THIMBLE_THIMBLE_H
#define THIMBLE_THIMBLE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define THIMBLE_VERSION "0.1.0"

/* THIMBLE_VERSION of the engine that is linked, which may be a shared library of another version
 * than this header's: see "Shared library" at the end. */
const char* thimble_version(void);

/* The alignment in bytes that the model image and the arena must have. Every section of a model
 * file is a multiple of it away from the file's start. */
#define THIMBLE_ALIGNMENT 64

typedef enum thimble_status {
  THIMBLE_OK = 0,
  THIMBLE_MORE = 1,                   /* thimble_step, _pack_step, ...: not complete, call again */
  THIMBLE_ERROR_ARGUMENT = -1,        /* null pointer, or a value outside its range */
  THIMBLE_ERROR_MISALIGNED = -2,      /* image or arena is not aligned to THIMBLE_ALIGNMENT */
  THIMBLE_ERROR_TRUNCATED = -3,       /* image length is not the length that its header states */
  THIMBLE_ERROR_MAGIC = -4,           /* not a Thimble model */
  THIMBLE_ERROR_VERSION = -5,         /* a format version that this engine does not know */
  THIMBLE_ERROR_BYTE_ORDER = -6,      /* written for the other byte order */
  THIMBLE_ERROR_HEADER_CHECKSUM = -7, /* header or section table was damaged */
  THIMBLE_ERROR_DATA_CHECKSUM = -8,   /* weights or tables were damaged (thimble_model_verify) */
  THIMBLE_ERROR_HEADER = -9,          /* a header field is outside its range */
  THIMBLE_ERROR_UNSUPPORTED = -10,    /* an architecture, type or flag that is not known */
  THIMBLE_ERROR_SECTION = -11,        /* a section is not where or what the header implies */
  THIMBLE_ERROR_TOKENIZER = -12,      /* a tokenizer table contradicts itself */
  THIMBLE_ERROR_CONFIG = -13, /* n_ctx, n_batch, kv_type, n_candidates, n_draft, lora_rank, rules,
                                 n_shares or store outside its range, or unknown ISA */
  THIMBLE_ERROR_ARENA_TOO_SMALL = -14,  /* less than thimble_session_bytes */
  THIMBLE_ERROR_CONTEXT_FULL = -15,     /* more tokens than positions left */
  THIMBLE_ERROR_TOKEN = -16,            /* a token id outside [0, vocab_size) */
  THIMBLE_ERROR_BUSY = -17,             /* a pass is under way: finish it, or thimble_rewind */
  THIMBLE_ERROR_NO_LOGITS = -18,        /* no pass has completed since init or rewind */
  THIMBLE_ERROR_NO_TOKENIZER = -19,     /* the model file has no tokenizer tables */
  THIMBLE_ERROR_OUTPUT_TOO_SMALL = -20, /* the caller's buffer cannot hold the result */
  THIMBLE_ERROR_TEXT_TOO_LONG = -21,    /* one word is longer than the arena's scratch can merge */
  THIMBLE_ERROR_SELF_TEST = -22,        /* this chip does not give the file's own results */
  THIMBLE_ERROR_NO_SELF_TEST = -23,     /* the model file has no self-test */
  THIMBLE_ERROR_NO_TURNS = -24,         /* the model file has no texts around turns */
  THIMBLE_ERROR_NOT_FINITE = -25,       /* the weights lead to numbers beyond a float's range */
  THIMBLE_ERROR_FORGOTTEN = -26,   /* thimble_rewind, with sinks: the cache has moved beyond it */
  THIMBLE_ERROR_OTHER_MODEL = -27, /* a saved session, an adapter or a rule of another model */
  THIMBLE_ERROR_OTHER_LAYOUT =
      -28, /* thimble_session_load: another type of cache or sinks, or a longer text than fits */
  THIMBLE_ERROR_LORA_RANK = -29, /* thimble_session_lora: a rank above the session's lora_rank */
  THIMBLE_ERROR_NOT_EMPTY = -30, /* thimble_session_lora: the session holds tokens */
  THIMBLE_ERROR_OTHER_ADAPTER = -31, /* thimble_session_load: saved with another adapter, or none */
  THIMBLE_ERROR_RULE = -32,          /* a rule's table contradicts itself */
  THIMBLE_ERROR_FORBIDDEN = -33,     /* thimble_feed: a token that the rule in use forbids */
  THIMBLE_ERROR_DEAD_END = -34,      /* thimble_sample: no token can go on as the rule wants */
  THIMBLE_ERROR_OTHER_RULE = -35,    /* thimble_session_load: saved with another rule */
  THIMBLE_ERROR_READ = -36           /* a store's read or wait failed (thimble_store) */
} thimble_status;

/* One line of text for a status, without a full stop; never NULL. */
const char* thimble_status_text(thimble_status status);

/* ---- Model -------------------------------------------------------------------------------- */

/* Why an image was refused: which field, what was found, what was expected, at which byte. */
typedef struct thimble_fault {
  const char* what;  /* a static string that names the field; NULL when nothing is wrong */
  uint64_t found;    /* for floats: the bits */
  uint64_t expected; /* the value, or the nearest limit, that would have been accepted */
  uint64_t offset;   /* where in the image, in bytes */
} thimble_fault;

/* A checked, read-only view of a model image. All fields are for reading; thimble_model_open
 * fills them. 120 bytes (112 where pointers have 32 bits); may be copied. */
typedef struct thimble_model {
  const uint8_t* image;     /* the flat file, in flash or memory-mapped; streamed: the tables */
  size_t image_bytes;       /* the file's length */
  uint64_t n_params;        /* trained parameters, a shared head counted once */
  uint32_t dim;             /* width of the residual stream */
  uint32_t hidden_dim;      /* width of the feed-forward layer */
  uint32_t n_layers;        /* transformer blocks */
  uint32_t n_heads;         /* query heads */
  uint32_t n_kv_heads;      /* key/value heads; divides n_heads */
  uint32_t head_dim;        /* width of one head; even */
  uint32_t vocab_size;      /* number of tokens */
  uint32_t n_ctx;           /* longest context the model was made for, in positions */
  uint32_t weight_type;     /* 0: float32, 1: int8, 2: 4 bits */
  uint32_t group;           /* weights that share a scale along a row; 0: the whole row */
  uint32_t row_tile;        /* rows of a weight tile */
  uint32_t max_token_bytes; /* longest token text; 0 without a tokenizer */
  int32_t bos_id;           /* beginning-of-text token, -1 if there is none */
  int32_t eos_id;           /* end-of-text token, -1 if there is none */
  int32_t end_of_turn_id;   /* ends an answer in a chat, -1 if there is none */
  uint32_t n_tokens;        /* tokens that may be drawn; ids from here to vocab_size have no text */
  thimble_fault fault;      /* after a refusal: why */
} thimble_model;

/*
 * Checks `image_bytes` bytes at `image` and fills `*model`. Checked once, here: magic, version,
 * byte order, length, the header's checksum, every hyper-parameter, every section's type, shape and
 * place, and that tokenizer tables and the self-test stay inside the vocabulary. After THIMBLE_OK
 * no content of the weights can make the engine read or write outside image and arena. Weights
 * themselves are not read: see thimble_model_verify. Time: proportional to layers and vocabulary.
 * Errors: ARGUMENT, MISALIGNED, TRUNCATED, MAGIC, VERSION, BYTE_ORDER, HEADER_CHECKSUM, HEADER,
 * UNSUPPORTED, SECTION, TOKENIZER; model->fault then says which field, found and expected.
 */
thimble_status thimble_model_open(thimble_model* model, const void* image, size_t image_bytes);

/*
 * Reads the whole image and compares the checksum (CRC-32) of weights and tables.
 * Errors: ARGUMENT, DATA_CHECKSUM (model->fault then holds both sums).
 */
thimble_status thimble_model_verify(thimble_model* model);

/* ---- Models that are not memory-mapped ---------------------------------------------------- */

/*
 * Where the bytes of a model's file come from if no address reaches them: SPI flash, an SD card,
 * PSRAM behind a bus. Its matrices, nearly all of the file, are read tile by tile through a buffer
 * in the session's arena, the next tiles while the present ones are used; everything else, the
 * tables, lies in RAM, or in flash (`thimble embed --tables`). The results are the same bits.
 * Building without: THIMBLE_STREAM 0.
 *
 * Every read is of whole blocks of 64 bytes: `offset`, `bytes` and the address `to` are multiples
 * of 64, and nothing else lies in these blocks of memory, so DMA and caches need no special care.
 * It is within the file's length as its header states it. Reads are waited for before a call of
 * the engine returns; until then at most two are under way, in the order in which they were asked
 * for, of which the first is the short one. What a store gives can be anything: it cannot make the
 * engine read or write outside tables and arena. The functions must not call the session.
 */
typedef struct thimble_store {
  /* Begins to read `bytes` bytes at `offset` of the file into `to`; or reads them. 0: good. */
  int (*read)(void* user, uint64_t offset, void* to, size_t bytes);
  /* Returns when all that was begun is there. 0: good. NULL: it is when `read` returns. */
  int (*wait)(void* user);
  void* user;
  uint64_t bytes; /* of the file, or of what is there from its first byte on, such as a partition */
  /* Of a session's buffer, which is in its arena: at least thimble_stream_bytes, rounded down to a
   * multiple of 128; 0: just those. The larger, the fewer and longer the reads. */
  size_t buffer_bytes;
} thimble_store;

/*
 * Reads the header and sets *bytes to what thimble_tables_read needs, exactly: all of the file but
 * its matrices, mostly the tokenizer and 64 bytes for each section. On a refusal *fault, which may
 * be NULL, says why. Errors: ARGUMENT, READ, TRUNCATED, MAGIC, VERSION, BYTE_ORDER, HEADER,
 * UNSUPPORTED (also if built without), SECTION.
 */
thimble_status thimble_tables_bytes(const thimble_store* store, size_t* bytes,
                                    thimble_fault* fault);

/*
 * Checks header and section table as thimble_model_open does, then reads all tables to `tables`,
 * aligned to THIMBLE_ALIGNMENT. Errors: as above, MISALIGNED, HEADER_CHECKSUM, OUTPUT_TOO_SMALL.
 */
thimble_status thimble_tables_read(const thimble_store* store, void* tables, size_t tables_bytes,
                                   thimble_fault* fault);

/*
 * thimble_model_open for a model in a store, with its tables in RAM or in flash, aligned to
 * THIMBLE_ALIGNMENT, which stay where they are and outlive the model; they are only read, and
 * checked just as that call checks a file (faults give offsets in them). The store may be longer
 * than the file. One block is read, to see that it is the very file. Sessions need the store, too:
 * thimble_config. Adapters, rules, saved sessions and packed texts do not know the difference.
 * Errors: as of thimble_model_open, OTHER_MODEL, READ.
 */
thimble_status thimble_model_open_streamed(thimble_model* model, const thimble_store* store,
                                           const void* tables, size_t tables_bytes);

/* thimble_model_verify for it: the checksum of the tables and of all that the store has. Errors:
 * ARGUMENT, READ, DATA_CHECKSUM. */
thimble_status thimble_model_verify_streamed(thimble_model* model, const thimble_store* store);

/* The least buffer for a session: two of the largest tiles, row_tile rows each. 0 of other models.
 */
size_t thimble_stream_bytes(const thimble_model* model);

/* True (1) if generation should stop at this token: end of text, beginning of the next one, or end
 * of an answer in a chat (end_of_turn_id). */
int thimble_is_end(const thimble_model* model, int32_t token);

/* ---- Adapters ----------------------------------------------------------------------------- */

/* A checked, read-only view of an adapter's image: low-rank matrices that change what a model does
 * (LoRA: Hu et al. 2021). `thimble train --lora` writes them. thimble_adapter_open fills it; may be
 * copied. */
typedef struct thimble_adapter {
  const uint8_t* image;       /* the flat file, in flash or memory-mapped */
  const uint8_t* model_image; /* the model's that it belongs to */
  size_t image_bytes;
  uint64_t n_params;   /* trained parameters */
  uint32_t rank;       /* 1 to 256 */
  thimble_fault fault; /* after a refusal: why */
} thimble_adapter;

/*
 * Checks `image_bytes` bytes at `image` and fills `*adapter`. An adapter belongs to one model file,
 * whose checksums it holds; sections are compared with that model's shapes, field by field. Nothing
 * of its content can then make the engine read or write outside images and arena. The image must
 * be aligned to THIMBLE_ALIGNMENT, stays where it is, is only read, and outlives every session that
 * uses it. Time: proportional to layers.
 * Errors: ARGUMENT, MISALIGNED, TRUNCATED, MAGIC, VERSION, BYTE_ORDER, HEADER_CHECKSUM, HEADER,
 * SECTION, OTHER_MODEL, UNSUPPORTED (a flag that is not known, or an engine built without
 * adapters); adapter->fault then says which field, found and expected, and adapter->image is NULL.
 */
thimble_status thimble_adapter_open(thimble_adapter* adapter, const thimble_model* model,
                                    const void* image, size_t image_bytes);

/* Reads the whole image and compares the checksum of its matrices, as thimble_model_verify. */
thimble_status thimble_adapter_verify(thimble_adapter* adapter);

/* ---- Rules -------------------------------------------------------------------------------- */

/* A checked, read-only view of a rule's image: which texts a model may answer, as an automaton over
 * bytes, and which tokens each of its states allows (Willard, Louf 2023). `thimble constrain`
 * compiles choices, regular expressions, JSON schemas and grammars to one. thimble_rule_open fills
 * it; may be copied. */
typedef struct thimble_rule {
  const uint8_t* image;       /* the flat file, in flash or memory-mapped */
  const uint8_t* model_image; /* the model's that it was opened for */
  size_t image_bytes;
  uint32_t n_states;   /* of the automaton, 1 to 65535 */
  thimble_fault fault; /* after a refusal: why */
} thimble_rule;

/*
 * Checks `image_bytes` bytes at `image` and fills `*rule`. A rule belongs to a vocabulary, whose
 * checksum it holds, so that models that share a tokenizer share it. Every table is checked here;
 * nothing of its content can then make the engine read or write outside images and arena. The image
 * must be aligned to THIMBLE_ALIGNMENT, stays where it is, is only read, and outlives every session
 * that uses it. Time: proportional to the image and the model's tokenizer.
 * Errors: ARGUMENT, NO_TOKENIZER, MISALIGNED, TRUNCATED, MAGIC, VERSION, BYTE_ORDER,
 * HEADER_CHECKSUM, HEADER, SECTION, RULE, OTHER_MODEL (another vocabulary), UNSUPPORTED (a flag
 * that is not known, or an engine built without rules); rule->fault then says which field, found
 * and expected, and rule->image is NULL.
 */
thimble_status thimble_rule_open(thimble_rule* rule, const thimble_model* model, const void* image,
                                 size_t image_bytes);

/* Reads the whole image and compares the checksum of its tables, as thimble_model_verify. */
thimble_status thimble_rule_verify(thimble_rule* rule);

/* Stack that any call needs, with all that it calls, in bytes: a bound on what was measured by
 * painting the stack of emulated Cortex-M and RISC-V boards, at -Os (`make firmware` shows it). A
 * hook's own needs come on top. */
#define THIMBLE_STACK_BYTES 3072

/* ---- Session ------------------------------------------------------------------------------ */

typedef struct thimble_session thimble_session; /* lies in the arena */

/* How keys and values are cached. THIMBLE_KV_Q8 takes about a quarter of the memory: int8 with a
 * bf16 scale for the key and one for the value of each position and KV head (heads narrower than 32
 * share them), exact integer dot products, and results of its own that are the same bits on every
 * chip. */
#define THIMBLE_KV_F32 0u
#define THIMBLE_KV_Q8 1u

/* What a session's rules are for. */
#define THIMBLE_RULES_TEXT 1u
#define THIMBLE_RULES_CONFIDENCE 2u

/* Zero-initialise it for the defaults. May grow: see "Shared library" at the end. */
typedef struct thimble_config {
  uint32_t n_ctx;   /* positions in the key/value cache, 1 to model.n_ctx; 0: model.n_ctx */
  uint32_t n_batch; /* tokens of one pass over the weights in prefill, 1 to 1024; 0: 1 */
  const char* isa;  /* kernels by name, as thimble_isa_at gives them; NULL or "": the best */
  uint32_t kv_type; /* THIMBLE_KV_F32 or THIMBLE_KV_Q8 */
  /* How many of the likeliest tokens are kept of a pass, 1 to 256; 0 (or vocab_size and above): all
   * logits. 12 bytes each and 256 instead of 8 for each token of the vocabulary. thimble_sample
   * says what they are enough for, and draws the same tokens then; 1 is enough for greedy text. */
  uint32_t n_candidates;
  /* 1 to 64, less than n_ctx: the text may go on for ever. Each position then sees the text's first
   * n_sinks positions and its last n_ctx - n_sinks (attention sinks: Xiao et al. 2023), at the
   * distances that a text of n_ctx positions would have; up to n_ctx positions that is all of it,
   * with the same bits as without. Layers with a shorter window of their own keep to that. 4 are
   * enough for most models. Not for models whose positions are learned (GPT-2). 0: the text ends
   * with the context. */
  uint32_t n_sinks;
  /* Speculative decoding: how many tokens at most, 1 to 16, the pass of a token that is fed alone
   * computes ahead; 0: none. They are what followed where the text's last tokens stood before. If
   * then fed, they need no computing any more; others make them forgotten. No call behaves
   * differently and not one bit changes, but texts that repeat take fewer passes. It pays where
   * reading the weights takes the time, not where arithmetic does, as on microcontrollers: by what
   * rows beside others are reckoned to take, at most 5 % of the time is lost. Memory: a batch of
   * n_draft + 1 tokens with logits, or candidates, behind each of them, and 576 bytes. While an
   * attention hook is set nothing is drafted. */
  uint32_t n_draft;
  /* The highest rank of an adapter that thimble_session_lora may be given, 1 to 256; 0: none.
   * Memory: 512 bytes, and for each of n_batch tokens 4 * lora_rank (rounded up to 64) + 256, with
   * weights of 8 or 4 bits about lora_rank + 8 more. Costs no time while no adapter is in use. */
  uint32_t lora_rank;
  /* THIMBLE_RULES_TEXT: thimble_session_constrain may be given a rule, 128 bytes;
   * THIMBLE_RULES_CONFIDENCE: and thimble_session_confidence counts; 0: none. */
  uint32_t rules;
  /* How many cores share a pass by the hook of thimble_on_shares, at most 16: 64 bytes; 0: none. */
  uint32_t n_shares;
  /* The work that is worth the hook's call, in multiply-accumulates; 0: 2048, which is for cores
   * that hand it over in some hundred cycles. Threads of an operating system want 100 times that.
   */
  uint32_t share_work;
  /* Of a model that thimble_model_open_streamed opened: where it is (copied), and how large the
   * buffer: its bytes and 192 more. Without effect on other models. */
  const thimble_store* store;
} thimble_config;

/*
 * Bytes of arena that thimble_session_init needs, exactly; the same function lays the arena out.
 * Grows with n_ctx, in steps of 16: n_layers * n_kv_heads * head_dim * 8 a position for the cache
 * (about a quarter of it with THIMBLE_KV_Q8), 4 * n_heads for scores and 4 for the token; with
 * n_batch times the activations; and with the vocabulary or n_candidates. With sinks the cache has
 * room for about n_batch + n_sinks + 16 positions more, and for twice as many tokens. `thimble
 * plan` tells it part by part. The same number on every chip. 0: the configuration is not valid for
 * the model (or a null pointer was given). SIZE_MAX: more than an address can count (on 32 bits, 4
 * GiB or more); init then refuses any arena.
 */
size_t thimble_session_bytes_sized(const thimble_model* model, const thimble_config* config,
                                   size_t config_bytes);
static inline size_t thimble_session_bytes(const thimble_model* model,
                                           const thimble_config* config) {
  return thimble_session_bytes_sized(model, config, sizeof *config);
}

/*
 * Lays a session out in `arena` (aligned to THIMBLE_ALIGNMENT) and sets *session. Writes no byte at
 * or past arena + thimble_session_bytes(). To end a session, forget it.
 * Errors: ARGUMENT, CONFIG, MISALIGNED, ARENA_TOO_SMALL, UNSUPPORTED (a field that this engine does
 * not know yet is not 0).
 */
thimble_status thimble_session_init_sized(thimble_session** session, const thimble_model* model,
                                          const thimble_config* config, size_t config_bytes,
                                          void* arena, size_t arena_bytes);
static inline thimble_status thimble_session_init(thimble_session** session,
                                                  const thimble_model* model,
                                                  const thimble_config* config, void* arena,
                                                  size_t arena_bytes) {
  return thimble_session_init_sized(session, model, config, sizeof *config, arena, arena_bytes);
}

/*
 * Appends `count` tokens (copied) to the session's text and prepares the pass that computes them:
 * one token for decoding, many for prefill. The logits that follow are those after the last one;
 * how a text is cut into feeds does not change one bit of them.
 * Errors: ARGUMENT (count is 0), BUSY, TOKEN, CONTEXT_FULL (count is above thimble_room), FORBIDDEN
 * (by the rule in use).
 */
thimble_status thimble_feed(thimble_session* session, const int32_t* tokens, size_t count);

/*
 * Runs the prepared pass. Budget 0: to its end. Otherwise returns THIMBLE_MORE after about
 * `budget` multiply-accumulates, so that a watchdog or another task gets its turn; call again.
 * Other work counts as what it is worth in them on a Cortex-M4F; where floats are software it takes
 * longer, up to ten times (`make firmware` shows the longest slices). Worst case: one unit of work
 * more than the budget, the largest of
 *   n_batch (at least n_draft + 1) * row_tile * the longest row of weights (dim, hidden_dim or
 *     n_heads * head_dim, each rounded up to whole groups, and an adapter's rank on top),
 *   for the logits (n_draft + 1) * row_tile * (dim + 8 * n_candidates),
 *   one KV head's attention at one position: n_heads / n_kv_heads * n_ctx * (2 * head_dim + 64),
 *   one token's activation, 40 * hidden_dim, norm, 16 * dim, or rotation,
 *     10 * (n_heads + 2 * n_kv_heads) * head_dim,
 * so a small n_batch and row_tile keep slices short. Slicing does not change one bit, and a session
 * can be rewound between slices. Returns THIMBLE_OK when the pass is complete (or none was
 * prepared). Errors: ARGUMENT, READ (of a streamed model: a read failed; what was complete stays,
 * and the next call goes on from there with the same results, or rewind it).
 */
thimble_status thimble_step(thimble_session* session, uint64_t budget);

/*
 * Keeps the first `position` tokens and forgets the rest, an unfinished pass included: the way to
 * start over (0), to cancel between slices, or to go back to a shared prompt. Logits are gone.
 * Errors: ARGUMENT (position is beyond what has been computed), FORGOTTEN (only with sinks: what
 * the position after it sees has left the cache; to 0, and to the beginning of the last pass, if it
 * had at most n_batch tokens, there is always a way).
 */
thimble_status thimble_rewind(thimble_session* session, uint32_t position);

/*
 * From now on the session computes W x + B (A x) with the adapter's matrices where it has some;
 * NULL: the model alone, as after init. Nothing of model or adapter is copied, so that swapping
 * costs nothing. It needs an empty session (thimble_rewind to 0), since keys and values in the
 * cache come from the weights before. To the rows * cols multiply-accumulates of a matrix come rank
 * * (rows + cols). The results are the same bits on every chip. The self-test stays the model's
 * own.
 * Errors: ARGUMENT, BUSY, NOT_EMPTY, OTHER_MODEL (the adapter was opened with another model's
 * image), LORA_RANK (its rank is above the session's lora_rank), UNSUPPORTED (built without).
 */
thimble_status thimble_session_lora(thimble_session* session, const thimble_adapter* adapter);

/*
 * From now on the session's text has to go on as the rule wants, from its first byte: what was fed
 * before this call is the prompt, what is fed behind it the answer. NULL: as it likes. Feed the
 * prompt, run its pass, call this; logits that were there are prepared again (the head alone), so
 * call thimble_step until that is complete; then thimble_sample draws allowed tokens only, and
 * thimble_feed takes no other (FORBIDDEN). Tokens that end a text (thimble_is_end) are allowed
 * where the answer may end, and nothing behind them; other control tokens and tokens without text
 * never are. So what has ended meets the rule. Before another prompt is fed, call it with NULL. A
 * rule speaks of the bytes of tokens: where the answer is the session's whole text and its first
 * token begins with a space, thimble_decode drops that.
 *
 * The head computes no logits of stretches of 64 tokens that are all forbidden. With n_draft tokens
 * that the rule forces are computed ahead (not by an engine compiled for size). thimble_rewind
 * goes back with the answer; before its beginning, and behind a self-test, no rule is in use.
 * Errors: ARGUMENT, BUSY, OTHER_MODEL (the rule was opened for another model's image),
 * CONFIG (the session's config.rules is 0),
 * UNSUPPORTED (built without).
 */
thimble_status thimble_session_constrain(thimble_session* session, const thimble_rule* rule);

/* True (1) if a rule is in use and the answer so far meets it: it may end here. */
int thimble_rule_is_met(const thimble_session* session);

/*
 * How sure the model is of the answer so far, 0 to 1: the product, over its tokens that were fed
 * one at a time behind logits, of the token's odds over those of all tokens that the rule allows
 * there (at temperature 1, whatever was sampled with), the same bits on every chip. A token that
 * the rule forces counts 1, and so does what was fed in a batch or without logits: it was given.
 * Other ways to spell the same text in tokens, which models hardly ever take, are not counted in.
 * An end token counts if it is fed, too; its pass need not be run. A session that keeps candidates
 * counts the allowed ones among those kept, which is a little more, and a token that is none of
 * them 0. Numbers that leave no odds (NOT_FINITE) count 0. 0 also if no rule is in use, or the
 * session's config.rules is not THIMBLE_RULES_CONFIDENCE when it is set.
 *
 * Compare it with a threshold that was chosen on other sentences than the model learned from:
 * `thimble eval --answers`. It begins with 1 where thimble_session_constrain is called or the
 * session rewound to that place; a rewind to within the answer leaves it as it is, at most that of
 * what is kept. Saved sessions save it. Time: thimble_feed takes an exp for each allowed token on
 * top, and a look at vocab_size logits (or n_candidates); of a small model with a large vocabulary
 * a fifth of a step.
 */
float thimble_session_confidence(const thimble_session* session);

/* Tokens computed so far, 0 to n_ctx; with sinks to about 2^32. */
uint32_t thimble_position(const thimble_session* session);

/* Positions that one position sees at most, itself included: n_ctx. */
uint32_t thimble_context_size(const thimble_session* session);

/* Tokens that can be fed at once: what is left of the context; with sinks always n_ctx, until about
 * 2^32 positions are used up. */
uint32_t thimble_room(const thimble_session* session);

/* (vocab_size) floats, valid until the next feed, rewind, constraint or self-test, minus infinity
 * where a rule in use forbids the token; NULL if no pass has completed, or if the session only
 * keeps candidates. */
const float* thimble_logits(const thimble_session* session);

/* FNV-1a 64 over the little-endian bits of the logits, continued from `hash`; start with
 * THIMBLE_HASH_START. Equal hashes show equal bits on two chips. Without logits: `hash` itself.
 * A session that only keeps candidates computes the head once more for it; if a read of a streamed
 * model fails then: `hash` itself. */
#define THIMBLE_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t thimble_logits_hash(const thimble_session* session, uint64_t hash);

/* What a session has computed ahead (n_draft) since init. */
typedef struct thimble_drafts {
  uint32_t drafted;  /* tokens computed ahead */
  uint32_t accepted; /* of them, those that were then fed */
} thimble_drafts;

/* The counts of a session; zeros without drafts. They wrap at 2^32. */
thimble_drafts thimble_draft_counts(const thimble_session* session);

/* What a self-test found. */
typedef struct thimble_self_test_report {
  int32_t layer;     /* the first layer whose result differs; n_layers: only the logits do; -1: none
                        does */
  uint64_t found;    /* the hash of that result here (of the logits if nothing differs), */
  uint64_t expected; /* and in the file */
} thimble_self_test_report;

/*
 * Proves that this chip, its kernels and its compiler compute what the model file expects. (That
 * the file is intact is for thimble_model_verify: rounding to int8 can swallow one flipped bit.)
 * Computes the prompt that the file carries and compares the hashes of its last token's residual
 * stream behind each layer, and of its logits, with those that `thimble convert` wrote down, for
 * the session's type of cache. Works in slices as thimble_step does: call until the result is not
 * THIMBLE_MORE. It begins by forgetting the session's text, and leaves it empty, also when it
 * fails; the attention hook is not called. Time: a prefill of its prompt (8 tokens as `convert`
 * writes it, at most 64). Returns OK, MORE, SELF_TEST (report then says where), NOT_FINITE (these
 * are the file's results, but no numbers that a model can work with: see thimble_sample), or an
 * error: ARGUMENT, NO_SELF_TEST, BUSY (a pass is under way), CONTEXT_FULL (n_ctx is smaller than
 * the prompt), READ (as of thimble_step: call again). `report` may be NULL.
 */
thimble_status thimble_self_test(thimble_session* session, uint64_t budget,
                                 thimble_self_test_report* report);

/* Names of the kernels that this machine can run, best first; NULL past the end. */
const char* thimble_isa_at(size_t index);

/* Name of the kernels that the session runs on. */
const char* thimble_isa(const thimble_session* session);

/*
 * What a session tells on the way, to look inside: the attention weights (after the softmax) of
 * `n_heads` query heads from `first_head` on, at one layer and one position, which looks at the
 * positions from `first` (0 unless the layer has a window) to itself. Head h's weight of position t
 * is weights[(h - first_head) * stride + t - first], valid during the call only. With sinks, where
 * first is not 0, that of sink i is n_sinks - i floats before weights[(h - first_head) * stride].
 * The hook must not call the session. Costs nothing while no hook is set.
 */
typedef void (*thimble_attention_hook)(void* user, uint32_t layer, uint32_t position,
                                       uint32_t first, uint32_t first_head, uint32_t n_heads,
                                       const float* weights, size_t stride);

/* Sets the hook of a session, NULL for none. Errors: ARGUMENT. */
thimble_status thimble_on_attention(thimble_session* session, thimble_attention_hook hook,
                                    void* user);

/* ---- Several cores ------------------------------------------------------------------------ */

/*
 * How another core helps: while this hook is set, thimble_step (and what else runs a pass) cuts its
 * products with weights, activations and the attention of single tokens into n_shares shares and
 * calls it. It has to see to it that thimble_share(session, i) is called once for each i below
 * n_shares, by whichever core, at the same time or one after the other, and returns when all of
 * them have returned. What this core wrote before the call must be seen by the others, and what
 * they wrote by this one afterwards: a mailbox with the barriers that it needs anyway is enough, as
 *   the hook:          send(session); thimble_share(session, 0); receive();
 *   the other core:    for (;;) { s = receive(); thimble_share(s, 1); send(s); }
 * on two cores. The engine starts no thread and takes no lock, and not one bit changes. Budgets of
 * slices count the work of all cores. The rest of a pass (norms, quantizing, sampling) is this
 * core's alone; so are a prefill's attention on machines with wide vectors, and all attention while
 * an attention hook is set. Every core needs THIMBLE_STACK_BYTES of stack and its FPU on, in the
 * same mode. The hook must call nothing else of the session. Costs nothing while no hook is set.
 */
typedef void (*thimble_share_hook)(void* user, thimble_session* session, uint32_t n_shares);

/* Sets the hook of a session, NULL for none; also between two slices. Errors: ARGUMENT, CONFIG (the
 * session's config.n_shares is 0), UNSUPPORTED (built without). */
thimble_status thimble_on_shares(thimble_session* session, thimble_share_hook hook, void* user);

/* Computes a share of what the hook was called for; nothing at any other time. */
void thimble_share(thimble_session* session, uint32_t share);

/* ---- Saved sessions ----------------------------------------------------------------------- */

/*
 * A session as bytes: a prompt that is computed once, on a host, and ships beside the model; or a
 * text that outlives a power cycle. It holds the tokens, what is cached of them, and what the
 * logits are computed from, with checksums, the model's own among them: about n_layers * n_kv_heads
 * * head_dim * 8 bytes a position (a quarter with THIMBLE_KV_Q8), and dim * 4. The bytes do not
 * depend on kernels, batch or way of feeding, and neither does what a session that loads them goes
 * on to compute. models/FORMAT.md explains them.
 */

/* Bytes that thimble_session_save writes now; 0 while a pass is under way (or session is NULL).
 * SIZE_MAX: more than an address can count. */
size_t thimble_session_save_bytes(const thimble_session* session);

/*
 * Writes the session to `out`, of any alignment; the session stays as it is.
 * Errors: ARGUMENT, BUSY, OUTPUT_TOO_SMALL.
 */
thimble_status thimble_session_save(const thimble_session* session, void* out, size_t out_bytes);

/*
 * Checks `bytes` bytes at `saved`, of any alignment, and goes on from them: they are copied to the
 * arena and may go. The model must be the very file, so must the adapter in use, if there was one,
 * and the rule (constrain the session before, to no avail if none was in use);
 * kv_type, n_sinks and with sinks n_ctx the same; otherwise any n_ctx with room for the text will
 * do. If a token could be drawn when it was saved, the pass that computes the logits again is
 * prepared (the head alone): call thimble_step until it is complete. Self-made bytes with right
 * checksums can make the text absurd, but nothing worse. Errors: ARGUMENT, BUSY, TRUNCATED (also if
 * longer), MAGIC, VERSION, BYTE_ORDER, HEADER_CHECKSUM, DATA_CHECKSUM, OTHER_MODEL, OTHER_ADAPTER,
 * OTHER_RULE, OTHER_LAYOUT, HEADER, TOKEN. The session is then as it was.
 */
thimble_status thimble_session_load(thimble_session* session, const void* saved, size_t bytes);

/* ---- Sampling ----------------------------------------------------------------------------- */

/*
 * How a token is drawn from the logits. Zero-initialised it is greedy. Applied in this order:
 * repetition penalty, temperature, top-k, top-p (of what top-k left), min-p; or the temperature at
 * the end (temperature_last).
 * Zeros are defaults, so that fields can be left out; where 0 is not next to what is small, the
 * field says so. For values that somebody else chooses, mind top_p: its narrowest is no 0 but any
 * tiny number, FLT_MIN say, which draws from one token. May grow: see "Shared library" at the end.
 */
typedef struct thimble_sampling {
  float temperature; /* 0 (and below 1e-30): greedy; up to 100; 1 leaves the model's odds alone */
  float top_p;       /* keep the likeliest tokens up to this mass, at least one; 0, as 1: all */
  float min_p;       /* drop tokens less likely than min_p times the likeliest; 0: none */
  float repetition_penalty; /* > 1 makes recent tokens less likely (CTRL, 2019), < 1 likelier; 0.01
                               to 100; 0, as 1: off */
  uint32_t repetition_window; /* how many last tokens count as recent, 1 to 256, with sinks at most
                                 n_ctx of them; 0: 64 */
  uint32_t top_k;             /* keep the k likeliest tokens, 1: one; 0: all */
  uint64_t seed;              /* same seed, same text, on every chip */
  /* 1: top-p and min-p judge the model's own odds, those of temperature 1, and the temperature only
   * changes the odds of what they leave: the order for temperatures from 1.5 on, where min_p would
   * mean little otherwise. The same bits as 0 at temperature 1, or without top-p and min-p. */
  uint32_t temperature_last;
  uint32_t reserved; /* 0 */
} thimble_sampling;

/*
 * Draws the next token from the logits (which stay as they are; calling twice gives the same
 * token: the random number depends on seed and position alone). Among equal logits the lowest
 * token id counts as the likeliest. Time: proportional to vocab_size, whatever the settings.
 * A session that keeps n_candidates draws the same token as one that keeps all logits, if they are
 * enough: greedy, or with top_k from 1 to n_candidates; with a repetition penalty, which must be
 * above 1, top_k (greedy: 1) + the window must not exceed n_candidates.
 * Returns the token id, or an error: ARGUMENT (also if the candidates are not enough), NO_LOGITS,
 * DEAD_END (the rule in use allows no token here, as behind an end token), UNSUPPORTED (a field
 * that this engine does not know yet is not 0), or NOT_FINITE: no logit is a finite number, or the
 * largest is infinite, or behind the last layer the residual stream of one of the session's tokens
 * has a number of 2^50 or more, which no trained weights lead to and no norm can square: the
 * weights are damaged, or not those of a trained model. A rewind to before that token makes the
 * session good again. What an int8 product makes of a NaN within a layer is a number; `thimble
 * convert` and `thimble inspect --self-test` look there, too.
 */
int32_t thimble_sample_sized(thimble_session* session, const thimble_sampling* sampling,
                             size_t sampling_bytes);
static inline int32_t thimble_sample(thimble_session* session, const thimble_sampling* sampling) {
  return thimble_sample_sized(session, sampling, sizeof *sampling);
}

/* ---- Text --------------------------------------------------------------------------------- */

#define THIMBLE_ENCODE_BOS 1u     /* put the beginning-of-text token first */
#define THIMBLE_ENCODE_SPECIAL 2u /* control tokens that are spelled out in the text are meant */

/*
 * Text (UTF-8; other bytes become byte tokens, or U+FFFD with a tokenizer of GPT-2's kind) to at
 * most `capacity` tokens. Uses the arena's scratch, so no pass may be under way. Writes nothing
 * past tokens[capacity - 1]. Tokens that users have added are recognised wherever they are spelled
 * out, control tokens with THIMBLE_ENCODE_SPECIAL only: a text from outside can then not forge
 * them. Returns the number of tokens, or an error: ARGUMENT, BUSY, NO_TOKENIZER, OUTPUT_TOO_SMALL
 * (n bytes never need more than 3 * n + 2; n + 2 if they are valid UTF-8 without special tokens),
 * TEXT_TOO_LONG (a word beyond a few hundred bytes; see thimble_encode_word_bytes).
 */
int32_t thimble_encode(thimble_session* session, const char* text, size_t text_bytes,
                       uint32_t flags, int32_t* tokens, size_t capacity);

/* The longest stretch without a word boundary that thimble_encode can merge, in bytes; at least
 * 256. It grows with the activations, since it uses their memory. */
size_t thimble_encode_word_bytes(const thimble_session* session);

/* State of one text stream; zero-initialise it at the start of a text. */
typedef struct thimble_decoder {
  uint8_t pending[4]; /* the bytes of a character that is not complete yet */
  uint8_t n_pending;
  uint8_t started; /* the text's first token has been seen */
} thimble_decoder;

/*
 * Text of the next token, at most `capacity` bytes to `out`, never a part of a UTF-8 character:
 * what is incomplete waits for the next token. 3 * model.max_token_bytes + 3 bytes always suffice
 * (a byte that is no UTF-8 becomes U+FFFD, 3 bytes).
 * The space that encoding puts before a text is dropped again.
 * Returns the number of bytes (may be 0), or an error: ARGUMENT, TOKEN, NO_TOKENIZER,
 * OUTPUT_TOO_SMALL.
 */
int32_t thimble_decode(const thimble_model* model, thimble_decoder* decoder, int32_t token,
                       char* out, size_t capacity);

/*
 * Ends the stream: a character that was left incomplete is written as U+FFFD (3 bytes), and the
 * decoder is ready for another text.
 * Returns the number of bytes, or an error: ARGUMENT, OUTPUT_TOO_SMALL.
 */
int32_t thimble_decode_end(thimble_decoder* decoder, char* out, size_t capacity);

/* ---- Chat --------------------------------------------------------------------------------- */

typedef enum thimble_role {
  THIMBLE_ROLE_SYSTEM = 0, /* what holds for the whole chat; its first turn, if any */
  THIMBLE_ROLE_USER = 1,
  THIMBLE_ROLE_ASSISTANT = 2 /* the model; only for answers that it did not generate itself */
} thimble_role;

#define THIMBLE_TURN_ANSWER 1u       /* open the model's answer behind this turn */
#define THIMBLE_TURN_AFTER_ANSWER 2u /* the turn before was generated: close it first */
#define THIMBLE_TURN_AFTER_SYSTEM 4u /* the turn before was the system's */

/*
 * One turn of a chat to at most `capacity` tokens: the text that opens a turn of that role, `text`,
 * and the text that closes it, as the model was trained on them; `convert` has put these texts into
 * the file. Control tokens count in them only: whatever `text` spells, it cannot end its turn or
 * begin another. (Many models' own templates drop white space at both ends of it: do so before.) Is
 * the session empty and does the model begin texts with one, the beginning-of-text token is first.
 *
 * A chat: encode and feed the system's turn, if wanted; then for each round encode the user's turn
 * with THIMBLE_TURN_ANSWER, feed it, and sample and feed tokens until thimble_is_end says so of
 * one, which needs no feeding: the next round, with THIMBLE_TURN_AFTER_ANSWER, begins with what
 * ends an answer, however this one was ended. So earlier turns stay in the cache, and only new
 * tokens are computed. Each turn must be fed before the next one is encoded.
 * THIMBLE_TURN_AFTER_SYSTEM makes a difference with models that know no system (Gemma, Mistral):
 * its text then goes into the turn of the user, who does not open another.
 *
 * The tokens are those that thimble_encode, with THIMBLE_ENCODE_SPECIAL, gives of the whole turn in
 * one text. Uses the arena's scratch, so no pass may be under way; needs no other memory.
 * Returns the number of tokens, or an error: ARGUMENT, BUSY, NO_TOKENIZER, NO_TURNS,
 * OUTPUT_TOO_SMALL (with the templates that `convert` knows, text_bytes + 128 always suffice for a
 * text that is valid UTF-8), TEXT_TOO_LONG (as thimble_encode; also a word at the very beginning or
 * end of `text` of more than 200 bytes, if no control token stands between it and the turn's
 * texts).
 */
int32_t thimble_encode_turn(thimble_session* session, thimble_role role, const char* text,
                            size_t text_bytes, uint32_t flags, int32_t* tokens, size_t capacity);

/* ---- Packed text -------------------------------------------------------------------------- */

/*
 * Text in a few bytes, to be sent to any other chip with the same model: the model predicts each
 * token, and only what it did not expect is written (arithmetic coding by the model's own odds, in
 * integers). Any bytes come back as they were, UTF-8 or not; what is not of the kind that the model
 * was trained on takes at worst about as many as it has. 8 bytes more for short texts, 18 at most
 * for others, are the names of model and adapter, the text's length and a CRC-32. models/FORMAT.md
 * explains them.
 *
 * "<|endoftext|>" ends a record: what follows is packed as a text of its own. A text that outgrows
 * the context goes on with the last half of it; in a session with sinks, as that session does. Both
 * sides need the same kv_type and adapter; the same n_ctx and n_sinks only for texts of more than
 * n_ctx - 2 bytes (unpacking without sinks: at least that n_ctx). n_batch, kernels, drafts and how
 * the model's file lays its weights out make no difference.
 *
 * A session packs or unpacks one text at a time, and must not be used for anything else meanwhile;
 * its own text is forgotten. To give up, rewind it. It needs all logits (n_candidates 0), an n_ctx
 * of at least 2, and no more memory than it has.
 */

/* The state of one text being packed; may not be moved or copied on the way. */
typedef struct thimble_pack {
  uint64_t opaque[160]; /* 1280 bytes */
} thimble_pack;

/*
 * Begins to pack a text of up to 2^32 - 1 bytes, which stays where it is until it is packed.
 * Errors: ARGUMENT (also if the session keeps candidates only, or one position), BUSY,
 * NO_TOKENIZER, UNSUPPORTED (built without).
 */
thimble_status thimble_pack_begin(thimble_pack* pack, thimble_session* session, const void* text,
                                  size_t text_bytes);

/*
 * Goes on, and writes at most `capacity` bytes to `out`: *written of them, at any call. Returns
 * THIMBLE_MORE while there is more to come: call again, with room for another byte at least.
 * THIMBLE_OK: that was all. Budget 0: until `out` is full. Otherwise a slice as thimble_step's, and
 * at most one token a call; on top come the odds of all tokens, as thimble_sample computes them,
 * and at times the encoding of 128 bytes. How the work is cut does not change a byte. Errors: READ,
 * as of thimble_step; and these, which then stay: ARGUMENT, NOT_FINITE (see thimble_sample),
 * CONTEXT_FULL (with sinks, behind 2^32 positions of a record).
 */
thimble_status thimble_pack_step(thimble_pack* pack, uint64_t budget, void* out, size_t capacity,
                                 size_t* written);

/* The state of one text being unpacked; may not be moved or copied on the way. */
typedef struct thimble_unpack {
  uint64_t opaque[92]; /* 736 bytes */
} thimble_unpack;

/*
 * Begins to unpack `packed_bytes` bytes, which stay where they are until all is unpacked, and sets
 * *text_bytes (may be NULL) to the text's length. Any bytes may be given: they end in a status.
 * Errors: ARGUMENT, BUSY, NO_TOKENIZER and UNSUPPORTED as above; TRUNCATED, MAGIC (not a packed
 * text), HEADER, OTHER_MODEL, OTHER_ADAPTER, OTHER_LAYOUT (another kv_type, n_sinks or n_ctx).
 */
thimble_status thimble_unpack_begin(thimble_unpack* unpack, thimble_session* session,
                                    const void* packed, size_t packed_bytes, size_t* text_bytes);

/*
 * Goes on as thimble_pack_step does, writing text to `out`, cut at any byte. Only THIMBLE_OK says
 * that the text is whole and right. Errors: READ, as of thimble_step; and these, which
 * then stay: ARGUMENT, NOT_FINITE, CONTEXT_FULL;
 * TRUNCATED (also if bytes are left over), DATA_CHECKSUM, OTHER_LAYOUT (the text turns out to be
 * longer than the context).
 */
thimble_status thimble_unpack_step(thimble_unpack* unpack, uint64_t budget, void* out,
                                   size_t capacity, size_t* written);

/* ---- Shared library ----------------------------------------------------------------------- */

/*
 * libthimble.so.0 (`make shared`) has these functions and nothing else, each with the version that
 * brought it. What a program was compiled or written for works with every later libthimble.so.0:
 *  - A function keeps its name, parameters and meaning; what has to differ gets another name.
 *  - Values of enumerations and flags stay. New errors may come: treat any negative value as one.
 *  - thimble_config and thimble_sampling may grow, at the end only, with no byte that is not a
 *    field's; what is new means, as 0, what was before it. Their size is therefore an argument of
 *    its own: the functions above that take them are inline and hand sizeof to one named _sized,
 *    which is what the library has and what another language calls, with the size of its own
 *    definition. What a caller's is shorter by counts as 0; what it is longer by must be 0, or else
 *    the call is UNSUPPORTED: the caller wants something that this library is too old for. (The
 *    size is no field, as a structure of zeros would have a wrong one. An engine that is built with
 *    its callers may do without: THIMBLE_CALLERS 0 takes their sizes for granted.)
 *  - Every other structure keeps its size and fields. What more there is to know of a model will be
 *    asked by functions.
 *  - No structure holds an enumeration, so how wide a compiler makes those does not matter.
 */

#ifdef __cplusplus
}
#endif

#endif
