/**
 * Reads the log back when a member starts, and decides what a bad group means. A group is only written once the one before it is synced, so
 *
 *   bad, and no valid group of a higher number anywhere behind it:  a torn tail, never acknowledged; dropped whole
 *   bad, and a valid one behind it:                                 acknowledged data has rotted; CORRUPT, and the node does not start
 *
 * Whatever survives of the last segment is written to a new one and synced before anything rests on it: what was read back may have come
 * from the page cache and never have reached the disk, as after a failed sync.
 *
 *   1. A writes group 7; its fdatasync fails. Linux marks the pages clean, and A stops.
 *   2. A starts again and reads group 7, from the cache. It acknowledges the entries in it.
 *   3. Power is lost. Group 7 never was on the disk.
 */
import type { Entry } from "../core/raft/entry.ts";
import { decodeEntry } from "../core/raft/entry.ts";
import type { FileHandle } from "../host/file-system.ts";
import { GroupIndex } from "./group-index.ts";
import { GROUP_HEADER_BYTES, SECTOR_BYTES, roundUpToSector, sealGroup } from "./log-format.ts";
import type { GroupPlace } from "./log-format.ts";
import { LogState } from "./log-state.ts";
import type { RecordObserver, SegmentHead } from "./log-state.ts";
import { createSegment, segmentHeadBytes } from "./segment-creation.ts";
import type { SegmentLogOptions } from "./segment-creation.ts";
import { SLICE_BYTES, SPARE_NAME, SPARE_NEXT_NAME, SegmentLog } from "./segment-log.ts";
import { ReadWindow, SegmentReader, describe, groupNumberText, noteFirstIndex, segmentNumber, segmentPath } from "./segment.ts";
import type { Segment } from "./segment.ts";
import { corrupt, isNoSpace } from "./storage-failure.ts";

export interface LogRecovery {
  /** undefined where there is no log yet. */
  readonly log: SegmentLog | undefined;
  /** Of the spare segment, finished or not. */
  readonly spareBytes: number;
  /** The first of the last entries that are asked for; the last one is always among them, if there is any behind the base. */
  readonly tailFrom: number;
  /** All configuration entries above the base. */
  readonly configurationEntries: readonly Entry[];
}

interface ChainLink {
  readonly number: number;
  readonly head: SegmentHead;
  readonly groupNumber: number;
  readonly headBytes: number;
  readonly nonce: number;
  readonly fileBytes: number;
}

