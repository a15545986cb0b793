/**
 * The engine's own disk worker, on a disk whose every sync takes two milliseconds more. This thread alone is concerned: each thread
 * has a `node:fs` of its own.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const SLOWER_MS = 2;
const pause = new Int32Array(new SharedArrayBuffer(4));
const sync = fs.fdatasyncSync;
fs.fdatasyncSync = (file) => {
  Atomics.wait(pause, 0, 0, SLOWER_MS);
  sync(file);
};
syncBuiltinESMExports();

await import("d-engine/disk-worker");
