/** How long a small write takes to reach the disk under a directory: the pace of everything that is acknowledged there. */
import { closeSync, fdatasyncSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import path from "node:path";

const BYTES = 512;

/** Milliseconds. Makes the directory. undefined where it cannot be written: whoever opens it says why. */
export function syncTimeMs(directory: string): number | undefined {
  const file = path.join(directory, `.sync-time-${process.pid}`);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const descriptor = openSync(file, "wx", 0o600);
    try {
      const block = new Uint8Array(BYTES);
      // The first makes room for the file as well; the second is what a write costs from then on.
      writeSync(descriptor, block, 0, BYTES, 0);
      fdatasyncSync(descriptor);
      const started = performance.now();
      writeSync(descriptor, block, 0, BYTES, 0);
      fdatasyncSync(descriptor);
      return performance.now() - started;
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return undefined;
  } finally {
    removeQuietly(file);
  }
}

function removeQuietly(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // Where its directory is none there is nothing to remove.
  }
}
