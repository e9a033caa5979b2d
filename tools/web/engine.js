// SPDX-License-Identifier: MIT
// The engine for JavaScript: what engine.cpp's module has, with texts, numbers and errors as
// JavaScript wants them. A page has this file in a script, Node requires it.
'use strict';

const THIMBLE_MORE = 1;
const THIMBLE_MAGIC = -4;
const THIMBLE_OUTPUT_TOO_SMALL = -20;
const MODEL_FIELDS = ['dim', 'hidden_dim', 'n_layers', 'n_heads', 'n_kv_heads', 'head_dim',
                      'vocab_size', 'n_ctx', 'weight_type', 'group', 'row_tile',
                      'max_token_bytes', 'bos_id'];
const MOST_IMAGE_BYTES = 0xf0000000;  // of the 4 GiB that a module can address

// What the user can mend, as a sentence.
class Refused extends Error {}

class Engine {
  constructor() {
    // Called with (layer, position, first, first_head, n_heads, weights, stride), weights being a
    // view that is good during the call: thimble_attention_hook.
    this.onAttention = null;
  }

  // wasm: the module's bytes. Each model has a module of its own, whose memory goes with it.
  static async create(wasm) {
    const engine = new Engine();
    const { instance } = await WebAssembly.instantiate(
      wasm, { page: { attention: (...row) => engine.hook(...row) } });
    engine.calls = instance.exports;
    return engine;
  }

  hook(layer, position, first, firstHead, nHeads, weights, stride) {
    const floats = (nHeads - 1) * stride + position + 1 - first;
    const view = new Float32Array(this.calls.memory.buffer, weights >>> 0, floats);
    this.onAttention(layer, position, first, firstHead, nHeads, view, stride);
  }

  bytesAt(address, bytes) { return new Uint8Array(this.calls.memory.buffer, address >>> 0, bytes); }

  textAt(address) {
    const bytes = this.bytesAt(address);
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  }

  reserve(bytes, what) {
    const address = bytes <= MOST_IMAGE_BYTES ? this.calls.reserve(bytes) : 0;
    if (address === 0) throw new Refused(`${what} needs ${bytes} bytes, more than there are here`);
    return address >>> 0;
  }

  // A failed call's status as a sentence; counts and OK pass.
  checked(status) {
    if (status >= 0) return status;
    throw new Refused(this.textAt(this.calls.status_text(status)));
  }

  // ---- Model --------------------------------------------------------------------------------

  // image: a model file's bytes, which are copied; name: its file, for errors. Checked whole.
  open(image, name) {
    if (image.length === 0) throw new Refused(`${name}: is empty (0 bytes)`);
    const address = this.reserve(image.length, name);
    this.bytesAt(address, image.length).set(image);
    const status = this.calls.open(address, image.length);
    if (status < 0) throw new Refused(`${name}: ${this.faultText(status)}`);
    const fields = new Uint32Array(this.calls.memory.buffer, this.calls.shape(),
                                   MODEL_FIELDS.length);
    this.model = Object.fromEntries(MODEL_FIELDS.map((field, i) => [field, fields[i]]));
    this.model.name = name;
    this.model.bytes = image.length;
    this.model.n_params = this.calls.n_params();
    if (this.model.max_token_bytes === 0) {
      throw new Refused(`${name}: has no tokenizer; convert it with --tokenizer FILE`);
    }
  }

  // As fault_text in tools/files.cpp has it.
  faultText(status) {
    const sentence = this.textAt(this.calls.status_text(status));
    const view = new DataView(this.calls.memory.buffer, this.calls.fault());
    const what = view.getUint32(0, true);
    if (status === THIMBLE_MAGIC) return `${sentence}; thimble convert makes models`;
    if (what === 0) return sentence;
    const shown = (at) => {
      const value = view.getBigUint64(at, true);
      return value < 1n << 24n ? String(value) : '0x' + value.toString(16).padStart(8, '0');
    };
    return `${sentence}: ${this.textAt(what)}: found ${shown(8)}, expected ${shown(16)} ` +
           `(at byte ${view.getBigUint64(24, true)})`;
  }

