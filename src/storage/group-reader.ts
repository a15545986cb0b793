/**
 * Reads groups of the log back while it is written to. Entries are asked for in slices that are smaller than most groups, so the group that was
 * read last is kept, and its memory is used for the next: to read a whole log back costs one reading of each group, and no garbage.
 */
import type { FileSystem } from "../host/file-system.ts";
import { GROUP_HEADER_BYTES, readGroupHeader, verifyGroup } from "./log-format.ts";
import { describe } from "./segment.ts";
import type { Segment } from "./segment.ts";
import { corrupt } from "./storage-failure.ts";

/** Memory that is kept from one group to the next: as much as the appends that a group is joined of. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;

export class GroupReader {
  readonly #fileSystem: FileSystem;
  readonly #header = new Uint8Array(GROUP_HEADER_BYTES);
  #buffer = new Uint8Array(0);
  /** The group in the buffer; 0 bytes: there is none. */
  #bytes = 0;
  #nonce = 0;
  #segment = 0;
  #offset = 0;

  constructor(fileSystem: FileSystem) {
    this.#fileSystem = fileSystem;
  }

  /** The group, header included: a view until the next call. Throws CORRUPT where there is another, or none. */
  read(segment: Segment, offset: number): Uint8Array {
    // What was read once as it was written stays so: nothing is written twice to a place of a segment.
    const isKept = this.#bytes > 0 && this.#segment === segment.number && this.#nonce === segment.nonce && this.#offset === offset;
    if (isKept) return this.#buffer.subarray(0, this.#bytes);
    this.#bytes = 0;
    const file = segment.file ?? this.#fileSystem.open(segment.path, "read");
    try {
      file.read(this.#header, offset);
      const header = readGroupHeader(this.#header);
      const bad = (): Error => corrupt({ path: segment.path, offset, expected: "the group written here", found: describe(this.#header) });
      const length = GROUP_HEADER_BYTES + (header?.recordBytes ?? 0);
      if (header === undefined || offset + length > segment.usedBytes) throw bad();
      const group = this.#room(length);
      file.read(group, offset);
      if (!verifyGroup({ segment: segment.number, nonce: segment.nonce, offset }, group)) throw bad();
      this.#bytes = length;
      this.#segment = segment.number;
      this.#nonce = segment.nonce;
      this.#offset = offset;
      return group;
    } finally {
      if (segment.file === undefined) file.close();
    }
  }

  #room(bytes: number): Uint8Array {
    const isTooLarge = this.#buffer.byteLength > KEPT_BYTES_MAX && bytes <= KEPT_BYTES_MAX;
    if (bytes > this.#buffer.byteLength || isTooLarge) this.#buffer = new Uint8Array(bytes);
    return this.#buffer.subarray(0, bytes);
  }
}
