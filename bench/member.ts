/**
 * A member of the engine, in a process of its own, with the callers of the benchmark in it when it leads.
 *
 *   node member.js DIRECTORY NAME MODE [n1=HOST:PORT ...]      MODE is durable, relaxed, slow, memory or timed
 */
import { Engine } from "d-engine";
import { runBackedUpLoad } from "./backed-up-load.ts";
import { keyIndex, makeKey, makeKeys, runLoad } from "./load.ts";
import { runPacedLoad } from "./paced-load.ts";
import { takeStalls, watchStalls } from "./stalls.ts";
import { runWatchedLoad } from "./watched-load.ts";
import { cpuUs, serveRequests, VALUE_BYTES, type Answer, type Request } from "./work.ts";

const [dataDir = "", name = "", mode = "durable", ...addresses] = process.argv.slice(2);
const bootstrap = Object.fromEntries(addresses.map((each) => each.split("=") as [string, string]));

if (mode === "timed") watchStalls();
const startedAtMs = performance.now();
const engine = await Engine.open({
  dataDir,
  name,
  ...(addresses.length === 0 ? {} : { peer: { listen: bootstrap[name] ?? "" }, bootstrap }),
  ...(mode === "memory" ? { store: "memory" as const } : {}),
  ...(mode === "relaxed" ? { unsafeNoFsync: true } : {}),
  ...(mode === "slow" || mode === "timed" ? { workerUrl: new URL(`${mode}/worker.js`, import.meta.url) } : {}),
});

/** Of a member alone: from the beginning of its opening. */
let firstReadMs = Number.NaN;
if (addresses.length === 0) {
  await engine.get("any", { timeoutMs: 60_000 });
  firstReadMs = performance.now() - startedAtMs;
}

const value = new Uint8Array(VALUE_BYTES).fill(3);
let keys = makeKeys(1);
const FILL_STEP = 10_000;

async function answer(request: Request): Promise<Answer> {
  switch (request.kind) {
    case "cpu":
      return { cpuUs: cpuUs() };
    case "memory":
      return { rssBytes: process.memoryUsage.rss(), dataBytes: (await engine.maintenance.status()).dataBytes };
    case "stalls":
      return takeStalls();
    case "deleteAll": {
      const began = performance.now();
      const { deleted } = await engine.delete({ all: true }, { timeoutMs: 120_000 });
      return { deleted, ms: performance.now() - began };
    }
    case "firstRead":
      return { firstReadMs };
    case "leader":
      await engine.waitReady({ timeoutMs: 60_000 });
      return { isLeader: engine.isLeader(), term: (await engine.maintenance.status()).term };
    case "fill":
      // In steps, so that the bound on pending calls is not reached; and no key is kept, so that what is resident is the engine's.
      for (let at = 0; at < request.keys; at += FILL_STEP) {
        const count = Math.min(FILL_STEP, request.keys - at);
        await Promise.all(Array.from({ length: count }, (_, i) => engine.put(makeKey(at + i), value)));
      }
      return {};
    case "load": {
      if (keys.length < request.keys) keys = makeKeys(request.keys);
      const key = (client: number, count: number): string => keys[keyIndex(client, count, request.keys)] ?? "";
      if (request.operation === "put") {
        const put = (client: number, count: number): Promise<unknown> => engine.put(key(client, count), value);
        if (request.perSecond !== undefined) return runPacedLoad(request.perSecond, request.seconds, (count) => put(0, count));
        if (request.backups === true) return runBackedUpLoad(engine, request, put);
        return request.watchers === undefined ? runLoad(request, put) : runWatchedLoad(engine, request, request.watchers, put);
      }
      if (request.operation === "txn") {
        return runLoad(request, (client, count) => {
          const put = key(client, count);
          return engine.txn({ compare: [{ key: put, exists: true }], success: [{ put, value }] });
        });
      }
      const options = { consistency: request.operation };
      if (request.perSecond !== undefined)
        return runPacedLoad(request.perSecond, request.seconds, (count) => engine.get(key(0, count), options));
      return runLoad(request, (client, count) => engine.get(key(client, count), options));
    }
    case "firstWrite":
      for (;;) {
        try {
          await engine.put("first-write", String(process.pid), { timeoutMs: 30_000 });
          return { atMs: Number(process.hrtime.bigint() / 1000n) / 1000 };
        } catch {
          // One that was under way when the leader died; the next one waits for the new leader.
        }
      }
    case "stop":
      await engine.close();
      return {};
  }
}

serveRequests(answer);
process.send?.("ready");
