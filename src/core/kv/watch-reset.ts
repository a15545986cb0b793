/**
 * Resets: a watcher is told all that is there, at one pinned revision, and goes on from there. They are read in slices, and told in parts
 * of a bounded size of which the next waits for credit; few are read at a time. So a reset of any size takes bounded memory here.
 */
import { assert } from "../assert.ts";
import { keyAfter } from "./bytes.ts";
import type { KvMachine } from "./machine.ts";
import { decodeKv } from "./packed-kv.ts";
import type { ResetReason, Watcher } from "./watcher.ts";

/** A reset is one output up to this size, and parts of about this size beyond: a part ends with the record that fills it. */
export const RESET_BYTES_MAX = 262_144;
/** The same where watchers owe as much as they may. */
export const RESET_BYTES_MIN = 4_096;
/** Parts that are being read at a time. */
export const RESETS_READ_MAX = 32;
/** Revisions that resets hold at a time, so that scans find some. Beyond, who waits for its reader longest lets go, and begins anew. */
const RESET_PINS_MAX = 1_000;
/** History that watchers may hold back beyond its limits, and no more than as much again. */
const HELD_REVISIONS_MAX = 100_000;
export const HELD_BYTES_MAX: number = 64 << 20;

const NOTHING = new Uint8Array(0);

/** Part of a reset, or all of it. */
export interface ResetPart {
  readonly revision: number;
  readonly kvs: Uint8Array<ArrayBuffer>;
  readonly count: number;
  readonly more: boolean;
}

/** The resets of one hub. A watcher that is being reset is in no cohort. */
export class WatchResets {
  private machine: KvMachine;
  /** Those that hold a revision. */
  private readonly pinned: Set<Watcher> = new Set();
  private reading = 0;

  constructor(machine: KvMachine) {
    this.machine = machine;
  }

  /** As of now; as of its turn, where very many begin at once. */
  begin(watcher: Watcher, reason: ResetReason): void {
    watcher.reset = reason;
    watcher.next = this.machine.revision + 1;
    watcher.skip = 0;
    this.hold(watcher);
  }

  end(watcher: Watcher): void {
    this.release(watcher);
    watcher.reset = undefined;
  }

  /** A snapshot took the state's place: nothing is held of the old one. */
  rebase(machine: KvMachine): void {
    for (const watcher of this.pinned) this.release(watcher);
    this.machine = machine;
  }

  /** Whether this one can have its turn: few are read at a time, and as many revisions are held as may be. */
  canRead(watcher: Watcher): boolean {
    if (watcher.reading !== undefined) return true;
    if (this.reading >= RESETS_READ_MAX) return false;
    if (watcher.pin === undefined) this.hold(watcher);
    return watcher.pin !== undefined;
  }

  /** Reads on, looking at up to `records`; a part that begins is to end behind `bytesMax`. A part when one is whole; without `more`, the reset has ended. Ask canRead() first. */
  step(watcher: Watcher, options: { readonly records: number; readonly bytesMax: number }): ResetPart | undefined {
    const { machine } = this;
    const { revision } = watcher.pin!;
    if (watcher.reading === undefined) {
      const { start, end } = watcher.request.interval;
      const interval = { start: watcher.resetFrom ?? start, end };
      const all = { limit: 0, order: "ascending", sortBy: "key", keysOnly: false, countOnly: false, revision } as const;
      watcher.reading = machine.range({ interval, ...all }, { bytesMax: options.bytesMax, pinned: true });
      this.reading++;
    }
    if (!watcher.reading.step(options.records)) return undefined;
    const part = watcher.reading.result();
    watcher.reading = undefined;
    this.reading--;
    assert(!("refused" in part), "a pinned revision can be read");
    const { kvs, returned: count, more } = part;
    if (more) {
      watcher.resetFrom = keyAfter(lastKey(kvs, count));
    } else {
      this.end(watcher);
      watcher.next = revision + 1;
    }
    return { revision, kvs, count, more };
  }

  /** One whose reader takes too long lets go of its revision, and begins anew when the reader goes on. */
  dropLate(): void {
    if (this.pinned.size === 0) return;
    const { compactRevision } = this.machine;
    const oldest = oldestHeld(this.machine);
    for (const watcher of this.pinned) {
      const pinnedAt = watcher.pin!.revision;
      if (pinnedAt >= compactRevision) continue;
      if (pinnedAt < oldest) this.release(watcher);
    }
  }

  private hold(watcher: Watcher): void {
    if (this.pinned.size >= RESET_PINS_MAX) {
      for (const other of this.pinned) {
        if (other.reading !== undefined) continue;
        this.release(other);
        break;
      }
    }
    watcher.pin = this.machine.pin();
    if (watcher.pin !== undefined) this.pinned.add(watcher);
  }

  private release(watcher: Watcher): void {
    if (watcher.reading !== undefined) {
      watcher.reading.cancel();
      watcher.reading = undefined;
      this.reading--;
    }
    watcher.resetFrom = undefined;
    watcher.pin?.release();
    watcher.pin = undefined;
    this.pinned.delete(watcher);
  }
}

/**
 * Watchers hold back no revision below it, however and how far history was compacted. Infinity where they hold back too many bytes already:
 * which shows only when what they do not hold back has been freed.
 */
export function oldestHeld(machine: KvMachine): number {
  const { freedRevision, history, historyBytes, table } = machine;
  const { bytesMax } = history;
  const isFreeing = table.firstEvent < table.endEvent && table.revision(table.event(table.firstEvent)) <= freedRevision;
  if (!isFreeing && table.historyBytes > historyBytes + Math.min(bytesMax, HELD_BYTES_MAX)) return Number.POSITIVE_INFINITY;
  return oldestByNumber(machine);
}

/** The same by the number of revisions alone. */
export function oldestByNumber({ compactRevision, history }: KvMachine): number {
  return compactRevision - Math.min(history.revisionsMax, HELD_REVISIONS_MAX);
}

function lastKey(kvs: Uint8Array, count: number): Uint8Array {
  let at = 0;
  let key: Uint8Array = NOTHING;
  for (let i = 0; i < count; i++) {
    const kv = decodeKv(kvs, at);
    key = kv.key;
    at = kv.next;
  }
  return key;
}
