/**
 * Builds a state from the portable stream (snapshot-format.ts), whatever slices it arrives in. The bytes are not trusted: every record is
 * checked for sense and order before it is taken, and the checksum at the end decides. What was built from a damaged stream is never
 * shown: the table is then to be thrown away.
 */
import { ByteWriter, compareBytes } from "./bytes.ts";
import { crc32 } from "./checksum.ts";
import { COMMAND_BYTES_MAX, KEY_BYTES_MAX, LEASES_MAX } from "./command.ts";
import { leaseFromWords } from "./lease-id.ts";
import { LEASE_GRANTED, LEASE_OF_PUT } from "./lease-table.ts";
import { KvMachine } from "./machine.ts";
import { decodeKv, KV_HEADER_BYTES, packedKvBytes, type UnpackedKv } from "./packed-kv.ts";
import { RevisionedData } from "./revisioned-data.ts";
import { SESSION_WINDOW_MAX, SESSIONS_MAX } from "./session-bounds.ts";
import { readAnswer, readSession } from "./session-stream.ts";
import {
  ANSWER_HEADER_BYTES,
  CAUSES,
  DELETE_HEADER_BYTES,
  END_BYTES,
  LEASE_BYTES,
  SESSION_HEADER_BYTES,
  SESSION_SLOT_BYTES,
  SNAPSHOT_HEADER_BYTES,
  SNAPSHOT_MAGIC,
  SNAPSHOT_VERSION,
  TAG_ANSWER,
  TAG_BASE,
  TAG_DELETE,
  TAG_END,
  TAG_LEASE,
  TAG_PUT,
  TAG_SESSION,
} from "./snapshot-format.ts";
import type { Table } from "./table.ts";

export { SnapshotReading } from "./snapshot-reading.ts";

/** version: written by a later release. All else: the stream is damaged, or ends too early. */
export type SnapshotFaultReason =
  | "magic"
  | "version"
  | "malformed"
  | "order"
  | "lease"
  | "session"
  | "count"
  | "checksum"
  | "trailing"
  | "truncated";

/** Why a stream was refused, and about where in it. */
export class SnapshotFault {
  readonly reason: SnapshotFaultReason;
  readonly offset: number;

  constructor(reason: SnapshotFaultReason, offset: number) {
    this.reason = reason;
    this.offset = offset;
  }
}

const RECORD_BYTES_MAX: number = COMMAND_BYTES_MAX + KV_HEADER_BYTES + 1;
const NOTHING = new Uint8Array(0);

/** write() each slice, then finish(). */
export class SnapshotRestoring {
  private readonly table: Table;
  private readonly isStored: boolean;
  private data: RevisionedData | undefined = undefined;
  private fault: SnapshotFault | undefined = undefined;
  /** The beginning of a record whose end has not come. */
  private readonly pending: ByteWriter = new ByteWriter();
  private offset = 0;
  private crc = 0;
  private ended = false;
  private revision = 0;
  private compactRevision = 0;
  private clockMs = 0;
  private leasesLeft = 0;
  private sessionsLeft = 0;
  private bases = 0;
  private events = 0;
  private lastKey: Uint8Array = NOTHING;
  private lastRevision = 0;
  private bytes: Uint8Array = NOTHING;
  private view: DataView = new DataView(NOTHING.buffer);

  /**
   * The table is empty, and the restored machine's from now on. `isStored`: what comes was put together from a record store, which vouches for
   * its bytes: the base is in the order of its revisions, not of its keys, and there is no record of the end.
   */
  constructor(options: { readonly table: Table; readonly isStored?: boolean }) {
    this.table = options.table;
    this.isStored = options.isStored ?? false;
  }

  /** Takes the next slice; a fault is final. The work is in proportion to the slice. */
  write(slice: Uint8Array): SnapshotFault | undefined {
    if (this.fault !== undefined || slice.length === 0) return this.fault;
    const { pending } = this;
    if (pending.length === 0) {
      const taken = this.take(slice);
      if (this.fault === undefined) pending.raw(slice.subarray(taken));
      return this.fault;
    }
    pending.raw(slice);
    const taken = this.take(pending.written());
    if (taken > 0) {
      const rest = pending.written(taken).slice();
      pending.length = 0;
      pending.raw(rest);
    }
    return this.fault;
  }

  /** The machine, as of the entry that the snapshot's meta names; or why there is none. Once. */
  finish(applied: { readonly index: number; readonly term: number }): KvMachine | SnapshotFault {
    const { data } = this;
    if (this.isStored)
      this.ended = this.pending.length === 0 && this.leasesLeft === 0 && this.sessionsLeft === 0 && this.lastRevision === this.revision;
    if (this.fault === undefined && (!this.ended || data === undefined)) this.fail("truncated", this.offset);
    if (this.fault === undefined && !data!.leases.settle()) this.fail("lease", this.offset);
    if (this.fault === undefined && !data!.sessions.isWhole) this.fail("session", this.offset);
    if (this.fault !== undefined) return this.fault;
    return new KvMachine({
      table: this.table,
      state: {
        data: data!,
        revision: this.revision,
        clockMs: this.clockMs,
        appliedIndex: applied.index,
        appliedTerm: applied.term,
      },
    });
  }

