/** Runs one sequence of steps on two fresh servers, tells where they first differ, and cuts a sequence that differs to a short one that still does. */
import { isDeepStrictEqual } from "node:util";
import { RULES, type Situation } from "./differential-rules.ts";
import { Side, until } from "./differential-side.ts";
import { resolve, show, type Step } from "./differential-steps.ts";

/** Where two servers differ. */
export interface Difference {
  /** How many steps were taken, this one included. */
  readonly steps: number;
  readonly step: Step;
  readonly theirs: unknown;
  readonly ours: unknown;
}

/** Two fresh servers. */
export interface Pair {
  readonly theirs: Side;
  readonly ours: Side;
  /** Of each. */
  readonly members: number;
  /** They are processes, which can be stopped and started. */
  readonly canStop: boolean;
  close(): Promise<void>;
}

const TELLING_MS_MAX = 1_500;

/** The first difference, if any. `used` counts the rules that mattered, and what happened to the servers. */
export async function compare(
  open: () => Promise<Pair>,
  steps: readonly Step[],
  used: Map<string, number>,
): Promise<Difference | undefined> {
  const pair = await open();
  try {
    return await new Comparison(pair, used).run(steps);
  } finally {
    await pair.close();
  }
}

class Comparison {
  readonly #pair: Pair;
  readonly #used: Map<string, number>;
  readonly #compacted = new Set<number>();
  #revision = 1;

  constructor(pair: Pair, used: Map<string, number>) {
    this.#pair = pair;
    this.#used = used;
  }

