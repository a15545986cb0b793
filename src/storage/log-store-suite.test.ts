import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, describe, test } from "node:test";
import type { Entry } from "../core/raft/entry.ts";
import { openDiskStorage } from "./disk-storage.ts";
import { logStoreSuite } from "./log-store-suite.ts";
import { createMemoryStorage } from "./memory-storage.ts";
import type { LogStore, LogWrite, Storage } from "./storage.ts";
import { meta, newSim, openSim } from "./test/fixture.ts";

const directories: string[] = [];
after(() => directories.forEach((directory) => rmSync(directory, { recursive: true, force: true })));

async function founded(storage: Storage): Promise<Storage> {
  await storage.found(meta());
  return storage;
}

async function onDisk(thread: "worker" | "inline"): Promise<Storage> {
  const directory = mkdtempSync(`${tmpdir()}/d-engine-suite-`);
  directories.push(directory);
  return founded(await openDiskStorage({ directory, unsafeNoFsync: true, thread, segmentBytes: 64 * 1024 }));
}

const STORES: Readonly<Record<string, () => Promise<LogStore>>> = {
  "the memory storage": () => founded(createMemoryStorage()),
  "the disk storage inline": () => onDisk("inline"),
  "the disk storage in its thread": () => onDisk("worker"),
  "the disk storage on a simulated disk": async () => founded((await openSim(newSim())).storage),
};

for (const [store, open] of Object.entries(STORES)) {
  describe(`the log store suite holds of ${store}`, () => {
    for (const { name, run } of logStoreSuite(open)) test(name, run);
  });
}

/** A good store with one thing planted in it. */
function canary(plant: (store: Storage) => Partial<LogStore>): () => Promise<LogStore> {
  return async () => {
    const store = await founded(createMemoryStorage());
    const planted = plant(store);
    return {
      get firstIndex() {
        return store.firstIndex;
      },
      get lastIndex() {
        return store.lastIndex;
      },
      append: planted.append ?? ((write) => store.append(write)),
      read: planted.read ?? ((range) => store.read(range)),
      discard: planted.discard ?? ((through) => store.discard(through)),
      close: planted.close ?? (() => store.close()),
    };
  };
}

const filled = (store: Storage, write: LogWrite): LogWrite => {
  const first = write.entries[0];
  return first !== undefined && first.index > store.lastIndex + 1 ? { ...write, entries: [] } : write;
};

const CANARIES: Readonly<Record<string, () => Promise<LogStore>>> = {
  "swallows a write that leaves a gap": canary((store) => ({ append: (write) => store.append(filled(store, write)) })),
  "keeps the entries behind a replaced one": canary((store) => {
    const kept: Entry[] = [];
    return {
      append: async (write) => {
        await store.append(write);
        for (const one of write.entries) kept[one.index] = one;
      },
      read: async ({ from, through, bytesMax }) => {
        const entries = kept.slice(from, through + 1);
        if (from < 1 || through < from || entries.length < through + 1 - from) return store.read({ from, through, bytesMax });
        return store.lastIndex >= through ? store.read({ from, through, bytesMax }) : entries;
      },
    };
  }),
  "reads past bytesMax": canary((store) => ({ read: (range) => store.read({ ...range, bytesMax: range.bytesMax * 2 }) })),
  "answers less than the first entry": canary((store) => ({
    read: async (range) => (range.bytesMax < 10 ? [] : store.read(range)),
  })),
  "reads beyond its end as far as it goes": canary((store) => ({
    read: (range) => store.read({ ...range, through: Math.min(range.through, store.lastIndex) }),
  })),
  "hands out buffers that it writes again": canary((store) => {
    const buffer = new Uint8Array(4096);
    return {
      read: async (range) => {
        const entries = await store.read(range);
        let at = 0;
        return entries.map((one) => {
          if (at + one.record.byteLength > buffer.byteLength) return one;
          buffer.set(one.record, at);
          at += one.record.byteLength;
          return { ...one, record: buffer.subarray(at - one.record.byteLength, at) };
        });
      },
      append: async (write) => {
        buffer.fill(0);
        await store.append(write);
      },
    };
  }),
  "discards what no snapshot covers": canary((store) => {
    let discarded = 0;
    return {
      discard: async (through) => {
        discarded = through;
      },
      read: (range) => store.read({ ...range, from: range.from <= discarded ? 0 : range.from }),
    };
  }),
  "takes writes after it was closed": canary((store) => ({ close: async () => {}, append: (write) => store.append(write) })),
  "completes writes out of order": canary((store) => ({
    append: async (write) => {
      await store.append(write);
      if ((write.entries[0]?.index ?? 0) % 2 === 1) for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    },
  })),
  "takes a term that goes back": canary((store) => {
    let highest = 0;
    return {
      append: async (write) => {
        const first = write.entries[0];
        if (first !== undefined && first.index === store.lastIndex + 1 && first.term < highest) return;
        highest = Math.max(highest, first?.term ?? 0);
        await store.append(write);
      },
    };
  }),
  "loses the votes' neighbours": canary((store) => ({
    append: (write) => store.append(write.vote === undefined ? write : { vote: write.vote, entries: write.entries.slice(0, 1) }),
  })),
};

describe("the log store suite rejects a store that", () => {
  for (const [planted, open] of Object.entries(CANARIES)) {
    test(planted, async () => {
      const failures: string[] = [];
      for (const { name, run } of logStoreSuite(open)) await run().catch(() => failures.push(name));
      assert.notEqual(failures.length, 0);
    });
  }
});
