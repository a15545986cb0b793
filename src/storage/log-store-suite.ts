/**
 * What any LogStore must do, as cases that any test runner can run:
 * `for (const { name, run } of logStoreSuite(open)) test(name, run)`. Durability across a crash cannot be seen from here; a store's own
 * crash tests show it. Each case opens a store of its own and closes it.
 */
import { EngineError } from "../errors.ts";
import { ENTRY_HEADER_BYTES, sealEntry } from "../core/raft/entry.ts";
import type { Entry } from "../core/raft/entry.ts";
import type { LogStore } from "./storage.ts";

/** One case, by name. It rejects where the store does not hold. */
export interface SuiteCase {
  readonly name: string;
  run(): Promise<void>;
}

/** `open` answers an empty store whose log begins at index 1: founded, where the store wants that, at index 0 and term 0. */
export function logStoreSuite(open: () => Promise<LogStore>): readonly SuiteCase[] {
  return CASES.map(({ name, check }) => ({
    name,
    run: async () => {
      const store = await open();
      try {
        await check(store);
      } finally {
        await store.close();
      }
    },
  }));
}

const CASES: readonly { readonly name: string; check(store: LogStore): Promise<void> }[] = [
  {
    name: "a new log is empty and begins at 1",
    check: async (store) => {
      same(store.firstIndex, 1, "firstIndex");
      same(store.lastIndex, 0, "lastIndex");
      await refuses(store.read({ from: 1, through: 1, bytesMax: 1000 }), "a read of an empty log");
    },
  },
  {
    name: "entries are read back as they were written",
    check: async (store) => {
      const entries = [entry(1, 1, 0), entry(2, 1, 1), entry(3, 2, 700), entry(4, 2, 40_000)];
      await store.append({ vote: { term: 1, votedFor: "00000000000000aa" }, entries: entries.slice(0, 2) });
      await store.append({ vote: undefined, entries: entries.slice(2) });
      same(store.lastIndex, 4, "lastIndex");
      await holds(store, entries);
    },
  },
  {
    name: "a write of nothing, and one of a vote alone, resolve and change no entry",
    check: async (store) => {
      await store.append({ vote: undefined, entries: [] });
      await store.append({ vote: { term: 3, votedFor: undefined }, entries: [] });
      same(store.lastIndex, 0, "lastIndex");
      await store.append({ vote: undefined, entries: [entry(1, 3, 5)] });
      await store.append({ vote: { term: 4, votedFor: "00000000000000bb" }, entries: [] });
      await holds(store, [entry(1, 3, 5)]);
    },
  },
  {
    name: "writes made at once keep their order",
    check: async (store) => {
      const entries = Array.from({ length: 300 }, (_, at) => entry(at + 1, 1 + Math.floor(at / 100), at % 37));
      const order: number[] = [];
      await Promise.all(
        entries.map(async (one) => {
          await store.append({ vote: undefined, entries: [one] });
          order.push(one.index);
        }),
      );
      same(order.join(), entries.map((one) => one.index).join(), "order of completion");
      await holds(store, entries);
    },
  },
  {
    name: "a gap is refused and changes nothing",
    check: async (store) => {
      await store.append({ vote: undefined, entries: [entry(1, 1, 9)] });
      await refuses(store.append({ vote: undefined, entries: [entry(3, 1, 9)] }), "a write that leaves a gap");
      await refuses(store.append({ vote: undefined, entries: [entry(2, 1, 9), entry(4, 1, 9)] }), "a write with a gap");
      same(store.lastIndex, 1, "lastIndex");
      await holds(store, [entry(1, 1, 9)]);
    },
  },
  {
    name: "a term that goes back is refused",
    check: async (store) => {
      await store.append({ vote: undefined, entries: [entry(1, 5, 9)] });
      await refuses(store.append({ vote: undefined, entries: [entry(2, 4, 9)] }), "a write of a lower term");
      await holds(store, [entry(1, 5, 9)]);
    },
  },
  {
    name: "a conflicting suffix is replaced with all behind it",
    check: async (store) => {
      const old = Array.from({ length: 10 }, (_, at) => entry(at + 1, 1, 100));
      await store.append({ vote: undefined, entries: old });
      const replaced = [entry(4, 2, 50), entry(5, 2, 60)];
      await store.append({ vote: { term: 2, votedFor: undefined }, entries: replaced });
      same(store.lastIndex, 5, "lastIndex");
      await holds(store, [...old.slice(0, 3), ...replaced]);
      await refuses(store.read({ from: 6, through: 6, bytesMax: 1000 }), "a read of a replaced entry");
      const more = [entry(6, 3, 7)];
      await store.append({ vote: undefined, entries: more });
      await holds(store, [...old.slice(0, 3), ...replaced, ...more]);
    },
  },
  {
    name: "a suffix replaced before it was on disk stays replaced",
    check: async (store) => {
      const writes = [
        [entry(1, 1, 8), entry(2, 1, 8), entry(3, 1, 8)],
        [entry(2, 2, 9)],
        [entry(2, 3, 10), entry(3, 3, 11)],
        [entry(1, 4, 12)],
      ];
      await Promise.all(writes.map((entries) => store.append({ vote: undefined, entries })));
      same(store.lastIndex, 1, "lastIndex");
      await holds(store, [entry(1, 4, 12)]);
    },
  },
  {
    name: "a read stops before bytesMax, but never before its first entry",
    check: async (store) => {
      const entries = Array.from({ length: 20 }, (_, at) => entry(at + 1, 1, 1000));
      await store.append({ vote: undefined, entries });
      const bytes = entries[0]!.record.byteLength;
      same((await store.read({ from: 3, through: 20, bytesMax: 1 })).length, 1, "entries within one byte");
      same((await store.read({ from: 3, through: 20, bytesMax: bytes * 4 })).length, 4, "entries within the bytes of four");
      same((await store.read({ from: 3, through: 20, bytesMax: bytes * 5 - 1 })).length, 4, "entries within less than the bytes of five");
      same((await store.read({ from: 19, through: 20, bytesMax: bytes * 10 })).length, 2, "entries to the end");
    },
  },
  {
    name: "a read of many small entries and of one large crosses every border",
    check: async (store) => {
      const entries: Entry[] = [];
      for (let index = 1; index <= 400; index++) entries.push(entry(index, 1, index === 200 ? 600_000 : 2500));
      for (let at = 0; at < entries.length; at += 7) {
        await store.append({ vote: undefined, entries: entries.slice(at, at + 7) });
      }
      await holds(store, entries);
      equalEntries(await store.read({ from: 150, through: 250, bytesMax: 10_000_000 }), entries.slice(149, 250));
    },
  },
  {
    name: "a read outside the log is refused",
    check: async (store) => {
      await store.append({ vote: undefined, entries: [entry(1, 1, 1), entry(2, 1, 1)] });
      await refuses(store.read({ from: 0, through: 1, bytesMax: 100 }), "a read before the first entry");
      await refuses(store.read({ from: 1, through: 3, bytesMax: 100 }), "a read beyond the last entry");
      await refuses(store.read({ from: 2, through: 1, bytesMax: 100 }), "a read of a range that ends before it begins");
    },
  },
  {
    name: "what was read does not change when the log does",
    check: async (store) => {
      await store.append({ vote: undefined, entries: [entry(1, 1, 100), entry(2, 1, 100)] });
      const before = await store.read({ from: 1, through: 2, bytesMax: 10_000 });
      await store.append({ vote: undefined, entries: [entry(2, 2, 100)] });
      for (let index = 3; index < 40; index++) {
        await store.append({ vote: undefined, entries: [entry(index, 2, 100)] });
      }
      equalEntries(before, [entry(1, 1, 100), entry(2, 1, 100)]);
    },
  },
  {
    name: "nothing is discarded while no snapshot covers it",
    check: async (store) => {
      const entries = Array.from({ length: 50 }, (_, at) => entry(at + 1, 1, 200));
      await store.append({ vote: undefined, entries });
      await store.discard(50);
      same(store.firstIndex, 1, "firstIndex");
      await holds(store, entries);
    },
  },
  {
    name: "a closed store refuses, and closing twice is closing once",
    check: async (store) => {
      const write = store.append({ vote: undefined, entries: [entry(1, 1, 3)] });
      const closed = store.close();
      await write;
      await closed;
      await store.close();
      await refuses(store.append({ vote: undefined, entries: [entry(2, 1, 3)] }), "a write after close()", "CLOSED");
      await refuses(store.read({ from: 1, through: 1, bytesMax: 3 }), "a read after close()", "CLOSED");
    },
  },
];

