/**
 * The public API as its users' compilers see it: every call in use, and beside them the calls that must not compile. Part of the build,
 * never run; what runs is in docs/api.md.
 */
import { createServer } from "node:http";
import {
  Engine,
  EngineError,
  type AnyEngineError,
  type Bytes,
  type Client,
  type EngineOptions,
  type EngineState,
  type Held,
  type KeyMeta,
  type KeyRange,
  type KeyValue,
  type LeaderInfo,
  type Lease,
  type LeaseId,
  type LeaseInfo,
  type LogRecord,
  type Members,
  type Op,
  type PutResult,
  type Scan,
  type Target,
  type Txn,
  type TxnResult,
  type Watch,
  type WatchBatch,
  type WatchEvent,
} from "d-engine";
import { createMemoryStorage, logStoreSuite, openDiskStorage, type LogStore, type Storage } from "d-engine/storage";

// Opening.

export async function opening(): Promise<void> {
  const engine: Engine = await Engine.open({ dataDir: "./data" });
  await Engine.open({
    dataDir: new URL("file:///var/lib/app"),
    name: "n1",
    unsafeNoFsync: true,
    thread: "inline",
    workerUrl: new URL("./worker.js", import.meta.url),
  });
  const options: EngineOptions = {
    dataDir: "./n1",
    name: "n1",
    peer: {
      listen: "0.0.0.0:2380",
      advertise: "10.0.0.1:2380",
      tls: { cert: "n1.pem", key: new Uint8Array(), ca: "ca.pem", serverName: "d-engine" },
    },
    bootstrap: { n1: "10.0.0.1:2380", n2: "10.0.0.2:2380" },
    electionTimeoutMs: 1_000,
    heartbeatMs: 100,
    consistency: "lease",
    allowConsistencyOverride: false,
    timeoutMs: Number.POSITIVE_INFINITY,
    closeTimeoutMs: 1_000,
    history: { ms: 60_000, revisionsMin: 10, revisionsMax: 1_000, bytesMax: 1 << 20 },
    limits: { txnOpsMax: 256, requestBytesMax: 1 << 20, pendingCallsMax: 1_000, watchersMax: 10 },
    log: ({ level, message, fields }: LogRecord) => void [level, message, fields],
  };
  await Engine.open(options);
  // @ts-expect-error a data directory is needed
  await Engine.open({});
  // @ts-expect-error an option that nobody knows
  await Engine.open({ dataDir: "./data", datadir: "./data" });
  // @ts-expect-error insecure is said, or not said
  await Engine.open({ dataDir: "./data", peer: { listen: "0.0.0.0:2380", insecure: false } });
  // @ts-expect-error a storage of one's own cannot cross into the worker
  await Engine.open({ dataDir: "./data", storage: createMemoryStorage() });
  // @ts-expect-error an engine is opened, not constructed
  void new Engine();
  await engine.close();
}

// Reads and writes.

export async function data(client: Client): Promise<void> {
  const { revision, prevKv } = await client.put("a", new Uint8Array([1, 2]), { ttlMs: 5_000, prevKv: true });
  const kv: KeyValue | undefined = await client.get("a", { consistency: "eventual", minRevision: revision, timeoutMs: 100 });
  // @ts-expect-error what is read may be missing
  kv.text();
  const bytes: Bytes | undefined = kv?.value;
  const blob = new Blob([bytes ?? new Uint8Array()]);
  const json: unknown = kv?.json();
  void [blob, json, prevKv?.lease];
  const [x, y] = await client.getMany(["x", new Uint8Array([1])]);
  void [x?.version, y?.createRevision];
  const page = await client.range({ prefix: "users/" }, { limit: 100, sortBy: "modRevision", order: "descending", minModRevision: 3 });
  const names: readonly KeyMeta[] = (await client.range({ all: true }, { keysOnly: true })).kvs;
  // @ts-expect-error keys only: there is no value to ask for
  names[0]?.text();
  const scan: Scan = client.scan({ start: "a", end: "n" }, { revision: page.revision });
  for await (const each of scan) void each.text();
  for await (const each of client.scan({ start: "a" }, { keysOnly: true })) void each.key;
  // @ts-expect-error a scan goes in the order of keys
  client.scan({ all: true }, { sortBy: "version" });
  const count: number = await client.count({ all: true }, { consistency: "lease" });
  // @ts-expect-error a consistency that does not exist
  await client.get("a", { consistency: "strong" });
  // @ts-expect-error no time to live for a read
  await client.get("a", { ttlMs: 1 });
  const { deleted, prevKvs } = await client.delete({ prefix: "sessions/" }, { prevKv: true });
  void [count, deleted, prevKvs[0]?.text()];
  const target: Target = "key";
  const range: KeyRange = { start: "a" };
  await client.delete(target);
  await client.delete(range);
  const won: boolean = await client.compareAndSwap("leader", undefined, "node-1", { ttlMs: 5_000 });
  void won;
}

