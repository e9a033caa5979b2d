/* SPDX-License-Identifier: MIT */
/* What a page leaves out of the engine: whatever engine.cpp has no call for. Every model runs. */
#define THIMBLE_CHAT 0
#define THIMBLE_DRAFT 0
#define THIMBLE_LORA 0
#define THIMBLE_PACK 0
#define THIMBLE_RULES 0
#define THIMBLE_STREAM 0
#define THIMBLE_SHARES 0
#define THIMBLE_CALLERS 0
#define THIMBLE_SINKS 0
