/**
 * Where a member's disk runs: in a thread of its own, or inline in the caller's for tests and bundles. Either way the directory is locked
 * first and released at the end.
 */
import { Worker } from "node:worker_threads";
import { EngineError, fromWire, toWire } from "../errors.ts";
import { FileError } from "../host/file-system.ts";
import type { FileSystem } from "../host/file-system.ts";
import { createNodeFileSystem } from "../host/node-file-system.ts";
import { createNodeRandom } from "../host/node-random.ts";
import { lockDataDirectory } from "./data-directory-lock.ts";
import type { DataDirectoryLock } from "./data-directory-lock.ts";
import type { DiskPort, DiskReply, DiskRequest } from "./disk-protocol.ts";
import { DiskQueue } from "./disk-queue.ts";
import { createDiskServer } from "./disk-server.ts";
import type { DiskWorkerData, DiskWorkerGreeting } from "./disk-worker.ts";
import { recordStoreOpener } from "./records/disk-stores.ts";
import type { ModuleRef, RecordStore } from "./records/record-store.ts";
import { diskError } from "./storage-failure.ts";

export interface DiskOptions {
  readonly directory: string;
  /** Leaves out every sync: what was acknowledged may be lost when the machine stops. */
  readonly unsafeNoFsync: boolean;
  readonly segmentBytes?: number;
  /** A user's own record store: loaded where the disk's calls are made. Default: the one of this package. */
  readonly store?: ModuleRef & { readonly module: string };
}

/** A disk that is stuck in a system call cannot be waited for: past this the thread is left behind. */
const CLOSE_MS_MAX = 5000;
/** Inline, idle this long, the disk does work that nobody waits for. */
const INLINE_IDLE_MS = 5;

/** Starts the disk thread and locks the directory, which is made if need be. Rejects with IN_USE, NO_SPACE, DISK_FAILED or INVALID_ARGUMENT. */
export function openDiskThread(options: DiskOptions & { readonly workerUrl?: URL | string }): Promise<DiskPort> {
  const { directory, unsafeNoFsync, segmentBytes, store } = options;
  const bell = new Int32Array(new SharedArrayBuffer(4));
  const workerData: DiskWorkerData = { directory, unsafeNoFsync, segmentBytes, bell, store };
  // Neither the application's loaders and agents nor its environment come along.
  const worker = new Worker(options.workerUrl ?? new URL("./disk-worker.js", import.meta.url), {
    workerData,
    execArgv: [],
    env: {},
    name: "disk",
  });
  return new Promise((resolve, reject) => {
    const onEarlyError = (error: Error): void => reject(threadEnded(directory, error));
    const onEarlyExit = (): void => reject(threadEnded(directory, undefined));
    worker.once("error", onEarlyError);
    worker.once("exit", onEarlyExit);
    worker.once("message", (greeting: DiskWorkerGreeting) => {
      worker.off("error", onEarlyError);
      worker.off("exit", onEarlyExit);
      if (greeting.kind === "ready") {
        resolve(new ThreadPort(worker, { directory, bell }));
        return;
      }
      worker.on("error", () => {});
      reject(fromWire(greeting.error));
    });
  });
}

class ThreadPort implements DiskPort {
  readonly #worker: Worker;
  readonly #bell: Int32Array;
  readonly #exited: Promise<void>;
  #callback: ((reply: DiskReply) => void) | undefined;
  #closing: Promise<void> | undefined;
  #hasExited = false;

  constructor(worker: Worker, options: { readonly directory: string; readonly bell: Int32Array }) {
    this.#worker = worker;
    this.#bell = options.bell;
    let cause: Error | undefined;
    worker.on("error", (error: Error) => {
      cause = error;
    });
    worker.on("message", (reply: DiskReply) => this.#callback?.(reply));
    this.#exited = new Promise((resolve) => {
      worker.once("exit", () => {
        this.#hasExited = true;
        const error = threadEnded(options.directory, cause);
        if (this.#closing === undefined) this.#callback?.({ id: 0, error: toWire(error), fatal: true });
        resolve();
      });
    });
  }

  onReply(callback: (reply: DiskReply) => void): void {
    this.#callback = callback;
  }

