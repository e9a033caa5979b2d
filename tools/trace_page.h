// SPDX-License-Identifier: MIT
// The fixed parts of the trace page, beside those of every page, in the order in which they stand
// in it. kTraceStyle, kTraceSections and kTraceMaps serve every page that has, in its script,
//   data     { layers, heads, prompt_tokens, labels: [text], ids: [token],
//              next: [[token, label, probability], ...] of each position, best first }
//   weight(layer, head, query, key)
// and calls buildThumbs() and grow(), and useTheme(drawTheme) in the end; a text that goes on calls
// grow() and select({ query }) again.
#ifndef THIMBLE_TOOLS_TRACE_PAGE_H
#define THIMBLE_TOOLS_TRACE_PAGE_H

namespace thimble::tools {

extern const char kTraceStyle[];     // CSS
extern const char kTraceHeader[];    // HTML
extern const char kTraceSections[];  // HTML
extern const char kTraceMaps[];      // JavaScript
extern const char kTraceScript[];    // JavaScript; finds the numbers in the element #data

}  // namespace thimble::tools

#endif
