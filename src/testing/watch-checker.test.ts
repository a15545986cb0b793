import assert from "node:assert/strict";
import { test } from "node:test";
import { CheckFailure, DataModel } from "./history.ts";
import { checkWatch, type WatchedBatch, type WatchedEvent, type WatchRecord } from "./watch-checker.ts";

const data = new DataModel();
data.apply({ revision: 2, events: [{ kind: "put", key: "a/1", value: "v1", cause: undefined }] });
data.apply({ revision: 3, events: [{ kind: "put", key: "b/1", value: "v2", cause: undefined }] });
data.apply({ revision: 4, events: [{ kind: "put", key: "a/1", value: "v3", cause: undefined }] });
data.apply({ revision: 5, events: [{ kind: "delete", key: "a/1", value: "", cause: "expiry" }] });

const put = (key: string, value: string, created: boolean, prevValue?: string): WatchedEvent => ({
  kind: "put",
  key,
  value,
  created,
  cause: undefined,
  prevValue,
});
const events = (revision: number, ...list: readonly WatchedEvent[]): WatchedBatch => ({
  kind: "events",
  revision,
  events: list,
  more: false,
});
const part = (revision: number, ...list: readonly WatchedEvent[]): WatchedBatch => ({ kind: "events", revision, events: list, more: true });
const FIRST = events(2, put("a/1", "v1", true));
const SECOND = events(4, put("a/1", "v3", false, "v1"));
const GONE = events(5, { kind: "delete", key: "a/1", value: "", created: false, cause: "expiry", prevValue: "v3" });

const watch = (batches: readonly WatchedBatch[], changes: Partial<WatchRecord> = {}): WatchRecord => ({
  watcher: "w",
  node: "n1#1",
  prefix: "a/",
  fromRevision: 2,
  prevKv: true,
  only: undefined,
  onGap: "throw",
  initial: false,
  batches: [...batches],
  compactRevision: undefined,
  isLive: true,
  ...changes,
});
const rejected = (record: WatchRecord, finding: RegExp): void => {
  assert.throws(
    () => checkWatch(record, data),
    (error) => error instanceof CheckFailure && finding.test(error.message),
  );
};

test("a complete watch passes, from the start, from the middle, filtered, and cut short by its reader", () => {
  checkWatch(watch([FIRST, SECOND, GONE]), data);
  checkWatch(watch([SECOND, GONE], { fromRevision: 3 }), data);
  checkWatch(watch([GONE], { only: "deletes" }), data);
  checkWatch(watch([FIRST], { isLive: false }), data);
  checkWatch(watch([FIRST, { kind: "progress", revision: 3 }, SECOND, GONE, { kind: "progress", revision: 5 }]), data);
});

test("a lost, repeated, swapped or misplaced batch is rejected", () => {
  rejected(watch([FIRST, GONE]), /nothing was told of revision 4/);
  rejected(watch([FIRST, SECOND]), /nothing was told of revision 5/);
  rejected(watch([FIRST, FIRST, SECOND, GONE]), /again or too late/);
  rejected(watch([SECOND, FIRST, GONE]), /nothing was told of revision 2/);
  rejected(watch([FIRST, { kind: "progress", revision: 4 }]), /nothing was told of revision 4/);
});

test("a wrong event is rejected: its value, its previous value, whether it created, its cause", () => {
  rejected(watch([events(2, put("a/1", "v9", true))]), /not what happened/);
  rejected(watch([FIRST, events(4, put("a/1", "v3", false, "v2"))]), /not what happened/);
  rejected(watch([events(2, put("a/1", "v1", false))]), /not what happened/);
  rejected(
    watch([FIRST, SECOND, events(5, { kind: "delete", key: "a/1", value: "", created: false, cause: "request", prevValue: "v3" })]),
    /not what happened/,
  );
});

test("a reset starts anew from what is there, and a gap may be told instead of filled", () => {
  const reset: WatchedBatch = { kind: "reset", revision: 4, values: [data.at("a/1", 4)], reason: "compacted" };
  checkWatch(watch([reset, GONE], { onGap: "reset" }), data);
  rejected(watch([reset, GONE]), /nobody asked for/);
  rejected(watch([GONE], { initial: true, fromRevision: 5 }), /told first/);
  rejected(watch([{ ...reset, reason: "initial" }, GONE], { onGap: "reset" }), /told first/);
  checkWatch(watch([{ ...reset, reason: "initial" }, GONE], { initial: true, fromRevision: 4 }), data);
  rejected(watch([{ ...reset, values: [] }], { onGap: "reset" }), /other data/);
  checkWatch(watch([], { compactRevision: 4 }), data);
  rejected(watch([], { compactRevision: 1 }), /still there/);
  rejected(watch([FIRST, SECOND], { compactRevision: 5 }), /5 was still there/);
});

test("a revision in parts is told to its end, in order, and nothing comes between", () => {
  const model = new DataModel();
  const keys = ["a/1", "a/2", "a/3"];
  model.apply({ revision: 2, events: keys.map((key) => ({ kind: "put", key, value: `v ${key}`, cause: undefined })) });
  model.apply({ revision: 3, events: [{ kind: "put", key: "a/1", value: "w", cause: undefined }] });
  const [one, two, three] = keys.map((key) => put(key, `v ${key}`, true)) as [WatchedEvent, WatchedEvent, WatchedEvent];
  const next = events(3, put("a/1", "w", false, "v a/1"));
  const check = (...batches: readonly WatchedBatch[]): void => checkWatch(watch(batches, { onGap: "reset" }), model);
  const isRejected = (finding: RegExp, ...batches: readonly WatchedBatch[]): void => {
    assert.throws(
      () => check(...batches),
      (error) => error instanceof CheckFailure && finding.test(error.message),
    );
  };
  check(part(2, one), part(2, two), events(2, three), next);
  check(part(2, one, two), events(2, three), next);
  checkWatch(watch([part(2, one)], { isLive: false }), model);
  checkWatch(watch([part(2, one)], { compactRevision: 3 }), model);
  // A reset in the middle of a revision begins anew.
  const reset: WatchedBatch = { kind: "reset", revision: 2, values: keys.map((key) => model.at(key, 2)), reason: "compacted" };
  check(part(2, one), reset, next);
  isRejected(/nothing was told of revision 2/, part(2, one));
  isRejected(/not what happened/, part(2, one), events(2, three, two), next);
  isRejected(/of which 1 had been told/, part(2, one), events(2, three), next);
  isRejected(/of which 1 had been told/, part(2, one), part(2, two, three), next);
  isRejected(/not what happened/, part(2, one), part(2, one), events(2, three), next);
  isRejected(/was to go on/, part(2, one), next);
  isRejected(/was to go on/, part(2, one), { kind: "progress", revision: 2 });
  isRejected(/of which 0 had been told/, part(2), events(2, one, two, three), next);
});
