/** One file of a store: its name, its head, and how it comes to be. Under a segment's name there is a segment, whenever power was lost. */
import type { FileHandle, FileSystem } from "../../host/file-system.ts";
import type { Random } from "../../host/random.ts";
import { GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, jsonGroup, parseJson, roundUpToSector, sealGroup } from "../log-format.ts";
import { SegmentReader, describe } from "../segment.ts";
import type { ReadWindow } from "../segment.ts";
import { corrupt } from "../storage-failure.ts";
import { RECORD_STORE_HEAD } from "./store-format.ts";

export interface SegmentStoreOptions {
  readonly fileSystem: FileSystem;
  /** The store's own. */
  readonly directory: string;
  /** A segment takes no further batch once it is this long. */
  readonly segmentBytes: number;
  readonly random: Random;
}

export interface StoreHead {
  readonly store: 1;
  readonly segment: number;
  /** How far the segment before this one counts; what lies behind that was never part of a whole batch. 0 without one. */
  readonly previousBytes: number;
}

export interface StoreSegment {
  readonly number: number;
  readonly path: string;
  readonly nonce: number;
  /** What stands for it in places of the index; given out again once it is removed. */
  readonly slot: number;
  readonly headBytes: number;
  /** Whole batches end here. */
  usedBytes: number;
  /** Of the file, including what does not count. */
  fileBytes: number;
  /** Of its records that the index points to. */
  liveBytes: number;
  liveRecords: number;
  /** Open for writing, or for reading. */
  file: FileHandle | undefined;
}

const NAME = /^(\d{12})\.records$/;
const HEAD_TEMP_NAME = "head.tmp";

export function storeSegmentPath(directory: string, number: number): string {
  return `${directory}/${String(number).padStart(12, "0")}.records`;
}

/** Numbers of the segments in the directory, ascending. What a crash has left half made is removed. */
export function listStoreSegments(options: SegmentStoreOptions): number[] {
  const { fileSystem, directory } = options;
  const numbers: number[] = [];
  for (const name of fileSystem.list(directory)) {
    const match = NAME.exec(name);
    if (match !== null) numbers.push(Number(match[1]));
    else if (name === HEAD_TEMP_NAME) fileSystem.remove(`${directory}/${name}`);
  }
  return numbers.sort((left, right) => left - right);
}

/** Writes and syncs the head, and what `fill` puts behind it, under another name; then gives the file its own. */
export function createStoreSegment(
  options: SegmentStoreOptions,
  made: {
    readonly number: number;
    readonly slot: number;
    readonly groupNumber: number;
    readonly previousBytes: number;
    /** Answers where what it wrote ends. */
    fill?(file: FileHandle, place: { readonly segment: number; readonly nonce: number; readonly offset: number }): number;
  },
): StoreSegment {
  const { fileSystem, directory } = options;
  const { number, slot, groupNumber, previousBytes } = made;
  const path = storeSegmentPath(directory, number);
  const temporary = `${directory}/${HEAD_TEMP_NAME}`;
  fileSystem.remove(temporary);
  const file = fileSystem.open(temporary, "create");
  try {
    const nonce = options.random.uint32();
    const head: StoreHead = { store: 1, segment: number, previousBytes };
    const group = jsonGroup(RECORD_STORE_HEAD, head);
    sealGroup({ place: { segment: number, nonce, offset: 0 }, kind: "head", number: groupNumber }, [group]);
    file.write(group, 0);
    const headBytes = roundUpToSector(group.byteLength);
    const usedBytes = made.fill?.(file, { segment: number, nonce, offset: headBytes }) ?? headBytes;
    file.dataSync();
    fileSystem.rename(temporary, path);
    fileSystem.syncDirectory(directory);
    return { number, path, nonce, slot, headBytes, usedBytes, fileBytes: usedBytes, liveBytes: 0, liveRecords: 0, file };
  } catch (error) {
    file.close();
    throw error;
  }
}

export interface OpenedStoreSegment {
  readonly reader: SegmentReader;
  readonly head: StoreHead;
  readonly headBytes: number;
  /** The head's own. */
  readonly groupNumber: number;
}

/** Opens a segment for reading and verifies its head. Throws CORRUPT, INCOMPATIBLE or a FileError. */
export function openStoreSegment(options: SegmentStoreOptions, number: number, window?: ReadWindow): OpenedStoreSegment {
  const path = storeSegmentPath(options.directory, number);
  const reader = new SegmentReader(options.fileSystem, path, number, window);
  try {
    const group = reader.group(0);
    const view = group === undefined ? undefined : new DataView(group.bytes.buffer, group.bytes.byteOffset, group.bytes.byteLength);
    const isHead = group?.header.kind === "head" && view!.getUint32(GROUP_HEADER_BYTES + 4, true) === RECORD_STORE_HEAD;
    const head = isHead ? readHead(parseJson(group.bytes.subarray(GROUP_HEADER_BYTES + RECORD_HEADER_BYTES))) : undefined;
    if (group === undefined || head?.segment !== number) {
      const found = describe(reader.view(0, GROUP_HEADER_BYTES));
      throw corrupt({ path, offset: 0, expected: `head of segment ${number} of a store`, found });
    }
    reader.nonce = group.header.nonce;
    return { reader, head, headBytes: roundUpToSector(group.bytes.byteLength), groupNumber: group.header.number };
  } catch (error) {
    reader.close();
    throw error;
  }
}

function readHead(value: object | undefined): StoreHead | undefined {
  const head = value as Partial<StoreHead> | undefined;
  if (head?.store !== 1 || !Number.isSafeInteger(head.segment) || !Number.isSafeInteger(head.previousBytes)) return undefined;
  return head as StoreHead;
}
