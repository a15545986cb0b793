/**
 * Reads a store back when it is opened, and decides what a bad group means. Every segment says how far the one before it counts, which was
 * synced before: a bad group up to there is rot. In the last segment groups were written without waiting for a sync, so that any of them
 * may have been lost with the power; but each says how far all was synced when it was written:
 *
 *   bad, and no valid group behind it says that it was synced:  lost with the power; it and all behind it are dropped
 *   bad, and a group behind it says that it was:                synced data has rotted; CORRUPT, and nothing is opened
 *
 * What was synced last no group speaks of; that it is there, the caller knows, who has noted elsewhere what it synced.
 *
 * What survives behind the last known sync may have been read back from the page cache without ever having reached the disk (as after
 * a failed sync), so it is written again, to a new segment. Writing always goes on in a new segment.
 */
import { GROUP_HEADER_BYTES, SECTOR_BYTES, roundUpToSector, sealGroup } from "../log-format.ts";
import { ReadWindow, describe, groupNumberText } from "../segment.ts";
import type { SegmentReader } from "../segment.ts";
import { corrupt } from "../storage-failure.ts";
import { PendingBatch } from "./pending-batch.ts";
import { OFFSET_SPAN, RecordIndex } from "./record-index.ts";
import { SegmentStore } from "./segment-store.ts";
import { PART_LAST, readPart, readRecords, writePart } from "./store-format.ts";
import { createStoreSegment, listStoreSegments, openStoreSegment, storeSegmentPath } from "./store-segment.ts";
import type { OpenedStoreSegment, SegmentStoreOptions, StoreSegment } from "./store-segment.ts";

/** How far the last segment counts. */
interface Tail {
  /** Whole batches end here. */
  readonly usedBytes: number;
  /** Whole batches end here that are known to have been synced. */
  readonly durableBytes: number;
  readonly groupNumber: number;
}

/** Throws CORRUPT with file and offset, INCOMPATIBLE for a newer format, or a FileError. */
export function openSegmentStore(options: SegmentStoreOptions, onProgress?: (bytes: number, bytesMax: number) => void): SegmentStore {
  const { directory, fileSystem } = options;
  const numbers = fileSystem.exists(directory) ? listStoreSegments(options) : [];
  const first = numbers[0];
  if (first === undefined) {
    throw corrupt({ path: storeSegmentPath(directory, 1), offset: 0, expected: "a segment of a store", found: "no file" });
  }
  const opened: OpenedStoreSegment[] = [];
  const window = new ReadWindow();
  try {
    for (const [at, number] of numbers.entries()) {
      if (number !== first + at) {
        throw corrupt({ path: storeSegmentPath(directory, first + at), offset: 0, expected: `segment ${first + at}`, found: "no file" });
      }
      opened.push(openStoreSegment(options, number, window));
    }
    const file = continued(options, opened, window);
    const total = opened.reduce((sum, { reader }) => sum + reader.fileBytes, 0);
    const scan = new Scan();
    let done = 0;
    for (const [at, one] of opened.entries()) {
      scan.read(one, { ends: opened[at + 1]?.head.previousBytes, onProgress: (bytes) => onProgress?.(done + bytes, total) });
      done += one.reader.fileBytes;
    }
    if (scan.index.count !== scan.records) {
      const { path } = opened[0]!.reader;
      throw corrupt({ path, offset: 0, expected: `${scan.records} records in all`, found: `${scan.index.count}` });
    }
    scan.segments[scan.segments.length - 1]!.file = fileSystem.open(file, "write");
    return new SegmentStore(options, scan);
  } finally {
    for (const { reader } of opened) reader.close();
  }
}

/**
 * Adds to `opened` a new segment, which what is not known to be on the disk of the last one is copied to. Answers the path of the segment
 * to go on in.
 */
function continued(options: SegmentStoreOptions, opened: OpenedStoreSegment[], window: ReadWindow): string {
  const last = opened[opened.length - 1]!;
  const { reader, headBytes } = last;
  // Nothing was ever written behind its head, which was synced before it had its name.
  if (reader.fileBytes <= headBytes) return reader.path;
  const tail = readTail(last);
  const number = reader.number + 1;
  const made = createStoreSegment(options, {
    number,
    slot: 0,
    groupNumber: tail.groupNumber + 1,
    previousBytes: tail.durableBytes,
    fill: (file, place) => {
      let to = place.offset;
      for (let offset = tail.durableBytes, copied = 0; offset < tail.usedBytes;) {
        const group = reader.group(offset);
        const part = group === undefined ? undefined : readPart(group.bytes);
        // Read well a moment ago.
        if (part === undefined) throw corrupt({ path: reader.path, offset, expected: "the group read before", found: "another" });
        const bytes = group!.bytes.slice();
        writePart(bytes, { ...part, durableBytes: 0 });
        copied++;
        sealGroup({ place: { ...place, offset: to }, kind: "data", number: tail.groupNumber + 1 + copied }, [bytes]);
        file.write(bytes, to);
        to += roundUpToSector(bytes.byteLength);
        offset += roundUpToSector(bytes.byteLength);
      }
      return to;
    },
  });
  made.file?.close();
  opened.push(openStoreSegment(options, number, window));
  return made.path;
}

