/**
 * A node in a process of its own, for tests that kill, stop and starve it. It is an application with an engine in it: it does to its
 * own main thread and to the thread pool what a badly behaved application does, and it calls the engine as told.
 *
 *   node node-process.js OPTIONS        the options of Engine.open, as JSON
 */
import { pbkdf2 } from "node:crypto";
import { Engine, EngineError, type Consistency, type EngineOptions, type KeyValue, type Lease } from "d-engine";
import type { DataChange, OperationBody, ReadValue } from "../testing/history.ts";
import type { Load, LoadResult, Order, Performed, StillHeld, Watched } from "./orders.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as EngineOptions;
// Beside its own channel a node has nothing to live for.
process.on("disconnect", () => process.exit(0));

const engine = await Engine.open(options);

/** What this node heard of elections since it opened. */
let leaderChanges = 0;
void (async () => {
  for await (const _ of engine.leaderChanges()) leaderChanges += 1;
})().catch(() => {});

function toReadValue(key: string, kv: KeyValue | undefined): ReadValue {
  if (kv === undefined) return { key, value: undefined, modRevision: 0, createRevision: 0, version: 0 };
  return { key, value: kv.text(), modRevision: kv.modRevision, createRevision: kv.createRevision, version: kv.version };
}

async function perform(body: OperationBody, consistency: Consistency): Promise<Performed> {
  switch (body.kind) {
    case "put":
      return { revision: (await engine.put(body.key, body.value)).revision };
    case "delete": {
      const { deleted, revision } = await engine.delete(body.key);
      return { revision, deleted };
    }
    case "compareAndSwap":
      return { swapped: await engine.compareAndSwap(body.key, body.expected, body.value) };
    case "get":
      return { values: (await engine.getMany(body.keys, { consistency })).map((kv, i) => toReadValue(body.keys[i] ?? "", kv)) };
    case "range": {
      const { kvs, count, revision } = await engine.range(
        { prefix: body.prefix },
        { consistency, ...(body.limit === 0 ? {} : { limit: body.limit }) },
      );
      return { revision, count, values: kvs.map((kv) => toReadValue(kv.key, kv)) };
    }
    case "query":
    case "txn":
    case "update":
    case "compact":
      // Only the simulator draws these.
      throw new Error(`${body.kind} is not among the operations of a process`);
  }
}

/** Everything that happened to the data, up to and including a revision. */
async function changes(through: number): Promise<readonly DataChange[]> {
  const result: DataChange[] = [];
  if (through < 2) return result;
  for await (const batch of engine.watch({ all: true }, { fromRevision: 2 })) {
    if (batch.kind !== "events") continue;
    result.push({
      revision: batch.revision,
      events: batch.events.map((event) =>
        event.kind === "put"
          ? { kind: "put", key: event.kv.key, value: event.kv.text(), cause: undefined }
          : { kind: "delete", key: event.key, value: "", cause: event.cause },
      ),
    });
    if (batch.revision >= through) break;
  }
  return result;
}

