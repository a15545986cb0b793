/**
 * Reads a state out as the portable stream (snapshot-format.ts), in slices, while writes go on. It is as of the moment it was made: the
 * compact revision of that moment is pinned, so that the base and all events behind it stay readable, and the leases were copied.
 */
import { ByteWriter } from "./bytes.ts";
import { crc32 } from "./checksum.ts";
import type { HistoryLimits } from "./history-ledger.ts";
import type { LeaseColumns } from "./lease-table.ts";
import { writeKv } from "./packed-kv.ts";
import type { Pin } from "./pins.ts";
import { writeAnswer, writeSession } from "./session-stream.ts";
import type { SessionsCopy } from "./session-table.ts";
import {
  CAUSES,
  SNAPSHOT_HEADER_BYTES,
  SNAPSHOT_MAGIC,
  SNAPSHOT_VERSION,
  TAG_BASE,
  TAG_DELETE,
  TAG_END,
  TAG_LEASE,
  TAG_PUT,
} from "./snapshot-format.ts";
import type { Table, TableCursor } from "./table.ts";

/** What a machine shows of itself at one moment. */
export interface SnapshotBasis {
  readonly table: Table;
  readonly revision: number;
  readonly compactRevision: number;
  readonly clockMs: number;
  readonly limits: HistoryLimits;
  readonly leases: LeaseColumns;
  readonly sessions: SessionsCopy;
  /** Of the compact revision. */
  readonly pin: Pin;
}

/** A slice looks at no more records than this, so that it may be shorter than asked for, or even empty. */
const RECORDS_MAX = 1_024;

/** Made by KvMachine.snapshot(): read() until it answers undefined; or cancel(). */
export class SnapshotReading {
  private readonly basis: SnapshotBasis;
  private readonly cursor: TableCursor;
  private readonly writer: ByteWriter = new ByteWriter(65_536);
  private phase: "header" | "leases" | "sessions" | "answers" | "base" | "events" | "end" | "done" = "header";
  private isPreamble = false;
  private sent = 0;
  private crc = 0;
  /** Of records alone and of leases in any order: see hash. */
  private recordsCrc = 0;
  private leasesSum = 0;
  private lease = 0;
  private session = 0;
  private answer = 0;
  private bases = 0;
  private event: number;
  private events = 0;

  constructor(basis: SnapshotBasis) {
    this.basis = basis;
    this.cursor = basis.table.cursor({ start: new Uint8Array(0), end: undefined }, "ascending");
    this.event = basis.table.seekEvent(basis.compactRevision + 1);
  }

  /**
   * The next slice, in an ArrayBuffer of its own: at most `bytesMax`, often less, sometimes empty. undefined after the last; the pin is
   * released then. No record is added behind `bytesWanted`, so that with fewer of them than `bytesMax` seldom one is cut.
   */
  read(bytesMax: number, bytesWanted: number = bytesMax): Uint8Array<ArrayBuffer> | undefined {
    const { writer } = this;
    if (this.sent === writer.length) {
      if (this.phase === "done" || this.isAtRecords) return undefined;
      this.sent = 0;
      writer.length = 0;
      this.fill(bytesWanted);
    }
    const slice = writer.written(this.sent).slice(0, bytesMax);
    this.sent += slice.length;
    return slice;
  }

  /** Ends before the first record: at what is known by its place in the stream, and not by its revision. Then it must be cancelled. */
  onlyPreamble(): this {
    this.isPreamble = true;
    return this;
  }

  private get isAtRecords(): boolean {
    return this.isPreamble && this.phase === "base";
  }

  /** Gives up before the end. */
  cancel(): void {
    this.phase = "done";
    this.sent = 0;
    this.writer.length = 0;
    this.basis.pin.release();
  }

  /**
   * Once all is read: equal on members that have applied the same entries. The order of the leases in the stream is a matter of each
   * member's memory, so that they are added up.
   */
  get hash(): number {
    return (this.recordsCrc ^ Math.imul(this.leasesSum, 0x9e37_79b1)) >>> 0;
  }