/** Throws CORRUPT with file and offset, INCOMPATIBLE for a newer format, or a FileError. */
export function recoverLog(
  options: SegmentLogOptions,
  wanted: { readonly tailBytesMax: number; onProgress?(done: number, total: number): void },
): LogRecovery {
  const { fileSystem, directory } = options;
  let spareBytes = keptSpareBytes(options);
  const numbers: number[] = [];
  for (const name of fileSystem.list(directory)) {
    const number = segmentNumber(name);
    if (number !== undefined) numbers.push(number);
  }
  if (numbers.length === 0) return { log: undefined, spareBytes, tailFrom: 0, configurationEntries: [] };

  const { chain, superseded } = findChain(options, numbers);
  const last = chain[chain.length - 1]!;
  const newHead: SegmentHead = { ...last.head, segment: last.number + 1 };
  const moved = segmentHeadBytes(newHead) - last.headBytes;

  const state = new LogState(chain[0]!.head);
  const index = new GroupIndex();
  const segments: Segment[] = [];
  const entries = new EntryCollector(wanted.tailBytesMax);
  const window = new ReadWindow();
  const total = chain.reduce((sum, link) => sum + link.fileBytes, 0);
  let done = 0;
  let groupNumber = chain[0]!.groupNumber - 1;
  for (const [at, link] of chain.entries()) {
    const isLast = link === last;
    const endsBefore = chain[at + 1]?.groupNumber ?? Number.POSITIVE_INFINITY;
    checkHead(options, { link, state, groupNumber, before: segments[segments.length - 1] });
    state.base = link.head.base;
    const segment: Segment = {
      number: link.number,
      path: segmentPath(directory, link.number),
      nonce: link.nonce,
      head: link.head,
      headBytes: link.headBytes,
      usedBytes: link.headBytes,
      fileBytes: link.fileBytes,
      mayBeFirst: true,
      file: undefined,
    };
    segments.push(segment);
    groupNumber = link.groupNumber;
    const reader = new SegmentReader(fileSystem, segment.path, link.number, window);
    try {
      reader.head();
      // A group that found no room was written anew behind the next head, which bears its number; what lies here of it counts for nothing.
      while (groupNumber + 1 < endsBefore) {
        const offset = segment.usedBytes;
        const group = reader.group(offset);
        if (group === undefined || group.header.kind !== "data" || group.header.number !== groupNumber + 1) break;
        const { bytes } = group;
        const { firstIndex } = state;
        const first = state.fold(bytes, GROUP_HEADER_BYTES, entries);
        if (state.firstIndex !== firstIndex) index.clear();
        const problem = typeof first === "string" ? first : entries.malformed ? "an entry that cannot be read" : undefined;
        if (problem !== undefined) {
          throw corrupt({ path: segment.path, offset, expected: groupNumberText(groupNumber + 1), found: problem });
        }
        if (typeof first === "number" && first !== Infinity) {
          noteFirstIndex(segments, first);
          index.push(first, isLast ? { segment: newHead.segment, offset: offset + moved } : { segment: link.number, offset });
        }
        groupNumber++;
        segment.usedBytes = offset + roundUpToSector(bytes.byteLength);
        wanted.onProgress?.(done + segment.usedBytes, total);
      }
      if (isLast && reader.hasGroupAfter(segment.usedBytes, groupNumber)) {
        throw corrupt({
          path: segment.path,
          offset: segment.usedBytes,
          expected: groupNumberText(groupNumber + 1),
          found: describe(reader.view(segment.usedBytes, GROUP_HEADER_BYTES)),
        });
      }
    } finally {
      reader.close();
    }
    done += link.fileBytes;
    wanted.onProgress?.(done, total);
  }
  if (state.base.meta.lastIncludedIndex < state.firstIndex - 1) {
    const path = segmentPath(directory, chain[0]!.head.previous);
    throw corrupt({ path, offset: 0, expected: "a segment of the log", found: "no file" });
  }

  const old = segments.pop()!;
  const rewrite = (from: string | undefined): Segment =>
    createSegment(options, {
      head: newHead,
      groupNumber: last.groupNumber,
      from,
      fill: (file, place) => copyGroups(options, { old, file, place, window }),
    });
  let rewritten: Segment;
  let full = false;
  try {
    rewritten = rewrite(undefined);
  } catch (error) {
    // A full disk: the spare was kept for this.
    if (!isNoSpace(error) || spareBytes === 0) throw error;
    rewritten = rewrite(`${directory}/${SPARE_NAME}`);
    spareBytes = 0;
    full = true;
  }
  rewritten.mayBeFirst = old.mayBeFirst;
  segments.push(rewritten);
  for (const number of [...superseded, old.number]) fileSystem.remove(segmentPath(directory, number));
  fileSystem.syncDirectory(directory);

  return {
    log: new SegmentLog(options, { state, index, segments, groupNumber, spareBytes, full }),
    spareBytes,
    tailFrom: Math.max(entries.tailFrom, state.firstIndex),
    configurationEntries: entries.configurations.filter((entry) => entry.index > state.base.meta.lastIncludedIndex),
  };
}

/** What a spare holds does not matter, since a group knows its place; one that was not finished is gone on with. */
function keptSpareBytes(options: SegmentLogOptions): number {
  const { fileSystem, directory, segmentBytes } = options;
  const path = `${directory}/${SPARE_NAME}`;
  // One is enough to begin with.
  fileSystem.remove(`${directory}/${SPARE_NEXT_NAME}`);
  if (!fileSystem.exists(path)) return 0;
  const file = fileSystem.open(path, "read");
  const bytes = file.size();
  file.close();
  if (bytes > 0 && bytes <= segmentBytes) return bytes - (bytes % SECTOR_BYTES);
  fileSystem.remove(path);
  return 0;
}

/** The segments that make up the log, oldest first, found from the newest: each names the one before it. */
function findChain(options: SegmentLogOptions, numbers: readonly number[]): { chain: ChainLink[]; superseded: number[] } {
  const chain: ChainLink[] = [];
  let number = numbers[numbers.length - 1]!;
  for (;;) {
    const reader = new SegmentReader(options.fileSystem, segmentPath(options.directory, number), number);
    try {
      const found = reader.head();
      chain.unshift({
        number,
        head: found.head,
        groupNumber: found.number,
        headBytes: found.bytes,
        nonce: reader.nonce,
        fileBytes: reader.fileBytes,
      });
    } finally {
      reader.close();
    }
    const { previous } = chain[0]!.head;
    if (previous === 0) break;
    if (previous >= number || (!numbers.includes(previous) && numbers.some((other) => other < previous))) {
      const path = segmentPath(options.directory, previous);
      throw corrupt({ path, offset: 0, expected: `segment ${previous}`, found: "no file" });
    }
    if (!numbers.includes(previous)) break;
    number = previous;
  }
  const kept = new Set(chain.map((link) => link.number));
  return { chain, superseded: numbers.filter((other) => !kept.has(other)) };
}

