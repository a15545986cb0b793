/**
 * What the clients of a simulation did and were told, with the virtual time of each call and answer; and what the data went through, as
 * the members' own event logs tell it. The checkers compare the two.
 */
import type { Txn } from "../client/transaction.ts";
import type { RangeValues, RangeWish, TxnAnswer } from "./txn-model.ts";

/** One key's change, as the members recorded it. */
export interface DataEvent {
  readonly kind: "put" | "delete";
  readonly key: string;
  /** Empty for a deletion. */
  readonly value: string;
  readonly cause: "request" | "expiry" | "revocation" | undefined;
}

/** All events of one revision, in order. */
export interface DataChange {
  readonly revision: number;
  readonly events: readonly DataEvent[];
}

export interface ReadValue {
  readonly key: string;
  readonly value: string | undefined;
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
}

/** What was asked, with the answer where one came. Values that are written are unique in a simulation. */
export type OperationBody =
  | {
      readonly kind: "put";
      readonly key: string;
      readonly value: string;
      readonly ttlMs: number | undefined;
      /** Attached to a lease that somebody holds. */
      readonly lease?: string;
    }
  | { readonly kind: "delete"; readonly key: string; deleted?: number }
  | {
      readonly kind: "compareAndSwap";
      readonly key: string;
      readonly expected: string | undefined;
      readonly value: string;
      swapped?: boolean;
    }
  | {
      readonly kind: "get";
      readonly keys: readonly string[];
      values?: readonly ReadValue[];
      /** As of exactly this past revision. */
      readonly at?: number;
    }
  | { readonly kind: "range"; readonly prefix: string; readonly limit: number; values?: readonly ReadValue[]; count?: number }
  /** A range, a count or a scan, with all that can be asked of it. */
  | {
      readonly kind: "query";
      readonly how: "range" | "count" | "scan";
      readonly prefix: string;
      readonly wish: RangeWish;
      readonly at?: number;
      found?: Partial<RangeValues>;
    }
  /** All its keys have the prefix; the values that it puts in place of others are its own. */
  | { readonly kind: "txn"; readonly prefix: string; readonly txn: Txn; readonly puts: readonly string[]; answer?: TxnAnswer }
  /** Each try is the value it wanted to put in place of the key as of a revision; only the last may have been put. */
  | { readonly kind: "update"; readonly key: string; readonly tries: { readonly value: string; readonly modRevision: number }[] }
  | { readonly kind: "compact"; readonly revision: number };

export interface Operation {
  /** The client, for people. */
  readonly client: string;
  /** The opening of a node that answered: what it applied once it does not forget. */
  readonly node: string;
  readonly call: number;
  readonly body: OperationBody;
  readonly consistency: "linearizable" | "lease" | "eventual";
  /**
   * ok: answered. refused: an error that promises that nothing was changed. unknown: no answer, or one that leaves it open.
   */
  outcome: "ok" | "refused" | "unknown";
  /** When the answer came; infinite without one. */
  end: number;
  /** What the answer is as of, or made; undefined where the answer does not tell. */
  revision: number | undefined;
  /** Of a read: what its answer must not be behind. */
  readonly minRevision?: number;
  /** Of an eventual read: how old its answer may be, with what the clocks may differ by. */
  readonly staleMsMax?: number;
  /** The code of the error that came instead of an answer. */
  error?: string;
  /** What a refused read of the past was told: where history begins, or how far it goes. */
  told?: { readonly code: "COMPACTED" | "FUTURE_REVISION"; readonly revision: number };
}

/** Whether an operation may change data. */
export function isWrite(body: OperationBody): boolean {
  return body.kind !== "get" && body.kind !== "range" && body.kind !== "query";
}

/** The values that it may have put, each of them its own. */
export function valuesOf(body: OperationBody): readonly string[] {
  switch (body.kind) {
    case "put":
    case "compareAndSwap":
      return [body.value];
    case "txn":
      return body.puts;
    case "update":
      return body.tries.map(({ value }) => value);
    default:
      return [];
  }
}

