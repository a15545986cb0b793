/** A member's disk on real files: the directory locked, the log recovered, ready for the node. */
import type { FileSystem } from "../host/file-system.ts";
import type { DiskProgress } from "./disk-protocol.ts";
import { openDiskThread, openInlineDisk } from "./disk-thread.ts";
import { openStorage } from "./open-storage.ts";
import type { ModuleRef } from "./records/record-store.ts";
import type { Storage } from "./storage.ts";

export interface DiskStorageOptions {
  readonly directory: string;
  /** Leaves out every sync: what was acknowledged may be lost when the machine stops. */
  readonly unsafeNoFsync: boolean;
  /** "worker": file calls are made in a thread of their own. "inline": in this one, which every sync blocks. */
  readonly thread: "worker" | "inline";
  /** Where the module of the disk thread is, for bundles. */
  readonly workerUrl?: URL | string;
  /** Default 64 MiB. */
  readonly segmentBytes?: number;
  /** A user's own record store. Default: the one of this package. */
  readonly store?: ModuleRef & { readonly module: string };
  /** Inline only. */
  readonly fileSystem?: FileSystem;
  /** How many bytes of the last entries recovery hands over. Default 64 MiB. */
  readonly tailBytesMax?: number;
  onProgress?(progress: DiskProgress): void;
}

/** Rejects with IN_USE, CORRUPT, INCOMPATIBLE, NO_SPACE, DISK_FAILED or INVALID_ARGUMENT; nothing is left open or locked then. */
export async function openDiskStorage(options: DiskStorageOptions): Promise<Storage> {
  const port = options.thread === "worker" ? await openDiskThread(options) : await openInlineDisk(options);
  const { tailBytesMax, onProgress } = options;
  return openStorage({
    port,
    ...(tailBytesMax === undefined ? {} : { tailBytesMax }),
    ...(onProgress === undefined ? {} : { onProgress }),
  });
}
