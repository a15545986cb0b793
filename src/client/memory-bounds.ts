/** What a node allows itself of the memory that its process may use, where its options do not say. */

const QUOTA_MAX: number = 2 * 1024 ** 3;

/** Bounds that follow from the memory there is. */
export interface MemoryBounds {
  /** A quarter of it, at most 2 GiB. */
  readonly dataBytesMax: number;
  /** Of the log's entries in memory: a sixteenth, 4 to 64 MiB. */
  readonly logMemoryBytesMax: number;
  /** Of writes under way: an eighth, 24 to 256 MiB. The least is enough for the largest. */
  readonly pendingBytesMax: number;
}

export function memoryBounds(memoryBytes: number): MemoryBounds {
  const share = (parts: number, min: number, max: number): number => Math.min(max, Math.max(min, Math.floor(memoryBytes / parts)));
  return {
    dataBytesMax: share(4, 1 << 20, QUOTA_MAX),
    logMemoryBytesMax: share(16, 4 << 20, 64 << 20),
    pendingBytesMax: share(8, 24 << 20, 256 << 20),
  };
}
