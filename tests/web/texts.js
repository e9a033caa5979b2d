// SPDX-License-Identifier: MIT
// Texts under Node, by the page's own modules and engine.js, as `thimble run --hash` tells them:
// node texts.js JOBS [ROUNDS]. A line of JOBS is, between tabs: module, model, prompt, tokens,
// temperature, top-p, seed, cache (f32 or q8). With ROUNDS it also says on stderr how fast that was:
// of each token the fastest round, since others have the machine, too.
'use strict';
const fs = require('fs');
const path = require('path');
const { Engine, Refused } = require('../../tools/web/engine.js');

const NO_SELF_TEST = -23;

function write(engine, prompt, tokens, sampling, budget, fastest) {
  const fed = engine.begin(prompt, sampling);
  let text = fed.map((token) => (engine.isEnd(token) ? '' : engine.textOf(token))).join('');
  engine.feed(fed);
  while (!engine.step(budget)) ;
  for (let count = 0; count < tokens;) {
    const start = performance.now(), token = engine.draw();
    if (engine.isEnd(token)) break;
    text += engine.textOf(token);
    if (++count === tokens || engine.calls.room() === 0) break;
    engine.feed([token]);
    while (!engine.step(budget)) ;
    fastest[count - 1] = Math.min(fastest[count - 1] || Infinity, performance.now() - start);
  }
  return text + engine.endOfText();
}

async function tell([wasm, model, prompt, tokens, temperature, topP, seed, cache], rounds) {
  const engine = await Engine.create(fs.readFileSync(wasm));
  engine.open(fs.readFileSync(model), path.basename(model));
  engine.start(0, cache === 'q8' ? 1 : 0);
  const tested = engine.calls.self_test(0);
  if (tested !== NO_SELF_TEST) engine.checked(tested);
  const sampling = { temperature: +temperature, topP: +topP, seed: BigInt(seed) };
  const fastest = [];
  let text;
  for (let round = 0; round < rounds; ++round) {  // slices change nothing
    text = write(engine, prompt, +tokens, sampling, rounds > 1 ? 0 : 5000, fastest);
  }
  console.log(text);
  console.log('logits-hash ' + engine.hash());
  if (rounds > 1) {
    const ms = fastest.reduce((a, b) => a + b, 0);
    console.error(`${engine.kernels}: ${Math.round(1000 * fastest.length / ms)} a second`);
  }
}

async function main(jobs, rounds) {
  for (const line of fs.readFileSync(jobs, 'utf8').split('\n').filter((each) => each !== '')) {
    try {
      await tell(line.split('\t'), rounds);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      console.log('refused: ' + error.message);
    }
  }
}

main(process.argv[2], +process.argv[3] || 1);
