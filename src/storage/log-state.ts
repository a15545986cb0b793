/**
 * What a log says once its records have been read in order: vote, base, the first and the last entry, the terms between. The running log and
 * its recovery fold the same records with the same code, so that they cannot disagree. An entry at or below the last one replaces that
 * and all behind it (Raft 5.3); no file is cut for it.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { Vote } from "../core/raft/ready.ts";
import { TermRuns } from "./term-runs.ts";
import { RECORD_BASE, RECORD_ENTRY, RECORD_HEADER_BYTES, RECORD_VOTE, parseJson, writeRecordHeader } from "./log-format.ts";

/** Where recovery starts: the founding of the cluster (`file` is null) or a snapshot. */
export interface LogBase {
  readonly meta: SnapshotMeta;
  readonly file: string | null;
}

/** The one record of the group that each segment begins with: all that was known of the log before it. */
export interface SegmentHead {
  readonly segment: number;
  /** The segment before it; 0 where the log begins here. Files between the two are superseded. */
  readonly previous: number;
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly vote: { readonly term: number; readonly votedFor: string | null };
  readonly base: LogBase;
}

/** Sees each record as it is folded, after the state has taken it in. */
export interface RecordObserver {
  onEntry(record: { readonly index: number; readonly bytes: Uint8Array; readonly offset: number; readonly end: number }): void;
}

export class LogState {
  vote: Vote = { term: 0, votedFor: undefined };
  base: LogBase;
  firstIndex: number;
  lastIndex: number;
  terms: TermRuns;

  constructor(head: SegmentHead) {
    this.base = head.base;
    this.firstIndex = head.lastIndex + 1;
    this.lastIndex = head.lastIndex;
    this.terms = new TermRuns([{ index: head.lastIndex, term: head.lastTerm }]);
    this.vote = { term: head.vote.term, votedFor: head.vote.votedFor ?? undefined };
  }

  /**
   * Folds the records of one group. Answers the first index of the entries that the group leaves at the end of the log (Infinity where
   * it holds none), or what is wrong with it as a text; the state is then of no use.
   */
  fold(bytes: Uint8Array, start: number, observer?: RecordObserver): number | string {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let lowest = Infinity;
    for (let at = start; at < bytes.byteLength;) {
      if (bytes.byteLength - at < RECORD_HEADER_BYTES) return "a record cut short";
      const from = at + RECORD_HEADER_BYTES;
      const end = from + view.getUint32(at, true);
      const kind = view.getUint32(at + 4, true);
      if (end > bytes.byteLength) return "a record cut short";
      if (kind === RECORD_ENTRY) {
        if (end - from < 32) return "an entry cut short";
        const index = view.getFloat64(from + 8, true);
        const term = view.getFloat64(from + 16, true);
        if (!(index > this.base.meta.lastIncludedIndex && index <= this.lastIndex + 1)) return `entry ${index} behind ${this.lastIndex}`;
        if (index < this.firstIndex) {
          this.#beginAt(index, term);
          lowest = Infinity;
        } else {
          const before = index > this.lastIndex ? this.terms.lastTerm : this.terms.at(index - 1);
          if (!(term >= before)) return `entry ${index} of term ${term} behind term ${before}`;
          if (index < lowest) lowest = index;
          if (index <= this.lastIndex || term !== before) this.terms.append(index, term);
        }
        this.lastIndex = index;
        observer?.onEntry({ index, bytes, offset: from, end });
      } else if (kind === RECORD_VOTE) {
        const vote = readVote(bytes.subarray(from, end));
        if (vote === undefined) return "no vote";
        this.vote = vote;
      } else if (kind === RECORD_BASE) {
        const base = readBase(parseJson(bytes.subarray(from, end)));
        if (base === undefined || base.meta.lastIncludedIndex > this.lastIndex) return "no base";
        this.base = base;
      } else {
        return `a record of kind ${kind}`;
      }
      at = end;
    }
    return lowest;
  }

  get lastTerm(): number {
    return this.terms.lastTerm;
  }

  /**
   * Segments are removed one after the other, and power may be lost between two of them. Then the first one left can hold an entry that
   * replaces one from before it, whose neighbour's term is no longer known; it lies at or below the base, or the segments before would be
   * there. The log begins behind that entry.
   */
  #beginAt(index: number, term: number): void {
    this.terms = new TermRuns([{ index, term }]);
    this.firstIndex = index + 1;
  }

  /** Lets go of the entries before `firstIndex`. */
  discardBefore(firstIndex: number): void {
    this.terms.discardBefore(firstIndex);
    this.firstIndex = firstIndex;
  }
}

const VOTE_BYTES = 8;

/** How many bytes appendVote() takes. */
export function voteRecordBytes(vote: Vote): number {
  return RECORD_HEADER_BYTES + VOTE_BYTES + (vote.votedFor === undefined ? 0 : new TextEncoder().encode(vote.votedFor).byteLength);
}

/** Writes a vote's record; answers where the next one begins. */
export function writeVoteRecord(view: DataView, offset: number, vote: Vote): number {
  const votedFor = new TextEncoder().encode(vote.votedFor ?? "");
  const at = writeRecordHeader(view, offset, { kind: RECORD_VOTE, bytes: VOTE_BYTES + votedFor.byteLength });
  view.setFloat64(at, vote.term, true);
  for (let byte = 0; byte < votedFor.byteLength; byte++) view.setUint8(at + VOTE_BYTES + byte, votedFor[byte]!);
  return at + VOTE_BYTES + votedFor.byteLength;
}

function readVote(bytes: Uint8Array): Vote | undefined {
  if (bytes.byteLength < VOTE_BYTES) return undefined;
  const term = new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0, true);
  const votedFor = new TextDecoder().decode(bytes.subarray(VOTE_BYTES));
  return isCount(term) ? { term, votedFor: votedFor === "" ? undefined : votedFor } : undefined;
}

function readBase(value: unknown): LogBase | undefined {
  const base = value as { meta?: unknown; file?: unknown } | undefined;
  if (typeof base !== "object" || base === null || !isSnapshotMeta(base.meta)) return undefined;
  if (base.file !== null && (typeof base.file !== "string" || base.file.includes("/") || base.file.includes("\\"))) return undefined;
  return { meta: base.meta, file: base.file };
}

export function readSegmentHead(value: object | undefined): SegmentHead | undefined {
  const head = value as Partial<SegmentHead> | undefined;
  if (head === undefined || !isCount(head.segment) || !isCount(head.previous)) return undefined;
  if (!isCount(head.lastIndex) || !isCount(head.lastTerm)) return undefined;
  const base = readBase(head.base);
  const vote = head.vote;
  if (base === undefined || typeof vote !== "object" || vote === null || !isCount(vote.term)) return undefined;
  if (vote.votedFor !== null && typeof vote.votedFor !== "string") return undefined;
  return { ...(head as SegmentHead), base };
}

/** The configuration inside is not looked at: that it is what was written, a checksum says. */
export function isSnapshotMeta(value: unknown): value is SnapshotMeta {
  if (typeof value !== "object" || value === null) return false;
  const meta = value as Partial<SnapshotMeta>;
  return (
    isCount(meta.lastIncludedIndex) &&
    isCount(meta.lastIncludedTerm) &&
    typeof meta.clockMs === "number" &&
    typeof meta.configuration === "object" &&
    meta.configuration !== null
  );
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
