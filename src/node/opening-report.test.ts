import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../host/clock.ts";
import type { FromNode } from "./boundary.ts";
import { createOpeningReport } from "./opening-report.ts";

test("an opening that takes its time says once a second how far it is, and one that does not says nothing", () => {
  let now = 5;
  const clock: Clock = { now: () => now, wallNow: () => 0, setTimer: () => ({ cancel: () => {} }), defer: () => {} };
  const told: FromNode[] = [];
  const report = createOpeningReport(clock, (messages) => told.push(...messages));
  for (let step = 0; step < 100; step++) report("loading", step / 100);
  assert.equal(told.length, 0);
  for (let step = 0; step <= 100; step++) {
    now += 30;
    report(step < 50 ? "replaying" : "loading", (step % 50) / 50);
  }
  assert.deepEqual(
    told.map((message) => (message.kind === "log" ? message.fields : message)),
    [
      { phase: "replaying", percent: 66 },
      { phase: "loading", percent: 34 },
    ],
  );
});
