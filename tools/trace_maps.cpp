// SPDX-License-Identifier: MIT
// The drawings of a text and what its tokens look at, for the trace page and the page of tools/web.
// Texts reach the page as text nodes only, never as markup.
#include "trace_page.h"

namespace thimble::tools {

const char kTraceMaps[] =
    R"js(function percent(p) {
  return p >= 0.9995 ? '100 %' : p >= 0.0005 ? (100 * p).toFixed(1) + ' %' : '< 0.1 %';
}

// ---- The text so far ----------------------------------------------------------------------------

// How many of data.labels are shown.
let n = 0;
const state = { layer: 0, head: 0, query: 0, key: 0 };

// Shows what has come to data; select() draws it.
function grow() {
  for (; n < data.labels.length; ++n) {
    addChip(n);
    addRow(n);
  }
}

// Forgets the text, for another one.
function clear() {
  n = 0;
  for (const list of [chips, rows]) list.splice(0).forEach((e) => e.remove());
}

// ---- Colours ------------------------------------------------------------------------------------

const ramps = {
  light: ['#eef2f8', '#c3d8f2', '#7fb0e6', '#3a7cc9', '#174a91', '#08204a'],
  dark: ['#1f252f', '#1c3c66', '#2463a6', '#4594e0', '#94c8fa', '#f2f8ff'],
};
let ramp = [];  // 256 colours, [r, g, b]