/** A check found the history wrong. */
export class CheckFailure extends Error {
  constructor(check: string, finding: string) {
    super(`${check}: ${finding}`);
    this.name = "CheckFailure";
  }
}

/** What held at each revision: a plain account of the changes, against which answers are compared. */
export class DataModel {
  readonly #keys = new Map<string, KeyVersion[]>();
  readonly #changes = new Map<number, DataChange>();
  /** Of every value that was ever put, its first revision: a put that keeps the value repeats it. */
  readonly #putAt = new Map<string, number>();
  /** By revision: when a member was first seen to have applied it. */
  readonly #appliedAt: number[] = [0, 0];
  /** The last revision; 1 for an empty store. */
  revision = 1;
  /** Tells the time. */
  now: () => number = () => 0;
  /** Told of each change, once it is part of the model. */
  onChange: ((change: DataChange) => void) | undefined;

  /** Changes come in the order of their revisions, without a gap. */
  apply(change: DataChange): void {
    if (change.revision !== this.revision + 1) {
      throw new CheckFailure("data", `revision ${change.revision} follows ${this.revision}`);
    }
    this.revision = change.revision;
    this.#changes.set(change.revision, change);
    this.#appliedAt[change.revision] = this.now();
    for (const event of change.events) {
      const versions = this.#keys.get(event.key) ?? [];
      this.#keys.set(event.key, versions);
      const before = versions.at(-1);
      const isLive = before !== undefined && before.value !== undefined;
      if (event.kind === "delete") {
        if (!isLive) throw new CheckFailure("data", `revision ${change.revision} deletes ${event.key}, which is not there`);
        versions.push({ modRevision: change.revision, createRevision: 0, version: 0, value: undefined });
        continue;
      }
      if (!this.#putAt.has(event.value)) this.#putAt.set(event.value, change.revision);
      versions.push({
        modRevision: change.revision,
        createRevision: isLive ? before.createRevision : change.revision,
        version: isLive ? before.version + 1 : 1,
        value: event.value,
      });
    }
    this.onChange?.(change);
  }

  change(revision: number): DataChange | undefined {
    return this.#changes.get(revision);
  }

  /** When a member was first seen to have applied the revision: nobody can have been told of it before. */
  appliedAt(revision: number): number {
    return this.#appliedAt[revision] ?? Number.POSITIVE_INFINITY;
  }

  /** The first revision at which this value was put; undefined if it never was. */
  putAt(value: string): number | undefined {
    return this.#putAt.get(value);
  }

  /** The key as of a revision; a missing one has undefined for its value and zeros. */
  at(key: string, revision: number): ReadValue {
    const versions = this.#keys.get(key) ?? [];
    const version = versions[lastAt(versions, revision)];
    return version === undefined || version.value === undefined ? missing(key) : { key, ...version };
  }

  /** The first revision, `from` or later, as of which the key is as `accept` wants it; undefined if there is none. */
  firstWhere(key: string, from: number, accept: (value: ReadValue) => boolean): number | undefined {
    const versions = this.#keys.get(key) ?? [];
    for (let at = lastAt(versions, from); at < versions.length; at++) {
      const version = versions[at];
      const value = version === undefined || version.value === undefined ? missing(key) : { key, ...version };
      if (accept(value)) return Math.max(from, version?.modRevision ?? 1);
    }
    return undefined;
  }

  /** Live keys with the prefix as of a revision, in order. Keys are plain ASCII here, so that their order is that of their bytes. */
  range(prefix: string, revision: number): readonly ReadValue[] {
    return [...this.#keys.keys()]
      .filter((key) => key.startsWith(prefix))
      .sort()
      .map((key) => this.at(key, revision))
      .filter((kv) => kv.value !== undefined);
  }
}

function missing(key: string): ReadValue {
  return { key, value: undefined, modRevision: 0, createRevision: 0, version: 0 };
}

/** Where the version lies that held at `revision`; -1 for none. */
function lastAt(versions: readonly KeyVersion[], revision: number): number {
  let low = 0;
  let high = versions.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((versions[middle] as KeyVersion).modRevision <= revision) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

interface KeyVersion {
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly value: string | undefined;
}
