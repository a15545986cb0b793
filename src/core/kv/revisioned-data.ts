/**
 * The data: records, leases and the account of history, changed together. What is shared by applying a command and by replaying the
 * events of a snapshot, so that both leave the same state. Knows nothing of commands, results or entries.
 */
import { EVENT_BYTES, HistoryLedger, RECORD_OVERHEAD_BYTES, type HistoryLimits } from "./history-ledger.ts";
import { DATA_BYTES_MAX, KEYS_MAX } from "./command.ts";
import { LeaseTable } from "./lease-table.ts";
import { SessionTable } from "./session-table.ts";
import type { DeletionCause, RecordRef, Table } from "./table.ts";

const NOTHING = new Uint8Array(0);

/** One state, less what a machine knows of the log. */
export class RevisionedData {
  readonly table: Table;
  readonly leases: LeaseTable = new LeaseTable();
  readonly sessions: SessionTable = new SessionTable();
  readonly ledger: HistoryLedger;
  /** Logical bytes of the live keys (docs/formats.md). */
  private liveByteCount: number = 0;
  /** Used again for each record: the table copies what it takes. */
  private readonly putRecord: { key: Uint8Array; value: Uint8Array; revision: number; lease: string | undefined };
  private readonly deletedRecord: { key: Uint8Array; revision: number; cause: DeletionCause };

  constructor(table: Table, limits: HistoryLimits, compactRevision: number) {
    this.table = table;
    this.ledger = new HistoryLedger(limits, compactRevision);
    this.putRecord = { key: NOTHING, value: NOTHING, revision: 0, lease: undefined };
    this.deletedRecord = { key: NOTHING, revision: 0, cause: "request" };
  }

  /** The key's record if it is live, else 0. */
  live(key: Uint8Array): RecordRef {
    const ref = this.table.find(key);
    return ref !== 0 && this.table.version(ref) > 0 ? ref : 0;
  }

  get liveBytes(): number {
    return this.liveByteCount;
  }

  /** Why a put would be refused: what a state may hold is part of the state, so that every member refuses alike. */
  refusal(key: Uint8Array, valueBytes: number): "keysMax" | "dataBytesMax" | undefined {
    const bytes = RECORD_OVERHEAD_BYTES + key.length + valueBytes;
    if (this.table.keys < KEYS_MAX && this.liveByteCount + bytes <= DATA_BYTES_MAX) return undefined;
    const before = this.live(key);
    if (before === 0) return this.table.keys >= KEYS_MAX ? "keysMax" : "dataBytesMax";
    const grown = valueBytes - this.table.valueBytes(before);
    return grown > 0 && this.liveByteCount + grown > DATA_BYTES_MAX ? "dataBytesMax" : undefined;
  }

  /** Why so many more keys, and logical bytes of them, would be too much. */
  lacksRoom(keys: number, bytes: number): "keysMax" | "dataBytesMax" | undefined {
    if (this.table.keys + keys > KEYS_MAX && keys > 0) return "keysMax";
    return this.liveByteCount + bytes > DATA_BYTES_MAX && bytes > 0 ? "dataBytesMax" : undefined;
  }

  /** A record that was put into the table as it was elsewhere. */
  restored(key: Uint8Array, value: Uint8Array): void {
    this.liveByteCount += RECORD_OVERHEAD_BYTES + key.length + value.length;
  }

  /** Answers the live record before it, 0 if there was none. */
  put(key: Uint8Array, value: Uint8Array, revision: number, lease: string | undefined): RecordRef {
    const { table, putRecord } = this;
    putRecord.key = key;
    putRecord.value = value;
    putRecord.revision = revision;
    putRecord.lease = lease;
    const ref = table.put(putRecord);
    putRecord.key = NOTHING;
    putRecord.value = NOTHING;
    let before = table.previous(ref);
    if (before !== 0 && table.version(before) === 0) before = 0;
    let bytes = EVENT_BYTES;
    this.liveByteCount += RECORD_OVERHEAD_BYTES + key.length + value.length;
    if (before !== 0) {
      const superseded = RECORD_OVERHEAD_BYTES + key.length + table.valueBytes(before);
      bytes += superseded;
      this.liveByteCount -= superseded;
    }
    this.ledger.add(revision, bytes);
    // First the new lease, then the old: a lease that a key stays with must not end in between.
    if (lease !== undefined) this.leases.attach(lease, ref);
    if (before !== 0) this.leave(before);
    return before;
  }

  /** `before` is the live record of its key. */
  delete(before: RecordRef, revision: number, cause: DeletionCause): void {
    const { table, deletedRecord } = this;
    const key = table.key(before);
    const keyBytes = key.length;
    deletedRecord.key = key;
    deletedRecord.revision = revision;
    deletedRecord.cause = cause;
    const valueBytes = table.valueBytes(before);
    this.ledger.add(revision, EVENT_BYTES + 2 * (RECORD_OVERHEAD_BYTES + keyBytes) + valueBytes);
    this.liveByteCount -= RECORD_OVERHEAD_BYTES + keyBytes + valueBytes;
    table.delete(deletedRecord);
    deletedRecord.key = NOTHING;
    this.leave(before);
  }

  /** `ref` is no longer the newest of its key. */
  protected leave(ref: RecordRef): void {
    if (this.leases.count === 0) return;
    const lease = this.table.lease(ref);
    if (lease !== undefined) this.leases.detach(lease, ref);
  }
}