  // A token's text for the eye, as tools/trace_numbers.cpp has it: no character is invisible.
  label(token) {
    const bytes = this.bytesAt(this.calls.token_text(token), this.calls.token_bytes(token));
    if (bytes.length === 0) return `<#${token}>`;
    try {
      return [...new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)]
        .map(visible).join('');
    } catch {
      return Array.from(bytes, spelled).join('');
    }
  }

  // ---- Session ------------------------------------------------------------------------------

  // Once a model: nCtx 0 is the model's own context; kvType 1 is the int8 cache.
  start(nCtx, kvType) {
    const bytes = this.calls.session_bytes(nCtx, kvType) >>> 0;
    const arena = this.reserve(bytes, `the session of ${this.model.name}`);
    this.checked(this.calls.start(nCtx, kvType, arena, bytes));
    this.calls.begin(0);
    this.arenaBytes = bytes;
    this.nCtx = this.calls.room();
    this.tokens = this.reserve(4 * this.nCtx, 'the prompt');
    this.prompt = this.reserve(4 * this.nCtx * this.model.max_token_bytes, 'the prompt');
    this.promptBytes = 4 * this.nCtx * this.model.max_token_bytes;
    this.kernels = this.textAt(this.calls.kernels());
  }

  // Begins a text and returns the prompt's tokens, which are to be fed. sampling: { temperature, topP,
  // seed }, where topP 0 is the narrowest and seed is a BigInt.
  begin(prompt, sampling) {
    this.calls.sampling(sampling.temperature, Math.max(sampling.topP, 1.17549435e-38),
                        BigInt.asUintN(64, sampling.seed));
    this.checked(this.calls.begin(this.onAttention ? 1 : 0));
    const text = new TextEncoder().encode(prompt);
    const tooLong = `the prompt has more tokens than the context holds, which are ${this.nCtx}`;
    if (text.length > this.promptBytes) throw new Refused(tooLong);
    this.bytesAt(this.prompt, text.length).set(text);
    const count = this.calls.encode(this.prompt, text.length, this.tokens, this.nCtx);
    if (count === THIMBLE_OUTPUT_TOO_SMALL) throw new Refused(tooLong);
    if (this.checked(count) === 0) {
      throw new Refused(`${this.model.name}: has no beginning-of-text token, so the prompt must ` +
                        'not be empty');
    }
    return Array.from(new Int32Array(this.calls.memory.buffer, this.tokens, count));
  }

  // At most as many tokens as there is room for.
  feed(tokens) {
    new Int32Array(this.calls.memory.buffer, this.tokens, tokens.length).set(tokens);
    this.checked(this.calls.feed(this.tokens, tokens.length));
  }

  // A slice of the pass, about `budget` multiply-accumulates (0: all of it); false: more is to come.
  step(budget) { return this.checked(this.calls.step(budget)) !== THIMBLE_MORE; }

  isEnd(token) { return this.calls.is_end(token) !== 0; }

  // The next token. Its logits have gone into the hash.
  draw() { return this.checked(this.calls.draw()); }

  // Text that came with a token, whole characters, for those that no end token is.
  textOf(token) {
    const bytes = this.checked(this.calls.decode(token));
    return new TextDecoder('utf-8', { ignoreBOM: true })
      .decode(this.bytesAt(this.calls.text(), bytes));
  }
  endOfText() { return this.textOf(-1); }

  // As `thimble run --hash` prints it.
  hash() {
    return '0x' + BigInt.asUintN(64, this.calls.hash()).toString(16).padStart(16, '0');
  }

  // The likeliest tokens, [id, label, probability], best first; of equal ones the lowest id.
  likeliest(count) {
    const logits = new Float32Array(this.calls.memory.buffer, this.calls.logits(),
                                    this.model.vocab_size);
    const best = [];
    for (let i = 0; i < logits.length; ++i) {
      if (best.length === count && !(logits[i] > logits[best[count - 1]])) continue;
      let at = best.length;
      while (at > 0 && logits[i] > logits[best[at - 1]]) --at;
      best.splice(at, 0, i);
      best.length = Math.min(best.length, count);
    }
    let sum = 0;
    for (let i = 0; i < logits.length; ++i) sum += Math.exp(logits[i] - logits[best[0]]);
    return best.map((i) => [i, this.label(i), Math.exp(logits[i] - logits[best[0]]) / sum]);
  }
}

function spelled(byte) { return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`; }

function visible(character) {
  const named = { ' ': '·', '\n': '⏎', '\t': '⇥', '\x7f': '␡' }[character];
  if (named) return named;
  if (character < ' ') return String.fromCharCode(0x2400 + character.charCodeAt(0));
  if (!/[\u0080-\u00a0\u2000-\u200f\u2028-\u202f\u205f-\u206f\ufeff]/.test(character)) {
    return character;
  }
  return Array.from(new TextEncoder().encode(character), spelled).join('');
}

if (typeof module !== 'undefined') module.exports = { Engine, Refused };
