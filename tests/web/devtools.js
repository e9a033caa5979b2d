// SPDX-License-Identifier: MIT
// A headless Chromium over a pipe (DevTools protocol): what a page says and asks for is kept.
'use strict';
const { spawn } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

class Browser {
  static async start(program) {
    const browser = new Browser();
    browser.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'thimble-web-'));
    const options = ['--headless', '--remote-debugging-pipe', '--no-first-run', '--disable-gpu',
                     '--disable-dev-shm-usage', '--hide-scrollbars', '--disable-background-networking',
                     '--disable-component-update', `--user-data-dir=${browser.folder}`];
    if (process.getuid() === 0) options.push('--no-sandbox');  // it refuses to be root's otherwise
    browser.process = spawn(program, options,
                            { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    browser.process.on('exit', () => browser.end(new Error(`${program} has ended`)));
    browser.process.on('error', (error) => browser.end(error));
    browser.process.stdio[3].on('error', () => {});
    browser.read(browser.process.stdio[4]);
    const { targetId } = await browser.call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await browser.call('Target.attachToTarget', { targetId, flatten: true });
    browser.sessionId = sessionId;
    for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'DOM']) {
      await browser.call(domain + '.enable');
    }
    return browser;
  }

  calls = new Map();
  complaints = [];  // errors and warnings on the console, and exceptions
  requests = [];    // addresses
  id = 0;

  end(error) {
    for (const { reject } of this.calls.values()) reject(error);
    this.calls.clear();
  }

  read(pipe) {
    let text = '';
    pipe.setEncoding('utf8');
    pipe.on('data', (piece) => {
      text += piece;
      for (let end = text.indexOf('\0'); end >= 0; end = text.indexOf('\0')) {
        this.take(JSON.parse(text.slice(0, end)));
        text = text.slice(end + 1);
      }
    });
  }

  take({ id, method, params, result, error }) {
    if (id) {
      const call = this.calls.get(id);
      this.calls.delete(id);
      if (call && error) call.reject(new Error(`${call.method}: ${error.message}`));
      if (call && !error) call.resolve(result);
    } else if (method === 'Runtime.consoleAPICalled') {
      this.complaints.push(params.args.map((a) => a.value ?? a.description).join(' '));
    } else if (method === 'Runtime.exceptionThrown') {
      this.complaints.push(params.exceptionDetails.exception?.description ?? 'exception');
    } else if (method === 'Log.entryAdded') {
      this.complaints.push(`${params.entry.level}: ${params.entry.text}`);
    } else if (method === 'Network.requestWillBeSent') {
      this.requests.push(params.request.url);
    }
  }

  call(method, params = {}) {
    const id = ++this.id;
    const message = { id, method, params };
    if (this.sessionId) message.sessionId = this.sessionId;
    return new Promise((resolve, reject) => {
      this.calls.set(id, { method, resolve, reject });
      this.process.stdio[3].write(JSON.stringify(message) + '\0');
    });
  }

  async value(expression) {
    const { result, exceptionDetails } = await this.call(
      'Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? expression);
    return result.value;
  }

  async until(expression, what) {
    for (const end = Date.now() + 60000; Date.now() < end;) {
      if (await this.value(expression)) return;
      await new Promise((done) => setTimeout(done, 20));
    }
    throw new Error(`${what}: not within a minute`);
  }

  async setFile(selector, file) {
    const { root } = await this.call('DOM.getDocument');
    const { nodeId } = await this.call('DOM.querySelector', { nodeId: root.nodeId, selector });
    await this.call('DOM.setFileInputFiles', { nodeId, files: [path.resolve(file)] });
  }

  async resize({ width, height, mobile = false, scale = 1 }) {
    await this.call('Emulation.setDeviceMetricsOverride',
                    { width, height, deviceScaleFactor: scale, mobile });
  }

  async screenshot(file) {
    const { data } = await this.call('Page.captureScreenshot', { format: 'png' });
    fs.writeFileSync(file, Buffer.from(data, 'base64'));
  }

  async close() {
    const ended = new Promise((done) => this.process.once('exit', done));
    this.call('Browser.close').catch(() => {});
    await ended;
    fs.rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

module.exports = { Browser };
