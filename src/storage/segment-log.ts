/**
 * The write-ahead log: groups of records in segment files, one sync each (Raft 5: what must be on disk before it is answered). A group is
 * not written before the sync of the one before it has returned, so of all groups only the last can be torn. After a failed call the
 * log is of no further use: a failed sync says nothing about what the disk holds, and is not tried again. Recovery is in
 * segment-recovery.ts, the thread in disk-thread.ts.
 *
 * A full disk is no failure at first. Zeros are written ahead, and a spare segment of them is always kept, so that the log has room when
 * nothing else has: it is `full` from the first ENOSPC on, the group that met it is written anew into the spare, and more may follow
 * while `reserveBytes` last. Whoever writes decides what is worth them. makeRoom() tries for a new spare, and with it the log is no longer
 * full. A group that the spare has no room for either ends the log as any failure does. giveRoom() lets go of a quarter of that room, once in such a
 * time, for whoever can make much more of it.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import { assert } from "../errors.ts";
import type { FileHandle } from "../host/file-system.ts";
import { GroupIndex } from "./group-index.ts";
import { GroupReader } from "./group-reader.ts";
import {
  GROUP_HEADER_BYTES,
  RECORD_BASE,
  RECORD_ENTRY,
  RECORD_HEADER_BYTES,
  SECTOR_BYTES,
  jsonGroup,
  roundUpToSector,
  sealGroup,
} from "./log-format.ts";
import { LogState } from "./log-state.ts";
import type { LogBase, SegmentHead } from "./log-state.ts";
import { createSegment } from "./segment-creation.ts";
import type { SegmentLogOptions } from "./segment-creation.ts";
import { noteFirstIndex } from "./segment.ts";
import type { Segment } from "./segment.ts";
import { corrupt, isNoSpace } from "./storage-failure.ts";

/** What a slice of background work writes at most. */
export const SLICE_BYTES: number = 256 * 1024;
export const SEGMENT_BYTES: number = 64 * 1024 * 1024;
export const SEGMENT_BYTES_MIN: number = 4096;
/** The spare has at least this many bytes, and as many as the segment in use has groups: a log that is hardly used takes little disk. */
export const SPARE_BYTES_MIN: number = 8 * 1024 * 1024;
/** How far ahead of the last group the segment in use is filled with zeros. */
const ZERO_AHEAD_BYTES = 2 * 1024 * 1024;
const ZERO_AHEAD_URGENT_BYTES = 512 * 1024;
const ZEROS = new Uint8Array(SLICE_BYTES);
/** Of the room that the log has left on a full disk. */
const KEPT_SHARE = 0.75;

/** The next segment, filled with zeros while the one in use fills up; and the room that is left on a full disk. */
export const SPARE_NAME = "spare";
/** A segment that was discarded while the spare was whole: the spare after it. Zeros need not be written where a file has its room already. */
export const SPARE_NEXT_NAME = "spare-next";

export class SegmentLog {
  readonly #options: SegmentLogOptions;
  #state: LogState;
  readonly #index: GroupIndex;
  readonly #segments: Segment[];
  readonly #groups: GroupReader;
  /** Entries that are read are put together here. */
  #slice = new Uint8Array(0);
  #groupNumber: number;
  /** Where the file of the last segment is already written, with groups or zeros. */
  #zeroedTo: number;
  #spareBytes: number;
  #spareFile: FileHandle | undefined;
  #hasNextSpare = false;
  /** The disk has no room: no zeros are written unasked, the log itself goes on while it can. */
  #full: boolean;
  /** It has given room since it was found full. */
  #hasGiven = false;
  syncMs = 0;
  /** How many syncs of groups there were, and what they took together. */
  syncs = 0;
  syncTotalMs = 0;

  /** What recovery found, or begin() made; the last segment is open for writing. */
  constructor(
    options: SegmentLogOptions,
    found: {
      readonly state: LogState;
      readonly index: GroupIndex;
      readonly segments: Segment[];
      readonly groupNumber: number;
      readonly spareBytes: number;
      readonly full?: boolean;
    },
  ) {
    this.#options = options;
    this.#groups = new GroupReader(options.fileSystem);
    this.#state = found.state;
    this.#index = found.index;
    this.#segments = found.segments;
    this.#groupNumber = found.groupNumber;
    this.#spareBytes = found.spareBytes;
    this.#full = found.full ?? false;
    this.#zeroedTo = this.#current.fileBytes;
  }

