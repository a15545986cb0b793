/** The state machine of a node with the memory that it keeps its data in, made new, from the newest snapshot, or from a stream. */
import { KvMachine } from "../core/kv/machine.ts";
import { SNAPSHOT_VERSION } from "../core/kv/snapshot-format.ts";
import { SnapshotFault, SnapshotRestoring } from "../core/kv/snapshot-stream.ts";
import { createTable, type PackedTable } from "../core/kv/table/packed-table.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { RecoveredLog } from "../core/raft/ready.ts";
import { assert, EngineError } from "../errors.ts";
import type { Random } from "../host/random.ts";
import type { SnapshotFile, Storage } from "../storage/storage.ts";
import type { NodeOptions } from "./node-options.ts";
import { SNAPSHOT_SLICE_BYTES } from "./snapshot-maker.ts";
import type { StateRestoring } from "./snapshot-transfer.ts";
import { loadStoredState, usesStore, type StoredSoFar } from "./stored-state.ts";

export interface NodeMachine {
  readonly kv: KvMachine;
  readonly table: PackedTable;
  /** Of what the record store holds, where the machine was built from one that is written on. */
  readonly stored?: StoredSoFar;
}

function newTable(random: Random): PackedTable {
  return createTable({ hashSeed: { low: random.uint32(), high: random.uint32() } });
}

/** An empty state, as of the founding of its cluster. */
export function createMachine(random: Random): NodeMachine {
  const table = newTable(random);
  // With the bounds that every member begins with: a leader's own come through the log.
  const kv = new KvMachine({ table, applied: { index: 1, term: 1, clockMs: 0 } });
  return { kv, table };
}

/** The state that a node starts from. Rejects with CORRUPT where the newest snapshot cannot be read. */
export async function restoreMachine(
  storage: Storage,
  options: NodeOptions,
  random: Random,
  log: RecoveredLog | undefined,
  onProgress: (done: number) => void,
): Promise<NodeMachine> {
  const { store } = storage;
  if (store !== undefined) {
    const { machine, stored } = await loadStoredState(store, random, onProgress);
    if (usesStore(options) && store.file.startsWith("module-") === (typeof options.store === "object")) return { ...machine, stored };
    stored.pin.release();
    return machine;
  }
  const file = log === undefined ? undefined : storage.openSnapshot();
  if (file === undefined) return createMachine(random);
  try {
    const restoring = new MachineRestoring(random);
    let offset = 0;
    while (offset < file.bytes) {
      const bytes = await file.read(offset, SNAPSHOT_SLICE_BYTES);
      offset += bytes.byteLength;
      const wrong = restoring.write(bytes);
      if (wrong !== undefined) throw unreadable(file, offset, wrong);
    }
    const wrong = restoring.finish(file.meta);
    if (wrong !== undefined) throw unreadable(file, offset, wrong);
    return restoring.machine;
  } finally {
    file.release();
  }
}

function unreadable(file: SnapshotFile, offset: number, found: string): EngineError {
  if (found.endsWith(": version")) {
    return new EngineError("INCOMPATIBLE", "the newest snapshot was written by a later version of this program", {
      what: "snapshot stream",
      found: "a later version",
      supported: String(SNAPSHOT_VERSION),
    });
  }
  const path = `snapshot at ${file.meta.lastIncludedIndex}`;
  return new EngineError("CORRUPT", `${path}: ${found}`, { path, offset, expected: "a snapshot stream", found });
}

/** A state being built from a snapshot stream. */
export class MachineRestoring implements StateRestoring {
  readonly #table: PackedTable;
  readonly #restoring: SnapshotRestoring;
  #kv: KvMachine | undefined;

  constructor(random: Random) {
    this.#table = newTable(random);
    this.#restoring = new SnapshotRestoring({ table: this.#table });
  }

  write(bytes: Uint8Array): string | undefined {
    return describe(this.#restoring.write(bytes));
  }

  finish(meta: SnapshotMeta): string | undefined {
    const finished = this.#restoring.finish({ index: meta.lastIncludedIndex, term: meta.lastIncludedTerm });
    if (finished instanceof SnapshotFault) return describe(finished);
    this.#kv = finished;
    return undefined;
  }

  /** After finish() found nothing wrong. */
  get machine(): NodeMachine {
    assert(this.#kv !== undefined, "a state is used once it is whole");
    return { kv: this.#kv, table: this.#table };
  }
}

function describe(fault: SnapshotFault | undefined): string | undefined {
  return fault === undefined ? undefined : `the snapshot stream is wrong at byte ${fault.offset}: ${fault.reason}`;
}
