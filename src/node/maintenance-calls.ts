/**
 * What operators read of this node's state: hashes and backups, a slice at a time by turns, each as of one pinned revision while writes go on. They
 * are of what this node has applied, and wait for no other: a backup is to be had of a node that has lost its majority.
 *
 * A backup is asked for piece by piece, so that no more of it is in memory than its caller has asked for; between two pieces it holds its revision, and one that
 * is not asked for BACKUP_IDLE_MS, or holds too much (held-history.ts), is given up, since what it holds costs memory. While entries are applied it keeps to a tenth of this thread's time, so
 * that those who write hardly notice it.
 */
import type { HashReading } from "../core/kv/hash-reading.ts";
import type { KvMachine } from "../core/kv/machine.ts";
import type { SnapshotReading } from "../core/kv/snapshot-reading.ts";
import { EngineError, toWire } from "../errors.ts";
import { BACKUP_SLICE_BYTES_MAX } from "../storage/backup-format.ts";
import type { CallId, FromNode, ToNode } from "./boundary.ts";
import { readRefusal } from "./ranges.ts";

/** Backups of one node at a time; one more is refused. */
export const BACKUPS_MAX = 4;
/** A backup that nobody asks for so long is given up. */
export const BACKUP_IDLE_MS = 300_000;
/** Hashes that wait or are under way; one more is refused. */
const HASHES_MAX = 64;
/** A turn's share: some tenths of a millisecond. Each piece crosses two threads, which costs as much as some tens of kilobytes do. */
const PIECE_BYTES = 128 << 10;
const HASH_RECORDS = 1_000;
/** Behind a piece, for each millisecond that it took, so long nothing is read while others write. */
const PAUSE_FACTOR = 9;
const PAUSE_MS_MAX = 5;
/** Others write if an entry was applied so recently. */
const BUSY_MS = 100;

type HashCall = ToNode & { readonly kind: "hash" };
type BackupCall = ToNode & { readonly kind: "backup" };

interface Hashing {
  readonly call: HashCall;
  readonly deadline: number;
  reading: HashReading | undefined;
}

interface Backup {
  readonly reading: SnapshotReading;
  isOver: boolean;
  usedAt: number;
}

interface Piece {
  readonly call: BackupCall;
  readonly deadline: number;
}

function tooSlow(max: number): EngineError {
  const message = `the backup was given up: while it was read, it kept more than ${max} bytes of history from being freed`;
  return new EngineError("OVERLOADED", message, { limit: "heldBytes", max, retryAfterMs: 0 });
}

export interface MaintenanceCallsOptions {
  readonly machine: KvMachine;
  now(): number;
  post(message: FromNode): void;
}

export class MaintenanceCalls {
  readonly #post: (message: FromNode) => void;
  readonly #now: () => number;
  #machine: KvMachine;
  /** One is worked on at a time. */
  readonly #hashes: Hashing[] = [];
  readonly #backups = new Map<CallId, Backup>();
  /** Those that were given up for what they held, by the bound that they passed; until their callers let go of them. */
  readonly #givenUp = new Map<CallId, number>();
  /** At most as many as callers may have calls pending. */
  readonly #pieces: Piece[] = [];
  /** No piece is read before, while others write. */
  #pausedUntil = 0;
  #busyUntil = 0;
  #appliedIndex = 0;

  constructor(options: MaintenanceCallsOptions) {
    this.#machine = options.machine;
    this.#now = () => options.now();
    this.#post = (message) => options.post(message);
  }

