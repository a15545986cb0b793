/**
 * The engine's own disk worker on a disk that stalls when told: a file DIRECTORY.stall holds the milliseconds that the next sync takes
 * longer; that sync removes it first. This thread alone is concerned: each thread has a `node:fs` of its own.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { workerData } from "node:worker_threads";

const order = `${(workerData as { readonly directory: string }).directory}.stall`;
const pause = new Int32Array(new SharedArrayBuffer(4));
const sync = fs.fdatasyncSync;
fs.fdatasyncSync = (file) => {
  if (fs.existsSync(order)) {
    const ms = Number(fs.readFileSync(order, "utf8"));
    fs.rmSync(order);
    Atomics.wait(pause, 0, 0, ms);
  }
  sync(file);
};
syncBuiltinESMExports();

await import("d-engine/disk-worker");
