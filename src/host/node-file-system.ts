/**
 * The real FileSystem: synchronous calls of `node:fs`, none of which touches libuv's thread pool. Called from the disk thread only, or
 * inline where the caller asked for that.
 */
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  ftruncateSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { FileError } from "./file-system.ts";
import type { FileHandle, FileSystem } from "./file-system.ts";

export interface NodeFileSystemOptions {
  /** false leaves out every sync: what was acknowledged may be lost when the machine stops. Default true. */
  readonly sync?: boolean;
}

export function createNodeFileSystem(options: NodeFileSystemOptions = {}): FileSystem {
  return new NodeFileSystem(options.sync ?? true);
}

const FLAGS = { create: "wx+", write: "r+", read: "r" } as const;

class NodeFileSystem implements FileSystem {
  readonly #sync: boolean;

  constructor(sync: boolean) {
    this.#sync = sync;
  }

  open(path: string, mode: "create" | "write" | "read"): FileHandle {
    try {
      return new NodeFileHandle(path, openSync(path, FLAGS[mode], 0o600), this.#sync);
    } catch (error) {
      throw fileError("open", path, error);
    }
  }

  list(directory: string): readonly string[] {
    try {
      return readdirSync(directory).sort();
    } catch (error) {
      throw fileError("list", directory, error);
    }
  }

  exists(path: string): boolean {
    return existsSync(path);
  }

  makeDirectory(path: string): void {
    const missing: string[] = [];
    try {
      // One by one: where the system says ENOENT of what cannot be made, as under /proc, `recursive` of Node.js tries for ever.
      const wanted = resolve(path);
      for (let at = wanted; !existsSync(at); at = dirname(at)) missing.push(at);
      for (const directory of missing.toReversed()) makeOne(directory);
      if (missing.length === 0) makeOne(wanted);
    } catch (error) {
      throw fileError("makeDirectory", path, error);
    }
    // A new directory is an entry of the one above it, which has to reach the disk too.
    for (const made of missing) this.syncDirectory(dirname(made));
  }

  rename(from: string, to: string): void {
    try {
      renameSync(from, to);
    } catch (error) {
      throw fileError("rename", from, error);
    }
  }

  remove(path: string): void {
    try {
      unlinkSync(path);
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw fileError("remove", path, error);
    }
  }

  removeDirectory(path: string): void {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch (error) {
      throw fileError("removeDirectory", path, error);
    }
  }

  syncDirectory(path: string): void {
    // Windows cannot open a directory; NTFS journals its entries by itself.
    if (!this.#sync || process.platform === "win32") return;
    try {
      const descriptor = openSync(path, "r");
      try {
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      throw fileError("syncDirectory", path, error);
    }
  }
}

class NodeFileHandle implements FileHandle {
  readonly path: string;
  readonly #descriptor: number;
  readonly #sync: boolean;
  #open = true;

  constructor(path: string, descriptor: number, sync: boolean) {
    this.path = path;
    this.#descriptor = descriptor;
    this.#sync = sync;
  }

  size(): number {
    try {
      return fstatSync(this.#descriptor).size;
    } catch (error) {
      throw fileError("size", this.path, error);
    }
  }

  read(into: Uint8Array, position: number): number {
    let done = 0;
    try {
      while (done < into.byteLength) {
        const count = readSync(this.#descriptor, into, done, into.byteLength - done, position + done);
        if (count === 0) break;
        done += count;
      }
    } catch (error) {
      throw fileError("read", this.path, error);
    }
    return done;
  }

  write(bytes: Uint8Array, position: number): void {
    let done = 0;
    try {
      while (done < bytes.byteLength) {
        done += writeSync(this.#descriptor, bytes, done, bytes.byteLength - done, position + done);
      }
    } catch (error) {
      throw fileError("write", this.path, error);
    }
  }

  truncate(bytes: number): void {
    try {
      ftruncateSync(this.#descriptor, bytes);
    } catch (error) {
      throw fileError("truncate", this.path, error);
    }
  }

  dataSync(): void {
    if (!this.#sync) return;
    try {
      fdatasyncSync(this.#descriptor);
    } catch (error) {
      throw fileError("dataSync", this.path, error);
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    try {
      closeSync(this.#descriptor);
    } catch (error) {
      throw fileError("close", this.path, error);
    }
  }
}

/** Another process may have made it meanwhile. */
function makeOne(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST" || statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
  }
}

function errnoOf(error: unknown): string {
  const code = typeof error === "object" && error !== null ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : "UNKNOWN";
}

function fileError(operation: string, path: string, cause: unknown): FileError {
  return new FileError({ operation, path, errno: errnoOf(cause), cause });
}
