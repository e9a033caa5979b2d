// SPDX-License-Identifier: MIT
// The page: takes the engine's passes in slices, so that a browser can draw between them, and shows
// what comes of them. Texts reach the page as text nodes only, never as markup.

const data = { layers: 0, heads: 0, prompt_tokens: 0, labels: [], ids: [], next: [] };
const first = JSON.parse(at('first').textContent);  // what the page opens with
const kSliceMs = 12, kSliceBudget = 1000000;
const kMostMapBytes = 96 << 20;

let engine = null, writing = false, stopped = false;

// ---- What the model looks at --------------------------------------------------------------------

// Of each position (layers, heads, position + 1) weights of 16 bits.
let attention = [], mostPositions = 0;

function weight(layer, head, query, key) {
  return attention[query][(layer * data.heads + head) * (query + 1) + key] / 65535;
}

function keepAttention(layer, position, from, firstHead, nHeads, weights, stride) {
  const length = position + 1;
  const row = attention[position] || new Uint16Array(data.layers * data.heads * length);
  attention[position] = row;
  for (let h = 0; h < nHeads; ++h) {
    const to = (layer * data.heads + firstHead + h) * length;
    for (let t = from; t < length; ++t) {
      row[to + t] = Math.round(weights[h * stride + t - from] * 65535);
    }
  }
}

// After a token's pass.
function append(token) {
  if (data.labels.length >= mostPositions) return;
  data.labels.push(engine.label(token));
  data.ids.push(token);
  data.next.push(engine.likeliest(10));
}

// ---- Drawing ------------------------------------------------------------------------------------
// The text comes at once; the maps take at most a fifth of the time.

let drawnAt = 0, drawingMs = 0, wanted = false;

function drawMaps(atOnce) {
  if (!atOnce && performance.now() < drawnAt + 4 * drawingMs + 60) return;
  const start = performance.now(), follows = state.query === n - 1 || n === 0;
  const before = n;
  grow();
  if (n > before || atOnce) {
    drawThumbs();
    select({ query: follows ? n - 1 : state.query });
    const view = map.parentElement;  // keeps to the end while it is written
    if (follows) view.scrollTo(atOnce ? 0 : view.scrollWidth, atOnce ? 0 : view.scrollHeight);
    at('count').textContent = `${n} tokens, ${data.prompt_tokens} of them the prompt` +
      (n >= mostPositions ? '; maps of more do not fit' : '');
  }
  drawnAt = performance.now();
  drawingMs = drawnAt - start;
}

function drawSoon() {
  if (wanted) return;
  wanted = true;
  requestAnimationFrame(() => {
    wanted = false;
    if (data.labels.length > 0) drawMaps(false);
  });
}

// ---- Time ---------------------------------------------------------------------------------------

const channel = new MessageChannel();
const others = () => new Promise((done) => {  // a task of its own, so that others get theirs
  channel.port1.onmessage = done;
  channel.port2.postMessage(0);
});
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

let sliceEnd = 0;
async function breathe() {
  if (performance.now() < sliceEnd) return;
  drawSoon();
  await others();
  sliceEnd = performance.now() + kSliceMs;
}

// ---- Writing ------------------------------------------------------------------------------------

// One token's pass; what it takes goes to the clock.
async function pass(token, clock) {
  const start = performance.now();
  engine.feed([token]);
  clock.ms += performance.now() - start;
  for (let complete = false; !complete;) {
    const slice = performance.now();
    complete = engine.step(kSliceBudget);
    clock.ms += performance.now() - slice;
    await breathe();
  }
  append(token);
}

function settings() {
  return {
    prompt: at('text').value, temperature: +at('temperature').value, topP: +at('top-p').value,
    seed: BigInt(at('seed').value), count: +at('tokens').value, kvType: +at('cache').value,
    pace: +at('pace').value,
  };
}

async function write(s) {
  if (engine.kvType !== s.kvType) await open(engine.image, engine.model.name, s.kvType);
  const tokens = engine.begin(s.prompt, s);
  const clock = { ms: 0 }, story = at('story');
  let count = 0, why = 'as many tokens as wanted';
  Object.assign(data, { prompt_tokens: tokens.length, labels: [], ids: [], next: [] });
  attention = [];
  clear();
  story.replaceChildren(element('span', 'prompt', s.prompt));
  const text = document.createTextNode('');
  story.append(text);
  for (const token of tokens) {
    if (!engine.isEnd(token)) engine.textOf(token);  // what the decoder has to have seen
    await pass(token, clock);
  }
  clock.ms = 0;
  while (count < s.count) {
    if (stopped) {
      why = 'stopped';
      break;
    }
    const start = performance.now();
    const token = engine.draw();
    clock.ms += performance.now() - start;
    if (engine.isEnd(token)) {
      why = 'end of text';
      break;
    }
    ++count;
    text.appendData(engine.textOf(token));
    if (story.scrollHeight > story.clientHeight) story.scrollTop = story.scrollHeight;
    if (engine.calls.room() === 0) {
      why = 'context full';
      break;
    }
    await pass(token, clock);
    show(count, clock, why, true);
    if (s.pace > 0) await wait(1000 / s.pace);
  }
  text.appendData(engine.endOfText());
  show(count, clock, why, false);
  showHash(s, count, why === 'stopped');
}

