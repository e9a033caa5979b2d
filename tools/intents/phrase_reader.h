// SPDX-License-Identifier: MIT
// One phrase of a file of intents.
#ifndef THIMBLE_TOOLS_INTENTS_PHRASE_READER_H
#define THIMBLE_TOOLS_INTENTS_PHRASE_READER_H

#include <string>

#include "intents/phrases.h"

namespace thimble::tools {

// Throws Refused, with `where` in front.
//   word            is said            (a | 3* b)   one of them, b three times as often
//   [a]             said or not        <list>       something of a list
//   {slot}          something of the list of that name, which is the slot's value
//   {slot=list}     of another list    {slot=0..100/5}  a number, of each five
// An alternative of a list may end with "= VALUE".
Phrase read_phrase(const std::string& text, const std::string& where);

}  // namespace thimble::tools

#endif
