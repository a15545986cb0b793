import assert from "node:assert/strict";
import { test } from "node:test";
import { ACCOUNTS, balance, checkAccounts, checkWatchedAccounts, COUNTERS } from "./accounts.ts";
import { CheckFailure, DataModel, type DataEvent } from "./history.ts";
import type { WatchedBatch, WatchRecord } from "./watch-checker.ts";

let puts = 0;
const put = (key: string, amount: number): DataEvent => ({ kind: "put", key, value: balance(amount, String(++puts)), cause: undefined });

function history(...changes: readonly (readonly DataEvent[])[]): DataModel {
  const model = new DataModel();
  for (const events of changes) model.apply({ revision: model.revision + 1, events });
  return model;
}

const one = `${ACCOUNTS}1`;
const two = `${ACCOUNTS}2`;

test("transfers within one change keep the sum, and a transfer in two changes does not", () => {
  const opened = [put(one, 100), put(two, 100)];
  checkAccounts(
    history(opened, [put(one, 50), put(two, 150)], [{ kind: "delete", key: one, value: "", cause: "request" }, put(two, 200)]),
    200,
  );
  assert.throws(() => checkAccounts(history(opened, [put(one, 50)], [put(two, 150)]), 200), CheckFailure);
});

test("a counter rises by one", () => {
  const counter = `${COUNTERS}0`;
  checkAccounts(history([put(counter, 1)], [put(counter, 2)]), 0);
  assert.throws(() => checkAccounts(history([put(counter, 1)], [put(counter, 1)]), 0), CheckFailure);
});

test("a batch of a watch that lacks half of a transfer is found", () => {
  const event = (key: string, value: string, prevValue: string | undefined): (WatchedBatch & { kind: "events" })["events"][number] => ({
    kind: "put",
    key,
    value,
    created: prevValue === undefined,
    cause: undefined,
    prevValue,
  });
  const watch = (...events: readonly ReturnType<typeof event>[]): WatchRecord => ({
    watcher: "w",
    node: "n1#1",
    prefix: ACCOUNTS,
    fromRevision: 2,
    prevKv: true,
    only: undefined,
    onGap: "throw",
    initial: false,
    batches: [{ kind: "events", revision: 3, events, more: false }],
    compactRevision: undefined,
    isLive: true,
  });
  checkWatchedAccounts(watch(event(one, "40#a", "50#b"), event(two, "60#c", "50#d")), 100);
  assert.throws(() => checkWatchedAccounts(watch(event(one, "40#a", "50#b")), 100), CheckFailure);
});
