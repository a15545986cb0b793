import assert from "node:assert/strict";
import { test } from "node:test";
import { ANSWER_OVERHEAD_BYTES, ANSWERS_BYTES_MAX, SESSION_SLOTS_MAX, SESSION_WINDOW_MAX, SESSIONS_MAX } from "./session-bounds.ts";
import {
  KEPT_BYTES,
  KEPT_NOT,
  SESSION_ANSWERED,
  SESSION_APPLY,
  SESSION_GONE,
  SESSION_MALFORMED,
  SESSION_WINDOW,
  SessionTable,
} from "./session-table.ts";

const LIFE_MS = 10_000;

function opened(window: number, high = 0, low = 1): SessionTable {
  const table = new SessionTable();
  assert.equal(table.open({ high, low, window, lifeMs: LIFE_MS }, 0), undefined);
  return table;
}

function begin(table: SessionTable, sequence: number, acked = 0, clockMs = 0, low = 1): number {
  return table.begin({ sessionHigh: 0, sessionLow: low, sequence, acked }, clockMs);
}

function applied(table: SessionTable, sequence: number, acked = 0, bytes?: Uint8Array): void {
  assert.equal(begin(table, sequence, acked), SESSION_APPLY);
  table.remember(1, 0, 0, 100 + sequence, bytes);
}

test("a command is applied once, and then answered as it was", () => {
  const table = opened(8);
  assert.equal(begin(table, 3), SESSION_APPLY);
  table.remember(2, 5, 3, 77, Uint8Array.of(1, 2));
  assert.equal(begin(table, 3), SESSION_ANSWERED);
  const { answeredOp, answeredRefusal, answeredFlags, answeredRevision, answeredBytes } = table;
  assert.deepEqual([answeredOp, answeredRefusal, answeredFlags, answeredRevision], [2, 5, 3 | KEPT_BYTES, 77]);
  assert.deepEqual(answeredBytes, Uint8Array.of(1, 2));
  assert.equal(begin(table, 2), SESSION_APPLY, "those below may still come");
});

test("the window ends at its last number, and moves with what is acknowledged", () => {
  const table = opened(8);
  assert.equal(begin(table, 8), SESSION_APPLY);
  assert.equal(begin(table, 9), SESSION_WINDOW);
  assert.equal(begin(table, 9, 1), SESSION_APPLY, "one is acknowledged, one more has room");
  assert.equal(begin(table, 10, 1), SESSION_WINDOW);
  assert.equal(begin(table, 1), SESSION_WINDOW, "what is acknowledged is applied no more");
  assert.equal(begin(table, 2), SESSION_APPLY, "a lower acknowledgement takes nothing back");
});

test("what is acknowledged is forgotten with its answer", () => {
  const table = opened(4);
  applied(table, 1, 0, new Uint8Array(100));
  applied(table, 2, 0, new Uint8Array(10));
  assert.equal(table.answerBytes, 110 + 2 * ANSWER_OVERHEAD_BYTES);
  applied(table, 3, 1);
  assert.equal(table.answerBytes, 10 + ANSWER_OVERHEAD_BYTES);
  assert.equal(begin(table, 2), SESSION_ANSWERED);
  // Far ahead of all that was seen.
  assert.equal(begin(table, 1e15, 1e15 - 1), SESSION_APPLY);
  assert.equal(table.answerBytes, 0);
  assert.equal(begin(table, 2), SESSION_WINDOW);
});

test("numbers that make no sense are refused, and change nothing", () => {
  const table = opened(4);
  for (const [sequence, acked] of [
    [0, 0],
    [1, 1],
    [1, 2],
    [1.5, 0],
    [2, 0.5],
    [-1, -2],
    [1, -1],
    [Number.NaN, 0],
    [1, Number.NaN],
    [2 ** 53, 1],
    [2 ** 53 - 2, 2 ** 53 - 3],
    [Infinity, 0],
  ]) {
    assert.equal(begin(table, sequence!, acked), SESSION_MALFORMED, `${sequence} ${acked}`);
  }
  assert.equal(begin(table, 1), SESSION_APPLY);
});

