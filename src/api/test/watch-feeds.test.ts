/** Feeds over a real engine: whatever clients take, and when, each watch is sent every event that it wants, once, in order, whole revisions. */
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import fc from "fast-check";
import { Engine } from "../../index.ts";
import type { Backend } from "../backend.ts";
import { engineBackend } from "../engine-backend.ts";
import { FeedWatch, type FeedWatchSink } from "../feed-watch.ts";
import { toInterval } from "../intervals.ts";
import { decodeMessage } from "../message-codec.ts";
import { WHOLE_BYTES_MAX, type EventBatch } from "../watch-batch.ts";
import { WatchFeeds } from "../watch-feeds.ts";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

interface Sent {
  readonly key: string;
  readonly value: string;
  readonly revision: number;
}

interface ClientOptions {
  readonly takes?: number;
  readonly fromRevision?: number;
  readonly prevKv?: boolean;
  readonly stopsAtPart?: boolean;
}

/** A client that takes something when it is let. */
class Client implements FeedWatchSink {
  readonly watch: FeedWatch;
  readonly key: string;
  readonly sent: Sent[] = [];
  readonly progress: number[] = [];
  readonly batches: number[] = [];
  registered: number | undefined;
  ended: unknown;
  takes: number;
  /** It takes nothing more once it has been sent a part of a revision. */
  stopsAtPart: boolean;
  #isAsked = false;

  constructor(feeds: WatchFeeds, key: string, options: ClientOptions = {}) {
    this.key = key;
    this.takes = options.takes ?? Number.POSITIVE_INFINITY;
    this.stopsAtPart = options.stopsAtPart ?? false;
    const interval = toInterval(bytes(key), bytes(`${key}~`));
    this.watch = new FeedWatch(
      feeds,
      { interval, fromRevision: options.fromRevision, prevKv: options.prevKv ?? false, only: undefined, progressMs: 0 },
      this,
    );
    this.watch.open();
  }

  isReady(): boolean {
    if (this.takes > 0) return true;
    this.#isAsked = true;
    return false;
  }

  /** Takes so many responses more. */
  take(count: number): void {
    this.takes += count;
    while (this.takes > 0 && this.#isAsked) {
      this.#isAsked = false;
      this.watch.wake();
    }
  }

  onRegistered(revision: number): void {
    assert.equal(this.registered, undefined);
    this.registered = revision;
  }

  onBatch(batch: EventBatch): void {
    assert.ok(this.takes > 0 && this.registered !== undefined && this.ended === undefined);
    this.takes = batch.more && this.stopsAtPart ? 0 : this.takes - 1;
    const { events } = decodeMessage("etcdserverpb.WatchResponse", batch.encoded);
    assert.equal(events.length, batch.count);
    this.batches.push(events.length);
    for (const { kv } of events)
      this.sent.push({ key: Buffer.from(kv!.key).toString(), value: Buffer.from(kv!.value).toString(), revision: kv!.mod_revision });
    assert.equal(this.sent.at(-1)!.revision, batch.revision);
  }

  onProgress(revision: number): void {
    assert.ok(this.takes > 0);
    assert.ok(revision >= (this.sent.at(-1)?.revision ?? 0));
    this.progress.push(revision);
  }

  onCompacted(compactRevision: number): void {
    this.ended = compactRevision;
  }

  onEnd(error: unknown): void {
    this.ended = error;
  }
}

async function until(isSo: () => boolean): Promise<void> {
  // oxlint-disable-next-line no-await-in-loop -- one turn after another
  while (!isSo()) await turn();
}

/** Feeds, and how many watches they have of the node. */
class CountedFeeds extends WatchFeeds {
  watchesOfNode = 0;

  constructor(backend: Backend, bytesMax: number | undefined) {
    super(backend, bytesMax);
    const watch = backend.watch.bind(backend);
    backend.watch = (order, sink) => {
      this.watchesOfNode++;
      const made = watch(order, sink);
      const close = made.close.bind(made);
      made.close = () => {
        this.watchesOfNode--;
        close();
      };
      return made;
    };
  }
}

async function withFeeds<T>(
  bytesMax: number | undefined,
  run: (engine: Engine, feeds: CountedFeeds) => Promise<T>,
  thread: "inline" | "worker" = "inline",
): Promise<T> {
  const engine = await Engine.open({ dataDir: "memory:", thread });
  try {
    return await run(engine, new CountedFeeds(engineBackend(engine), bytesMax));
  } finally {
    await engine.close();
  }
}