export async function refused(client: Client): Promise<void> {
  // @ts-expect-error everything must be spelled out
  await client.delete({});
  const tenant: string | undefined = process.env["TENANT"];
  // @ts-expect-error a prefix that may be undefined is no prefix
  await client.delete({ prefix: tenant });
  // @ts-expect-error nor may an end be
  await client.range({ start: "a", end: tenant });
  // @ts-expect-error all is said with true
  await client.delete({ all: false });
  // @ts-expect-error a value is text or bytes
  await client.put("a", 1);
  // @ts-expect-error null is no value
  await client.put("a", null);
  // @ts-expect-error an option that is undefined is left out
  await client.put("a", "1", { ttlMs: undefined });
  await client.put("a", "1", { lease: "694d7f2c1a3b5e09" });
  // @ts-expect-error a lease has a time to live
  await client.lease({});
  // @ts-expect-error one key
  await client.getMany("a");
}

// Transactions.

export async function transactions(client: Client): Promise<void> {
  const moved = await client.txn(
    {
      compare: [
        { key: "a", modRevision: 7, value: { not: "x" }, lease: "0" },
        { range: { prefix: "jobs/" }, exists: false },
        { key: "b", version: { greaterThan: 1 }, createRevision: { lessThan: 9 } },
      ],
      success: [
        { put: "a", value: "1", prevKv: true },
        { put: "b", ignoreValue: true, lease: "694d7f2c1a3b5e09" },
        { delete: { prefix: "old/" }, prevKv: true },
        { get: "a" },
        { range: { all: true }, limit: 3, sortBy: "value", order: "descending", revision: 4, minModRevision: 2 },
        { range: { all: true }, keysOnly: true },
        { txn: { compare: [{ key: "c", exists: true }], success: [{ get: "c" }], failure: [{ delete: "c" }] } },
      ],
      failure: [{ get: "a" }],
    },
    { timeoutMs: 100 },
  );
  if (moved.succeeded) {
    const [a, b, old, kv, page, names, inner] = moved.results;
    const revisions: number[] = [a.revision, b.revision, old.deleted, page.count];
    const texts: (string | undefined)[] = [a.prevKv?.text(), kv?.text(), page.kvs[0]?.text(), names.kvs[0]?.key];
    // @ts-expect-error keys only: there is no value to ask for
    names.kvs[0]?.text();
    // @ts-expect-error what is got may be missing
    kv.text();
    if (inner.succeeded) void inner.results[0]?.text();
    else void inner.results[0].deleted;
    // @ts-expect-error an eighth operation was not asked for
    String(moved.results[7]);
    void [revisions, texts];
  } else {
    void moved.results[0]?.text();
    // @ts-expect-error that is of the other branch
    String(moved.results[1]);
  }
  const none = await client.txn({ compare: [{ key: "a", version: 0 }] });
  const nothing: readonly [] = none.results;
  const ops: Op[] = [{ get: "a" }];
  const txn: Txn = { success: ops };
  const any: TxnResult = await client.txn(txn);
  void [nothing, any.results[0]];
  // @ts-expect-error a put has a value, or keeps its own
  await client.txn({ success: [{ put: "a" }] });
  // @ts-expect-error an operation that does not exist
  await client.txn({ success: [{ increment: "a" }] });
  // @ts-expect-error a comparison is of a key or of a range
  await client.txn({ compare: [{ value: "a" }] });
  // @ts-expect-error a comparison that does not exist
  await client.txn({ compare: [{ key: "a", value: { equals: "x" } }] });
  // @ts-expect-error a consistency is not for the caller to choose
  await client.txn({ success: [{ get: "a" }] }, { consistency: "eventual" });

  const updated: PutResult | undefined = await client.update("n", (current) => String(Number(current?.text() ?? 0) + 1), { prevKv: true });
  await client.update("n", async () => Promise.resolve(undefined));
  // @ts-expect-error a change answers text or bytes
  await client.update("n", () => 7);
  await client.put("n", undefined, { ignoreValue: true, lease: "694d7f2c1a3b5e09" });
  // @ts-expect-error without ignoreValue there is a value
  await client.put("n", undefined, { prevKv: true });
  await client.put("n", "1", { ignoreLease: true });
  await client.maintenance.compact(updated?.revision ?? 1);
  await client.get("n", { consistency: "eventual", stalenessMsMax: 500 });
}

// Leases.

