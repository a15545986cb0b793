/** Randomness from the operating system, fetched a kilobyte at a time. Synchronous: it never enters libuv's thread pool. */
import { randomFillSync } from "node:crypto";
import type { Random } from "./random.ts";

const WORDS = 256;

/** Fit for ids and secrets. Each has a buffer of its own, so one per thread. */
export function createNodeRandom(): Random {
  const words = new Uint32Array(WORDS);
  let next = WORDS;
  return {
    uint32(): number {
      if (next === WORDS) {
        randomFillSync(words);
        next = 0;
      }
      const word = words[next] as number;
      // A word that was given out may have become part of an id: it does not stay behind in memory.
      words[next] = 0;
      next += 1;
      return word;
    },
  };
}