function setRamp() {
  const stops = ramps[root.dataset.theme].map(
    (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  ramp = Array.from({ length: 256 }, (_, i) => {
    const x = i / 255 * (stops.length - 1), k = Math.min(Math.floor(x), stops.length - 2);
    return stops[k].map((a, c) => Math.round(a + (stops[k + 1][c] - a) * (x - k)));
  });
}
const colour = (w) => ramp[Math.round(255 * Math.sqrt(w))];
const css = (w) => 'rgb(' + colour(w).join() + ')';
function inkOn(w) {
  const [r, g, b] = colour(w);
  return 0.3 * r + 0.59 * g + 0.11 * b > 130 ? '#10151d' : '#f4f7fb';
}
const variable = (name) => getComputedStyle(root).getPropertyValue(name).trim();

// ---- The text -----------------------------------------------------------------------------------

const chips = [];

function addChip(i) {
  const chip = element('button', i < data.prompt_tokens ? 'token' : 'token made', data.labels[i]);
  chip.type = 'button';
  chip.addEventListener('click', () => select({ query: i }));
  at('chips').append(chip);
  chips.push(chip);
}

function drawChips() {
  chips.forEach((chip, i) => {
    const seen = i <= state.query, w = seen ? weight(state.layer, state.head, state.query, i) : 0;
    chip.style.background = seen ? css(w) : 'none';
    chip.style.color = seen ? inkOn(w) : '';
    chip.title = seen ? 'weight ' + w.toFixed(4) : 'later: not seen';
    chip.setAttribute('aria-pressed', i === state.query);
    chip.tabIndex = i === state.query ? 0 : -1;
  });
}

// ---- All heads ----------------------------------------------------------------------------------

const thumbs = [];

function buildThumbs() {
  const box = at('thumbs');
  thumbs.length = 0;
  box.replaceChildren();
  box.style.gridTemplateColumns = `max-content repeat(${data.heads}, minmax(30px, 1fr))`;
  box.append(element('span', 'row', 'head'));
  for (let h = 0; h < data.heads; ++h) box.append(element('span', '', h));
  for (let l = 0; l < data.layers; ++l) {
    box.append(element('span', 'row', 'layer ' + l));
    for (let h = 0; h < data.heads; ++h) {
      const button = element('button');
      button.type = 'button';
      button.setAttribute('role', 'radio');
      button.setAttribute('aria-label', `layer ${l}, head ${h}`);
      button.title = `layer ${l}, head ${h}`;
      button.append(element('canvas'));
      button.addEventListener('click', () => select({ layer: l, head: h }));
      box.append(button);
      thumbs.push(button);
    }
  }
}

// Of long texts a pixel is the largest weight of a square, so that no line vanishes.
function drawThumb(button, layer, head) {
  const canvas = button.firstChild, step = Math.ceil(n / 96), size = Math.ceil(n / step);
  canvas.width = canvas.height = size;
  const most = new Float32Array(size * size).fill(-1);
  for (let q = 0; q < n; ++q) {
    for (let k = 0; k <= q; ++k) {
      const i = Math.floor(q / step) * size + Math.floor(k / step);
      most[i] = Math.max(most[i], weight(layer, head, q, k));
    }
  }
  const context = canvas.getContext('2d'), image = context.createImageData(size, size);
  most.forEach((w, i) => {
    if (w >= 0) image.data.set([...colour(w), 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
}

function drawThumbs() {
  thumbs.forEach((b, i) => drawThumb(b, Math.floor(i / data.heads), i % data.heads));
}

// ---- The map ------------------------------------------------------------------------------------

const map = at('map'), font = '12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace';
let cell = 0, left = 0, above = 0, scale = 1;

function shorten(context, text, width) {
  const letters = [...text];
  if (context.measureText(text).width <= width) return text;
  while (letters.length > 1 && context.measureText(letters.join('') + '…').width > width) {
    letters.pop();
  }
  return letters.join('') + '…';
}

function drawMap() {
  const context = map.getContext('2d');
  context.font = font;
  const widest = Math.min(92, Math.max(...data.labels.map((t) => context.measureText(t).width)));
  const room = map.parentElement.clientWidth;
  scale = window.devicePixelRatio || 1;
  left = Math.ceil(widest) + 10;
  above = left;
  // As large as the window shows at once, but readable; never beyond what browsers allow a canvas.
  const tall = Math.max(18, Math.floor((window.innerHeight * 0.76 - above) / n));
  cell = Math.max(12, Math.min(40, tall, Math.floor((room - left - 2) / n)));
  cell = Math.max(1, Math.min(cell, Math.floor((4096 / scale - left) / n)));
  const named = cell >= 11;
  if (!named) left = above = 4;
  const width = left + cell * n + 2, height = above + cell * n + 2;
  map.width = Math.round(width * scale);
  map.height = Math.round(height * scale);
  map.style.width = width + 'px';
  map.style.height = height + 'px';
  context.scale(scale, scale);
  context.font = font;
  context.textBaseline = 'middle';
  const ink = variable('--ink'), soft = variable('--soft'), mark = variable('--mark');
  const gap = cell >= 8 ? 1 : 0;
  for (let q = 0; q < n; ++q) {
    for (let k = 0; k <= q; ++k) {
      context.fillStyle = css(weight(state.layer, state.head, q, k));
      context.fillRect(left + k * cell, above + q * cell, cell - gap, cell - gap);
    }
  }
  if (named) {
    for (let i = 0; i < n; ++i) {
      const middle = (i + 0.5) * cell, text = shorten(context, data.labels[i], left - 10);
      context.fillStyle = i === state.query ? mark : soft;
      context.textAlign = 'right';
      context.fillText(text, left - 6, above + middle);
      context.fillStyle = i === state.key ? mark : soft;
      context.save();
      context.translate(left + middle, above - 6);
      context.rotate(-Math.PI / 2);
      context.textAlign = 'left';
      context.fillText(text, 0, 0);
      context.restore();
    }
  }
  context.strokeStyle = mark;
  context.lineWidth = 1.5;
  context.strokeRect(left - 1, above + state.query * cell - 1, (state.query + 1) * cell + 1,
                     cell + 1);
  context.strokeStyle = ink;
  context.strokeRect(left + state.key * cell - 1, above + state.query * cell - 1, cell + 1,
                     cell + 1);
}

function cellUnder(event) {
  const box = map.getBoundingClientRect();
  const key = Math.floor((event.clientX - box.left - left) / cell);
  const query = Math.floor((event.clientY - box.top - above) / cell);
  return key >= 0 && query < n && key <= query ? { query, key } : null;
}

function sentence(query, key) {
  const p = element('span');
  p.append(element('b', 'token', data.labels[query]), ` (${query}) looks at `,
           element('b', 'token', data.labels[key]), ` (${key}): `,
           element('b', '', weight(state.layer, state.head, query, key).toFixed(4)));
  return p;
}

map.addEventListener('pointermove', (event) => {
  const under = cellUnder(event), tip = at('tip');
  tip.hidden = !under;
  map.style.cursor = under ? 'crosshair' : '';
  if (!under) return;
  tip.replaceChildren(sentence(under.query, under.key));
  const x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 6);
  const y = event.clientY + 18 + tip.offsetHeight > window.innerHeight
    ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18;
  tip.style.left = Math.max(6, x) + 'px';
  tip.style.top = y + 'px';
});
map.addEventListener('pointerleave', () => { at('tip').hidden = true; });
map.addEventListener('click', (event) => {
  const under = cellUnder(event);
  if (under) select(under);
});

// ---- What comes next ----------------------------------------------------------------------------

const rows = [];

function addRow(i) {
  const row = element('tr'), candidates = data.next[i];
  row.append(element('td', 'n', i), element('td', 't', data.labels[i]),
             element('td', 't', candidates[0][1]), element('td', 'n', percent(candidates[0][2])));
  row.addEventListener('mouseenter', () => drawNext(i));
  row.addEventListener('click', () => select({ query: i }));
  at('table').querySelector('tbody').append(row);
  rows.push(row);
}
at('table').addEventListener('mouseleave', () => drawNext(state.query));

function drawNext(position) {
  const came = position + 1 < n ? data.ids[position + 1] : null;
  const after = at('after');
  after.replaceChildren('after ', element('b', 'token', data.labels[position]), ` (${position})`);
  if (came !== null) {
    after.append(position + 1 < data.prompt_tokens ? '; the text goes on with '
                                                   : '; the model went on with ',
                 element('b', 'token', data.labels[position + 1]));
  }
  at('bars').replaceChildren(...data.next[position].map(([id, label, p]) => {
    const item = element('li');
    item.style.setProperty('--p', 100 * p + '%');
    item.append(element('span', id === came ? 'token came' : 'token',
                        id === came ? label + ' ◂' : label),
                element('span', 'number', percent(p)));
    item.title = `token ${id}, probability ${p}`;
    return item;
  }));
}

// ---- Choosing -----------------------------------------------------------------------------------

function looksMostAt(query) {
  let best = 0;
  for (let k = 1; k <= query; ++k) {
    const w = weight(state.layer, state.head, query, k);
    if (w > weight(state.layer, state.head, query, best)) best = k;
  }
  return best;
}

function select(change) {
  const old = { ...state };
  Object.assign(state, change);
  if ('query' in change && !('key' in change)) state.key = looksMostAt(state.query);
  at('map-title').textContent = `Layer ${state.layer}, head ${state.head}`;
  map.setAttribute('aria-label', `Attention weights of layer ${state.layer}, head ${state.head}; ` +
                                 'arrow keys move from cell to cell');
  at('readout').replaceChildren(sentence(state.query, state.key));
  thumbs.forEach((b, i) => {
    const chosen = i === state.layer * data.heads + state.head;
    b.setAttribute('aria-checked', chosen);
    b.tabIndex = chosen ? 0 : -1;
  });
  rows.forEach((row, i) => row.setAttribute('aria-selected', i === state.query));
  if (old.query !== state.query) {
    // Within the table only: the page must not jump.
    const table = at('table'), row = rows[state.query];
    const hidden = row.offsetTop < table.scrollTop + 30 ||
      row.offsetTop + row.offsetHeight > table.scrollTop + table.clientHeight;
    if (hidden) table.scrollTop = row.offsetTop - table.clientHeight / 2;
  }
  drawChips();
  drawMap();
  drawNext(state.query);
}

// The head that moves about most, since one that rests on the first token teaches little.
function busiestHead() {
  let best = { layer: 0, head: 0 }, most = -1;
  for (let layer = 0; layer < data.layers; ++layer) {
    for (let head = 0; head < data.heads; ++head) {
      let sum = 0;
      for (let q = 2; q < n; ++q) {
        for (let k = 1; k < q; ++k) sum += weight(layer, head, q, k) ** 2;
      }
      if (sum > most) [best, most] = [{ layer, head }, sum];
    }
  }
  return best;
}

const clamp = (x, limit) => Math.max(0, Math.min(limit - 1, x));
const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
function onArrows(box, move) {
  box.addEventListener('keydown', (event) => {
    if (!steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(...steps[event.key]);
  });
}
onArrows(at('thumbs'), (down, right) => {
  select({ layer: clamp(state.layer + down, data.layers),
           head: clamp(state.head + right, data.heads) });
  thumbs[state.layer * data.heads + state.head].focus();
});
onArrows(at('chips'), (down, right) => {
  const query = clamp(state.query + down + right, n);
  select({ query });
  chips[query].focus();
});
onArrows(map, (down, right) => {
  const query = clamp(state.query + down, n);
  select({ query, key: clamp(state.key + right, query + 1) });
});

function drawTheme() {
  setRamp();
  const legend = at('legend').querySelector('canvas').getContext('2d');
  for (let x = 0; x < 160; ++x) {
    legend.fillStyle = css(x / 159);
    legend.fillRect(x, 0, 1, 1);
  }
  if (n === 0) return;
  drawThumbs();
  select({});
}
let width = 0;
new ResizeObserver(() => {
  if (n > 0 && map.parentElement.clientWidth !== width) drawMap();
  width = map.parentElement.clientWidth;
}).observe(map.parentElement);

)js";

}  // namespace thimble::tools