export async function holding(client: Client, work: (signal: AbortSignal) => void): Promise<number> {
  const lease: Lease = await client.lease({ ttlMs: 10_000, appLagMsMax: 5_000 });
  const held: Held = lease;
  try {
    await client.put("workers/7", "here", { lease });
    await client.compareAndSwap("workers/8", undefined, "there", { lease: lease.id });
    work(held.signal);
    held.throwIfLost();
    const info: LeaseInfo | undefined = await client.leases.get(lease.id, { keys: true });
    const ids: readonly LeaseId[] = await client.leases.list();
    const { ttlMs } = await client.leases.renew(lease.id, { timeoutMs: 1_000 });
    // @ts-expect-error what is left is asked for, not awaited
    const left: Promise<number> = held.remainingMs();
    await left;
    return (info?.remainingMs ?? 0) + ids.length + ttlMs + held.remainingMs();
  } finally {
    await lease.close();
  }
}

// Watches.

export async function watching(client: Client, signal: AbortSignal): Promise<void> {
  const cache = new Map<string, string>();
  let last = 0;
  try {
    for await (const batch of client.watch(
      { prefix: "config/" },
      { initial: true, onGap: "reset", prevKv: true, only: "puts", progressMs: 0, signal },
    )) {
      if (batch.kind === "reset") {
        cache.clear();
        for (const kv of batch.kvs) cache.set(kv.key, kv.text());
      } else if (batch.kind === "events") {
        for (const event of batch.events) {
          if (event.kind === "put") cache.set(event.kv.key, event.kv.text());
          else cache.delete(event.key);
        }
      }
      last = batch.revision;
    }
  } catch (error) {
    if (EngineError.is(error, "COMPACTED")) void error.details.compactRevision;
    else if (error instanceof Error && error.name === "AbortError") return;
    else throw error;
  }
  const watch: Watch = client.watch("one-key", { fromRevision: last + 1 });
  const { revision } = await watch.ready();
  await watch.requestProgress();
  await watch.close();
  void revision;
  // @ts-expect-error a deletion has no value
  void ((event: WatchEvent & { kind: "delete" }) => event.kv);
}

export function exhaustive(batch: WatchBatch): number {
  switch (batch.kind) {
    case "events":
      return batch.events.length;
    case "progress":
      return 0;
    case "reset":
      return batch.kvs.length;
  }
}

// Errors.

export function explain(error: AnyEngineError): string {
  switch (error.code) {
    case "OVERLOADED":
      return `again in ${error.details.retryAfterMs} ms`;
    case "UNAVAILABLE":
      return error.details.reason;
    case "TIMEOUT":
      return error.mayHaveApplied ? "unknown: read before you write again" : "nothing was changed";
    case "CORRUPT":
      // @ts-expect-error each code has details of its own
      return error.details.retryAfterMs;
    default:
      return error.message;
  }
}

export async function retry(client: Client): Promise<void> {
  try {
    await client.put("a", "1");
  } catch (error) {
    // @ts-expect-error what is caught is not known yet
    void error.code;
    // @ts-expect-error a code that does not exist
    void EngineError.is(error, "NOPE");
    if (EngineError.is(error)) void explain(error);
    else throw error;
  }
}

// The node.

export async function service(engine: Engine): Promise<void> {
  const http = createServer((request, response) => {
    const { ready, reasons } = engine.health();
    if (request.url === "/readyz") response.writeHead(ready ? 200 : 503).end(reasons.join("\n"));
  });
  const leader: LeaderInfo = await engine.waitReady({ timeoutMs: 10_000 });
  const members: Members = await engine.members();
  for await (const each of engine.watchMembers()) void each.index;
  for await (const each of engine.leaderChanges()) void each?.term;
  for await (const state of engine.stateChanges({ signal: AbortSignal.timeout(1_000) })) void describe(state);
  void [leader.clientAddresses, members.members[0]?.role, engine.leader()?.id, engine.isLeader(), engine.memberId, engine.clusterId];
  // @ts-expect-error the state is the engine's to change
  engine.state = { kind: "closed" };
  engine.unref().ref();
  http.close();
  await engine[Symbol.asyncDispose]();
}

export function describe(state: EngineState): string {
  switch (state.kind) {
    case "starting":
      return `${state.phase} ${state.progress}`;
    case "failed":
    case "full":
      return state.error.code;
    case "ready":
    case "noQuorum":
    case "removed":
    case "closed":
      return state.kind;
  }
}

// d-engine/storage.

export async function storage(): Promise<void> {
  const memory: Storage = createMemoryStorage();
  const disk: LogStore = await openDiskStorage({ directory: "./data", unsafeNoFsync: false, thread: "worker" });
  // @ts-expect-error whether it syncs must be said
  await openDiskStorage({ directory: "./data", thread: "worker" });
  for (const { name, run } of logStoreSuite(() => Promise.resolve(disk))) void [name, run];
  await memory.close();
}
