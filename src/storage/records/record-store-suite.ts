/**
 * What any RecordStore must do, as cases that any test runner can run:
 * `for (const { name, run } of recordStoreSuite(open, { persistent: true })) test(name, run)`. That batches are whole after a crash cannot be
 * seen from here; a store's own crash tests show it.
 */
import { EngineError } from "../../errors.ts";
import type { SuiteCase } from "../log-store-suite.ts";
import { numberKey } from "./record-index.ts";
import type { RecordRange, RecordStore } from "./record-store.ts";

export interface RecordStoreCapabilities {
  /** What was written is there again after the store was closed and opened. */
  readonly persistent: boolean;
}

/** `open` answers the store of that name, a new and empty one where there is none of it yet. Names are not used again. */
export function recordStoreSuite(
  open: (name: string) => Promise<RecordStore>,
  capabilities: RecordStoreCapabilities,
): readonly SuiteCase[] {
  const cases = capabilities.persistent ? [...CASES, ...PERSISTENT_CASES] : CASES;
  return cases.map(({ name, check }, at) => ({
    name,
    run: async () => {
      const opened: RecordStore[] = [];
      const place = `suite-${at}-${nextPlace++}`;
      const openOne = async (): Promise<RecordStore> => {
        const store = await open(place);
        opened.push(store);
        return store;
      };
      try {
        await check(openOne);
      } finally {
        for (const store of opened) await store.close();
      }
    },
  }));
}

let nextPlace = 1;

interface Case {
  readonly name: string;
  check(open: () => Promise<RecordStore>): Promise<void>;
}