const WRITES = 2_000;
const KEYS = ["a", "b"];
type Step =
  | { readonly kind: "put"; readonly key: number; readonly count: number; readonly bytes: number }
  | { readonly kind: "txn" }
  | { readonly kind: "open"; readonly key: number; readonly takes: number; readonly back: number }
  | { readonly kind: "take"; readonly client: number; readonly count: number }
  | { readonly kind: "progress"; readonly client: number }
  | { readonly kind: "close"; readonly client: number }
  | { readonly kind: "turn" };

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("put" as const),
      key: fc.nat({ max: 1 }),
      count: fc.integer({ min: 1, max: 8 }),
      bytes: fc.constantFrom(1, 300, 9_000, 40_000),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "txn" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("open" as const),
      key: fc.nat({ max: 1 }),
      takes: fc.constantFrom(0, 1, 1_000),
      back: fc.constantFrom(-1, 0, 3, 1_000),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("take" as const), client: fc.nat(), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("progress" as const), client: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("close" as const), client: fc.nat() }) },
  { weight: 4, arbitrary: fc.constant({ kind: "turn" as const }) },
);

void test("However clients take what comes, each watch is sent all events behind its first revision, once, in order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { maxLength: 60 }), fc.constantFrom(1, 20_000, 200_000), async (plan, bytesMax) => {
      await withFeeds(bytesMax, async (engine, feeds) => {
        const written: Sent[] = [];
        const clients: Client[] = [];
        const froms = new Map<Client, number>();
        const asked = new Map<Client, number>();
        let newest = (await engine.put("x", "0")).revision;
        const putAll = async (key: string, count: number, length: number): Promise<void> => {
          const values = Array.from({ length: count }, (_, i) => `${written.length + i}${"v".repeat(length)}`);
          const revisions = await Promise.all(values.map(async (value) => (await engine.put(key, value)).revision));
          for (const [i, value] of values.entries()) written.push({ key, value, revision: revisions[i]! });
          newest = Math.max(newest, ...revisions);
        };
        for (const step of plan) {
          const client = clients[("client" in step ? step.client : 0) % Math.max(1, clients.length)];
          // oxlint-disable no-await-in-loop -- one step after another
          if (step.kind === "put") await putAll(KEYS[step.key]!, step.count, step.bytes);
          else if (step.kind === "txn") {
            const { revision } = await engine.txn({ success: KEYS.map((key) => ({ put: key, value: "t" })) });
            for (const key of KEYS) written.push({ key, value: "t", revision });
            newest = revision;
          } else if (step.kind === "open") {
            const fromRevision = step.back < 0 ? undefined : Math.max(1, newest + 1 - step.back);
            const opened = new Client(feeds, KEYS[step.key]!, {
              takes: step.takes,
              ...(fromRevision === undefined ? {} : { fromRevision }),
            });
            clients.push(opened);
            if (fromRevision !== undefined) froms.set(opened, fromRevision);
          } else if (step.kind === "turn") await turn();
          else if (client === undefined) continue;
          else if (step.kind === "take") client.take(step.count);
          else if (step.kind === "close") {
            client.watch.close();
            clients.splice(clients.indexOf(client), 1);
          } else {
            asked.set(client, newest);
            client.watch.requestProgress();
          }
        }
        for (const client of clients) client.take(1_000_000);
        // oxlint-enable no-await-in-loop
        written.sort((one, other) => one.revision - other.revision);
        for (const client of clients) {
          await until(() => client.registered !== undefined);
          const from = froms.get(client) ?? client.registered! + 1;
          const wanted = written.filter(({ key, revision }) => key === client.key && revision >= from);
          await until(() => client.sent.length >= wanted.length);
          const since = asked.get(client);
          if (since !== undefined) await until(() => (client.progress.at(-1) ?? 0) >= since);
          assert.deepEqual(client.sent, wanted);
          assert.equal(client.ended, undefined);
        }
        for (const client of clients) client.watch.close();
        assert.equal(feeds.bytes, 0);
      });
    }),
    { numRuns: 60, ...(process.env["SEED"] === undefined ? {} : { seed: Number(process.env["SEED"]) }) },
  );
});

void test("Revisions that waited together leave together, and no response of several is larger than a frame", async () => {
  await withFeeds(undefined, async (engine, feeds) => {
    const [slow, fast] = [new Client(feeds, "a", { takes: 1 }), new Client(feeds, "a")];
    await until(() => slow.registered !== undefined && fast.registered !== undefined);
    for (let i = 0; i < 200; i++) {
      // oxlint-disable-next-line no-await-in-loop -- revisions of their own
      await engine.put("a", `${i}${"v".repeat(300)}`);
    }
    await until(() => fast.sent.length === 200 && slow.sent.length > 0);
    slow.take(1_000);
    await until(() => slow.sent.length === 200);
    assert.deepEqual(slow.sent, fast.sent);
    assert.ok(slow.batches.length < 10 && Math.max(...slow.batches) < 54, slow.batches.join());
  });
});