/** A segment goes on where the one before it ended: else groups are missing between them. */
function checkHead(
  options: SegmentLogOptions,
  at: { readonly link: ChainLink; readonly state: LogState; readonly groupNumber: number; readonly before: Segment | undefined },
): void {
  const { link, state, before } = at;
  const follows = link.head.lastIndex === state.lastIndex && link.head.lastTerm === state.lastTerm;
  if (link.groupNumber === at.groupNumber + 1 && follows) return;
  if (before === undefined || link.groupNumber <= at.groupNumber) {
    const path = segmentPath(options.directory, link.number);
    throw corrupt({ path, offset: 0, expected: groupNumberText(at.groupNumber + 1), found: groupNumberText(link.groupNumber) });
  }
  const reader = new SegmentReader(options.fileSystem, before.path, before.number);
  const found = describe(reader.view(before.usedBytes, GROUP_HEADER_BYTES));
  reader.close();
  throw corrupt({ path: before.path, offset: before.usedBytes, expected: groupNumberText(at.groupNumber + 1), found });
}

/** Copies the groups behind the head of `old` to their new place, sealed anew for it. Answers where they end. */
function copyGroups(
  options: SegmentLogOptions,
  copy: { readonly old: Segment; readonly file: FileHandle; readonly place: GroupPlace; readonly window: ReadWindow },
): number {
  const { old, file, place, window } = copy;
  const reader = new SegmentReader(options.fileSystem, old.path, old.number, window);
  let position = place.offset;
  let staged = new Uint8Array(SLICE_BYTES);
  let stagedBytes = 0;
  const flush = (): void => {
    if (stagedBytes > 0) file.write(staged.subarray(0, stagedBytes), position);
    position += stagedBytes;
    stagedBytes = 0;
  };
  try {
    reader.head();
    for (let offset = old.headBytes; offset < old.usedBytes;) {
      const group = reader.group(offset);
      // Read well a moment ago.
      if (group === undefined) throw corrupt({ path: old.path, offset, expected: "the group read before", found: "another" });
      const length = roundUpToSector(group.bytes.byteLength);
      if (stagedBytes + length > staged.byteLength) flush();
      if (length > staged.byteLength) staged = new Uint8Array(length);
      const target = staged.subarray(stagedBytes, stagedBytes + group.bytes.byteLength);
      target.set(group.bytes);
      staged.fill(0, stagedBytes + group.bytes.byteLength, stagedBytes + length);
      const to = { segment: place.segment, nonce: place.nonce, offset: position + stagedBytes };
      sealGroup({ place: to, kind: "data", number: group.header.number }, [target]);
      stagedBytes += length;
      offset += length;
    }
    flush();
  } finally {
    reader.close();
  }
  return position;
}

/** Finds where the last entries begin that fit a bound of bytes, and keeps every configuration entry that was not replaced. */
class EntryCollector implements RecordObserver {
  readonly configurations: Entry[] = [];
  malformed = false;
  readonly #bytesMax: number;
  /** Of the last entries, from #start on, the last one of all at the end: their bytes. */
  #sizes: number[] = [];
  #start = 0;
  #bytes = 0;
  #lastIndex = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Behind the last entry where there was none. */
  get tailFrom(): number {
    return this.#lastIndex + 1 - (this.#sizes.length - this.#start);
  }

  onEntry(record: { readonly index: number; readonly bytes: Uint8Array; readonly offset: number; readonly end: number }): void {
    const entry = decodeEntry(record.bytes, record.offset);
    if (entry === undefined || entry.record.byteLength !== record.end - record.offset) {
      this.malformed = true;
      return;
    }
    while (this.#sizes.length > this.#start && this.#lastIndex >= entry.index) {
      this.#bytes -= this.#sizes.pop()!;
      this.#lastIndex--;
    }
    while (this.configurations.length > 0 && this.configurations[this.configurations.length - 1]!.index >= entry.index)
      this.configurations.pop();
    // A copy, since the bytes are those of a window that is read on in.
    if (entry.kind === "configuration") this.configurations.push({ ...entry, record: entry.record.slice() });
    this.#lastIndex = entry.index;
    this.#sizes.push(entry.record.byteLength);
    this.#bytes += entry.record.byteLength;
    // Raft needs the last one, however large.
    while (this.#bytes > this.#bytesMax && this.#sizes.length - this.#start > 1) this.#bytes -= this.#sizes[this.#start++]!;
    if (this.#start > 4096 && this.#start * 2 > this.#sizes.length) {
      this.#sizes = this.#sizes.slice(this.#start);
      this.#start = 0;
    }
  }
}
