// SPDX-License-Identifier: MIT
// The trace page's own script: the numbers in the element #data, and where the page opens. Texts
// reach it as text nodes only, never as markup.
#include "trace_page.h"

namespace thimble::tools {

const char kTraceScript[] =
    R"js(const data = JSON.parse(document.getElementById('data').textContent);
const triangle = data.labels.length * (data.labels.length + 1) / 2;
const bytes = Uint8Array.from(atob(data.weights), (c) => c.charCodeAt(0));

function weight(layer, head, query, key) {
  const i = (layer * data.heads + head) * triangle + query * (query + 1) / 2 + key;
  return (bytes[2 * i] | bytes[2 * i + 1] << 8) / 65535;
}

// #layer=1&head=2&position=3 opens the page there; otherwise at the busiest head and
// the last position.
function opening() {
  const best = { ...busiestHead(), query: n - 1 };
  const limits = { layer: data.layers, head: data.heads, position: n };
  for (const [, name, value] of location.hash.matchAll(/(layer|head|position)=(\d+)/g)) {
    best[name === 'position' ? 'query' : name] = clamp(+value, limits[name]);
  }
  return best;
}

buildThumbs();
grow();
at('model').textContent = data.model;
at('shape').textContent = data.shape;
at('prompt').textContent = data.prompt;
at('count').textContent = `${n} tokens` +
  (n > data.prompt_tokens ? `, the last ${n - data.prompt_tokens} of them generated` : '');
Object.assign(state, opening());
state.key = looksMostAt(state.query);
useTheme(drawTheme);
)js";

}  // namespace thimble::tools
