/* SPDX-License-Identifier: MIT */
/* example.c as a state machine: a story that goes on by a slice a call, for programs that have
 * other things to do. */
#ifndef THIMBLE_TESTS_DEVICES_STORY_H
#define THIMBLE_TESTS_DEVICES_STORY_H

#include "thimble/thimble.h"

enum { kStoryTokens = 40 }; /* drawn at most */

/* Opens the model that is linked in and feeds the prompt. */
thimble_status story_begin(void);

/* A slice of about `budget` multiply-accumulates; 0: to the next token. THIMBLE_MORE: call again.
 * The text of each token goes to the serial line as soon as it is drawn. */
thimble_status story_slice(uint64_t budget);

#endif
