/**
 * Engine.restore: a new data directory from a backup. The backup is read and verified whole, in this process's memory, before anything is made on disk; the work
 * is done in slices in the caller's thread, its file calls included. Where it fails or is aborted, what it has made is removed.
 */
// oxlint-disable-next-line no-restricted-imports -- there is no node yet, and no thread of a disk
import { lstatSync, readdirSync, rmSync, type Stats } from "node:fs";
// oxlint-disable-next-line no-restricted-imports -- as the name is chosen at an opening
import { hostname } from "node:os";
import { join } from "node:path";
import { EngineError, asEngineError, invalidArgument } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import { createNodeClock } from "../host/node-clock.ts";
import { createNodeRandom } from "../host/node-random.ts";
import { loadBackup, writeRestoredMember, type LoadedBackup } from "../node/restored-member.ts";
import { openDiskStorage } from "../storage/disk-storage.ts";
import { checkNumber, checkOptions, checkSignal } from "./arguments.ts";
import { checkBootstrap, checkName } from "./bootstrap.ts";
import { forgetAbort, onAbortOf } from "./abort-listeners.ts";
import { aborted } from "./call-context.ts";
import { resolveDirectory } from "./engine-options.ts";
import type { Revision } from "./client.ts";

export interface RestoreOptions {
  /** A backup's bytes, in pieces of any length: `createReadStream(file)`. */
  readonly from: AsyncIterable<Uint8Array>;
  /** A directory that is not there yet, or is empty. */
  readonly dataDir: string | URL;
  /** Of a cluster of several members: the same list on each, which is then founded when all are open, as a new one is. Each restores the same file. Default: alone. */
  readonly bootstrap?: Readonly<Record<string, string>>;
  /** This member's; required with `bootstrap`. Default: the host's name. */
  readonly name?: string;
  /**
   * Raises the revision by so much, and drops all history: a client that had seen more of the old cluster than the backup holds is told that it was
   * compacted. Give more than can have been written since the backup was made. Default 0: the history in the backup is kept, and revisions go on from there.
   */
  readonly bumpRevision?: number;
  readonly signal?: AbortSignal;
}

export interface RestoreResult {
  readonly revision: Revision;
  readonly keys: number;
}

const clock: Clock = createNodeClock();
const KNOWN: ReadonlySet<string> = new Set(["from", "dataDir", "bootstrap", "name", "bumpRevision", "signal"]);

/**
 * Rejects with CORRUPT (with the offset in the backup) or INCOMPATIBLE for the backup, INVALID_ARGUMENT where the directory is not empty, IN_USE, NO_SPACE, DISK_FAILED or
 * ABORTED, and with what `from` throws. Nothing is left behind then.
 */
export async function restoreEngine(options: RestoreOptions): Promise<RestoreResult> {
  const { from, name, bootstrap, directory, bumpRevision, signal } = checkRestore(options);
  const backup = await loadWithin(from, signal);
  if (!Number.isSafeInteger(backup.description.revision + bumpRevision))
    throw invalidArgument("bumpRevision", `${backup.description.revision} cannot be raised by so much`);
  const wasThere = checkNew(directory);
  try {
    const revision = await write(directory, { backup, name, bootstrap, bumpRevision, signal });
    return { revision, keys: backup.keys };
  } catch (error) {
    // Another process's, or another call's: not to be touched.
    if (!EngineError.is(error, "IN_USE")) removeMade(directory, wasThere);
    throw asEngineError(error);
  }
}

/** Reads a backup to its end, and says what is in it; rejects as restoring it would. */
export async function inspectBackup(
  from: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<Pick<LoadedBackup, "description" | "bytes" | "digest" | "keys">> {
  const { description, bytes, digest, keys } = await loadWithin(from, signal);
  return { description, bytes, digest, keys };
}

async function loadWithin(from: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): Promise<LoadedBackup> {
  if (signal?.aborted === true) throw aborted(signal, false);
  let onAbort = (): void => {};
  const stop = new Promise<never>((_, reject) => {
    onAbort = (): void => reject(aborted(signal!, false));
  });
  stop.catch(() => {}); // Told to whoever waits for bytes.
  if (signal !== undefined) onAbortOf(signal, onAbort);
  try {
    return await loadBackup(from, { random: createNodeRandom(), pause: () => pause(signal), stop });
  } finally {
    if (signal !== undefined) forgetAbort(signal, onAbort);
  }
}

async function pause(signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => clock.defer(resolve));
  if (signal?.aborted === true) throw aborted(signal, false);
}

interface CheckedRestore {
  readonly from: AsyncIterable<Uint8Array>;
  readonly name: string;
  readonly bootstrap: Readonly<Record<string, string>> | undefined;
  readonly directory: string;
  readonly bumpRevision: number;
  readonly signal: AbortSignal | undefined;
}

function checkRestore(options: RestoreOptions): CheckedRestore {
  if (typeof options !== "object" || options === null) throw invalidArgument("options", "an object with from and dataDir is wanted");
  checkOptions(options, KNOWN, "options");
  const { from, name, bumpRevision = 0, signal } = options;
  checkSignal(signal);
  if (signal?.aborted === true) throw aborted(signal, false);
  if (name !== undefined) checkName(name, "name");
  checkNumber(bumpRevision, "bumpRevision", { min: 0 });
  const directory = resolveDirectory(options.dataDir);
  if (directory === undefined) throw invalidArgument("dataDir", '"memory:" would keep nothing of it');
  const bootstrap = options.bootstrap === undefined ? undefined : { ...options.bootstrap };
  // That it listens where the list says is for its opening to check.
  const address = bootstrap?.[name ?? ""] ?? "";
  if (bootstrap !== undefined)
    checkBootstrap(bootstrap, { name, peer: { listen: address, advertise: address, tls: undefined }, isAdvertised: true });
  checkNew(directory);
  return { from, name: name ?? (hostname().slice(0, 255) || "node"), bootstrap, directory, bumpRevision, signal };
}

/** Whether it is there, empty. Throws where it holds anything. */
function checkNew(directory: string): boolean {
  const found: Stats | undefined = lstatSync(directory, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (!found.isDirectory() && !found.isSymbolicLink())
    throw invalidArgument("dataDir", `${directory} is a file: a new directory is wanted`);
  if (readdirSync(directory).length > 0)
    throw invalidArgument("dataDir", `${directory} is not empty, and nothing is overwritten: a new directory is wanted`);
  return true;
}

async function write(
  directory: string,
  made: Pick<CheckedRestore, "name" | "bootstrap" | "bumpRevision" | "signal"> & { readonly backup: LoadedBackup },
): Promise<number> {
  const { signal, ...member } = made;
  const storage = await openDiskStorage({ directory, unsafeNoFsync: false, thread: "inline" });
  try {
    const { identity, log } = storage.recovered;
    // It was empty a moment ago.
    if (identity !== undefined || log !== undefined)
      throw new EngineError("IN_USE", `${directory} has just been used`, { what: "dataDir", at: directory });
    return await writeRestoredMember({ ...member, storage, random: createNodeRandom(), pause: () => pause(signal) });
  } finally {
    await storage.close();
  }
}

/** All that is in it was made here: it was empty, and then locked. */
function removeMade(directory: string, wasThere: boolean): void {
  try {
    if (!wasThere) return rmSync(directory, { recursive: true, force: true });
    for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true, force: true });
  } catch {
    // On a disk that fails: an opening refuses what is left there, and what is told is why it came to that.
  }
}