  private fill(bytesMax: number): void {
    const { writer } = this;
    let digested = 0;
    for (let budget = RECORDS_MAX; budget > 0 && writer.length < bytesMax && this.phase !== "done" && !this.isAtRecords; budget--) {
      switch (this.phase) {
        case "header":
          this.header();
          break;
        case "leases":
          this.oneLease();
          break;
        case "sessions":
          this.oneSession();
          break;
        case "answers":
          this.oneAnswer();
          break;
        case "base":
          this.oneBase();
          break;
        case "events":
          this.oneEvent();
          break;
        case "end":
          this.crc = crc32(writer.written(digested), this.crc);
          this.end();
          digested = writer.length;
          break;
      }
    }
    this.crc = crc32(writer.written(digested), this.crc);
  }

  private header(): void {
    const { writer, basis } = this;
    writer.reserve(SNAPSHOT_HEADER_BYTES);
    writer.u32(SNAPSHOT_MAGIC);
    writer.u32(SNAPSHOT_VERSION);
    writer.f64(basis.revision);
    writer.f64(basis.compactRevision);
    writer.f64(basis.clockMs);
    writer.f64(basis.limits.revisionsMax);
    writer.f64(basis.limits.bytesMax);
    writer.f64(basis.leases.count);
    writer.f64(basis.sessions.sessions.length);
    this.recordsCrc = crc32(writer.written());
    this.phase = "leases";
  }

  private oneLease(): void {
    const { writer } = this;
    const { leases } = this.basis;
    if (this.lease >= leases.count) {
      this.phase = "sessions";
      return;
    }
    const at = this.lease++;
    const start = writer.length;
    writer.u8(TAG_LEASE);
    writer.u8(leases.kind[at]!);
    writer.u32(leases.idHigh[at]!);
    writer.u32(leases.idLow[at]!);
    writer.f64(leases.ttlMs[at]!);
    writer.f64(leases.dueMs[at]!);
    this.leasesSum = (this.leasesSum + crc32(writer.written(start))) >>> 0;
  }

  private oneSession(): void {
    const { writer } = this;
    const session = this.basis.sessions.sessions[this.session++];
    if (session === undefined) {
      this.phase = "answers";
      return;
    }
    const start = writer.length;
    writeSession(writer, session);
    this.recordsCrc = crc32(writer.written(start), this.recordsCrc);
  }

  private oneAnswer(): void {
    const { writer } = this;
    const answer = this.basis.sessions.answers[this.answer++];
    if (answer === undefined) {
      this.phase = "base";
      return;
    }
    const start = writer.length;
    writeAnswer(writer, answer);
    this.recordsCrc = crc32(writer.written(start), this.recordsCrc);
  }

  private oneBase(): void {
    const { writer } = this;
    const { table, compactRevision } = this.basis;
    const newest = this.cursor.next();
    if (newest === 0) {
      this.phase = "events";
      return;
    }
    const ref = table.asOf(newest, compactRevision);
    if (ref === 0 || table.version(ref) === 0) return;
    const start = writer.length;
    writer.u8(TAG_BASE);
    writeKv(writer, table, ref, false);
    this.bases++;
    this.recordsCrc = crc32(writer.written(start), this.recordsCrc);
  }

  private oneEvent(): void {
    const { writer } = this;
    const { table, revision } = this.basis;
    const ref = this.event < table.endEvent ? table.event(this.event) : 0;
    if (ref === 0 || table.revision(ref) > revision) {
      this.phase = "end";
      return;
    }
    const start = writer.length;
    const cause = table.deletionCause(ref);
    if (cause === undefined) {
      writer.u8(TAG_PUT);
      writeKv(writer, table, ref, false);
    } else {
      const key = table.key(ref);
      writer.u32(TAG_DELETE | (CAUSES.indexOf(cause) << 8));
      writer.f64(table.revision(ref));
      writer.u32(key.length);
      writer.raw(key);
    }
    this.event++;
    this.events++;
    this.recordsCrc = crc32(writer.written(start), this.recordsCrc);
  }

  private end(): void {
    const { writer } = this;
    writer.u32(TAG_END);
    writer.f64(this.bases);
    writer.f64(this.events);
    writer.u32(this.crc);
    this.phase = "done";
    this.basis.pin.release();
  }
}
