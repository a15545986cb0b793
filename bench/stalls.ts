/** How long the node's thread of this process was held up, as its timed worker (timed/worker.ts) writes to memory that both share. */
import { setEnvironmentData } from "node:worker_threads";
import { STALLS, type Stalls } from "./work.ts";

const memory = new Float64Array(new SharedArrayBuffer(24));

/** To be called before the engine is opened. */
export function watchStalls(): void {
  setEnvironmentData(STALLS, memory.buffer);
}

/** Since it was asked last. */
export function takeStalls(): Stalls {
  const [longestMs = 0, longestOfProcessorMs = 0, waitsMs = 0] = memory;
  memory.fill(0);
  return { longestMs, longestOfProcessorMs, waitsMs };
}
