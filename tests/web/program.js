// SPDX-License-Identifier: MIT
// Runs a test program that was written for a board: node program.js FILE.wasm. It ends as the
// program does.
'use strict';
const fs = require('fs');

class Ended extends Error {}

async function main() {
  let memory;
  const board = {
    uart_write: (text, bytes) =>
      process.stdout.write(new Uint8Array(memory.buffer, text, bytes).slice()),
    board_exit: (code) => {
      process.exitCode = code;
      throw new Ended();
    },
  };
  const { instance } = await WebAssembly.instantiate(fs.readFileSync(process.argv[2]),
                                                     { env: board });
  memory = instance.exports.memory;
  try {
    process.exitCode = instance.exports.main();
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
  }
}

main();