  post(request: DiskRequest): void {
    if (this.#hasExited) return;
    this.#worker.postMessage(request, handedOver(request));
    Atomics.add(this.#bell, 0, 1);
    Atomics.notify(this.#bell, 0);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  ref(): void {
    this.#worker.ref();
  }

  unref(): void {
    this.#worker.unref();
  }

  async #close(): Promise<void> {
    // Once more does no harm, and a storage that failed has not asked.
    this.post({ id: 0, kind: "close" });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), CLOSE_MS_MAX);
    });
    const outcome = await Promise.race([this.#exited, late]);
    clearTimeout(timer);
    if (outcome !== "late") return;
    this.#worker.unref();
    void this.#worker.terminate();
  }
}

/** What a request gives away rather than copies. */
function handedOver(request: DiskRequest): ArrayBuffer[] {
  return request.kind === "writeSnapshot" ? [request.bytes.buffer as ArrayBuffer] : [];
}

function threadEnded(directory: string, cause: Error | undefined): EngineError<"DISK_FAILED"> {
  const message = `the disk thread of ${directory} ended${cause === undefined ? "" : `: ${cause.message}`}`;
  const details = { operation: "thread", path: directory, errno: (cause as NodeJS.ErrnoException | undefined)?.code ?? "EXIT" };
  return new EngineError("DISK_FAILED", message, details, { mayHaveApplied: true, cause });
}

/** The same in the caller's thread, which every sync then blocks. */
export async function openInlineDisk(options: DiskOptions & { readonly fileSystem?: FileSystem }): Promise<DiskPort> {
  const { directory } = options;
  const fileSystem = options.fileSystem ?? createNodeFileSystem({ sync: !options.unsafeNoFsync });
  const random = createNodeRandom();
  let lock: DataDirectoryLock;
  try {
    fileSystem.makeDirectory(directory);
    lock = await lockDataDirectory(directory, random);
  } catch (error) {
    throw error instanceof FileError ? diskError(error, 0) : error;
  }
  let openStore: ((path: string) => Promise<RecordStore>) | undefined;
  try {
    openStore = await recordStoreOpener(options.store);
  } catch (error) {
    lock.release();
    throw error;
  }
  return new InlinePort(lock, (answer, onSettled) => {
    const server = createDiskServer({
      fileSystem,
      directory,
      options: {
        random,
        now: () => performance.now(),
        onProgress: (progress) => answer({ id: 0, progress }),
        ...(options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes }),
        ...(openStore === undefined ? {} : { openStore }),
      },
    });
    return new DiskQueue(server, answer, onSettled);
  });
}

class InlinePort implements DiskPort {
  readonly #lock: DataDirectoryLock;
  readonly #queue: DiskQueue;
  #callback: ((reply: DiskReply) => void) | undefined;
  #closing: Promise<void> | undefined;
  #scheduled = false;
  #idle: NodeJS.Timeout | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(lock: DataDirectoryLock, createQueue: (answer: (reply: DiskReply) => void, onSettled: () => void) => DiskQueue) {
    this.#lock = lock;
    this.#queue = createQueue(
      (reply) => this.#callback?.(reply),
      () => this.#schedule(),
    );
  }

  onReply(callback: (reply: DiskReply) => void): void {
    this.#callback = callback;
  }

  post(request: DiskRequest): void {
    this.#queue.push(request);
    this.#schedule();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.post({ id: 0, kind: "close" });
    await new Promise<void>((resolve) => (this.#onEmpty = resolve));
    clearTimeout(this.#idle);
    this.#lock.release();
  }

  #schedule(): void {
    clearTimeout(this.#idle);
    // A turn of the event loop for each piece of work, so that the application's own come between.
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#attempt(() => this.#queue.runOne())) this.#schedule();
      else if (this.#queue.isWaiting) return;
      else if (this.#closing !== undefined) this.#onEmpty?.();
      else this.#rest();
    });
  }

  #rest(): void {
    this.#idle = setTimeout(() => {
      if (this.#attempt(() => this.#queue.runIdle())) this.#rest();
    }, INLINE_IDLE_MS).unref();
  }

  /** A bug in the disk's code ends the storage, not the application. */
  #attempt(run: () => boolean): boolean {
    try {
      return run();
    } catch (error) {
      const invariant = `the disk's code does not throw: ${String(error)}`;
      const failure = new EngineError("INTERNAL", invariant, { invariant }, { mayHaveApplied: true });
      this.#callback?.({ id: 0, error: toWire(failure), fatal: true });
      return true;
    }
  }
}