  /** Takes whole records from the front of the bytes. Answers how many bytes that were. */
  private take(bytes: Uint8Array): number {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    let digested = 0;
    while (this.fault === undefined && at < bytes.length) {
      const length = this.recordBytes(at);
      if (length === 0 || at + length > bytes.length) {
        if (length > RECORD_BYTES_MAX) this.fail("malformed", this.offset);
        break;
      }
      if (this.data !== undefined && bytes[at] === TAG_END) {
        this.crc = crc32(bytes.subarray(digested, at), this.crc);
        digested = at + length;
      }
      const reason = this.data === undefined ? this.header(at) : this.record(at);
      if (reason !== undefined) this.fail(reason, this.offset);
      at += length;
      this.offset += length;
    }
    if (digested < at && !this.isStored) this.crc = crc32(bytes.subarray(digested, at), this.crc);
    this.bytes = NOTHING;
    return at;
  }

  /** Length of the record at `at`, or 0 while too little of it is there to tell. */
  private recordBytes(at: number): number {
    const left = this.bytes.length - at;
    if (this.data === undefined) return SNAPSHOT_HEADER_BYTES;
    switch (this.bytes[at]) {
      case TAG_LEASE:
        return LEASE_BYTES;
      case TAG_BASE:
      case TAG_PUT: {
        const kvBytes = packedKvBytes(this.bytes, at + 1);
        return kvBytes === 0 ? 0 : kvBytes + 1;
      }
      case TAG_DELETE:
        return left < DELETE_HEADER_BYTES ? 0 : DELETE_HEADER_BYTES + this.view.getUint32(at + 12, true);
      case TAG_SESSION: {
        if (left < SESSION_HEADER_BYTES) return 0;
        const answers = this.view.getUint32(at + 40, true);
        return answers > SESSION_WINDOW_MAX ? RECORD_BYTES_MAX + 1 : SESSION_HEADER_BYTES + answers * SESSION_SLOT_BYTES;
      }
      case TAG_ANSWER:
        return left < ANSWER_HEADER_BYTES ? 0 : ANSWER_HEADER_BYTES + this.view.getUint32(at + 20, true);
      case TAG_END:
        return END_BYTES;
      default:
        this.fail("malformed", this.offset);
        return 0;
    }
  }

  private header(at: number): SnapshotFaultReason | undefined {
    const { view } = this;
    if (view.getUint32(at, true) !== SNAPSHOT_MAGIC) return "magic";
    if (view.getUint32(at + 4, true) !== SNAPSHOT_VERSION) return "version";
    const revision = view.getFloat64(at + 8, true);
    const compactRevision = view.getFloat64(at + 16, true);
    const clockMs = view.getFloat64(at + 24, true);
    const revisionsMax = view.getFloat64(at + 32, true);
    const bytesMax = view.getFloat64(at + 40, true);
    const leases = view.getFloat64(at + 48, true);
    const sessions = view.getFloat64(at + 56, true);
    if (!Number.isSafeInteger(revision) || revision < 1) return "malformed";
    if (!Number.isSafeInteger(compactRevision) || compactRevision < 0 || compactRevision > revision) return "malformed";
    if (!(clockMs >= 0 && clockMs <= Number.MAX_SAFE_INTEGER)) return "malformed";
    if (!Number.isSafeInteger(revisionsMax) || revisionsMax < 1) return "malformed";
    if (!Number.isSafeInteger(bytesMax) || bytesMax < 0) return "malformed";
    if (!Number.isSafeInteger(leases) || leases < 0 || leases > LEASES_MAX) return "malformed";
    if (!Number.isSafeInteger(sessions) || sessions < 0 || sessions > SESSIONS_MAX) return "malformed";
    this.revision = revision;
    this.compactRevision = compactRevision;
    this.clockMs = clockMs;
    this.leasesLeft = leases;
    this.sessionsLeft = sessions;
    // The first revision that anything can have is the one after the empty store's.
    this.lastRevision = Math.max(1, compactRevision);
    this.data = new RevisionedData(this.table, { revisionsMax, bytesMax }, compactRevision);
    this.data.leases.restore();
    return undefined;
  }

  private record(at: number): SnapshotFaultReason | undefined {
    if (this.ended) return "trailing";
    switch (this.bytes[at]) {
      case TAG_LEASE:
        return this.lease(at);
      case TAG_SESSION:
        if (this.sessionsLeft-- === 0 || this.leasesLeft > 0 || this.bases > 0 || this.events > 0) return "order";
        return readSession(this.data!.sessions, this.view, at) ? undefined : "session";
      case TAG_ANSWER:
        if (this.sessionsLeft > 0 || this.bases > 0 || this.events > 0) return "order";
        return readAnswer(this.data!.sessions, this.bytes, this.view, at) ? undefined : "session";
      case TAG_BASE:
        return this.base(decodeKv(this.bytes, at + 1));
      case TAG_PUT:
        return this.put(decodeKv(this.bytes, at + 1));
      case TAG_DELETE:
        return this.delete(at);
      default:
        return this.end(at);
    }
  }