/** An entry whose bytes tell it from every other of the suite. */
function entry(index: number, term: number, payloadBytes: number): Entry {
  const record = new Uint8Array(ENTRY_HEADER_BYTES + payloadBytes);
  for (let at = ENTRY_HEADER_BYTES; at < record.byteLength; at++) record[at] = (index * 31 + term * 7 + at) & 0xff;
  return sealEntry(record, { index, term, clockMs: index * 10, kind: index % 5 === 0 ? "configuration" : "command" });
}

async function holds(store: LogStore, entries: readonly Entry[]): Promise<void> {
  const last = entries[entries.length - 1]!.index;
  same(store.lastIndex, last, "lastIndex");
  const found: Entry[] = [];
  while (found.length < entries.length) {
    const page = await store.read({ from: entries[found.length]!.index, through: last, bytesMax: 100_000 });
    if (page.length === 0) throw new Error("a read answered no entry");
    found.push(...page);
  }
  equalEntries(found, entries);
}

function equalEntries(found: readonly Entry[], wanted: readonly Entry[]): void {
  same(found.length, wanted.length, "number of entries");
  wanted.forEach((one, at) => {
    const other = found[at]!;
    const fields = other.index === one.index && other.term === one.term && other.kind === one.kind && other.clockMs === one.clockMs;
    const bytes =
      other.record.byteLength === one.record.byteLength && other.record.every((byte, position) => byte === one.record[position]);
    if (!fields || !bytes) throw new Error(`entry ${one.index} of term ${one.term} was read back as another`);
  });
}

async function refuses(promise: Promise<unknown>, what: string, code: "INVALID_ARGUMENT" | "CLOSED" = "INVALID_ARGUMENT"): Promise<void> {
  let error: unknown;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  if (!EngineError.is(error, code)) throw new Error(`${what} must be refused with ${code}`, { cause: error });
}

function same(found: unknown, wanted: unknown, what: string): void {
  if (found !== wanted) throw new Error(`${what} is ${String(found)}, expected ${String(wanted)}`);
}