  /** Begins a log that holds nothing but its base. */
  static begin(options: SegmentLogOptions, base: LogBase, spareBytes: number): SegmentLog {
    const head: SegmentHead = {
      segment: 1,
      previous: 0,
      lastIndex: base.meta.lastIncludedIndex,
      lastTerm: base.meta.lastIncludedTerm,
      vote: { term: 0, votedFor: null },
      base,
    };
    const segment = createSegment(options, { head, groupNumber: 1, from: undefined });
    return new SegmentLog(options, { state: new LogState(head), index: new GroupIndex(), segments: [segment], groupNumber: 1, spareBytes });
  }

  get state(): LogState {
    return this.#state;
  }

  get #current(): Segment {
    return this.#segments[this.#segments.length - 1]!;
  }

  /** It holds nothing but a founding. */
  get isFresh(): boolean {
    const { base, lastIndex, vote } = this.#state;
    return base.file === null && lastIndex === base.meta.lastIncludedIndex && vote.votedFor === undefined && vote.term === 0;
  }

  /** The disk had no room for more, and none was found since. */
  get full(): boolean {
    return this.#full;
  }

  /** What the log can still write where the disk has no room: the rest of the segment in use, and the spare. */
  get reserveBytes(): number {
    const { fileBytes, usedBytes } = this.#current;
    return Math.max(0, fileBytes - usedBytes) + this.#spareBytes + this.#nextSpareBytes;
  }

  /** Of all files of the log. */
  get diskBytes(): number {
    let bytes = this.#spareBytes + this.#nextSpareBytes;
    for (const segment of this.#segments) bytes += segment.fileBytes;
    return bytes;
  }

  get #nextSpareBytes(): number {
    return this.#hasNextSpare ? this.#options.segmentBytes : 0;
  }

  /** Of the groups from the one that holds the first entry behind the base to the end. */
  get bytesBehindBase(): number {
    const { lastIncludedIndex } = this.#state.base.meta;
    if (lastIncludedIndex >= this.#state.lastIndex) return 0;
    const item = this.#index.find(lastIncludedIndex + 1);
    if (item < 0) return 0;
    const at = this.#index.locationOf(item);
    let bytes = -at.offset;
    for (const segment of this.#segments) if (segment.number >= at.segment) bytes += segment.usedBytes;
    return bytes;
  }

  /**
   * Writes one group and syncs it. Each part is records with GROUP_HEADER_BYTES of room in front, which is written to. The parts become
   * durable together, in their order.
   */
  append(parts: readonly Uint8Array[]): void {
    const joined = parts.map((part, at) => (at === 0 ? part : part.subarray(GROUP_HEADER_BYTES)));
    this.#writeGroup(joined);
  }

  /** Names the state that recovery starts from. The log must hold its last index, in its term. */
  nameBase(base: LogBase): void {
    const { lastIncludedIndex, lastIncludedTerm } = base.meta;
    assert(
      lastIncludedIndex >= this.#state.firstIndex - 1 && lastIncludedIndex <= this.#state.lastIndex,
      "a snapshot that keeps the log ends inside it",
    );
    assert(
      this.#state.terms.at(lastIncludedIndex) === lastIncludedTerm,
      "a snapshot that keeps the log has the log's term at its last index",
    );
    assert(lastIncludedIndex >= this.#state.base.meta.lastIncludedIndex, "a snapshot is not older than the one before it");
    this.#writeGroup([jsonGroup(RECORD_BASE, base)]);
  }

  /**
   * Drops the whole log and begins it again at `base`. The head of a new segment with nothing before it says so: once that file has its
   * name, the older ones mean nothing.
   */
  reset(base: LogBase): void {
    const { vote } = this.#state;
    const head: SegmentHead = {
      segment: this.#current.number + 1,
      previous: 0,
      lastIndex: base.meta.lastIncludedIndex,
      lastTerm: base.meta.lastIncludedTerm,
      vote: { term: vote.term, votedFor: vote.votedFor ?? null },
      base,
    };
    const old = this.#segments.slice();
    this.#roll(head);
    this.#state = new LogState(head);
    this.#index.clear();
    this.#removeSegments(old.length);
  }

  /** Entries as they were encoded, one behind the other; at least one. The caller has checked that the range is in the log. */
  read(range: { readonly from: number; readonly through: number; readonly bytesMax: number }): Uint8Array {
    const limit = Math.min(range.bytesMax, SLICE_BYTES);
    if (this.#slice.byteLength === 0) this.#slice = new Uint8Array(SLICE_BYTES);
    const slice = this.#slice;
    let bytes = 0;
    let next = range.from;
    for (let item = this.#index.find(range.from); item >= 0 && item < this.#index.count; item++) {
      // What a later group has replaced is not read from an earlier one.
      const through = item + 1 < this.#index.count ? Math.min(range.through, this.#index.firstIndexOf(item + 1) - 1) : range.through;
      const location = this.#index.locationOf(item);
      const segment = this.#segmentOf(location.segment);
      const group = this.#groups.read(segment, location.offset);
      for (const record of lastRun(group, { from: next, through })) {
        if (bytes + record.byteLength > limit) return bytes === 0 ? record.slice() : slice.slice(0, bytes);
        slice.set(record, bytes);
        bytes += record.byteLength;
        next++;
      }
      if (next > range.through) break;
      if (next <= through) {
        const { offset } = location;
        throw corrupt({ path: segment.path, offset, expected: `entry ${next}`, found: "a group without it" });
      }
    }
    return slice.slice(0, bytes);
  }

  /** Removes the oldest segments whose entries all lie at or below `through` and at or below the base. */
  discard(through: number): void {
    const limit = Math.min(through, this.#state.base.meta.lastIncludedIndex);
    let keepFrom = 0;
    for (let at = 1; at < this.#segments.length; at++) {
      const segment = this.#segments[at]!;
      if (segment.mayBeFirst && segment.head.lastIndex <= limit) keepFrom = at;
    }
    if (keepFrom === 0) return;
    this.#state.discardBefore(this.#segments[keepFrom]!.head.lastIndex + 1);
    this.#removeSegments(keepFrom);
    this.#index.dropSegmentsBefore(this.#segments[0]!.number);
  }

  /**
   * One slice of work that nobody waits for: zeros ahead of the last group, then the spare. It is done by the time that the segment in use
   * is half full. With `onlyUrgent` only what a log under load would otherwise run into. Answers whether there is more to do.
   */
  background(onlyUrgent: boolean): boolean {
    return !this.#full && this.#zero(onlyUrgent);
  }

  /** On a full disk: tries again for a slice of what is missing. Answers whether there was room and more is to be tried for at once. */
  makeRoom(): boolean {
    if (!this.#full) return false;
    this.#full = false;
    if (!this.#zero(false)) {
      if (!this.#full) this.#hasGiven = false;
      return false;
    }
    this.#full = true;
    return true;
  }

  /**
   * On a full disk: gives back to it a quarter of what the log has left, for the store to be written in, and begins a new segment, so that those before
   * it can go once what is in them is stored. The second time and later only the segment is new.
   */
  giveRoom(): void {
    if (!this.#full) return;
    const { usedBytes, headBytes } = this.#current;
    try {
      if (!this.#hasGiven) this.#give();
    } catch (error) {
      // Where even that takes room there is none to be given.
      if (!isNoSpace(error)) throw error;
    }
    this.#hasGiven = true;
    // Without a spare the segment in use was it: those before it may go already.
    if (this.#spareBytes > 0 && usedBytes > headBytes) this.#roll(this.#nextHead());
  }

  #give(): void {
    const { directory, fileSystem } = this.#options;
    const current = this.#current;
    if (this.#spareBytes > 0) {
      const bytes = wholeSectors(this.#spareBytes * KEPT_SHARE);
      if (bytes < SEGMENT_BYTES_MIN) return;
      this.#spareFile ??= fileSystem.open(`${directory}/${SPARE_NAME}`, "write");
      this.#spareFile.truncate(bytes);
      this.#spareBytes = bytes;
      this.#spareFile.dataSync();
      return;
    }
    const end = current.usedBytes + wholeSectors((this.#zeroedTo - current.usedBytes) * KEPT_SHARE);
    if (end >= this.#zeroedTo || current.fileBytes > this.#zeroedTo) return;
    current.file!.truncate(end);
    current.fileBytes = end;
    this.#zeroedTo = end;
    current.file!.dataSync();
  }

  #zero(onlyUrgent: boolean): boolean {
    try {
      return this.#zeroAhead(onlyUrgent) || this.#zeroSpare(onlyUrgent);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      this.#full = true;
      return false;
    }
  }

  #zeroAhead(onlyUrgent: boolean): boolean {
    const { segmentBytes } = this.#options;
    const current = this.#current;
    const ahead = Math.min(segmentBytes, current.usedBytes + (onlyUrgent ? ZERO_AHEAD_URGENT_BYTES : ZERO_AHEAD_BYTES));
    if (this.#zeroedTo >= ahead) return false;
    // A whole slice at a time, so that a trickle of small groups does not bring a trickle of syncs.
    const bytes = Math.min(SLICE_BYTES, segmentBytes - this.#zeroedTo);
    writeZeros(current.file!, this.#zeroedTo, bytes);
    this.#zeroedTo += bytes;
    current.fileBytes = Math.max(current.fileBytes, this.#zeroedTo);
    return true;
  }

  #zeroSpare(onlyUrgent: boolean): boolean {
    const { fileSystem, directory, segmentBytes } = this.#options;
    const { usedBytes } = this.#current;
    const wanted = Math.min(segmentBytes, onlyUrgent ? usedBytes : Math.max(usedBytes * 2, SPARE_BYTES_MIN));
    if (this.#spareBytes >= wanted) return false;
    const path = `${directory}/${SPARE_NAME}`;
    if (this.#spareFile === undefined) {
      if (this.#spareBytes === 0) {
        fileSystem.remove(path);
        this.#spareFile = fileSystem.open(path, "create");
        fileSystem.syncDirectory(directory);
      } else this.#spareFile = fileSystem.open(path, "write");
    }
    const bytes = Math.min(SLICE_BYTES, segmentBytes - this.#spareBytes);
    writeZeros(this.#spareFile, this.#spareBytes, bytes);
    this.#spareBytes += bytes;
    if (this.#spareBytes === segmentBytes) this.#closeSpare();
    return true;
  }

  #closeSpare(): void {
    this.#spareFile?.close();
    this.#spareFile = undefined;
  }

  close(): void {
    for (const segment of this.#segments) segment.file?.close();
    this.#spareFile?.close();
  }

  #writeGroup(parts: readonly Uint8Array[]): void {
    let bytes = 0;
    for (const part of parts) bytes += part.byteLength;
    const current = this.#current;
    const fresh = current.usedBytes === current.headBytes;
    // A group that no segment has room for gets a segment of its own size.
    if (current.usedBytes + bytes > this.#options.segmentBytes && !fresh) this.#roll(this.#nextHead());
    try {
      this.#writeInto(this.#current, parts, bytes);
    } catch (error) {
      if (!isNoSpace(error) || this.#spareBytes === 0) throw error;
      // What there is of the group stays behind in a segment that has ended before it: see segment-recovery.ts.
      this.#full = true;
      this.#roll(this.#nextHead());
      this.#writeInto(this.#current, parts, bytes);
    }
  }

  #writeInto(current: Segment, parts: readonly Uint8Array[], bytes: number): void {
    const offset = current.usedBytes;
    const number = this.#groupNumber + 1;
    sealGroup({ place: { segment: current.number, nonce: current.nonce, offset }, kind: "data", number }, parts);
    const file = current.file!;
    let position = offset;
    for (const part of parts) {
      file.write(part, position);
      position += part.byteLength;
    }
    const began = this.#options.now();
    file.dataSync();
    this.syncMs = this.#options.now() - began;
    this.syncs++;
    this.syncTotalMs += this.syncMs;
    this.#groupNumber = number;
    current.usedBytes = offset + roundUpToSector(bytes);
    current.fileBytes = Math.max(current.fileBytes, position);
    this.#zeroedTo = Math.max(this.#zeroedTo, current.usedBytes);
    for (let at = 0; at < parts.length; at++) this.#fold(parts[at]!, at === 0 ? GROUP_HEADER_BYTES : 0, current, offset);
  }

  #nextHead(): SegmentHead {
    const { vote, base, lastIndex, lastTerm } = this.#state;
    const { number } = this.#current;
    return { segment: number + 1, previous: number, lastIndex, lastTerm, vote: { term: vote.term, votedFor: vote.votedFor ?? null }, base };
  }

  #fold(part: Uint8Array, start: number, segment: Segment, offset: number): void {
    const first = this.#state.fold(part, start);
    assert(typeof first === "number", `the log takes only what follows its end: ${first}`);
    if (first === Infinity) return;
    noteFirstIndex(this.#segments, first);
    // Two parts of one group: the later one continues the run of the earlier, unless it begins at or below it.
    const last = this.#index.count - 1;
    if (last >= 0 && first > this.#index.firstIndexOf(last)) {
      const at = this.#index.locationOf(last);
      if (at.segment === segment.number && at.offset === offset) return;
    }
    this.#index.push(first, { segment: segment.number, offset });
  }

  #roll(head: SegmentHead): void {
    const previous = this.#current;
    const groupNumber = this.#groupNumber + 1;
    const segment = this.#createSegment(head, groupNumber);
    this.#groupNumber = groupNumber;
    this.#segments.push(segment);
    this.#zeroedTo = segment.fileBytes;
    previous.file?.close();
    previous.file = undefined;
  }

  /** Of the spare where that is whole, or where there is no room for another. */
  #createSegment(head: SegmentHead, groupNumber: number): Segment {
    const { segmentBytes, directory, fileSystem } = this.#options;
    if (this.#spareBytes < segmentBytes && !(this.#full && this.#spareBytes > 0)) {
      try {
        return createSegment(this.#options, { head, groupNumber, from: undefined });
      } catch (error) {
        if (!isNoSpace(error) || this.#spareBytes === 0) throw error;
        this.#full = true;
      }
    }
    this.#closeSpare();
    const segment = createSegment(this.#options, { head, groupNumber, from: `${directory}/${SPARE_NAME}` });
    this.#spareBytes = this.#nextSpareBytes;
    if (this.#hasNextSpare) fileSystem.rename(`${directory}/${SPARE_NEXT_NAME}`, `${directory}/${SPARE_NAME}`);
    this.#hasNextSpare = false;
    return segment;
  }

  #removeSegments(count: number): void {
    const { fileSystem, directory, segmentBytes } = this.#options;
    for (const segment of this.#segments.splice(0, count)) {
      segment.file?.close();
      // A full disk wants the room back.
      if (!this.#full && !this.#hasNextSpare && segment.fileBytes === segmentBytes) {
        fileSystem.rename(segment.path, `${directory}/${SPARE_NEXT_NAME}`);
        this.#hasNextSpare = true;
      } else fileSystem.remove(segment.path);
      // One at a time and the oldest first: a crash leaves no hole between those that remain.
      fileSystem.syncDirectory(directory);
    }
  }

  #segmentOf(number: number): Segment {
    const segment = this.#segments.find((candidate) => candidate.number === number);
    assert(segment !== undefined, "the index names segments that are there");
    return segment;
  }
}

/** The records of the entries `from` to `through` in a group, the last one written of each index. */
function lastRun(group: Uint8Array, range: { readonly from: number; readonly through: number }): Uint8Array[] {
  const view = new DataView(group.buffer, group.byteOffset, group.byteLength);
  const found: Uint8Array[] = [];
  for (let at = GROUP_HEADER_BYTES; at + RECORD_HEADER_BYTES <= group.byteLength;) {
    const start = at + RECORD_HEADER_BYTES;
    const end = start + view.getUint32(at, true);
    if (view.getUint32(at + 4, true) === RECORD_ENTRY) {
      const index = view.getFloat64(start + 8, true);
      // An entry replaces its index and all behind it.
      if (index - range.from < found.length) found.length = Math.max(0, index - range.from);
      if (index >= range.from && index <= range.through && index - range.from === found.length) found.push(group.subarray(start, end));
    }
    at = end;
  }
  return found;
}

function wholeSectors(bytes: number): number {
  return Math.floor(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

function writeZeros(file: FileHandle, position: number, bytes: number): void {
  file.write(ZEROS.subarray(0, bytes), position);
  file.dataSync();
}

/** The base of a member that was founded, and has no snapshot yet. */
export function foundingBase(meta: SnapshotMeta): LogBase {
  return { meta, file: null };
}
