/** Packs a backup (backup-format.ts) from slices of the stream: the header, each slice, the end. Keeps nothing of what it has packed but the digest. */
// oxlint-disable-next-line no-restricted-imports -- a digest, which draws nothing
import { createHash, type Hash } from "node:crypto";
import { assert } from "../errors.ts";
import {
  BACKUP_DIGEST_BYTES,
  BACKUP_END_BYTES,
  BACKUP_HEADER_BYTES,
  BACKUP_MAGIC,
  BACKUP_SLICE_BYTES_MAX,
  BACKUP_SLICE_HEADER_BYTES,
  BACKUP_VERSION,
  backupHeaderChecksum,
  backupPaddingBytes,
  backupSliceChecksum,
  type BackupDescription,
} from "./backup-format.ts";

/** begin() once, slice() for each, end() once: what each answers is the next part of the backup, in a buffer of its own. */
export class BackupWriter {
  readonly #digest: Hash = createHash("sha256");
  #bytes = 0;
  #streamBytes = 0;
  #slices = 0;

  /** So far. */
  get bytes(): number {
    return this.#bytes;
  }

  begin(description: BackupDescription): Uint8Array<ArrayBuffer> {
    const json = new TextEncoder().encode(JSON.stringify(description));
    const header = new Uint8Array(BACKUP_HEADER_BYTES + json.byteLength);
    const view = new DataView(header.buffer);
    view.setUint32(0, BACKUP_MAGIC, true);
    view.setUint32(4, BACKUP_VERSION, true);
    view.setUint32(8, json.byteLength, true);
    view.setUint32(12, backupHeaderChecksum(header, json), true);
    header.set(json, BACKUP_HEADER_BYTES);
    return this.#pack(header);
  }

  /** Of at least one byte. */
  slice(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    assert(bytes.byteLength > 0 && bytes.byteLength <= BACKUP_SLICE_BYTES_MAX, "slices of a backup are neither empty nor too long");
    const slice = new Uint8Array(BACKUP_SLICE_HEADER_BYTES + bytes.byteLength);
    const view = new DataView(slice.buffer);
    view.setUint32(0, bytes.byteLength, true);
    view.setUint32(4, backupSliceChecksum(this.#slices++, bytes), true);
    slice.set(bytes, BACKUP_SLICE_HEADER_BYTES);
    this.#streamBytes += bytes.byteLength;
    return this.#pack(slice);
  }

  /** The end, the padding and the digest. */
  end(): Uint8Array<ArrayBuffer> {
    const padded = BACKUP_END_BYTES + backupPaddingBytes(this.#bytes + BACKUP_END_BYTES);
    const end = new Uint8Array(padded + BACKUP_DIGEST_BYTES);
    const view = new DataView(end.buffer);
    view.setFloat64(8, this.#streamBytes, true);
    view.setUint32(4, backupSliceChecksum(this.#slices, end.subarray(8, BACKUP_END_BYTES)), true);
    this.#pack(end.subarray(0, padded));
    end.set(this.#digest.digest(), padded);
    this.#bytes += BACKUP_DIGEST_BYTES;
    return end;
  }

  #pack(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    this.#digest.update(bytes);
    this.#bytes += bytes.byteLength;
    return bytes;
  }
}