/** Callers in this process, each with one write under way. */
async function load({ clients, ms, valueBytes, prefix, perSecond }: Load): Promise<LoadResult> {
  const value = new Uint8Array(valueBytes);
  const latencies: number[] = [];
  const errors: string[] = [];
  const begun = performance.now();
  const deadline = begun + ms;
  const client = async (name: number): Promise<void> => {
    for (let count = 0; performance.now() < deadline; count += 1) {
      const early = perSecond === undefined ? 0 : begun + (count * clients * 1000) / perSecond - performance.now();
      if (early > 1) await new Promise((resolve) => setTimeout(resolve, early));
      const started = performance.now();
      try {
        await engine.put(`${prefix}${name}/${count % 1000}`, value);
        latencies.push(performance.now() - started);
      } catch (error) {
        errors.push(EngineError.is(error) ? `${error.code}: ${error.message}` : String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, name) => client(name)));
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
  return { writes: latencies.length, errors: errors.slice(0, 10), failed: errors.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** So many password hashes under way in libuv's pool, all the time. */
async function hash(inFlight: number, ms: number): Promise<void> {
  const deadline = performance.now() + ms;
  const hasher = async (): Promise<void> => {
    while (performance.now() < deadline) await new Promise((resolve) => pbkdf2("password", "salt", 200_000, 64, "sha512", resolve));
  };
  await Promise.all(Array.from({ length: inFlight }, hasher));
}

let held: Lease | undefined;

function blockHolding(ms: number): StillHeld {
  block(ms);
  if (held === undefined) throw new RangeError("nothing is held");
  const remainingMs = held.remainingMs();
  try {
    held.throwIfLost();
    return { remainingMs, thrown: undefined };
  } catch (error) {
    return { remainingMs, thrown: EngineError.is(error) ? error.code : String(error) };
  }
}

const watched = { events: 0, lastRevision: 0, outOfOrder: 0, ended: "" };

/** Watches whose events are counted. Resolves when they are registered. */
async function startWatches(prefix: string, count: number): Promise<void> {
  const started = Array.from({ length: count }, async () => {
    const watch = engine.watch({ prefix });
    const follow = async (): Promise<void> => {
      let lastRevision = 0;
      for await (const batch of watch) {
        if (batch.kind !== "events") continue;
        if (batch.revision <= lastRevision) watched.outOfOrder += 1;
        lastRevision = batch.revision;
        watched.lastRevision = Math.max(watched.lastRevision, lastRevision);
        watched.events += batch.events.length;
      }
    };
    follow().catch((error: unknown) => {
      watched.ended = String(error);
    });
    await watch.ready();
  });
  await Promise.all(started);
}

async function carryOut(order: Order): Promise<unknown> {
  switch (order.kind) {
    case "perform":
      return perform(order.body, order.consistency);
    case "status": {
      const leader = engine.leader();
      return {
        isLeader: engine.isLeader(),
        leader: leader?.id,
        term: leader?.term,
        memberId: engine.memberId,
        state: engine.state.kind,
        leaderChanges,
      };
    }
    case "waitReady":
      return { term: (await engine.waitReady({ timeoutMs: order.timeoutMs })).term };
    case "changes":
      return changes(order.through);
    case "load":
      return load(order.load);
    case "block":
      block(order.ms);
      return undefined;
    case "hold":
      held = await engine.lease({ ttlMs: order.ttlMs, appLagMsMax: order.appLagMsMax });
      await engine.put(order.key, "held", { lease: held });
      return undefined;
    case "blockHolding":
      return blockHolding(order.ms);
    case "hash":
      return hash(order.inFlight, order.ms);
    case "blockPool":
      // Never comes back in any time that matters here.
      for (let i = 0; i < order.threads; i += 1) pbkdf2("password", "salt", 2 ** 31 - 1, 64, "sha512", () => {});
      return undefined;
    case "watch":
      return startWatches(order.prefix, order.watches);
    case "watched":
      return { ...watched } satisfies Watched;
    case "memory":
      return process.memoryUsage.rss();
    case "propose":
    case "query":
      throw new RangeError("there is no state machine here: raft-process.ts has one");
    case "close":
      await engine.close();
      return undefined;
  }
}

/** What cannot be sent any more has nobody to read it: the test is over. */
const send = (message: object): void => {
  process.send?.(message, undefined, undefined, () => {});
};

process.on("message", (message) => {
  const { id, order } = message as { readonly id: number; readonly order: Order };
  carryOut(order).then(
    (result) => send({ id, result }),
    (error: unknown) => {
      const failure = EngineError.is(error)
        ? { code: error.code, mayHaveApplied: error.mayHaveApplied, message: error.message }
        : { code: "INTERNAL", mayHaveApplied: true, message: String(error instanceof Error ? error.stack : error) };
      send({ id, failure });
    },
  );
});

send({ opened: engine.memberId });