const CASES: readonly Case[] = [
  {
    name: "a new store is empty",
    check: async (open) => {
      const store = await open();
      same(await store.get(text("a")), undefined, "a key that is not there");
      same((await read(store, { start: bytes() })).length, 0, "entries");
    },
  },
  {
    name: "what was put is read, replaced, and deleted",
    check: async (open) => {
      const store = await open();
      await store.write({
        puts: [
          [text("a"), text("1")],
          [text("b"), bytes()],
        ],
        deletes: [text("c")],
      });
      same(show(await store.get(text("a"))), "1", "a");
      same(show(await store.get(text("b"))), "", "an empty value");
      await store.write({ puts: [[text("a"), text("2")]], deletes: [text("b")] });
      same(show(await store.get(text("a"))), "2", "a, replaced");
      same(await store.get(text("b")), undefined, "b, deleted");
      await store.write({ puts: [], deletes: [] });
      same(await keys(store, { start: bytes() }), "a", "keys");
    },
  },
  {
    name: "keys are in the order of their unsigned bytes, whatever their length",
    check: async (open) => {
      const store = await open();
      const names = [
        bytes(0),
        bytes(0, 0),
        bytes(1),
        bytes(114),
        numberKey(114, 0, 0),
        numberKey(114, 0, 1),
        numberKey(114, 1, 0),
        numberKey(114, 2 ** 32, 7),
        numberKey(114, 2 ** 53 - 1, 2 ** 32 - 1),
        bytes(114, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255),
        numberKey(115, 5, 5),
        bytes(127),
        bytes(128),
        bytes(255),
        bytes(...Array.from({ length: 255 }, () => 255)),
      ];
      const mixed = names.map((name, at) => ({ name, at: (at * 7) % names.length })).sort((left, right) => left.at - right.at);
      await store.write({ puts: mixed.map(({ name }) => [name, name] as const), deletes: [] });
      const found = await read(store, { start: bytes() });
      same(found.map(([key]) => hex(key)).join(), names.map(hex).join(), "keys");
      for (const [key, value] of found) same(hex(value), hex(key), "the value of its key");
      const back = await read(store, { start: bytes(), reverse: true });
      same(back.map(([key]) => hex(key)).join(), names.map(hex).toReversed().join(), "keys backwards");
      for (let from = 0; from < names.length; from++) {
        const end = names[from + 3];
        const range = { start: names[from]!, ...(end === undefined ? {} : { end }) };
        same(
          (await read(store, range)).map(([key]) => hex(key)).join(),
          names
            .slice(from, from + 3 < names.length ? from + 3 : undefined)
            .map(hex)
            .join(),
          "a range",
        );
        const reversed = (await read(store, { ...range, reverse: true })).map(([key]) => hex(key)).toReversed();
        same(
          reversed.join(),
          names
            .slice(from, from + 3 < names.length ? from + 3 : undefined)
            .map(hex)
            .join(),
          "a range backwards",
        );
      }
    },
  },
  {
    name: "entries are as of the call",
    check: async (open) => {
      const store = await open();
      const name = (at: number): Uint8Array => numberKey(114, at, 0);
      await store.write({ puts: Array.from({ length: 2000 }, (_, at) => [name(at * 2), text(`${at}`)] as const), deletes: [] });
      const iterator = store.entries({ start: bytes() })[Symbol.asyncIterator]();
      const first = await iterator.next();
      for (let round = 0; round < 4; round++) {
        await store.write({
          puts: Array.from({ length: 500 }, (_, at) => [name(at * 8 + round * 2 + 1), text("later")] as const),
          deletes: Array.from({ length: 500 }, (_, at) => name(at * 8 + round * 2)),
        });
      }
      const found = first.done === true ? [] : [...first.value];
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) found.push(...next.value);
      same(found.map(([, value]) => show(value)).join(), Array.from({ length: 2000 }, (_, at) => `${at}`).join(), "values");
      same((await read(store, { start: bytes() })).length, 2000, "entries now");
      for await (const piece of store.entries({ start: bytes() })) {
        same(piece.length > 0, true, "no piece is empty");
        break;
      }
      await store.write({ puts: [[name(1), text("after a loop that was left")]], deletes: [] });
      same(show(await store.get(name(1))), "after a loop that was left", "a write after it");
    },
  },
  {
    name: "bytes are the caller's own, on the way in and on the way out",
    check: async (open) => {
      const store = await open();
      const key = text("key");
      const value = text("value");
      await store.write({ puts: [[key, value]], deletes: [] });
      key.fill(0);
      value.fill(0);
      const found = await store.get(text("key"));
      same(show(found), "value", "the value");
      found!.fill(0);
      for (const [one, other] of await read(store, { start: bytes() })) {
        same(show(other), "value", "the value again");
        one.fill(0);
        other.fill(0);
      }
      same(show(await store.get(text("key"))), "value", "the value after all that");
    },
  },
  {
    name: "what cannot be written is refused, and changes nothing",
    check: async (open) => {
      const store = await open();
      await store.write({ puts: [[text("a"), text("1")]], deletes: [] });
      const wrong = [
        { puts: [[bytes(), text("x")] as const], deletes: [] },
        { puts: [[new Uint8Array(256), text("x")] as const], deletes: [] },
        { puts: [], deletes: [bytes()] },
        { puts: [[text("b"), text("x")] as const], deletes: [text("b")] },
        { puts: [[text("b"), text("x")] as const, [text("b"), text("y")] as const], deletes: [] },
      ];
      for (const batch of wrong) await refuses(store.write(batch), "a batch that cannot be");
      same(await keys(store, { start: bytes() }), "a", "keys");
    },
  },
  {
    name: "large batches and large values are read back",
    check: async (open) => {
      const store = await open();
      const large = new Uint8Array(3_000_000).map((_, at) => (at * 31) & 255);
      await store.write({ puts: [[text("large"), large]], deletes: [] });
      const many = Array.from({ length: 20_000 }, (_, at) => [numberKey(114, at, at % 3), text(`value ${at}`)] as const);
      await store.write({ puts: many, deletes: [] });
      await store.write({ puts: [], deletes: many.filter((_, at) => at % 2 === 0).map(([key]) => key) });
      await store.sync();
      same(hex((await store.get(text("large")))!.subarray(2_999_900)), hex(large.subarray(2_999_900)), "the end of a large value");
      const found = await read(store, { start: numberKey(114, 0, 0), end: numberKey(115, 0, 0) });
      same(found.length, 10_000, "entries");
      same(show(found[4_321]![1]), "value 8643", "one of them");
      same(store.bytes().used >= 0 && store.bytes().free >= 0, true, "bytes");
    },
  },
  {
    name: "many batches drawn by chance leave what a map would hold",
    check: async (open) => {
      const store = await open();
      const model = new Map<string, Uint8Array>();
      const draw = drawing(17);
      for (let round = 0; round < 300; round++) await drawnWrite(store, model, draw);
      await agrees(store, model);
    },
  },
];

