/**
 * The engine's own worker, its event loop timed: how long each turn of it takes, collections of garbage included, and how much of that the
 * thread waited for a processor, which other threads had. It is written to memory that the caller's thread has too (stalls.ts).
 */
import { openSync, readSync } from "node:fs";
import { getEnvironmentData } from "node:worker_threads";
import { STALLS } from "../work.ts";

/** The loop is looked at so often. */
const INTERVAL_MS = 1;

const text = Buffer.alloc(128);
const schedule = process.platform === "linux" ? openSync("/proc/thread-self/schedstat", "r") : -1;

/** How long this thread has had a processor, and how long it has waited for one, in all. 0 where the system does not tell. */
function processorMs(): { readonly had: number; readonly waited: number } {
  if (schedule < 0) return { had: 0, waited: 0 };
  const [had, waited] = text.toString("latin1", 0, readSync(schedule, text, 0, text.length, 0)).split(" ");
  return { had: Number(had) / 1e6, waited: Number(waited) / 1e6 };
}

/** The fields of Stalls, in their order. */
const stalls = new Float64Array(getEnvironmentData(STALLS) as SharedArrayBuffer);
let at = performance.now();
let processor = processorMs();

setInterval(() => {
  const now = performance.now();
  const { had, waited } = processorMs();
  const waits = waited - processor.waited;
  stalls[0] = Math.max(stalls[0] ?? 0, now - at - INTERVAL_MS - waits);
  stalls[1] = Math.max(stalls[1] ?? 0, had - processor.had);
  stalls[2] = (stalls[2] ?? 0) + waits;
  at = now;
  processor = { had, waited };
}, INTERVAL_MS).unref();

await import("d-engine/worker");
