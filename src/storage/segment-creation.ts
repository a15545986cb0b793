/**
 * How a segment comes to be: its head is written and synced under another name, and only then does the file get its own. What is under a
 * segment's name is a segment, whenever power was lost.
 */
import type { FileHandle, FileSystem } from "../host/file-system.ts";
import type { Random } from "../host/random.ts";
import { RECORD_HEAD, jsonGroup, roundUpToSector, sealGroup } from "./log-format.ts";
import type { SegmentHead } from "./log-state.ts";
import { segmentPath } from "./segment.ts";
import type { Segment } from "./segment.ts";
import { isNoSpace } from "./storage-failure.ts";

export interface SegmentLogOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly segmentBytes: number;
  readonly random: Random;
  /** Monotonic milliseconds, for `syncMs` alone. */
  now(): number;
}

const HEAD_TEMP_NAME = "head.tmp";

/** How far the head of a segment reaches, up to where its first group of data begins. */
export function segmentHeadBytes(head: SegmentHead): number {
  return roundUpToSector(jsonGroup(RECORD_HEAD, head).byteLength);
}

/** Writes and syncs a segment's head under another name, then gives the file its own: a named segment has a head. */
export function createSegment(
  options: SegmentLogOptions,
  made: {
    readonly head: SegmentHead;
    readonly groupNumber: number;
    /** A file of zeros to take. */
    readonly from: string | undefined;
    /** Further groups that the segment has from the start, written before it gets its name. Answers where they end. */
    fill?(file: FileHandle, place: { readonly segment: number; readonly nonce: number; readonly offset: number }): number;
  },
): Segment {
  const { fileSystem, directory } = options;
  const { head } = made;
  const path = segmentPath(directory, head.segment);
  const temporary = made.from ?? `${directory}/${HEAD_TEMP_NAME}`;
  if (made.from === undefined) fileSystem.remove(temporary);
  const file = fileSystem.open(temporary, made.from === undefined ? "create" : "write");
  try {
    const nonce = options.random.uint32();
    const group = jsonGroup(RECORD_HEAD, head);
    sealGroup({ place: { segment: head.segment, nonce, offset: 0 }, kind: "head", number: made.groupNumber }, [group]);
    file.write(group, 0);
    const headBytes = roundUpToSector(group.byteLength);
    const usedBytes = made.fill?.(file, { segment: head.segment, nonce, offset: headBytes }) ?? headBytes;
    file.dataSync();
    const fileBytes = Math.max(usedBytes, file.size());
    fileSystem.rename(temporary, path);
    fileSystem.syncDirectory(directory);
    return { number: head.segment, path, nonce, head, headBytes, usedBytes, fileBytes, mayBeFirst: true, file };
  } catch (error) {
    file.close();
    // On a full disk the next attempt needs what this one took.
    if (made.from === undefined && isNoSpace(error)) fileSystem.remove(temporary);
    throw error;
  }
}
