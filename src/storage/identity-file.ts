/**
 * A small file that is replaced as a whole: written under another name, synced, renamed. What is in it is the caller's.
 *
 *   u32 magic "dide" | u32 version | u32 bytes | u32 CRC of the rest of the header and the bytes | the bytes
 */
import { crc32 } from "node:zlib";
import type { FileSystem } from "../host/file-system.ts";
import { corrupt, newerFormat } from "./storage-failure.ts";

const MAGIC = 0x65646964;
const VERSION = 1;
const HEADER_BYTES = 16;
const NAME = "identity";
/** Of the caller's bytes. */
export const IDENTITY_BYTES_MAX: number = 64 * 1024;

export function saveIdentity(fileSystem: FileSystem, directory: string, identity: Uint8Array): void {
  const bytes = new Uint8Array(HEADER_BYTES + identity.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, VERSION, true);
  view.setUint32(8, identity.byteLength, true);
  bytes.set(identity, HEADER_BYTES);
  view.setUint32(12, checksum(bytes), true);
  const temporary = `${directory}/${NAME}.tmp`;
  fileSystem.remove(temporary);
  const file = fileSystem.open(temporary, "create");
  try {
    file.write(bytes, 0);
    file.dataSync();
  } finally {
    file.close();
  }
  fileSystem.rename(temporary, `${directory}/${NAME}`);
  fileSystem.syncDirectory(directory);
}

/** undefined where nothing was ever saved. Throws CORRUPT or INCOMPATIBLE. */
export function loadIdentity(fileSystem: FileSystem, directory: string): Uint8Array | undefined {
  const path = `${directory}/${NAME}`;
  if (!fileSystem.exists(path)) return undefined;
  const file = fileSystem.open(path, "read");
  const bytes = new Uint8Array(Math.min(file.size(), HEADER_BYTES + IDENTITY_BYTES_MAX));
  try {
    file.read(bytes, 0);
  } finally {
    file.close();
  }
  const bad = (found: string): Error => corrupt({ path, offset: 0, expected: "an identity", found });
  if (bytes.byteLength < HEADER_BYTES) throw bad(`${bytes.byteLength} bytes`);
  const view = new DataView(bytes.buffer);
  if (view.getUint32(0, true) !== MAGIC) throw bad("another kind of file");
  if (view.getUint32(8, true) !== bytes.byteLength - HEADER_BYTES) throw bad("another length");
  if (view.getUint32(12, true) !== checksum(bytes)) throw bad("a bad checksum");
  const version = view.getUint32(4, true);
  if (version !== VERSION) throw newerFormat(path, { found: version, supported: VERSION });
  return bytes.slice(HEADER_BYTES);
}

function checksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(HEADER_BYTES), crc32(bytes.subarray(0, 12)));
}
