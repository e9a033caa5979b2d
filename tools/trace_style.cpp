// SPDX-License-Identifier: MIT
// The trace page's looks and its skeleton; the script fills it.
#include "trace_page.h"

namespace thimble::tools {

const char kTraceStyle[] = R"css(
:root {
  color-scheme: light;
  --page: #f5f6f8; --card: #ffffff; --ink: #1a2029; --soft: #5a6472; --line: #dde1e7;
  --accent: #1f5fbf; --bar: #bcd3f2; --mark: #c2410c;
}
:root[data-theme=dark] {
  color-scheme: dark;
  --page: #0e1116; --card: #171b22; --ink: #e6eaf0; --soft: #97a2b1; --line: #2b323d;
  --accent: #7db7ff; --bar: #264a78; --mark: #ffa35c;
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 1.25rem clamp(.75rem, 2.5vw, 2.5rem) 3rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
main, header { max-width: 1500px; margin: 0 auto; }
h1 { font-size: 1.5rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .25rem 0; }
button { font: inherit; color: inherit; cursor: pointer; }
.top { display: flex; gap: 1rem; align-items: flex-start; justify-content: space-between; }
.soft, small { color: var(--soft); }
.token, td.t { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  white-space: pre; unicode-bidi: isolate; }
#theme { border: 1px solid var(--line); background: var(--card); border-radius: 8px;
  padding: .3rem .7rem; white-space: nowrap; }
details { margin: .5rem 0 1rem; max-width: 90ch; }
#prompt { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  margin: 0 0 .5rem; max-height: 6em; overflow: auto; }
summary { cursor: pointer; color: var(--accent); width: max-content; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: .9rem 1rem; min-width: 0; }
main { display: grid; gap: 1rem; grid-template-columns: 28rem minmax(0, 1fr);
  grid-template-areas: "text text" "all map" "next map"; grid-template-rows: auto auto 1fr;
  align-items: start; }
#text-card { grid-area: text; } #map-card { grid-area: map; }
#next-card { grid-area: next; } #all-card { grid-area: all; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }

#chips { display: flex; flex-wrap: wrap; gap: 3px; }
#chips button { border: 1px solid transparent; border-radius: 5px; padding: .1rem .35rem; }
#chips button.made { border-bottom: 1px dashed var(--soft); }
#chips button[aria-pressed=true] { border: 1px solid var(--mark);
  box-shadow: 0 0 0 1px var(--mark); }

.scroll { overflow: auto; max-height: 92vh; position: relative; }
#map { display: block; touch-action: pan-x pan-y; }
#readout { min-height: 1.6em; margin: .5rem 0 0; font-variant-numeric: tabular-nums; }
#readout b { font-variant-numeric: tabular-nums; }
#legend { display: flex; align-items: center; gap: .4rem; font-size: .8rem; color: var(--soft); }
#legend canvas { width: 160px; height: 10px; border-radius: 3px; }
.heading { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .25rem 1rem; }
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
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th { text-align: left; font-weight: 500; color: var(--soft); position: sticky; top: 0;
  background: var(--card); }
th, td { padding: .12rem .35rem; border-bottom: 1px solid var(--line); }
td.n { color: var(--soft); text-align: right; font-variant-numeric: tabular-nums; }
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
@media print { #theme, details { display: none; } .scroll { max-height: none; } }
)css";

const char kTraceBody[] = R"html(<body>
<script>
// Before anything is drawn: #dark and #light force a theme.
(() => {
  const forced = /(?:^#|&)(dark|light)(?=&|$)/.exec(location.hash);
  document.documentElement.dataset.theme = forced ? forced[1]
    : matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
})();
</script>
<header>
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
<main>
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
