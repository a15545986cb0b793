/**
 * The engine's own disk worker on a disk that hangs in the operating system, where no thread can be ended: once DIRECTORY.hang is there, a
 * pipe, the next sync opens it and waits for whoever opens its other end.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { workerData } from "node:worker_threads";

const pipe = `${(workerData as { readonly directory: string }).directory}.hang`;
const sync = fs.fdatasyncSync;
fs.fdatasyncSync = (file) => {
  if (fs.existsSync(pipe)) fs.closeSync(fs.openSync(pipe, "r"));
  sync(file);
};
syncBuiltinESMExports();

await import("../../../storage/disk-worker.ts");