function show(count, clock, why, goesOn) {
  at('status').textContent = `${count} tokens${goesOn ? '' : ', ' + why}; ` +
    `${Math.round(1000 * count / Math.max(clock.ms, 0.01))} a second in the engine, ` +
    `kernels: ${engine.kernels}`;
}

// ---- The hash -----------------------------------------------------------------------------------

const quoted = (text) => "'" + text.replace(/'/g, "'\\''") + "'";

// What the host has to be asked for the same. A text that was stopped had drawn one token less.
function showHash(s, count, wasStopped) {
  const model = engine.model.name === first.model ? first.path : engine.model.name;
  at('ours').textContent = engine.hash();
  at('command').textContent = `$ build/thimble run ${/[^\w./-]/.test(model) ? quoted(model) : model}` +
    ` -p ${quoted(s.prompt)} -n ${wasStopped ? count : s.count} -t ${s.temperature}` +
    ` --top-p ${s.topP} --seed ${s.seed}${s.kvType ? ' --kv q8' : ''} --hash`;
  const isFirst = engine.model.name === first.model && !wasStopped &&
    Object.keys(first.settings).every((key) => String(s[key]) === String(first.settings[key]));
  at('theirs').value = isFirst ? first.hash : '';
  compare(isFirst ? ', which was asked when this page was built' : '');
}

function compare(when) {
  const theirs = at('theirs').value.trim().replace(/^logits-hash\s+/, '');
  const same = theirs === at('ours').textContent;
  at('verdict').className = same ? '' : 'other';
  at('verdict').textContent = theirs === '' ? '' : same
    ? `✓ The same bits as on the host${when}.` : '✗ Not the same: other settings, or another model?';
}
at('theirs').addEventListener('input', () => compare(''));

// ---- Models -------------------------------------------------------------------------------------

const bytesIn = (id) => Uint8Array.from(atob(at(id).textContent), (c) => c.charCodeAt(0));

// #plain makes a browser that has SIMD128 do without.
function moduleBytes() {
  const simd = bytesIn('simd128');
  const plain = /(?:^#|&)plain(?=&|$)/.test(location.hash) || !WebAssembly.validate(simd);
  return plain ? bytesIn('plain') : simd;
}

const mebibytes = (bytes) => (bytes / 1048576).toFixed(1) + ' MiB';

async function open(image, name, kvType) {
  const next = await Engine.create(moduleBytes());
  next.open(image, name);
  next.start(0, kvType);
  next.onAttention = keepAttention;
  Object.assign(next, { image, kvType });
  engine = next;
  const m = engine.model, maps = m.n_layers * m.n_heads;
  Object.assign(data, { layers: m.n_layers, heads: m.n_heads, labels: [], ids: [], next: [] });
  mostPositions = Math.min(engine.nCtx, Math.floor(Math.sqrt(kMostMapBytes / maps)));
  attention = [];
  clear();
  buildThumbs();
  state.layer = state.head = state.query = 0;
  at('model').textContent = name;
  at('shape').textContent = `${(m.n_params * 1e-6).toFixed(2)} million parameters, ` +
    `${['float32', 'int8', '4-bit'][m.weight_type]} weights, ${m.n_layers} layers × ${m.n_heads} ` +
    `heads of ${m.head_dim}, vocabulary ${m.vocab_size}, context ${engine.nCtx}; ` +
    `${mebibytes(m.bytes)} of model, ${mebibytes(engine.arenaBytes)} of arena`;
}

// ---- The user -----------------------------------------------------------------------------------

// One job at a time; what goes wrong is told in a sentence.
async function run(job) {
  if (writing) return;
  writing = true;
  stopped = false;
  root.dataset.state = 'writing';
  at('error').textContent = '';
  at('go').textContent = 'Stop';
  sliceEnd = performance.now() + kSliceMs;
  let result = 'done';
  try {
    await job();
  } catch (error) {
    if (!(error instanceof Refused)) console.error(error);
    at('error').textContent = error.message;
    result = 'error';
  }
  if (data.labels.length > 0) drawMaps(true);
  at('go').textContent = 'Write';
  writing = false;
  root.dataset.state = result;
}

at('form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (writing) {
    stopped = true;
  } else {
    run(() => write(settings()));
  }
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') stopped = true;
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) at('form').requestSubmit();
});

async function openFile(file) {
  stopped = true;
  while (writing) await wait(10);
  await run(async () => {
    await open(new Uint8Array(await file.arrayBuffer()), file.name, +at('cache').value);
    at('text').value = '';
    await write(settings());
    Object.assign(state, busiestHead());
  });
}
at('file').addEventListener('change', () => {
  if (at('file').files.length > 0) openFile(at('file').files[0]);
});
for (const type of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.toggle('dropping', type === 'dragover');
    if (type === 'drop' && event.dataTransfer.files.length > 0) {
      openFile(event.dataTransfer.files[0]);
    }
  });
}

async function main() {
  const s = first.settings;
  for (const [id, value] of [['text', s.prompt], ['temperature', s.temperature],
                             ['top-p', s.topP], ['seed', s.seed], ['tokens', s.count]]) {
    at(id).value = value;
  }
  useTheme(drawTheme);
  await run(async () => {
    await open(bytesIn('image'), first.model, 0);
    at('go').disabled = false;
    await write(settings());
    Object.assign(state, busiestHead());
  });
}
main();