void test("What a client does not take is dropped at the bound, and it goes on from history", async () => {
  await withFeeds(100_000, async (engine, feeds) => {
    const [stuck, other] = [new Client(feeds, "a", { takes: 0 }), new Client(feeds, "a")];
    await until(() => stuck.registered !== undefined && other.registered !== undefined);
    let most = 0;
    for (let i = 0; i < 100; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after another
      await engine.put("a", `${i}${"v".repeat(10_000)}`);
      most = Math.max(most, feeds.bytes);
    }
    await until(() => other.sent.length === 100);
    assert.ok(most <= 100_000, String(most));
    assert.equal(stuck.sent.length, 0);
    stuck.take(1_000);
    await until(() => stuck.sent.length === 100);
    assert.deepEqual(stuck.sent, other.sent);
    // Having caught up, it goes with the other again: the node has one watch.
    await engine.put("a", "last");
    await until(() => stuck.sent.length === 101 && other.sent.length === 101);
    assert.equal(feeds.watchesOfNode, 1);
  });
});

/** Many keys, deleted in one revision that the node tells in parts. */
async function deleteMany(engine: Engine): Promise<number> {
  const keys = Array.from({ length: 20_000 }, (_, i) => `a${String(i).padStart(5, "0")}`);
  await Promise.all(keys.map((key) => engine.put(key, "")));
  await engine.delete({ prefix: "a" });
  return keys.length;
}

void test("A revision that the node tells in parts leaves whole, for watches with others and for those by themselves", async () => {
  await withFeeds(undefined, async (engine, feeds) => {
    const { revision } = await engine.put("x", "");
    const [live, past] = [new Client(feeds, "a"), new Client(feeds, "a", { fromRevision: revision + 20_001 })];
    const events = await deleteMany(engine);
    await until(() => live.sent.length === 2 * events && past.sent.length === events);
    assert.equal(live.batches.at(-1), events);
    assert.deepEqual(past.batches, [events]);
    for (const { watch } of [live, past]) watch.close();
    assert.equal(feeds.bytes, 0);
  });
});

void test("A watch that is left behind in the middle of a revision too large to be held goes on in the middle of it", async () => {
  await withFeeds(undefined, async (engine, feeds) => {
    const other = new Client(feeds, "a", { prevKv: true });
    const stuck = new Client(feeds, "a", { prevKv: true, stopsAtPart: true });
    await until(() => other.registered !== undefined && stuck.registered !== undefined);
    const keys = Math.ceil((3.5 * WHOLE_BYTES_MAX) / 20_000);
    const put = (key: string): Promise<unknown> => engine.put(key, "v".repeat(20_000));
    for (let i = 0; i < keys; i += 100) {
      const many = Math.min(100, keys - i);
      // oxlint-disable-next-line no-await-in-loop -- not more at once than are held
      await Promise.all(Array.from({ length: many }, (_, j) => put(`a${String(i + j).padStart(5, "0")}`)));
      // oxlint-disable-next-line no-await-in-loop -- the same
      await until(() => stuck.sent.length === i + many && other.sent.length === i + many);
    }
    assert.equal(feeds.watchesOfNode, 1);
    await engine.delete({ prefix: "a" });
    await put("a");
    await until(() => other.sent.length === 2 * keys + 1);
    assert.ok(stuck.sent.length > keys && stuck.sent.length < 2 * keys, String(stuck.sent.length));
    stuck.stopsAtPart = false;
    stuck.take(1_000_000);
    await until(() => stuck.sent.length >= 2 * keys + 1);
    assert.deepEqual(stuck.sent, other.sent);
  });
});

void test("A watch that joins others while writes are under way is told nothing from before it was registered, and all behind it", async () => {
  await withFeeds(
    undefined,
    async (engine, feeds) => {
      await engine.waitReady();
      const first = new Client(feeds, "a");
      await until(() => first.registered !== undefined);
      const joined: Client[] = [];
      let written = 0;
      const writer = async (): Promise<void> => {
        // oxlint-disable-next-line no-await-in-loop -- one after another
        while (written < WRITES) await engine.put("a", String(written++));
      };
      const writers = Promise.all(Array.from({ length: 8 }, writer));
      while (written < WRITES) {
        if (written >= 40 * joined.length) joined.push(new Client(feeds, "a"));
        // oxlint-disable-next-line no-await-in-loop -- between writes
        await turn();
      }
      await writers;
      await until(() => first.sent.length === written);
      for (const { registered, sent } of joined) {
        const wanted = first.sent.filter(({ revision }) => revision > registered!);
        // oxlint-disable-next-line no-await-in-loop -- one after another
        await until(() => sent.length >= wanted.length);
        assert.deepEqual(sent, wanted);
      }
    },
    "worker",
  );
});
