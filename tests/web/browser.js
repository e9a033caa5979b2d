// SPDX-License-Identifier: MIT
// The page in a headless Chromium: node browser.js CHROMIUM PAGE PROGRAM MODEL DAMAGED SHOTS
// Its hash is the host's, of what it opens with and of other settings, in both modules, by the very
// line that it shows; files run, or are refused in a sentence; it can be used by keys and fits a
// phone; it says nothing on the console and asks for nothing. Screenshots go to the folder SHOTS.
'use strict';
const { execFileSync } = require('child_process');
const path = require('path');
const { pathToFileURL } = require('url');
const { Browser } = require('./devtools.js');

const [chromium, page, program, model, damaged, shots] = process.argv.slice(2);
const WIDE = { width: 1400, height: 1180 };
const PHONE = { width: 390, height: 844, mobile: true, scale: 2 };

function expect(what, holds, found) {
  if (!holds) throw new Error(`${what}: found ${JSON.stringify(found)}`);
}

async function ended(browser, state) {
  await browser.until("['done', 'error'].includes(document.documentElement?.dataset.state)", 'the text');
  const found = await browser.value('document.documentElement.dataset.state');
  const error = await browser.value("at('error').textContent");
  expect(`it is ${state}`, found === state, [found, error]);
}

async function open(browser, fragment) {
  await browser.call('Page.navigate', { url: 'about:blank' });
  await browser.call('Page.navigate', { url: pathToFileURL(page).href + fragment });
  await ended(browser, 'done');
}

const textOf = (browser, id) => browser.value(`at('${id}').textContent`);

// What the host says to the line that the page shows, in which `name` stands for the file `at`.
function askHost(line, name, at) {
  const words = `${program} ` + line.replace(/^\$ build\/thimble /, '').replace(name, at);
  return execFileSync('bash', ['-c', words], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
}

async function compare(browser, what, name, at) {
  const told = askHost(await textOf(browser, 'command'), name, at);
  const hash = await textOf(browser, 'ours'), story = await textOf(browser, 'story');
  expect(`${what}: the host's hash`, told.endsWith(`logits-hash ${hash}\n`), [hash, told]);
  expect(`${what}: the host's text`, told.trim().startsWith(story.trim()), [story, told]);
  await browser.value(`at('theirs').value = 'logits-hash ${hash}';
                       at('theirs').dispatchEvent(new Event('input'))`);
  const verdict = await textOf(browser, 'verdict');
  expect(`${what}: the verdict`, verdict.startsWith('✓'), verdict);
  console.log(`${what}: ${hash}, as on the host`);
}

async function set(browser, settings) {
  await browser.value(Object.entries(settings)
    .map(([id, value]) => `at('${id}').value = ${JSON.stringify(value)}`).join(';'));
}

async function press(browser, key, code, modifiers) {
  const event = { key, windowsVirtualKeyCode: code, modifiers };
  await browser.call('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
  await browser.call('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
}

async function checkTexts(browser, fragment) {
  await open(browser, '#light' + fragment);
  const verdict = await textOf(browser, 'verdict');
  expect('what was asked when the page was built', verdict.includes('when this page was built'), verdict);
  const kernels = (await textOf(browser, 'status')).replace(/.*kernels: /, '');
  await compare(browser, `${kernels}, as it opens`);

  await set(browser, { text: "Tim's red ball\n", temperature: 1.1, 'top-p': 0.8, cache: 1, tokens: 40,
                       seed: '18446744073709551615' });
  await browser.value("at('text').focus()");
  await press(browser, 'Enter', 13, 2);  // with Control
  await ended(browser, 'done');
  await compare(browser, `${kernels}, an int8 cache, by keys`);
  expect('int8 is said', (await textOf(browser, 'command')).includes('--kv q8'), '');
}

async function checkFiles(browser) {
  await set(browser, { cache: 0 });
  await browser.setFile('#file', model);
  await browser.until("at('model').textContent !== 'story.thimble'", 'another model');
  await ended(browser, 'done');
  const name = path.basename(model);
  await compare(browser, `${name}, chosen as a file`, name, model);

  await browser.setFile('#file', damaged);
  await browser.until("document.documentElement.dataset.state === 'error'", 'the refusal');
  const error = await textOf(browser, 'error');
  expect('a damaged file is named', error.startsWith(path.basename(damaged) + ': '), error);
  console.log(`refused: ${error}`);
  await browser.value("at('form').requestSubmit()");
  await ended(browser, 'done');  // the model that was there still is
  await compare(browser, `${name}, again`, name, model);

  await browser.value(`{
    const files = new DataTransfer();
    files.items.add(new File([bytesIn('image')], 'dropped.thimble'));
    document.dispatchEvent(new DragEvent('drop', { dataTransfer: files, cancelable: true }));
  }`);
  await browser.until("at('model').textContent === 'dropped.thimble'", 'what was dropped');
  await ended(browser, 'done');
  await compare(browser, 'a file, dropped', 'dropped.thimble', 'models/story.thimble');
}

async function checkStop(browser) {
  await open(browser, '#light');
  await set(browser, { pace: 8 });
  await browser.value("at('form').requestSubmit()");
  await browser.until("at('story').textContent.length > 30", 'a few tokens');
  await press(browser, 'Escape', 27, 0);
  await ended(browser, 'done');
  const status = await textOf(browser, 'status');
  expect('it stops', status.includes('stopped'), status);
  await compare(browser, 'stopped by a key');
}

async function checkLooks(browser) {
  for (const [name, fragment, size] of [['light', '#light', WIDE], ['dark', '#dark', WIDE],
                                        ['phone', '#light', PHONE]]) {
    await browser.resize(size);
    await open(browser, fragment);
    const [needs, has] = await browser.value('[document.documentElement.scrollWidth, innerWidth]');
    expect(`${name}: nothing sticks out`, needs <= has, [needs, has]);
    const drawn = await browser.value("[n, thumbs.length, chips.length, map.width > 100]");
    expect(`${name}: the maps are drawn`, drawn[0] > 100 && drawn[1] === 40 && drawn[3], drawn);
    await browser.screenshot(path.join(shots, name + '.png'));
  }
}

// The page of `thimble trace` shares its drawings.
async function checkTrace(browser) {
  const file = path.join(shots, 'trace.html');
  execFileSync(program, ['trace', 'models/story.thimble', '-p', 'Once upon a time', '-n', '4', '-o', file],
               { stdio: 'ignore' });
  await browser.call('Page.navigate', { url: pathToFileURL(file).href });
  await browser.until("document.getElementById('count')?.textContent", 'the trace page');
  const found = await browser.value(
    "[n, chips.length, rows.length, thumbs.length, state.query, at('count').textContent]");
  const expected = [9, 9, 9, 40, 8, '9 tokens, the last 4 of them generated'];
  expect('the trace page', JSON.stringify(found) === JSON.stringify(expected), found);
}

async function main() {
  const browser = await Browser.start(chromium);
  try {
    await checkTexts(browser, '');
    await checkTexts(browser, '&plain');
    await checkFiles(browser);
    await checkStop(browser);
    await checkLooks(browser);
    await checkTrace(browser);
    const pages = [page, path.join(shots, 'trace.html')].map((file) => pathToFileURL(file).href);
    const others = browser.requests.filter((each) => !pages.includes(each.split('#')[0]));
    expect('no request but the pages themselves', others.length === 0, others);
    expect('nothing on the console', browser.complaints.length === 0, browser.complaints);
    console.log(`${browser.requests.length} loads of pages, no other request, nothing on the console`);
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.log('browser.js: ' + error.message);
  process.exitCode = 1;
});
