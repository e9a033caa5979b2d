// SPDX-License-Identifier: MIT
// The loss page's script. Texts reach the page as text nodes only, never as markup.
#include "loss_page.h"

namespace thimble::tools::train {

const char kLossScript[] = R"js(
const data = JSON.parse(at('data').textContent);
const n = data.step.length;
const state = { axis: 'step', late: false, row: n - 1 };

const small = (x) => x === null ? '–' : x === 0 ? '0' : x.toPrecision(3);
const whole = (x) => x === null ? '–' : Math.round(x).toString().replace(/\B(?=(\d{3})+$)/g, '\u202f');
const fixed = (digits) => (x) => x === null ? '–' : x.toFixed(digits);
function clock(seconds) {
  if (seconds === null) return '–';
  const s = Math.floor(seconds), two = (x) => String(x).padStart(2, '0');
  return Math.floor(s / 3600) + ':' + two(Math.floor(s / 60) % 60) + ':' + two(s % 60);
}

const charts = [
  { id: 'loss', name: 'Training loss', lines: [['loss', 'raw'], ['smooth', 'curve']],
    show: fixed(3) },
  { id: 'heldout', name: 'Held-out bits a byte', lines: [['heldout', 'held']], show: fixed(3),
    dots: true, last: true },
  { id: 'rate', name: 'Learning rate', lines: [['rate', 'curve']], show: small, zero: true },
  { id: 'speed', name: 'Tokens a second', lines: [['speed', 'curve']], show: whole, zero: true },
];
for (const chart of charts) {
  chart.svg = at(chart.id);
  chart.value = chart.svg.parentElement.querySelector('h2 b');
}

// ---- Scales -------------------------------------------------------------------------------------

function ticks(low, high, count, sizes = [1, 2, 5, 10]) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = sizes.map((x) => x * power).find((x) => x >= rough * 0.75);
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) out.push(i * step);
  return { values: out, step };
}
function timeTicks(low, high, count) {
  const sizes = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200];
  const rough = (high - low) / count;
  const step = sizes.find((x) => x >= rough) || 86400 * Math.ceil(rough / 86400);
  const out = [];
  for (let i = Math.ceil(low / step); i * step <= high; ++i) out.push(i * step);
  return { values: out, step };
}
function compact(x, step) {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]]) {
    if (Math.abs(x) >= size && step * 1000 >= size) {
      return (x / size).toFixed(step >= size ? 0 : step * 10 >= size ? 1 : 2) + unit;
    }
  }
  return step >= 1 ? x.toFixed(0) : step < 1e-4 && x !== 0 ? x.toExponential(0)
    : x.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
}

const across = () => data[state.axis];
function domain() {
  const xs = across().filter((x) => x !== null);
  let low = xs.length ? Math.min(xs[0], 0) : 0, high = xs.length ? xs[xs.length - 1] : 1;
  if (!(high > low)) high = low + 1;
  if (state.late) low += (high - low) / 10;
  return [low, high];
}
const shown = (i, low) => across()[i] !== null && across()[i] >= low;

// ---- Drawing ------------------------------------------------------------------------------------

function add(svg, name, attributes, text) {
  const e = document.createElementNS(svg.namespaceURI, name);
  for (const key in attributes) e.setAttribute(key, attributes[key]);
  if (text !== undefined) e.textContent = text;
  svg.append(e);
  return e;
}

