/**
 * What the clients of a simulation ask of transactions and ranges: literals drawn at random, valid whatever is there. Keys that are put have
 * a place of their own, so that none is written twice on any path.
 */
import type { Op, Txn } from "../client/transaction.ts";
import { ACCOUNTS, TXN_PREFIX } from "./accounts.ts";
import type { SimRandom } from "./sim-random.ts";
import type { RangeWish } from "./txn-model.ts";

export const KEYS: string = `${TXN_PREFIX}key/`;
/** Keys that transactions only delete, all of them together. */
export const OLD_KEYS: string = `${TXN_PREFIX}old/`;

export interface TxnDrawOptions {
  readonly random: SimRandom;
  readonly keys: number;
  readonly accounts: number;
  /** The present one, of the members that are furthest. */
  readonly revision: () => number;
  readonly uniqueValue: (client: string) => string;
}

export class TxnDraw {
  readonly #options: TxnDrawOptions;
  readonly #random: SimRandom;

  constructor(options: TxnDrawOptions) {
    this.#options = options;
    this.#random = options.random;
  }

  /** Keys are put once at most, whatever path is taken; whoever deletes puts something too, so that its change can be told from others. */
  txn(client: string): { readonly txn: Txn; readonly puts: readonly string[] } {
    const random = this.#random;
    const puts: string[] = [];
    const free = random.shuffle(Array.from({ length: this.#options.keys }, (_, at) => `${KEYS}${at}`));
    const put = (): readonly Op[] => {
      const key = free.pop();
      if (key === undefined) return [];
      if (random.chance(0.1)) return [{ put: key, ignoreValue: true, prevKv: random.chance(0.5) }];
      const value = this.#options.uniqueValue(client);
      puts.push(value);
      return [{ put: key, value, prevKv: random.chance(0.5) }];
    };
    const marked = (): readonly Op[] => {
      const value = this.#options.uniqueValue(client);
      puts.push(value);
      return [{ put: `${TXN_PREFIX}mark/${client}/${puts.length}`, value }];
    };
    const other = (): readonly Op[] => {
      const key = free.at(-1);
      switch (random.below(4)) {
        case 0: {
          if (key === undefined || random.chance(0.3)) return [{ delete: { prefix: OLD_KEYS }, prevKv: random.chance(0.5) }];
          free.pop();
          return [{ delete: key, prevKv: random.chance(0.5) }];
        }
        case 1:
          return [{ get: this.key() }];
        case 2:
          return [{ range: { prefix: random.pick([TXN_PREFIX, KEYS, ACCOUNTS]) }, ...this.wish() }];
        default:
          return random.chance(0.3) ? [{ range: { prefix: KEYS }, revision: Math.max(1, this.pastRevision()) }] : put();
      }
    };
    const branch = (depth: number): Op[] => {
      const ops: Op[] = [];
      for (let left = random.below(4); left > 0; left--) {
        if (depth < 2 && random.chance(0.2)) ops.push({ txn: whole(depth + 1) });
        else ops.push(...other());
      }
      return ops;
    };
    const whole = (depth: number): Txn => ({
      compare: Array.from({ length: random.below(3) }, () => this.comparison()),
      success: branch(depth),
      failure: branch(depth),
    });
    if (random.chance(0.15)) {
      // One that only reads.
      const reads = Array.from({ length: 1 + random.below(3) }, (): Op =>
        random.chance(0.5) ? { get: this.key() } : { range: { prefix: random.pick([TXN_PREFIX, ACCOUNTS]) }, ...this.wish() },
      );
      return { txn: { compare: [this.comparison()], success: reads, failure: reads }, puts };
    }
    const { compare, success = [], failure = [] } = whole(0);
    const key = free.pop();
    // A range of keys, of which none is put.
    const sweep: Op[] =
      key !== undefined && free.length === 0 ? [{ delete: { start: key, end: `${key}~` }, prevKv: random.chance(0.5) }] : [];
    return {
      txn: {
        compare: compare ?? [],
        success: [...marked(), ...success, ...sweep],
        failure: random.chance(0.5) ? [] : [...marked(), ...failure],
      },
      puts,
    };
  }

  /** Of one key, or of each of a range. */
  comparison(): NonNullable<Txn["compare"]>[number] {
    const random = this.#random;
    const where = random.chance(0.8) ? { key: this.key() } : { range: { prefix: random.pick([KEYS, ACCOUNTS]) } };
    const number = random.chance(0.5) ? this.pastRevision() : random.below(3);
    const match = random.pick([number, { not: number }, { lessThan: number }, { greaterThan: number }]);
    switch (random.below(5)) {
      case 0:
        return { ...where, exists: random.chance(0.5) };
      case 1:
        return { ...where, version: random.chance(0.5) ? 0 : match };
      case 2:
        return { ...where, modRevision: match };
      case 3:
        return { ...where, createRevision: match };
      default:
        return { ...where, value: random.pick([{ not: "t" }, { lessThan: "t2" }, { greaterThan: "t2" }]) };
    }
  }

  /** How a range is asked for. */
  wish(): RangeWish {
    const random = this.#random;
    if (random.chance(0.4)) return {};
    return {
      ...(random.chance(0.4) ? { limit: random.below(4) } : {}),
      ...(random.chance(0.4) ? { sortBy: random.pick(["key", "version", "createRevision", "modRevision", "value"] as const) } : {}),
      ...(random.chance(0.4) ? { order: random.pick(["ascending", "descending"] as const) } : {}),
      ...(random.chance(0.2) ? { keysOnly: true } : {}),
      ...(random.chance(0.2) ? { minModRevision: Math.max(0, this.pastRevision()) } : {}),
      ...(random.chance(0.1) ? { maxModRevision: Math.max(0, this.pastRevision()) } : {}),
      ...(random.chance(0.1) ? { minCreateRevision: Math.max(0, this.pastRevision()) } : {}),
      ...(random.chance(0.1) ? { maxCreateRevision: Math.max(0, this.pastRevision()) } : {}),
    };
  }

  /** Of late, long ago, or yet to come; maybe below 1. */
  pastRevision(): number {
    const random = this.#random;
    const now = this.#options.revision();
    const draw = random.fraction();
    if (draw < 0.05) return now + random.below(5);
    return draw < 0.7 ? now - random.below(60) : 1 + random.below(now);
  }

  key(): string {
    const random = this.#random;
    if (random.chance(0.7)) return `${KEYS}${random.below(this.#options.keys)}`;
    return `${ACCOUNTS}${random.below(Math.max(1, this.#options.accounts))}`;
  }
}