function readTail({ reader, headBytes, groupNumber }: OpenedStoreSegment): Tail {
  /** Ends of whole batches that are not known to have been synced, behind the last one that is. */
  const ends: number[] = [headBytes];
  let number = groupNumber;
  let known = headBytes;
  let offset = headBytes;
  for (;;) {
    const group = reader.group(offset);
    const part = group?.header.kind === "data" && group.header.number === number + 1 ? readPart(group.bytes) : undefined;
    if (group === undefined || part === undefined) break;
    number++;
    offset += roundUpToSector(group.bytes.byteLength);
    known = Math.max(known, part.durableBytes);
    if ((part.flags & PART_LAST) !== 0) ends.push(offset);
    while (ends.length > 1 && ends[1]! <= known) ends.shift();
  }
  if (wasSynced(reader, offset)) {
    const found = describe(reader.view(offset, GROUP_HEADER_BYTES));
    throw corrupt({ path: reader.path, offset, expected: groupNumberText(number + 1), found });
  }
  return { usedBytes: ends[ends.length - 1]!, durableBytes: ends[0]!, groupNumber: number };
}

/** Whether a valid group behind `offset`, where there is none that counts, says that all up to beyond it was synced. Each sector is tried. */
function wasSynced(reader: SegmentReader, offset: number): boolean {
  for (let at = offset; at + GROUP_HEADER_BYTES <= reader.fileBytes; at += SECTOR_BYTES) {
    const group = reader.group(at);
    const part = group === undefined ? undefined : readPart(group.bytes);
    if (part !== undefined && part.durableBytes > offset) return true;
  }
  return false;
}

/** What reading the segments in their order leaves. */
class Scan {
  readonly index = new RecordIndex();
  readonly segments: StoreSegment[] = [];
  groupNumber = 0;
  /** As the last whole batch says. */
  records = 0;

  read(from: OpenedStoreSegment, about: { readonly ends: number | undefined; readonly onProgress: (bytes: number) => void }): void {
    const { reader, headBytes } = from;
    if (from.groupNumber <= this.groupNumber) {
      const expected = `${groupNumberText(this.groupNumber + 1)} or later`;
      throw corrupt({ path: reader.path, offset: 0, expected, found: groupNumberText(from.groupNumber) });
    }
    this.groupNumber = from.groupNumber;
    const { number, path, nonce, fileBytes } = reader;
    const slot = this.segments.length;
    const segment: StoreSegment = {
      number,
      path,
      nonce,
      slot,
      headBytes,
      usedBytes: headBytes,
      fileBytes,
      liveBytes: 0,
      liveRecords: 0,
      file: undefined,
    };
    this.segments.push(segment);
    // The last one was looked at before, or is new: all of it counts.
    const ends = about.ends ?? fileBytes;
    const pending = new PendingBatch();
    let offset = headBytes;
    while (offset < ends) {
      const group = reader.group(offset);
      const part = group?.header.kind === "data" && group.header.number === this.groupNumber + 1 ? readPart(group.bytes) : undefined;
      const place = slot * OFFSET_SPAN + offset;
      const problem =
        part === undefined
          ? describe(reader.view(offset, GROUP_HEADER_BYTES))
          : readRecords(group!.bytes, {
              put: (keyAt, keyBytes, at, end) => pending.put(group!.bytes, keyAt, keyBytes, place + at, end - at),
              delete: (keyAt, keyBytes) => pending.delete(group!.bytes, keyAt, keyBytes),
            });
      if (problem !== undefined) {
        throw corrupt({ path, offset, expected: groupNumberText(this.groupNumber + 1), found: problem });
      }
      this.groupNumber++;
      offset += roundUpToSector(group!.bytes.byteLength);
      about.onProgress(offset);
      if ((part!.flags & PART_LAST) !== 0) {
        this.#apply(pending, segment);
        this.records = part!.records;
        segment.usedBytes = offset;
      }
    }
    if (about.ends !== undefined && segment.usedBytes !== ends) {
      throw corrupt({ path, offset: segment.usedBytes, expected: "the end of a batch", found: "a batch without its end" });
    }
  }

  #apply(pending: PendingBatch, segment: StoreSegment): void {
    pending.apply(this.index, {
      onLive: (bytes) => {
        segment.liveBytes += bytes;
        segment.liveRecords++;
      },
      onDead: (entry) => {
        const owner = this.segments[Math.floor(entry.place / OFFSET_SPAN)]!;
        owner.liveBytes -= entry.bytes;
        owner.liveRecords--;
      },
    });
  }
}