test("a session lasts for its life since its last command, and is not revived", () => {
  const table = opened(4);
  assert.equal(begin(table, 1, 0, 9_999), SESSION_APPLY);
  table.expire(19_998);
  assert.equal(begin(table, 1, 0, 9_999), SESSION_APPLY);
  table.expire(19_999);
  assert.equal(begin(table, 1, 0, 19_999), SESSION_GONE);
  assert.deepEqual([table.count, table.slots, table.answerBytes], [0, 0, 0]);
  table.expire(50_000);
  assert.equal(begin(table, 1, 0, 1), SESSION_GONE);
});

test("a session that is closed is gone, with what it held, and others stay", () => {
  const table = opened(4);
  table.open({ high: 7, low: 1, window: 8, lifeMs: LIFE_MS }, 0);
  applied(table, 1, 0, new Uint8Array(50));
  assert.equal(table.begin({ sessionHigh: 7, sessionLow: 1, sequence: 2, acked: 0 }, 0), SESSION_APPLY);
  table.remember(1, 0, 0, 9, new Uint8Array(5));
  assert.equal(table.close(0, 1), true);
  assert.equal(table.close(0, 1), false);
  assert.equal(begin(table, 1), SESSION_GONE);
  assert.deepEqual([table.count, table.slots, table.answerBytes], [1, 8, 5 + ANSWER_OVERHEAD_BYTES]);
  assert.equal(table.begin({ sessionHigh: 7, sessionLow: 1, sequence: 2, acked: 0 }, 0), SESSION_ANSWERED);
});

test("there are so many sessions and slots, and no more", () => {
  const table = new SessionTable();
  for (let low = 1; low <= SESSIONS_MAX; low++) assert.equal(table.open({ high: 0, low, window: 1, lifeMs: LIFE_MS }, 0), undefined);
  assert.equal(table.open({ high: 1, low: 1, window: 1, lifeMs: LIFE_MS }, 0), "sessionsMax");
  table.close(0, 5);
  assert.equal(table.open({ high: 1, low: 1, window: 1, lifeMs: LIFE_MS }, 0), undefined);

  const wide = new SessionTable();
  for (let low = 1; low <= SESSION_SLOTS_MAX / SESSION_WINDOW_MAX; low++)
    wide.open({ high: 0, low, window: SESSION_WINDOW_MAX, lifeMs: LIFE_MS }, 0);
  assert.equal(wide.slots, SESSION_SLOTS_MAX);
  assert.equal(wide.open({ high: 1, low: 1, window: 1, lifeMs: LIFE_MS }, 0), "sessionSlotsMax");
});

test("the oldest answers make room, whosever they are, and say that they did", () => {
  const table = opened(SESSION_WINDOW_MAX);
  table.open({ high: 0, low: 2, window: SESSION_WINDOW_MAX, lifeMs: LIFE_MS }, 0);
  const bytes = new Uint8Array(4_096);
  const most = Math.floor(ANSWERS_BYTES_MAX / (bytes.length + ANSWER_OVERHEAD_BYTES));
  applied(table, 1, 0, bytes);
  for (let sequence = 1; sequence < most; sequence++) {
    assert.equal(begin(table, sequence, 0, 0, 2), SESSION_APPLY);
    table.remember(1, 0, 0, sequence, bytes);
  }
  assert.equal(begin(table, 1), SESSION_ANSWERED);
  assert.equal(table.answeredFlags, KEPT_BYTES, "there was room for exactly so many");
  applied(table, 2, 0, bytes);
  assert.equal(begin(table, 1), SESSION_ANSWERED);
  assert.deepEqual([table.answeredFlags, table.answeredBytes.length, table.answeredRevision], [KEPT_NOT, 0, 101]);
  assert.equal(begin(table, 1, 0, 0, 2), SESSION_ANSWERED);
  assert.equal(table.answeredFlags, KEPT_BYTES);
  assert(table.answerBytes <= ANSWERS_BYTES_MAX);
});

test("answers stay with their commands as the window fills in any order", () => {
  const table = opened(SESSION_WINDOW_MAX);
  const order = [70, 3, 200, 64, 65, 1, 1_000, 40_000, SESSION_WINDOW_MAX, 2];
  for (const sequence of order) applied(table, sequence, 0, Uint8Array.of(sequence & 0xff, sequence >> 8));
  for (const sequence of order) {
    assert.equal(begin(table, sequence), SESSION_ANSWERED);
    assert.equal(table.answeredRevision, 100 + sequence);
    assert.deepEqual(table.answeredBytes, Uint8Array.of(sequence & 0xff, sequence >> 8));
  }
  assert.equal(begin(table, 4), SESSION_APPLY);
});
