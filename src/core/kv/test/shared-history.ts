/**
 * A history that the writer and the reader of a shared table know without telling each other: revision r changes key r % HISTORY_KEYS, every
 * fifth time by a deletion, and its value's length and bytes follow from r. So any answer can be checked against what was published before
 * the question and after it.
 */

export const HISTORY_KEYS = 37;
const LIFE = 5;

export function historyKey(i: number): Uint8Array {
  return Uint8Array.from(`shared/${i}`, (character) => character.charCodeAt(0));
}

/** Whether this revision deletes its key. The first HISTORY_KEYS revisions are puts. */
export function isDeletion(revision: number): boolean {
  return Math.floor(revision / HISTORY_KEYS) % LIFE === LIFE - 1;
}

export function createRevisionOf(revision: number): number {
  return revision - (Math.floor(revision / HISTORY_KEYS) % LIFE) * HISTORY_KEYS;
}

export function versionOf(revision: number): number {
  return (Math.floor(revision / HISTORY_KEYS) % LIFE) + 1;
}

/** Every now and then a value that has a buffer of its own. */
export function valueBytesOf(revision: number): number {
  return revision % 4999 === 0 ? 300_000 : revision % 600;
}

/** The newest revision of the key that is not above `published`; 0 or less if there is none. */
export function newestOf(key: number, published: number): number {
  return published - ((((published - key) % HISTORY_KEYS) + HISTORY_KEYS) % HISTORY_KEYS);
}
