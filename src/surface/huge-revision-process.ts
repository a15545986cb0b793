/**
 * A process with little memory whose node deletes very many keys in one revision, under a watch that reads all of it. Told as JSON on its standard
 * output. Started by a test, with the number of keys as its argument, and with --expose-gc.
 */
import { Engine } from "d-engine";

const CALLS = 2_000;

const keys = Number(process.argv[2]);
const engine = await Engine.open({ dataDir: "memory:" });
await engine.waitReady();
for (let from = 0; from < keys; from += CALLS) {
  const calls = Array.from({ length: Math.min(CALLS, keys - from) }, (_, i) => engine.put(`k${String(from + i).padStart(7, "0")}`, "v"));
  await Promise.all(calls);
}

const watch = engine.watch({ all: true }, { only: "deletes" });
await watch.ready();
(globalThis as { gc?: () => void }).gc?.();
const before = process.memoryUsage.rss();
let peak = before;
const look = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 5);
let events = 0;
let largest = 0;
let batches = 0;
let turns = 0;
let lastKey = "";
let isOrdered = true;
const turn = (): void => {
  turns++;
  turning = setImmediate(turn);
};
let turning = setImmediate(turn);
/** Batches that came with no turn of the event loop between them: how long it was held is what they take. */
let together = 0;
let togetherMax = 0;
let turnsBefore = 0;
const reading = (async () => {
  for await (const batch of watch) {
    if (batch.kind !== "events") continue;
    together = turns === turnsBefore ? together + batch.events.length : batch.events.length;
    togetherMax = Math.max(togetherMax, together);
    turnsBefore = turns;
    events += batch.events.length;
    largest = Math.max(largest, batch.events.length);
    batches++;
    for (const event of batch.events) {
      const key = event.kind === "delete" ? event.key : "";
      isOrdered &&= key > lastKey;
      lastKey = key;
    }
    peak = Math.max(peak, process.memoryUsage.rss());
    if (batch.more !== true) return;
  }
})();
const { deleted } = await engine.delete({ all: true }, { timeoutMs: 60_000 });
await reading;
clearInterval(look);
clearImmediate(turning);
const grownMb = (peak - before) / 2 ** 20;
process.stdout.write(`${JSON.stringify({ deleted, events, batches, largest, togetherMax, isOrdered, grownMb })}\n`);
await engine.close();
