/**
 * The disk thread: a disk server over the real file system, in a loop that answers what has come and then waits. Its calls are synchronous, so
 * they never stand in line behind the application's in libuv's thread pool, and a disk that stalls holds up nothing but itself. It holds
 * the lock of the data directory.
 *
 * While work keeps coming the thread waits on a bell in shared memory, which wakes it sooner than a message does; when none has come for a
 * while it goes back to its event loop, where it can answer those who find the directory locked.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import type { Transferable } from "node:worker_threads";
import { EngineError, assert, toWire } from "../errors.ts";
import type { WireError } from "../errors.ts";
import { FileError } from "../host/file-system.ts";
import { createNodeFileSystem } from "../host/node-file-system.ts";
import { createNodeRandom } from "../host/node-random.ts";
import { lockDataDirectory } from "./data-directory-lock.ts";
import { recordStoreOpener } from "./records/disk-stores.ts";
import type { ModuleRef, RecordStore } from "./records/record-store.ts";
import type { DiskProgress, DiskReply, DiskRequest, DiskValue } from "./disk-protocol.ts";
import { DiskQueue } from "./disk-queue.ts";
import { createDiskServer } from "./disk-server.ts";
import { diskError } from "./storage-failure.ts";

export interface DiskWorkerData {
  readonly directory: string;
  readonly unsafeNoFsync: boolean;
  readonly segmentBytes: number | undefined;
  readonly store: (ModuleRef & { readonly module: string }) | undefined;
  /** Counts what was posted. */
  readonly bell: Int32Array;
}

/** The first message: whether the directory could be locked. */
export type DiskWorkerGreeting = { readonly kind: "ready" } | { readonly kind: "refused"; readonly error: WireError };

/** How long the thread waits for the bell before it goes back to its event loop. */
const BELL_WAIT_MS = 20;
/** The event loop gets its turn at least this often. */
const BUSY_MS_MAX = 100;
/** Idle this long, the thread does work that nobody waits for. */
const IDLE_MS = 2;

if (parentPort !== null) await serve(parentPort, workerData as DiskWorkerData);

async function serve(port: NonNullable<typeof parentPort>, data: DiskWorkerData): Promise<void> {
  const fileSystem = createNodeFileSystem({ sync: !data.unsafeNoFsync });
  const random = createNodeRandom();
  const { bell, directory } = data;
  let lock: { release(): void } | undefined;
  let openStore: ((path: string) => Promise<RecordStore>) | undefined;
  try {
    fileSystem.makeDirectory(directory);
    lock = await lockDataDirectory(directory, random);
    openStore = await recordStoreOpener(data.store);
  } catch (error) {
    lock?.release();
    const refused = error instanceof FileError ? diskError(error, 0) : error;
    if (!EngineError.is(refused)) throw error;
    port.postMessage({ kind: "refused", error: toWire(refused) } satisfies DiskWorkerGreeting);
    return;
  }
  const server = createDiskServer({
    fileSystem,
    directory,
    options: {
      random,
      now: () => performance.now(),
      onProgress: (progress: DiskProgress) => port.postMessage({ id: 0, progress } satisfies DiskReply),
      ...(data.segmentBytes === undefined ? {} : { segmentBytes: data.segmentBytes }),
      ...(openStore === undefined ? {} : { openStore }),
    },
  });
  const answer = (reply: DiskReply): void => port.postMessage(reply, transferable(reply.value));
  const queue = new DiskQueue(server, answer, () => {
    if (!scheduled) run();
  });
  let closed = false;
  let scheduled = false;

  const push = (request: DiskRequest): void => {
    queue.push(request);
    closed ||= request.kind === "close";
  };
  const run = (): void => {
    scheduled = false;
    const until = performance.now() + BUSY_MS_MAX;
    for (let idle = false; ;) {
      const seen = Atomics.load(bell, 0);
      for (let got = receiveMessageOnPort(port); got !== undefined; got = receiveMessageOnPort(port)) push(got.message as DiskRequest);
      if (queue.runOne()) {
        idle = false;
      } else if (queue.isWaiting) {
        // A user's own store goes on in the event loop, which the next message wakes too.
        return;
      } else if (closed) {
        lock.release();
        port.close();
        return;
      } else if (!idle) {
        idle = Atomics.wait(bell, 0, seen, IDLE_MS) === "timed-out";
      } else if (!queue.runIdle() && Atomics.wait(bell, 0, seen, BELL_WAIT_MS) === "timed-out") {
        return;
      }
      if (performance.now() > until) {
        scheduled = true;
        setImmediate(run);
        return;
      }
    }
  };
  port.on("message", (request: DiskRequest) => {
    push(request);
    if (!scheduled) run();
  });
  port.postMessage({ kind: "ready" } satisfies DiskWorkerGreeting);
}

/** What a reply hands over rather than copies. */
function transferable(value: DiskValue): Transferable[] {
  if (value instanceof Uint8Array) return [whole(value)];
  if (typeof value === "object" && value !== null && "log" in value && value.log !== undefined) return value.log.tail.map(whole);
  return [];
}

function whole(bytes: Uint8Array): ArrayBuffer {
  const { buffer } = bytes;
  // A page of a store may be shorter than its buffer, which is used for the next.
  assert(buffer instanceof ArrayBuffer && bytes.byteOffset === 0, "an answer has a buffer of its own");
  return buffer;
}
