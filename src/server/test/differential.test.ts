/**
 * The same random sequences of requests to a real etcd and to ours, each from the beginning of the data: every response, revision, error and event
 * must be the same. What may differ, and why: differential-rules.ts.
 *
 * DIFFERENTIAL_SEED is the first seed, DIFFERENTIAL_SEEDS how many sequences there are, DIFFERENTIAL_STEPS how long each is.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { openPair } from "./differential-pairs.ts";
import { compare, describe, shrink } from "./differential-run.ts";
import { makeSteps } from "./differential-steps.ts";
import { isInstalled } from "./wire.ts";

const SKIP = isInstalled("etcd") ? false : "there is no etcd on this machine";
const SEED = Number(process.env["DIFFERENTIAL_SEED"] ?? 1);
const SEEDS = Number(process.env["DIFFERENTIAL_SEEDS"] ?? 5);
const STEPS = Number(process.env["DIFFERENTIAL_STEPS"] ?? 300);
const SHRINK_MS_MAX = Number(process.env["DIFFERENTIAL_SHRINK_MS"] ?? 60_000);

for (let seed = SEED; seed < SEED + SEEDS; seed++) {
  void test(`Everything is answered and told as etcd does it, sequence ${seed}`, { skip: SKIP }, async (context: TestContext) => {
    const steps = makeSteps(seed, STEPS);
    const used = new Map<string, number>();
    const difference = await compare(openPair, steps, used);
    for (const [what, count] of used) context.diagnostic(`${count} times: ${what}`);
    if (difference === undefined) return;
    const shorter = await shrink(openPair, steps, difference, SHRINK_MS_MAX);
    assert.fail(describe(seed, shorter.steps, shorter.difference));
  });
}
