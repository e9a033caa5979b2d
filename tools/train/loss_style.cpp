// SPDX-License-Identifier: MIT
// The loss page's looks and its skeleton; the script draws into it.
#include "loss_page.h"

namespace thimble::tools::train {

const char kLossStyle[] = R"css(
header { margin-bottom: 1rem; }
#facts { display: grid; gap: .75rem; margin: 1rem 0 0;
  grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); }
#facts div { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: .5rem .8rem; }
#facts dt { color: var(--soft); font-size: .8rem; }
#facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
#facts small { display: block; font-size: .75rem; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(3, minmax(0, 1fr)); }
.across { grid-column: 1 / -1; }
.choice { display: flex; flex-wrap: wrap; gap: .35rem; align-items: center; font-size: .85rem; }
.choice button { border: 1px solid var(--line); background: var(--card); border-radius: 8px;
  padding: .2rem .6rem; }
.choice button[aria-checked=true], .choice button[aria-pressed=true] {
  background: var(--bar); border-color: var(--accent); }
h2 b { color: var(--mark); font-variant-numeric: tabular-nums; }
#readout { min-height: 1.5em; margin: .4rem 0 0; font-variant-numeric: tabular-nums; }
#readout span { display: inline-block; margin-right: 1.1em; white-space: nowrap; }
svg { display: block; width: 100%; height: 180px; margin: .5rem 0; touch-action: pan-y;
  cursor: crosshair; overflow: visible; }
svg:focus-visible { outline-offset: 0; border-radius: 4px; }
#loss { height: 340px; }
svg text { fill: var(--soft); font-size: 11.5px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); }
svg path { fill: none; stroke-linejoin: round; }
svg .raw { stroke: var(--accent); opacity: .4; }
svg .curve { stroke: var(--accent); stroke-width: 2; }
svg .held { stroke: var(--mark); stroke-width: 2; }
svg .dot { fill: var(--mark); }
svg .cursor { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .here { fill: var(--card); stroke: var(--ink); stroke-width: 1.5; }
.key { font-size: .8rem; color: var(--soft); }
.key i { display: inline-block; width: 1.4em; border-top: 3px solid; margin: 0 .35em .2em .8em;
  vertical-align: middle; }
#samples details { max-width: none; margin: 0; border-top: 1px solid var(--line); }
#samples summary { padding: .35rem 0; width: auto; display: block; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
#samples summary span { color: var(--soft); margin-left: .8em; unicode-bidi: isolate; }
#samples summary::before { content: "▸"; display: inline-block; width: 1.2em; }
#samples details[open] summary::before { content: "▾"; }
#samples details[open] summary span { display: none; }
#samples p { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  margin: 0 0 .75rem 1.2em; max-width: 80ch; }
#table { max-width: none; margin: 0; }
#table .scroll { max-height: 26rem; margin-top: .5rem; }
#table th { text-align: right; vertical-align: bottom; }
#table td { white-space: nowrap; }
#table td.n { color: var(--ink); }
@media (max-width: 900px) { main { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 600px) {
  .card { padding: .7rem; border-radius: 10px; }
  #facts { gap: .5rem; grid-template-columns: repeat(2, minmax(0, 1fr)); }
  #loss { height: 260px; }
  svg { height: 150px; }
}
)css";

const char kLossBody[] = R"html(<noscript><p><b>The curves are drawn by a script that stands in this
file; it needs to be allowed. The table below does not.</b></p></noscript>
<main>
<section class="card across" id="loss-card">
<div class="heading"><h2>Training loss, nats a token <b></b></h2>
<div class="choice"><div class="choice" id="axis" role="radiogroup" aria-label="What runs to the right">
<button type="button" role="radio" data-axis="step">steps</button>
<button type="button" role="radio" data-axis="tokens">tokens</button>
<button type="button" role="radio" data-axis="seconds">time</button></div>
<button type="button" id="late" aria-pressed="false">without the first tenth</button></div></div>
<svg id="loss" role="img" tabindex="0" aria-describedby="readout"></svg>
<p class="key" aria-hidden="true"><i style="color: var(--accent); opacity: .4; margin-left: 0"></i>as measured<i
  style="color: var(--accent)"></i>smoothed</p>
<p id="readout" aria-live="polite"></p></section>
<section class="card"><h2>Held-out text, bits a byte <b></b></h2>
<svg id="heldout" role="img"></svg></section>
<section class="card"><h2>Learning rate <b></b></h2>
<svg id="rate" role="img"></svg></section>
<section class="card"><h2>Tokens a second <b></b></h2>
<svg id="speed" role="img"></svg></section>
<section class="card across" id="samples"><h2>What it wrote <small id="count"></small></h2></section>
<section class="card across">
)html";

}  // namespace thimble::tools::train
