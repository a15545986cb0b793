import assert from "node:assert/strict";
import { test } from "node:test";
import { CheckFailure } from "../history.ts";
import { HistoryKept } from "./history-kept.ts";
import type { MachineView, MemberView } from "./invariant.ts";

const member = {} as MemberView;

/** Tells it of one machine that goes through these (lease clock, revision, compacted through). */
function tell(kept: HistoryKept, ...states: readonly (readonly [clockMs: number, revision: number, compactRevision: number])[]): void {
  const machine = {} as { -readonly [K in keyof MachineView]: MachineView[K] };
  for (const [clockMs, revision, compactRevision] of states) {
    Object.assign(machine, { clockMs, revision, compactRevision });
    kept.onApplied(member, machine);
  }
}

function create(wasDiskFull = false): HistoryKept {
  const kept = new HistoryKept(() => 5);
  kept.rules = {
    ms: 1_000,
    revisionsMin: 3,
    revisionsMax: 100,
    isBoundByBytes: false,
    isAsked: (revision) => revision === 8,
    wasDiskFull: () => wasDiskFull,
  };
  return kept;
}

test("history may go when it is old and not among the last, when there is too much of it, when somebody asks, and when a disk is full", () => {
  tell(create(true), [0, 1, 0], [10, 10, 10]);
  tell(create(), [0, 1, 0], [10, 10, 0], [2_000, 10, 5]);
  tell(create(), [0, 1, 0], [10, 200, 100]);
  const asked = create();
  tell(asked, [0, 1, 0], [10, 10, 7]);
  assert.deepEqual([asked.readableFrom(4), asked.readableFrom(5)], [1, 8]);
});

test("history that is young, or among the last, may not go by itself", () => {
  assert.throws(() => tell(create(), [0, 1, 0], [10, 10, 5]), CheckFailure);
  assert.throws(() => tell(create(), [0, 1, 0], [10, 10, 0], [2_000, 10, 8]), CheckFailure);
});
