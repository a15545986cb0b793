/** The real file system, of which an operation fails when a test says so: from then on, every time. */
import { FileError, type FileHandle, type FileSystem } from "../../host/file-system.ts";
import { createNodeFileSystem } from "../../host/node-file-system.ts";

export type FileOperation = "open" | "rename" | "remove" | "syncDirectory" | "write" | "dataSync" | "read";

export class FailingFileSystem implements FileSystem {
  readonly #real: FileSystem = createNodeFileSystem({ sync: false });
  #failing: { readonly operation: FileOperation; readonly errno: string } | undefined;
  /** How often the failing operation was tried. */
  failures = 0;

  fail(operation: FileOperation, errno: string): void {
    this.#failing = { operation, errno };
  }

  #check(operation: FileOperation, path: string): void {
    if (this.#failing?.operation !== operation) return;
    this.failures++;
    throw new FileError({ operation, path, errno: this.#failing.errno });
  }

  open(path: string, mode: "create" | "write" | "read"): FileHandle {
    this.#check("open", path);
    const handle = this.#real.open(path, mode);
    return {
      path,
      size: () => handle.size(),
      read: (into, position) => {
        this.#check("read", path);
        return handle.read(into, position);
      },
      write: (bytes, position) => {
        this.#check("write", path);
        handle.write(bytes, position);
      },
      truncate: (bytes) => handle.truncate(bytes),
      dataSync: () => {
        this.#check("dataSync", path);
        handle.dataSync();
      },
      close: () => handle.close(),
    };
  }

  list(directory: string): readonly string[] {
    return this.#real.list(directory);
  }

  exists(path: string): boolean {
    return this.#real.exists(path);
  }

  makeDirectory(path: string): void {
    this.#real.makeDirectory(path);
  }

  rename(from: string, to: string): void {
    this.#check("rename", from);
    this.#real.rename(from, to);
  }

  remove(path: string): void {
    this.#check("remove", path);
    this.#real.remove(path);
  }

  removeDirectory(path: string): void {
    this.#check("remove", path);
    this.#real.removeDirectory(path);
  }

  syncDirectory(path: string): void {
    this.#check("syncDirectory", path);
    this.#real.syncDirectory(path);
  }
}
