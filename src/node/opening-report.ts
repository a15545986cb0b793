/** Says how far an opening is that takes its time, in the log: what opens quickly says nothing. */
import type { Clock } from "../host/clock.ts";
import type { FromNode } from "./boundary.ts";

/** "replaying": files are read and verified. "loading": the data are built from them. */
export type OpeningPhase = "replaying" | "loading";

const REPORT_EVERY_MS = 1_000;

/** Answers what to call with a phase and how much of it is done, from 0 to 1. */
export function createOpeningReport(
  clock: Clock,
  deliver: (messages: readonly FromNode[]) => void,
): (phase: OpeningPhase, done: number) => void {
  let toldAt = clock.now();
  return (phase, done) => {
    const now = clock.now();
    if (now - toldAt < REPORT_EVERY_MS) return;
    toldAt = now;
    deliver([{ kind: "log", level: "info", message: "opening", fields: { phase, percent: Math.floor(done * 100) } }]);
  };
}
