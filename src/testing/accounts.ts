/**
 * Accounts and counters of a simulation, whose values begin with a number: what must hold of them needs no model of revisions. The sum of
 * all accounts is the same at every revision at which there is one, and in every change; a counter rises by one.
 */
import { CheckFailure, type DataModel, type ReadValue } from "./history.ts";
import type { WatchRecord } from "./watch-checker.ts";

/** All keys that transactions of a simulation touch. */
export const TXN_PREFIX = "txn/";
export const ACCOUNTS: string = `${TXN_PREFIX}account/`;
export const COUNTERS: string = `${TXN_PREFIX}counter/`;

/** A value that says a number and is like no other. */
export function balance(amount: number, unique: string): string {
  return `${amount}#${unique}`;
}

export function amountOf(value: string): number {
  return Number(value.slice(0, value.indexOf("#")));
}

/** undefined: there are none. */
export function sumOf(values: readonly ReadValue[]): number | undefined {
  const accounts = values.filter(({ key }) => key.startsWith(ACCOUNTS));
  return accounts.length === 0 ? undefined : accounts.reduce((sum, { value }) => sum + amountOf(value ?? ""), 0);
}

/** The whole history of the data, by what each change added and took. */
export function checkAccounts(model: DataModel, total: number): void {
  const held = new Map<string, number>();
  const counted = new Map<string, number>();
  for (let revision = 2; revision <= model.revision; revision++) {
    let isTouched = false;
    for (const { kind, key, value } of model.change(revision)?.events ?? []) {
      if (key.startsWith(COUNTERS)) {
        const before = counted.get(key) ?? 0;
        if (amountOf(value) !== before + 1)
          throw new CheckFailure("counters", `revision ${revision} counts ${key} from ${before} to ${value}`);
        counted.set(key, before + 1);
      }
      if (!key.startsWith(ACCOUNTS)) continue;
      isTouched = true;
      if (kind === "put") held.set(key, amountOf(value));
      else held.delete(key);
    }
    if (!isTouched) continue;
    const sum = [...held.values()].reduce((one, other) => one + other, 0);
    if (sum !== total) throw new CheckFailure("accounts", `they hold ${sum} of ${total} at revision ${revision}`);
  }
}

/** What a watch of all accounts was told in one batch adds up to nothing, but for the opening. */
export function checkWatchedAccounts(watch: WatchRecord, total: number): void {
  if (!ACCOUNTS.startsWith(watch.prefix) || watch.only !== undefined) return;
  // Of a revision in parts, what they come to together.
  let sum = 0;
  for (const batch of watch.batches) {
    const fail = (sum: number): never => {
      throw new CheckFailure("accounts", `${watch.watcher} on ${watch.node} was told of ${sum} of ${total}: ${JSON.stringify(batch)}`);
    };
    if (batch.kind === "reset") {
      sum = 0;
      const held = sumOf(batch.values);
      if (held !== undefined && held !== total) fail(held);
    }
    if (batch.kind !== "events" || !watch.prevKv) continue;
    for (const { key, value, prevValue, kind } of batch.events) {
      if (!key.startsWith(ACCOUNTS)) continue;
      if (kind === "put") sum += amountOf(value);
      if (prevValue !== undefined) sum -= amountOf(prevValue);
    }
    if (batch.more) continue;
    if (sum !== 0 && sum !== total) fail(sum);
    sum = 0;
  }
}