function draw(chart) {
  const svg = chart.svg, width = svg.clientWidth, height = svg.clientHeight;
  const [low, high] = domain(), xs = across();
  let bottom = Infinity, top = -Infinity;
  for (const [key] of chart.lines) {
    data[key].forEach((y, i) => {
      if (y === null || !shown(i, low)) return;
      bottom = Math.min(bottom, y);
      top = Math.max(top, y);
    });
  }
  svg.replaceChildren();
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  chart.x = null;
  if (top < bottom) {
    add(svg, 'text', { x: width / 2, y: height / 2, 'text-anchor': 'middle' }, 'not measured');
    svg.setAttribute('aria-label', chart.name + ': not measured');
    return;
  }
  if (chart.zero) bottom = Math.min(0, bottom);
  const room = (top - bottom || Math.abs(top) || 1) * 0.05;
  top += room;
  if (!chart.zero) bottom -= room;
  const marks = ticks(bottom, top, Math.max(2, height / 55));
  const labels = marks.values.map((y) => compact(y, marks.step));
  const left = 12 + 6.8 * Math.max(...labels.map((label) => label.length)), right = width - 8;
  const above = 8, below = height - 24;
  const x = chart.x = (value) => left + (right - left) * (value - low) / (high - low);
  const y = chart.y = (value) => below - (below - above) * (value - bottom) / (top - bottom);
  Object.assign(chart, { left, right, above, below });
  marks.values.forEach((value, i) => {
    add(svg, 'line', { class: 'grid', x1: left, x2: right, y1: y(value), y2: y(value) });
    add(svg, 'text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, labels[i]);
  });
  const count = Math.max(1, Math.floor((right - left) / 85));
  const steps = state.axis === 'seconds' ? timeTicks(low, high, count) : ticks(low, high, count);
  for (const value of steps.values) {
    const at = x(value), anchor = at > right - 18 ? 'end' : at < left + 12 ? 'start' : 'middle';
    add(svg, 'line', { class: 'grid', x1: at, x2: at, y1: below, y2: below + 4 });
    add(svg, 'text', { x: anchor === 'end' ? right : at, y: height - 6, 'text-anchor': anchor },
        state.axis === 'seconds' ? clock(value) : compact(value, steps.step));
  }
  for (const [key, name] of chart.lines) {
    let path = '', pen = 'M';
    data[key].forEach((value, i) => {
      if (!shown(i, low)) return;
      if (value === null) {
        if (!chart.dots) pen = 'M';
        return;
      }
      path += pen + x(xs[i]).toFixed(1) + ' ' + y(value).toFixed(1);
      pen = 'L';
      if (chart.dots) add(svg, 'circle', { class: 'dot', cx: x(xs[i]), cy: y(value), r: 2.5 });
    });
    add(svg, 'path', { class: name, d: path });
  }
  chart.cursor = add(svg, 'g', {});
  svg.setAttribute('aria-label', `${chart.name} from ${chart.show(valueAt(chart, first(low)))} to ` +
                   chart.show(valueAt(chart, n - 1)) +
                   (chart.id === 'loss' ? '; arrow keys move along the curve' : ''));
}

function first(low) {
  for (let i = 0; i < n; ++i) {
    if (shown(i, low)) return i;
  }
  return n - 1;
}

// The row's own value; of what is measured now and then, the last one before it.
function valueAt(chart, row) {
  const column = data[chart.lines[chart.lines.length - 1][0]];
  for (let i = row; i >= 0; --i) {
    if (column[i] !== null || !chart.last) return column[i];
  }
  return null;
}

function point() {
  if (n === 0) return;
  const [low] = domain();
  for (const chart of charts) {
    const value = valueAt(chart, state.row);
    chart.value.textContent = chart.show(value);
    if (!chart.x) continue;
    chart.cursor.replaceChildren();
    if (!shown(state.row, low)) continue;
    const at = chart.x(across()[state.row]);
    add(chart.cursor, 'line', { class: 'cursor', x1: at, x2: at, y1: chart.above, y2: chart.below });
    if (value !== null && !chart.last) {
      add(chart.cursor, 'circle', { class: 'here', cx: at, cy: chart.y(value), r: 4 });
    }
  }
  const i = state.row;
  at('readout').replaceChildren(...[
    ['step', whole(data.step[i])], ['tokens', whole(data.tokens[i])],
    ['time', clock(data.seconds[i])], ['loss', fixed(4)(data.loss[i])],
    ['smoothed', fixed(4)(data.smooth[i])],
    ['held-out', fixed(4)(valueAt(charts[1], i))],
  ].map(([name, text]) => {
    const part = element('span', '', name + ' ');
    part.append(element('b', '', text));
    return part;
  }));
}

function drawAll() {
  charts.forEach(draw);
  point();
}

// ---- Choosing -----------------------------------------------------------------------------------

function moveTo(row) {
  if (n === 0) return;
  const [low] = domain();
  state.row = Math.max(first(low), Math.min(n - 1, row));
  point();
}

function under(chart, event) {
  const box = chart.svg.getBoundingClientRect(), [low, high] = domain(), xs = across();
  const value = low + (high - low) * (event.clientX - box.left - chart.left) /
    (chart.right - chart.left);
  let best = n - 1;
  for (let i = n - 1; i >= 0; --i) {
    if (xs[i] !== null && Math.abs(xs[i] - value) < Math.abs(xs[best] - value)) best = i;
  }
  return best;
}

for (const chart of charts) {
  const follow = (event) => { if (chart.x) moveTo(under(chart, event)); };
  chart.svg.addEventListener('pointermove', follow);
  chart.svg.addEventListener('pointerdown', follow);
}
const pace = Math.max(1, Math.round(n / 20));
const keys = { ArrowLeft: -1, ArrowRight: 1, PageUp: -pace, PageDown: pace, Home: -n, End: n };
at('loss').addEventListener('keydown', (event) => {
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  moveTo(state.row + keys[event.key]);
});

const axes = [...at('axis').children];
function setAxis(axis) {
  state.axis = axis;
  for (const button of axes) {
    button.setAttribute('aria-checked', button.dataset.axis === axis);
    button.tabIndex = button.dataset.axis === axis ? 0 : -1;
  }
  drawAll();
}
axes.forEach((button, i) => {
  button.addEventListener('click', () => setAxis(button.dataset.axis));
  button.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = axes[(i + by + axes.length) % axes.length];
    setAxis(next.dataset.axis);
    next.focus();
  });
});
at('late').addEventListener('click', () => {
  state.late = !state.late;
  at('late').setAttribute('aria-pressed', state.late);
  drawAll();
});

data.samples.forEach(([step, text], i) => {
  const box = element('details'), line = element('summary', '', 'step ' + whole(step));
  line.append(element('span', '', text.slice(0, 160).replace(/\s+/g, ' ')));
  box.append(line, element('p', '', text));
  box.open = i + 1 === data.samples.length;
  at('samples').append(box);
});
at('samples').hidden = data.samples.length === 0;
at('count').textContent = data.samples.length > 1 ? `${data.samples.length} times` : '';

let width = 0;
new ResizeObserver(() => {
  if (at('loss').clientWidth !== width) drawAll();
  width = at('loss').clientWidth;
}).observe(at('loss'));
setAxis('step');
useTheme(() => {});
)js";

}  // namespace thimble::tools::train
