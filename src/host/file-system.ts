/**
 * The synchronous file calls that storage is written on. The real one wraps `node:fs` and is only ever called from the disk
 * thread (or inline, where the caller asked for that); the simulator's knows sectors, unsynced writes and faults.
 * Every method throws a FileError; none retries.
 */
export interface FileSystem {
  /** "create" fails if the file is there; "write" opens an existing file for reading and writing; "read" for reading. */
  open(path: string, mode: "create" | "write" | "read"): FileHandle;
  /** Names in the directory, sorted. */
  list(directory: string): readonly string[];
  exists(path: string): boolean;
  /** Makes the directory and those above it. */
  makeDirectory(path: string): void;
  /** Replaces `to` if it is there. Durable once syncDirectory() of the directory returned. */
  rename(from: string, to: string): void;
  /** Durable once syncDirectory() of the directory returned. A missing file is not an error. */
  remove(path: string): void;
  /** With all that is in it. A missing one is not an error. Durable once syncDirectory() of the one above returned. */
  removeDirectory(path: string): void;
  syncDirectory(path: string): void;
}

export interface FileHandle {
  readonly path: string;
  size(): number;
  /** Fills `into` from `position`; answers how many bytes there were (fewer only at the end of the file). */
  read(into: Uint8Array, position: number): number;
  /** Writes all of `bytes` at `position` or throws. Not durable before dataSync(). */
  write(bytes: Uint8Array, position: number): void;
  /** Cuts the file to its first `bytes`, of which it has as many. A crash may bring back what was cut before dataSync(). */
  truncate(bytes: number): void;
  /** fdatasync. After it failed, nothing about unsynced bytes is known, and it is never called again on this handle. */
  dataSync(): void;
  close(): void;
}

/** A failed file call, with what the operating system said. */
export class FileError extends Error {
  readonly operation: string;
  readonly path: string;
  /** "ENOSPC", "EIO", ... */
  readonly errno: string;

  constructor(failure: { readonly operation: string; readonly path: string; readonly errno: string; readonly cause?: unknown }) {
    super(`${failure.operation} ${failure.path}: ${failure.errno}`, { cause: failure.cause });
    this.name = "FileError";
    this.operation = failure.operation;
    this.path = failure.path;
    this.errno = failure.errno;
  }
}
