// SPDX-License-Identifier: MIT
// The fixed parts of the trace page, beside those of every page, in the order in which they stand
// in it.
#ifndef THIMBLE_TOOLS_TRACE_PAGE_H
#define THIMBLE_TOOLS_TRACE_PAGE_H

namespace thimble::tools {

extern const char kTraceStyle[];   // CSS
extern const char kTraceBody[];    // HTML
extern const char kTraceScript[];  // JavaScript; finds the numbers in the element #data

}  // namespace thimble::tools

#endif
