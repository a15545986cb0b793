/** What the storage tests share: entries, a seeded Random, and a disk whose server runs in this thread, a microtask after each post. */
import assert from "node:assert/strict";
import { ENTRY_HEADER_BYTES, sealEntry } from "../../core/raft/entry.ts";
import type { Entry } from "../../core/raft/entry.ts";
import type { SnapshotMeta } from "../../core/raft/message.ts";
import type { Random } from "../../host/random.ts";
import { SimFileSystem, SimulatedCrash } from "../../testing/sim-file-system.ts";
import type { DiskPort, DiskReply, DiskRequest } from "../disk-protocol.ts";
import { createDiskServer } from "../disk-server.ts";
import type { DiskServer } from "../disk-server.ts";
import { DiskQueue } from "../disk-queue.ts";
import { openStorage } from "../open-storage.ts";
import type { LogStore, Storage } from "../storage.ts";

export const DIRECTORY = "/data";
export const SEGMENT_BYTES = 8192;

export function seededRandom(seed: number): Random {
  let state = seed * 2654435761 + 12345;
  return {
    uint32: () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return (mixed ^ (mixed >>> 14)) >>> 0;
    },
  };
}

export function meta(lastIncludedIndex = 0, lastIncludedTerm = 0): SnapshotMeta {
  const configuration = { incoming: ["00000000000000aa"], outgoing: [], learners: [], learnersNext: [], members: [] };
  return { lastIncludedIndex, lastIncludedTerm, configuration, clockMs: lastIncludedIndex };
}

export function entry(index: number, term: number, payloadBytes = 40, salt = 0): Entry {
  const record = new Uint8Array(ENTRY_HEADER_BYTES + payloadBytes);
  for (let at = ENTRY_HEADER_BYTES; at < record.byteLength; at++) record[at] = (index * 31 + term * 7 + at + salt) & 0xff;
  return sealEntry(record, { index, term, clockMs: index, kind: index % 7 === 0 ? "configuration" : "command" });
}

/** What a test can see of an entry, in a form that compares by value. */
export function plain(entries: readonly Entry[]): readonly string[] {
  return entries.map((one) => `${one.index}/${one.term}/${Buffer.from(one.record).toString("base64")}`);
}

/** A port whose server runs here. After a simulated crash it answers nothing more. */
export class DirectPort implements DiskPort {
  readonly server: DiskServer;
  crashed = false;
  readonly #queue: DiskQueue;
  #callback: (reply: DiskReply) => void = () => {};
  #onCrash: () => void = () => {};
  readonly whenCrashed: Promise<void> = new Promise((resolve) => (this.#onCrash = resolve));

  constructor(server: DiskServer, options: { readonly background?: boolean } = {}) {
    this.server = server;
    this.#queue = new DiskQueue(server, (reply) => this.#callback(reply));
    this.#background = options.background ?? true;
  }

  readonly #background: boolean;

  onReply(callback: (reply: DiskReply) => void): void {
    this.#callback = callback;
  }

  post(request: DiskRequest): void {
    this.#queue.push(request);
    queueMicrotask(() => {
      if (this.crashed) return;
      try {
        if (this.#queue.runOne() && this.#background) this.#queue.runIdle();
      } catch (error) {
        if (!(error instanceof SimulatedCrash)) throw error;
        this.crashed = true;
        this.#onCrash();
      }
    });
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }
}

export interface OpenedSim {
  readonly storage: Storage;
  readonly port: DirectPort;
}

/** Rejects with SimulatedCrash if the machine loses power on the way. */
export async function openSim(
  fileSystem: SimFileSystem,
  options: {
    readonly seed?: number;
    readonly segmentBytes?: number;
    readonly background?: boolean;
    readonly tailBytesMax?: number;
    readonly gatheredBytesMax?: number;
  } = {},
): Promise<OpenedSim> {
  const server = createDiskServer({
    fileSystem,
    directory: DIRECTORY,
    options: { random: seededRandom(options.seed ?? 7), segmentBytes: options.segmentBytes ?? SEGMENT_BYTES },
  });
  const port = new DirectPort(server, { background: options.background ?? true });
  const crash = port.whenCrashed.then((): never => {
    throw new SimulatedCrash();
  });
  const { tailBytesMax = 64 * 1024 * 1024, gatheredBytesMax = 1024 * 1024 } = options;
  const storage = await Promise.race([openStorage({ port, tailBytesMax, gatheredBytesMax }), crash]);
  return { storage, port };
}

export function newSim(seed = 1): SimFileSystem {
  return new SimFileSystem({ random: seededRandom(seed) });
}

/** Every entry of the log, read through it. */
export async function readAll(store: LogStore): Promise<readonly Entry[]> {
  const found: Entry[] = [];
  for (let next = store.firstIndex; next <= store.lastIndex; next = store.firstIndex + found.length) {
    const page = await store.read({ from: next, through: store.lastIndex, bytesMax: 50_000 });
    assert.ok(page.length > 0);
    found.push(...page);
  }
  return found;
}
