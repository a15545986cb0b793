/**
 * A lease's id: 64 bits, written as 16 lower-case hex digits, packed as two words, the high one first. 0 is none.
 */

/** undefined unless it is 1 to 16 hex digits and not zero. Answers the id with all its 16 digits. */
export function canonicalLease(id: string): string | undefined {
  if (!/^[0-9a-f]{1,16}$/.test(id)) return undefined;
  const padded = id.padStart(16, "0");
  return padded === "0000000000000000" ? undefined : padded;
}

/** Both take an id of 16 digits. */
export function leaseHigh(id: string): number {
  return Number.parseInt(id.slice(0, 8), 16);
}

export function leaseLow(id: string): number {
  return Number.parseInt(id.slice(8), 16);
}

/** The reverse; undefined for 0. */
export function leaseFromWords(high: number, low: number): string | undefined {
  if (high === 0 && low === 0) return undefined;
  return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
}

/**
 * The id of a lease that a command makes for itself: its place in the log, so that it is equal on all members and never given twice.
 * 48 bits for the entry, 16 for the command in it.
 */
export function leaseOfCommand(index: number, command: number): string {
  const { high, low } = wordsOfCommand(index, command);
  return leaseFromWords(high, low)!;
}

/** The same as two words: also that of a session that a command opens. */
export function wordsOfCommand(index: number, command: number): { readonly high: number; readonly low: number } {
  const high = Math.floor(index / 0x1_0000) >>> 0;
  const low = (((index % 0x1_0000) << 16) | command) >>> 0;
  return { high, low };
}
