// SPDX-License-Identifier: MIT
// The trace page's looks and its skeleton; the script fills it.
#include "trace_page.h"

namespace thimble::tools {

const char kTraceStyle[] = R"css(
.token, td.t { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  white-space: pre; unicode-bidi: isolate; }
#prompt { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  margin: 0 0 .5rem; max-height: 6em; overflow: auto; }
main { display: grid; gap: 1rem; grid-template-columns: 28rem minmax(0, 1fr);
  grid-template-areas: "text text" "all map" "next map"; grid-template-rows: auto auto 1fr;
  align-items: start; }
#text-card { grid-area: text; } #map-card { grid-area: map; }
#next-card { grid-area: next; } #all-card { grid-area: all; }

#chips { display: flex; flex-wrap: wrap; gap: 3px; }
#chips button { border: 1px solid transparent; border-radius: 5px; padding: .1rem .35rem; }
#chips button.made { border-bottom: 1px dashed var(--soft); }
#chips button[aria-pressed=true] { border: 1px solid var(--mark);
  box-shadow: 0 0 0 1px var(--mark); }

#map { display: block; touch-action: pan-x pan-y; }
#readout { min-height: 1.6em; margin: .5rem 0 0; font-variant-numeric: tabular-nums; }
#readout b { font-variant-numeric: tabular-nums; }
#legend { display: flex; align-items: center; gap: .4rem; font-size: .8rem; color: var(--soft); }
#legend canvas { width: 160px; height: 10px; border-radius: 3px; }
#tip { position: fixed; z-index: 2; pointer-events: none; background: var(--ink);
  color: var(--card); padding: .25rem .5rem; border-radius: 6px; font-size: .85rem;
  max-width: 90vw; }
#tip[hidden] { display: none; }

.wide { overflow-x: auto; padding: 3px; }
#thumbs { display: grid; gap: 3px; width: 100%; }
#thumbs span { font-size: .8rem; color: var(--soft); align-self: center; justify-self: center;
  white-space: nowrap; }
#thumbs span.row { justify-self: end; padding-right: .3rem; }
#thumbs button { padding: 2px; border: 2px solid transparent; border-radius: 6px;
  background: none; line-height: 0; justify-self: center; width: 100%; max-width: 116px; }
#thumbs button:hover { border-color: var(--line); }
#thumbs button[aria-checked=true] { border-color: var(--mark); }
#thumbs canvas { width: 0; min-width: 100%; aspect-ratio: 1; image-rendering: pixelated;
  border-radius: 3px; }

#bars { list-style: none; margin: .5rem 0 1rem; padding: 0; }
#bars li { position: relative; display: flex; justify-content: space-between; gap: 1rem;
  padding: .05rem .4rem; margin-bottom: 2px; border-radius: 4px; overflow: hidden; }
#bars li::before { content: ""; position: absolute; inset: 0 auto 0 0; width: var(--p);
  background: var(--bar); border-radius: 4px; }
#bars li > * { position: relative; }
#bars .token { overflow: hidden; text-overflow: ellipsis; }
#bars .came { color: var(--mark); font-weight: 600; }
#bars .number { font-variant-numeric: tabular-nums; white-space: nowrap; }
#table { max-height: 24rem; }
td.t { max-width: 8.5rem; overflow: hidden; text-overflow: ellipsis; }
tbody tr { cursor: pointer; }
tbody tr:hover { background: var(--page); }
tbody tr[aria-selected=true] { background: var(--bar); }
@media (max-width: 1000px) {
  main { grid-template-columns: minmax(0, 1fr); grid-template-areas: "text" "all" "map" "next";
    grid-template-rows: none; }
}
@media (max-width: 600px) {
  .card { padding: .7rem; border-radius: 10px; }
  #thumbs { gap: 1px; } #thumbs button { padding: 1px; }
}
)css";

const char kTraceHeader[] = R"html(<header>
<div class="top">
  <div><h1>Attention of <span id="model"></span></h1><p class="soft" id="shape"></p></div>
  <button id="theme" type="button"></button>
</div>
<p>Each square says how much the token of its row looks at the token of its column. Choose a head
among all heads, and a position in the text.</p>
<details><summary>How to read it</summary>
<p>The model reads a text token by token. In each layer, each head asks at every position how much
every position so far matters, and takes that mixture of their values along: those shares are the
attention weights. A row of a map belongs to the token that asks (the query), a column to the token
that is looked at (the key); each row sums to 1. Nothing lies right of the diagonal: later tokens
are not seen.</p>
<p>Choose a head among all heads, and a position in the text, in a map, or in the table; the arrow
keys work too. The text is then coloured by where that head looks from that position. What comes
next is the model's own guess after that token, and the mark shows what did come. A
<span class="token">·</span> is a space, a <span class="token">⏎</span> a line break, and
<span class="token">&lt;0x..&gt;</span> a byte. Colours follow the root of a weight, so that
small ones can be seen. A first token that takes nearly all is common: a head that has nothing to
look for rests there.</p>
</details>
<noscript><p><b>The maps are drawn by a script that stands in this file; it needs to be
allowed.</b></p></noscript>
</header>
)html";

const char kTraceSections[] = R"html(<main>
<section class="card" id="text-card"><h2>The text <small id="count"></small></h2>
<p id="prompt" class="soft"></p>
<div id="chips" role="group" aria-label="Tokens: choose a position"></div></section>
<section class="card" id="map-card">
<div class="heading"><h2 id="map-title"></h2>
<div id="legend" aria-hidden="true">0 <canvas width="160" height="1"></canvas> 1</div></div>
<div class="scroll"><canvas id="map" tabindex="0" role="img"
  aria-describedby="readout"></canvas></div>
<p id="readout" aria-live="polite"></p></section>
<section class="card" id="next-card"><h2>What comes next</h2>
<p id="after"></p><ol id="bars"></ol>
<div class="scroll" id="table"><table>
<thead><tr><th></th><th>token</th><th>likeliest next</th><th></th></tr></thead>
<tbody></tbody></table></div></section>
<section class="card" id="all-card"><h2>All heads</h2>
<div class="wide"><div id="thumbs" role="radiogroup" aria-label="Layer and head"></div></div>
</section>
</main>
<div id="tip" hidden></div>
)html";

}  // namespace thimble::tools
