/** The suite over each store of ours, and what it must reject. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { newSim, seededRandom } from "../test/fixture.ts";
import { openMemoryRecordStore } from "./memory-store.ts";
import { recordStoreSuite } from "./record-store-suite.ts";
import type { RecordStore } from "./record-store.ts";
import { openSegmentRecordStore } from "./segment-record-store.ts";

const directory = mkdtempSync(join(tmpdir(), "d-engine-records-"));
after(() => rmSync(directory, { recursive: true, force: true }));

describe("the memory store", () => {
  for (const { name, run } of recordStoreSuite(openMemoryRecordStore, { persistent: false })) test(name, run);
});

describe("the segment store on real files", () => {
  for (const { name, run } of recordStoreSuite((place) => openSegmentRecordStore(join(directory, place)), { persistent: true })) {
    test(name, run);
  }
});

describe("the segment store in small segments, which are rewritten all the time", () => {
  const fileSystem = newSim(3);
  const open = (place: string): Promise<RecordStore> =>
    openSegmentRecordStore(`/data/${place}`, { fileSystem, random: seededRandom(5), segmentBytes: 4096 });
  for (const { name, run } of recordStoreSuite(open, { persistent: true })) test(name, run);
});

describe("the suite rejects a store that", () => {
  const wrong: readonly { readonly what: string; change(store: RecordStore): Partial<RecordStore> }[] = [
    { what: "forgets deletions", change: (store) => ({ write: ({ puts }) => store.write({ puts, deletes: [] }) }) },
    {
      what: "reads what came later",
      change: (store) => ({
        entries: async function* (range) {
          let start = range.start;
          for (let page = 0; page < 1_000_000; page++) {
            const found: (readonly [Uint8Array, Uint8Array])[] = [];
            for await (const piece of store.entries({ ...range, start })) found.push(...piece);
            if (found.length === 0) return;
            yield found.slice(0, 100);
            const last = found.at(99)?.[0];
            if (last === undefined) return;
            start = new Uint8Array([...last, 0]);
          }
        },
      }),
    },
    {
      what: "keeps the caller's bytes",
      change: () => {
        const kept = new Map<string, Uint8Array>();
        return {
          write: async ({ puts }) => {
            for (const [key, value] of puts) kept.set(String(key), value);
          },
          get: async (key) => kept.get(String(key)),
        };
      },
    },
  ];
  for (const { what, change } of wrong) {
    test(what, async () => {
      const open = async (): Promise<RecordStore> => {
        const store = await openMemoryRecordStore();
        const methods = {
          get: store.get.bind(store),
          entries: store.entries.bind(store),
          write: store.write.bind(store),
          sync: store.sync.bind(store),
          bytes: store.bytes.bind(store),
          close: store.close.bind(store),
        };
        return { ...methods, ...change(methods) };
      };
      const outcomes = await Promise.allSettled(recordStoreSuite(open, { persistent: false }).map(({ run }) => run()));
      assert.ok(outcomes.some(({ status }) => status === "rejected"));
    });
  }
});