const PERSISTENT_CASES: readonly Case[] = [
  {
    name: "what was written is there when the store is opened again",
    check: async (open) => {
      const model = new Map<string, Uint8Array>();
      const draw = drawing(23);
      for (let life = 0; life < 12; life++) {
        const store = await open();
        await agrees(store, model);
        for (let round = 0; round < 60; round++) await drawnWrite(store, model, draw);
        if (draw(2) === 0) await store.sync();
        await agrees(store, model);
        await store.close();
      }
      await agrees(await open(), model);
    },
  },
];

/** Some hundred keys, so that most are replaced and deleted often. */
async function drawnWrite(store: RecordStore, model: Map<string, Uint8Array>, draw: (below: number) => number): Promise<void> {
  const puts = new Map<string, readonly [Uint8Array, Uint8Array]>();
  const deletes = new Map<string, Uint8Array>();
  for (let left = draw(12); left >= 0; left--) {
    const key = draw(8) === 0 ? text(`name ${draw(10)}`) : numberKey(114 + draw(2), draw(400), draw(2));
    const name = hex(key);
    if (puts.has(name) || deletes.has(name)) continue;
    if (draw(3) > 0) puts.set(name, [key, new Uint8Array(draw(40) === 0 ? 9_000 : draw(200)).fill(draw(256))]);
    else deletes.set(name, key);
  }
  await store.write({ puts: [...puts.values()], deletes: [...deletes.values()] });
  for (const name of deletes.keys()) model.delete(name);
  for (const [name, [, value]] of puts) model.set(name, value);
}

async function agrees(store: RecordStore, model: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const found = (await read(store, { start: bytes() })).map(([key, value]) => `${hex(key)}=${hex(value)}`);
  const expected = [...model].map(([name, value]) => `${name}=${hex(value)}`).sort();
  same(found.join(), expected.join(), "all entries");
}

function drawing(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function read(store: RecordStore, range: RecordRange): Promise<(readonly [Uint8Array, Uint8Array])[]> {
  const found: (readonly [Uint8Array, Uint8Array])[] = [];
  for await (const piece of store.entries(range)) found.push(...piece);
  return found;
}

async function keys(store: RecordStore, range: RecordRange): Promise<string> {
  return (await read(store, range)).map(([key]) => show(key)).join();
}

function bytes(...values: number[]): Uint8Array {
  return new Uint8Array(values);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function show(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : new TextDecoder().decode(value);
}

function hex(value: Uint8Array): string {
  let written = "";
  for (const byte of value) written += byte.toString(16).padStart(2, "0");
  return written;
}

function same(found: unknown, expected: unknown, what: string): void {
  if (found === expected) return;
  const shorten = (value: unknown): string => String(value).slice(0, 200);
  throw new Error(`${what}: expected ${shorten(expected)}, found ${shorten(found)}`);
}

async function refuses(promise: Promise<unknown>, what: string): Promise<void> {
  try {
    await promise;
  } catch (error) {
    if (EngineError.is(error, "INVALID_ARGUMENT")) return;
    throw error;
  }
  throw new Error(`${what} was not refused`);
}
