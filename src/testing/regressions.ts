/**
 * Seeds that once failed, each with what it found. The code draws differently once it is changed, so that a seed may no longer meet what it
 * met then; they are run all the same, and what they found has a test of its own beside the code.
 */
import { MEMBERSHIP } from "./profiles.ts";
import type { SwarmProfile } from "./swarm.ts";

export interface Regression {
  readonly seed: number;
  readonly profile?: SwarmProfile;
  readonly found: string;
}

export const REGRESSIONS: readonly Regression[] = [
  { seed: 7, found: "rounds of reads put off the heartbeat, and with it the retry of appends that were lost" },
  { seed: 28, found: "a node whose last watch had ended woke itself a thousand times a second" },
  {
    seed: 30,
    found: "a batch that was forwarded again behind a snapshot, and applied the first time, counted as all that was forwarded in between",
  },
  { seed: 86, found: "the log was discarded under appends in flight, which then were never asked after" },
  {
    seed: 1,
    profile: { ...MEMBERSHIP, membershipEveryMs: 50 },
    found:
      "a snapshot whose sender was gone kept its receiver from making one of its own; a link that came up sent a probe to the beginning of the log",
  },
];
