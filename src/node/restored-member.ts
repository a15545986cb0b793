/**
 * Makes a member of a backup: a state is built from the backup, which verifies it, and then written into a new data directory as the snapshot that the log of a
 * new cluster begins with. The order keeps a crash from leaving a member that has forgotten its data: the identity comes first and says that there is a
 * backup, so that it is refused until the log that holds it is there.
 *
 * A member that is alone is founded at once. One of several waits, at its first opening, for the others (founding.ts), who must have
 * restored the same backup: the cluster's id follows from it.
 */
import { SnapshotFault, SnapshotRestoring } from "../core/kv/snapshot-stream.ts";
import { SNAPSHOT_VERSION } from "../core/kv/snapshot-format.ts";
import type { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import type { Random } from "../host/random.ts";
import { corruptBackup, readBackup, type ReadBackup } from "../storage/backup-reader.ts";
import type { Storage } from "../storage/storage.ts";
import { foundingMeta } from "./founding.ts";
import { encodeIdentity, newIdentity, type RestoredBackup } from "./identity.ts";
import { SNAPSHOT_SLICE_BYTES } from "./snapshot-maker.ts";

/** A backup that is whole, and what it holds. */
export interface LoadedBackup extends ReadBackup {
  readonly kv: KvMachine;
  readonly keys: number;
}

export interface LoadBackupOptions {
  readonly random: Random;
  /** Lets other work of this thread go on. Once for each slice of the backup; rejects where it is to end. */
  pause(): Promise<void>;
  /** Rejects when the reading is to end. */
  readonly stop: Promise<never>;
}

/** Reads a backup to its end and builds its state, in memory. Rejects with CORRUPT or INCOMPATIBLE. */
export async function loadBackup(from: AsyncIterable<Uint8Array>, { random, pause, stop }: LoadBackupOptions): Promise<LoadedBackup> {
  const table = createTable({ hashSeed: { low: random.uint32(), high: random.uint32() } });
  const restoring = new SnapshotRestoring({ table });
  let streamBytes = 0;
  let lastAt = 0;
  const parts = {
    begin: (): void => {},
    slice: (bytes: Uint8Array, offset: number): Promise<void> => {
      const fault = restoring.write(bytes);
      // It may be in what came before: a record need not end with a slice.
      if (fault !== undefined) throw streamFault(fault, offset + Math.max(0, fault.offset - streamBytes));
      streamBytes += bytes.byteLength;
      lastAt = offset;
      return pause();
    },
  };
  const read = await readBackup(from, parts, stop);
  const { revision, compactRevision, index, clockMs } = read.description;
  const kv = restoring.finish({ index, term: 1 });
  if (kv instanceof SnapshotFault) throw streamFault(kv, lastAt);
  if (kv.revision !== revision || kv.compactRevision !== compactRevision || kv.clockMs !== clockMs)
    throw corruptBackup(0, "a description of what follows", "that of another state");
  return { ...read, kv, keys: table.keys };
}

function streamFault({ reason }: SnapshotFault, offset: number): EngineError {
  if (reason !== "version") return corruptBackup(offset, "the stream of a state", reason);
  return new EngineError("INCOMPATIBLE", "the backup was made by a later version of this program", {
    what: "snapshot stream",
    found: "a later version",
    supported: String(SNAPSHOT_VERSION),
  });
}

export interface RestoredMemberOptions {
  /** Of a new data directory. */
  readonly storage: Storage;
  readonly random: Random;
  readonly backup: LoadedBackup;
  readonly name: string;
  readonly bootstrap: Readonly<Record<string, string>> | undefined;
  readonly bumpRevision: number;
  /** As in LoadBackupOptions. */
  pause(): Promise<void>;
}

/** What members that begin with this backup have in common. */
export function restoredBackup({ digest, description }: ReadBackup, bumpRevision: number): RestoredBackup {
  return { digest: `${digest} ${bumpRevision}`, index: description.index, clockMs: description.clockMs };
}

/** Durable when it resolves. Answers the revision that the data stand at. */
export async function writeRestoredMember(options: RestoredMemberOptions): Promise<number> {
  const { storage, random, backup, name, bootstrap, bumpRevision } = options;
  const revision = backup.description.revision + bumpRevision;
  if (!Number.isSafeInteger(revision)) throw invalidArgument("bumpRevision", `${backup.description.revision} cannot be raised by so much`);
  const restored = restoredBackup(backup, bumpRevision);
  const identity = newIdentity({ name, bootstrap, restored }, random);
  const isAlone = bootstrap === undefined || Object.keys(bootstrap).length === 1;
  const { memberId, incarnation } = identity;
  const own = { id: memberId, name, peerAddress: bootstrap?.[name] ?? "", clientAddresses: [], incarnation, promotable: false };
  const founding = foundingMeta([own], restored);
  await storage.saveIdentity(encodeIdentity(isAlone ? { ...identity, phase: "pending", founding } : identity));
  await writeSnapshot(options, isAlone ? founding : { ...founding, configuration: NOBODY });
  return revision;
}

/** Until its members have met. */
const NOBODY: SnapshotMeta["configuration"] = { incoming: [], outgoing: [], learners: [], learnersNext: [], members: [] };

async function writeSnapshot({ storage, backup, bumpRevision, pause }: RestoredMemberOptions, meta: SnapshotMeta): Promise<void> {
  const reading = backup.kv.foundingSnapshot(bumpRevision);
  try {
    const writer = await storage.createSnapshot(meta);
    try {
      for (let slice = reading.read(SNAPSHOT_SLICE_BYTES); slice !== undefined; slice = reading.read(SNAPSHOT_SLICE_BYTES)) {
        if (slice.byteLength > 0) await writer.write(slice);
        await pause();
      }
      await writer.commit({ resetLog: true });
    } finally {
      await writer.abandon();
    }
  } finally {
    reading.cancel();
  }
}
