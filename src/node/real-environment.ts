/** The real world behind a node: the process's clock and randomness, its disk, its sockets. */
import { createNodeClock } from "../host/node-clock.ts";
import { createNodeRandom } from "../host/node-random.ts";
import { createMemoryStorage } from "../storage/memory-storage.ts";
import { openDiskStorage } from "../storage/disk-storage.ts";
import type { TransportLimits } from "../transport/limits.ts";
import { PeerResolver } from "../transport/peer-resolver.ts";
import { createTcpTransport } from "../transport/tcp-transport.ts";
import type { Environment } from "./environment.ts";
import { loadStateMachine, openStateMachine } from "./machine/load-state-machine.ts";
import type { OpenStateMachine } from "./machine/state-machine.ts";
import type { NodeOptions } from "./node-options.ts";

/**
 * A lane holds the largest entry, or it could never be sent and all behind it would wait for ever: a batch of 1 MiB whose last command has
 * 16 MiB. The same for all members, whatever each allows its own callers.
 */
const LINK_LIMITS: Partial<TransportLimits> = { bulkBytesMax: 24 << 20 };

/** Of the log's end, handed over at opening: what is applied again but that comes from the disk, a piece at a time. */
const TAIL_BYTES_MAX = 4 << 20;

export function createEnvironment(
  options: NodeOptions,
  disk: { readonly thread: "worker" | "inline"; readonly diskWorkerUrl: string | undefined },
  /** A user's state machine that is a function of this thread. */
  openMachine?: OpenStateMachine<void>,
): Environment {
  const clock = createNodeClock();
  const random = createNodeRandom();
  return {
    clock,
    random,
    openStorage: ({ unsafeNoFsync, onProgress }) => {
      if (options.directory === undefined) return Promise.resolve(createMemoryStorage());
      return openDiskStorage({
        directory: options.directory,
        unsafeNoFsync,
        thread: disk.thread,
        onProgress,
        segmentBytes: options.logSegmentBytes,
        tailBytesMax: Math.min(options.logMemoryBytesMax, TAIL_BYTES_MAX),
        ...(typeof options.store === "object" ? { store: options.store } : {}),
        ...(disk.diskWorkerUrl === undefined ? {} : { workerUrl: new URL(disk.diskWorkerUrl) }),
      });
    },
    openStateMachine: () => {
      const dataDir = options.directory ?? "memory:";
      if (openMachine !== undefined) return openStateMachine(openMachine, { name: "the function", options: undefined, dataDir });
      return loadStateMachine(options.stateMachine!, dataDir);
    },
    createTransport: (hello, events) => {
      const { listen, tls } = options.peer!;
      const resolver = new PeerResolver({ clock, hosts: options.hosts, searchDomains: options.searchDomains });
      return createTcpTransport({
        listen,
        ...(tls === undefined ? {} : { tls }),
        hello,
        events,
        clock,
        random,
        resolver,
        limits: LINK_LIMITS,
      });
    },
  };
}