  onHash(call: HashCall, now: number): void {
    if (this.#hashes.length >= HASHES_MAX) return this.#refuse(call.call, "hashes", HASHES_MAX);
    this.#hashes.push({ call, deadline: now + call.timeoutMs, reading: undefined });
  }

  onBackup(call: BackupCall, now: number): void {
    this.#pieces.push({ call, deadline: now + call.timeoutMs });
  }

  /** How many are under way. */
  get backups(): number {
    return this.#backups.size;
  }

  /** See held-history.ts. */
  giveUpOldest(max: number): boolean {
    for (const [id, { isOver }] of this.#backups) {
      if (isOver) continue;
      const asked = this.#pieces.filter(({ call }) => call.backup === id);
      this.end(id);
      this.#givenUp.set(id, max);
      for (const { call } of asked) this.#fail(call.call, tooSlow(max));
      return true;
    }
    return false;
  }

  end(backup: CallId): void {
    this.#givenUp.delete(backup);
    for (const { call } of [...this.#pieces]) if (call.call === backup || call.backup === backup) this.cancel(call.call);
    const ended = this.#backups.get(backup);
    if (ended === undefined) return;
    this.#backups.delete(backup);
    if (!ended.isOver) ended.reading.cancel();
  }

  /** The caller no longer waits. */
  cancel(call: CallId): void {
    const hash = this.#hashes.findIndex((one) => one.call.call === call);
    if (hash >= 0) this.#hashes.splice(hash, 1)[0]!.reading?.cancel();
    const piece = this.#pieces.findIndex((one) => one.call.call === call);
    if (piece >= 0) this.#pieces.splice(piece, 1);
  }

  /** A turn's share. True if there is more to do at once. While an entry is being applied no backup is begun, and the turns go on for that. */
  step(now: number): boolean {
    const isHashing = this.#stepHash();
    return this.#stepBackup(now) || isHashing;
  }

  #stepHash(): boolean {
    const hashing = this.#hashes[0];
    if (hashing === undefined) return false;
    const { call } = hashing;
    if (hashing.reading === undefined) {
      const begun = this.#machine.hash(call.revision === 0 ? undefined : call.revision);
      if ("refused" in begun) {
        this.#hashes.shift();
        this.#fail(call.call, readRefusal(begun, call.revision));
        return this.#hashes.length > 0;
      }
      hashing.reading = begun;
    }
    const { reading } = hashing;
    if (!reading.step(HASH_RECORDS)) return true;
    this.#hashes.shift();
    const { hash, revision } = reading;
    this.#post({ kind: "hash", call: call.call, hash, revision, compactRevision: this.#machine.readableFrom });
    return this.#hashes.length > 0;
  }

  #stepBackup(now: number): boolean {
    if (this.#pieces.length === 0) return false;
    const { appliedIndex } = this.#machine;
    if (appliedIndex !== this.#appliedIndex) this.#busyUntil = now + BUSY_MS;
    this.#appliedIndex = appliedIndex;
    if (this.#isPaused(now)) return false;
    const { applying } = this.#machine;
    const at = this.#pieces.findIndex(({ call }) => call.backup !== 0 || !applying);
    if (at < 0) return false;
    const [{ call }] = this.#pieces.splice(at, 1) as [Piece];
    if (call.backup === 0) this.#begin(call, now);
    else this.#read(call, now);
    return this.#pieces.length > 0 && !this.#isPaused(now);
  }

  #isPaused(now: number): boolean {
    return now < this.#pausedUntil && now < this.#busyUntil;
  }

  /** When step() must be called next at the latest. */
  get deadline(): number {
    return this.#pieces.length > 0 ? this.#pausedUntil : Number.POSITIVE_INFINITY;
  }

  #begin(call: BackupCall, now: number): void {
    if (this.#backups.size >= BACKUPS_MAX) return this.#refuse(call.call, "backups", BACKUPS_MAX);
    const { revision, compactRevision, appliedIndex: index, clockMs } = this.#machine;
    this.#backups.set(call.call, { reading: this.#machine.snapshot(), isOver: false, usedAt: now });
    const description = { revision, compactRevision, index, clockMs };
    this.#post({ kind: "backup", call: call.call, description, bytes: new Uint8Array(0), last: false });
  }

  #read(call: BackupCall, now: number): void {
    const backup = this.#backups.get(call.backup);
    const heldMax = this.#givenUp.get(call.backup);
    if (heldMax !== undefined) return this.#fail(call.call, tooSlow(heldMax));
    if (backup === undefined) {
      const timeoutMs = BACKUP_IDLE_MS;
      this.#fail(
        call.call,
        new EngineError("TIMEOUT", `the backup was not read for ${timeoutMs} ms and was given up`, { timeoutMs, waitedFor: "queue" }),
      );
      return;
    }
    backup.usedAt = now;
    // Some slices are empty, where there was much to look at and nothing to take.
    const began = this.#now();
    const bytes = backup.isOver ? undefined : backup.reading.read(BACKUP_SLICE_BYTES_MAX, PIECE_BYTES);
    const ended = this.#now();
    this.#pausedUntil = ended + Math.min(PAUSE_MS_MAX, (ended - began) * PAUSE_FACTOR);
    if (bytes === undefined) backup.isOver = true;
    this.#post({ kind: "backup", call: call.call, description: undefined, bytes: bytes ?? new Uint8Array(0), last: bytes === undefined });
  }

  /** A snapshot took the state's place: hashes begin anew; backups go on with the old one, which they keep in memory. */
  replace(machine: KvMachine): void {
    for (const hashing of this.#hashes) {
      hashing.reading?.cancel();
      hashing.reading = undefined;
    }
    this.#machine = machine;
  }

  /** When expire() must be called next at the latest. */
  get expireAt(): number {
    let at = Number.POSITIVE_INFINITY;
    for (const { deadline } of this.#hashes) at = Math.min(at, deadline);
    for (const { deadline } of this.#pieces) at = Math.min(at, deadline);
    for (const { usedAt } of this.#backups.values()) at = Math.min(at, usedAt + BACKUP_IDLE_MS);
    return at;
  }

  /** Fails what has waited too long, gives up what nobody reads. Answers when to look again. */
  expire(now: number): number {
    if (now < this.expireAt) return this.expireAt;
    for (const { call, deadline } of [...this.#hashes, ...this.#pieces]) {
      if (deadline > now) continue;
      this.cancel(call.call);
      const { timeoutMs } = call;
      this.#fail(
        call.call,
        new EngineError("TIMEOUT", `the node did not answer within ${timeoutMs} ms`, { timeoutMs, waitedFor: "queue" }),
      );
    }
    for (const [id, { usedAt }] of [...this.#backups]) if (usedAt + BACKUP_IDLE_MS <= now) this.end(id);
    return this.expireAt;
  }

  failAll(make: () => EngineError): void {
    for (const { call } of [...this.#hashes, ...this.#pieces]) {
      this.cancel(call.call);
      this.#fail(call.call, make());
    }
    for (const id of [...this.#backups.keys()]) this.end(id);
  }

  #refuse(call: CallId, limit: string, max: number): void {
    this.#fail(call, new EngineError("OVERLOADED", `this node is at work on ${max} ${limit} already`, { limit, max, retryAfterMs: 1_000 }));
  }

  #fail(call: CallId, error: EngineError): void {
    this.#post({ kind: "failed", call, error: toWire(error) });
  }
}