  private lease(at: number): SnapshotFaultReason | undefined {
    const { view } = this;
    const { leases } = this.data!;
    const kind = view.getUint8(at + 1);
    const id = leaseFromWords(view.getUint32(at + 2, true), view.getUint32(at + 6, true));
    const ttlMs = view.getFloat64(at + 10, true);
    const dueMs = view.getFloat64(at + 18, true);
    if (this.leasesLeft-- === 0 || this.bases > 0 || this.events > 0) return "order";
    if (id === undefined || leases.has(id) || !isTime(ttlMs) || !isTime(dueMs)) return "lease";
    if (kind !== LEASE_GRANTED && kind !== LEASE_OF_PUT) return "lease";
    leases.add({ id, ttlMs, dueMs, kind });
    return undefined;
  }

  private base(kv: UnpackedKv): SnapshotFaultReason | undefined {
    if (!isSound(kv)) return "malformed";
    if (this.leasesLeft > 0 || this.sessionsLeft > 0 || this.events > 0 || kv.modRevision > this.compactRevision) return "order";
    if (this.isStored ? this.table.find(kv.key) !== 0 : compareBytes(kv.key, this.lastKey) <= 0) return "order";
    if (kv.version > kv.modRevision - kv.createRevision + 1) return "malformed";
    const { data, table } = this;
    const { key, value, createRevision, version, lease } = kv;
    const ref = table.restore({ key, value, revision: kv.modRevision, createRevision, version, lease });
    data!.restored(key, value);
    if (lease !== undefined) data!.leases.attach(lease, ref);
    if (!this.isStored) this.lastKey = kv.key.slice();
    this.bases++;
    return undefined;
  }

  private put(kv: UnpackedKv): SnapshotFaultReason | undefined {
    if (!isSound(kv)) return "malformed";
    const { data, table } = this;
    const newest = table.find(kv.key);
    if (!this.isNext(kv.modRevision, newest)) return "order";
    const isLive = newest !== 0 && table.version(newest) > 0;
    const version = isLive ? table.version(newest) + 1 : 1;
    const createRevision = isLive ? table.createRevision(newest) : kv.modRevision;
    if (kv.version !== version || kv.createRevision !== createRevision) return "malformed";
    data!.put(kv.key, kv.value, kv.modRevision, kv.lease);
    this.events++;
    return undefined;
  }

  private delete(at: number): SnapshotFaultReason | undefined {
    const { data, table, view } = this;
    const cause = CAUSES[this.bytes[at + 1]!];
    const revision = view.getFloat64(at + 4, true);
    const keyAt = at + DELETE_HEADER_BYTES;
    const key = this.bytes.subarray(keyAt, keyAt + view.getUint32(at + 12, true));
    if (cause === undefined || key.length === 0 || key.length > KEY_BYTES_MAX) return "malformed";
    const newest = table.find(key);
    if (!this.isNext(revision, newest)) return "order";
    if (newest === 0 || table.version(newest) === 0) return "malformed";
    data!.delete(newest, revision, cause);
    this.events++;
    return undefined;
  }

  /** Whether an event may have this revision: each revision has events, each at most one of a key. */
  private isNext(revision: number, newest: number): boolean {
    if (this.leasesLeft > 0 || this.sessionsLeft > 0 || revision > this.revision || revision <= this.compactRevision) return false;
    if (revision !== this.lastRevision && revision !== this.lastRevision + 1) return false;
    if (newest !== 0 && this.table.revision(newest) >= revision) return false;
    this.lastRevision = revision;
    return true;
  }

  private end(at: number): SnapshotFaultReason | undefined {
    const { view } = this;
    if (view.getUint32(at + 20, true) !== this.crc) return "checksum";
    if (view.getUint32(at, true) !== TAG_END) return "malformed";
    if (view.getFloat64(at + 4, true) !== this.bases || view.getFloat64(at + 12, true) !== this.events) return "count";
    if (this.leasesLeft > 0 || this.sessionsLeft > 0 || this.lastRevision !== this.revision) return "count";
    this.ended = true;
    return undefined;
  }

  private fail(reason: SnapshotFaultReason, offset: number): void {
    this.fault ??= new SnapshotFault(reason, offset);
    this.pending.length = 0;
  }
}

function isTime(ms: number): boolean {
  return ms >= 0 && ms <= Number.MAX_SAFE_INTEGER;
}

function isSound(kv: UnpackedKv): boolean {
  if (kv.key.length === 0 || kv.key.length > KEY_BYTES_MAX || kv.value.length > COMMAND_BYTES_MAX) return false;
  if (!Number.isSafeInteger(kv.modRevision) || !Number.isSafeInteger(kv.createRevision) || !Number.isSafeInteger(kv.version)) return false;
  return kv.createRevision >= 2 && kv.createRevision <= kv.modRevision && kv.version >= 1;
}