  async run(steps: readonly Step[]): Promise<Difference | undefined> {
    const { theirs, ours } = this.#pair;
    await Promise.all([theirs.start(), ours.start()]);
    for (const [i, template] of steps.entries()) {
      const difference = await this.#take(template);
      if (difference !== undefined) return { ...difference, steps: i + 1 };
    }
    const last = steps.at(-1)!;
    for (let member = 0; member < this.#pair.members; member++) {
      const difference = await this.#take({ kind: "start", member });
      if (difference !== undefined) return { ...difference, steps: steps.length };
    }
    const told = (await this.#settle(last)) ?? (await this.#compareMembers(last));
    return told === undefined ? undefined : { ...told, steps: steps.length };
  }

  /** What the members of one cluster hold must be the same. */
  async #compareMembers(step: Step): Promise<Omit<Difference, "steps"> | undefined> {
    const [theirs, ours] = await Promise.all([this.#pair.theirs.hashes(this.#revision), this.#pair.ours.hashes(this.#revision)]);
    return new Set(theirs).size === 1 && new Set(ours).size === 1 ? undefined : { step, theirs, ours };
  }

  async #take(template: Step): Promise<Omit<Difference, "steps"> | undefined> {
    const { theirs, ours } = this.#pair;
    const situation = (): Situation => ({
      hasFutureWatch: (stream) => ours.hasFutureWatch(stream, this.#revision),
      oldest: Math.max(0, ...this.#compacted),
      newest: this.#revision,
      canStop: this.#pair.canStop,
    });
    let step = resolve(template, this.#revision) as Step;
    if (ours.isVain(step)) return undefined;
    if (RULES.some((rule) => this.#applies(rule.what, rule.leavesOut?.(step, situation())))) return undefined;
    // What ends a watch, or says how far it is, comes when both servers have told all that there is.
    const isCompaction = step.kind === "call" && step.method === "Compact";
    if (isCompaction || (step.kind !== "call" && step.kind !== "recipe" && step.kind !== "keepAlive")) {
      const told = await this.#settle(step);
      if (told !== undefined) return told;
      step = resolve(template, this.#revision) as Step;
      if (RULES.some((rule) => this.#applies(rule.what, rule.leavesOut?.(step, situation())))) return undefined;
    }
    const [expected, actual] = (await Promise.all([theirs.take(step), ours.take(step)])).map(withoutTime);
    if (step.kind === "stop" || step.kind === "start" || step.kind === "moveLeader") this.#applies(step.kind, true);
    this.#revision = Math.max(this.#revision, revisionOf(expected), revisionOf(actual));
    if (step.kind === "call" && step.method === "Compact" && typeof expected === "object")
      this.#compacted.add((step.request as { readonly revision: number }).revision);
    if (isDeepStrictEqual(expected, actual)) return undefined;
    if (RULES.some((rule) => this.#applies(rule.what, rule.allows?.(step, expected, actual)))) return undefined;
    return { step, theirs: expected, ours: actual };
  }

  #applies(what: string, applies: boolean | undefined): boolean {
    if (applies === true) this.#used.set(what, (this.#used.get(what) ?? 0) + 1);
    return applies === true;
  }

  /** Waits until the watches of both have told everything, and compares that. */
  async #settle(step: Step): Promise<Omit<Difference, "steps"> | undefined> {
    const { theirs, ours } = this.#pair;
    const revisions = await Promise.all([theirs.putSentinel(), ours.putSentinel()]);
    if (revisions[0] !== revisions[1]) return { step, theirs: revisions[0], ours: revisions[1] };
    this.#revision = revisions[0];
    await Promise.all([theirs.toldUpTo(revisions[0]), ours.toldUpTo(revisions[0])]);
    // Those that began in the past may be on their way still.
    const told = (): readonly [ReadonlyMap<string, unknown>, ReadonlyMap<string, unknown>] => [
      theirs.told(this.#compacted),
      ours.told(this.#compacted),
    ];
    await until(() => isDeepStrictEqual(...told()), TELLING_MS_MAX).catch(() => {});
    const faults = ours.faults();
    if (faults.length > 0) return { step, theirs: [], ours: faults };
    const [expected, actual] = told();
    for (const watch of new Set([...expected.keys(), ...actual.keys()])) {
      const [a, b] = [expected.get(watch), actual.get(watch)];
      if (!isDeepStrictEqual(a, b)) return { step, theirs: { watch, ...firstDifference(a, b) }, ours: { watch, ...firstDifference(b, a) } };
    }
    return undefined;
  }
}

function firstDifference(told: unknown, other: unknown): object {
  if (!Array.isArray(told) || !Array.isArray(other)) return { told };
  const from = told.findIndex((one, i) => !isDeepStrictEqual(one, other[i]));
  return from < 0 ? { toldAll: told.length } : { place: from, told: told.slice(Math.max(0, from - 1), from + 2) };
}

/** The time that is left of a lease differs from run to run, the order of its keys is not stated, and ids given at random are. */
function withoutTime(outcome: unknown): unknown {
  if (typeof outcome !== "object" || outcome === null || Array.isArray(outcome)) return outcome;
  const { TTL, grantedTTL, keys, leases } = outcome as { TTL?: string; grantedTTL?: string; keys?: string[]; leases?: { ID: string }[] };
  return {
    ...outcome,
    ...(grantedTTL === undefined ? {} : { TTL: Number(grantedTTL) - Number(TTL) < 60 ? "granted" : TTL }),
    ...(keys === undefined ? {} : { keys: keys.toSorted() }),
    ...(leases === undefined ? {} : { leases: leases.map(({ ID }) => ID).toSorted() }),
  };
}

function revisionOf(outcome: unknown): number {
  return Number((outcome as { readonly header?: { readonly revision?: string } } | undefined)?.header?.revision ?? 0);
}

/** Cuts a sequence, for so long, to one that still differs. */
export async function shrink(
  open: () => Promise<Pair>,
  steps: readonly Step[],
  found: Difference,
  shrinkMsMax: number,
): Promise<{ readonly steps: readonly Step[]; readonly difference: Difference }> {
  const endMs = performance.now() + shrinkMsMax;
  let best = steps.slice(0, found.steps);
  let difference = found;
  for (let size = Math.ceil(best.length / 2); ; size = Math.ceil(size / 2)) {
    // The last one shows the difference, and stays.
    for (let from = Math.max(0, best.length - 1 - size); from >= 0; from -= size) {
      if (performance.now() > endMs) return { steps: best, difference };
      const shorter = [...best.slice(0, from), ...best.slice(from + size, best.length - 1), best.at(-1)!];
      if (shorter.length >= best.length) break;
      // oxlint-disable-next-line no-await-in-loop -- one after another
      const again = await compare(open, shorter, new Map());
      if (again === undefined) continue;
      best = shorter.slice(0, again.steps);
      difference = again;
    }
    if (size === 1) return { steps: best, difference };
  }
}

/** A difference as a text to read. */
export function describe(seed: number, steps: readonly Step[], difference: Difference): string {
  const lines = steps.map((step, i) => `  ${i + 1}. ${show(step)}`);
  return [
    `seed ${seed}: at step ${difference.steps}, ${show(difference.step)}`,
    `theirs: ${JSON.stringify(difference.theirs)}`,
    `ours:   ${JSON.stringify(difference.ours)}`,
    `after the steps`,
    ...lines,
  ].join("\n");
}
