/**
 * Random sequences of requests for a comparison of two servers: made from a seed, as plain data, so that a sequence can be cut and run again.
 * Revisions are said from where the data stands when the step is taken, so that a cut sequence still asks for the past, now and the future.
 */
import type { MessageInit, MessageName } from "../../api/schema/messages.ts";
import type { StopSignal } from "./differential-servers.ts";
import { bytes } from "./wire.ts";

/** So many revisions before the newest; negative: behind it. */
export class Back {
  readonly revisions: number;

  constructor(revisions: number) {
    this.revisions = revisions;
  }
}

/** A message in which a Back stands for a revision. */
export type Template<T> = T extends Uint8Array
  ? T
  : T extends readonly (infer One)[]
    ? readonly Template<One>[]
    : T extends number
      ? number | Back
      : T extends object
        ? { readonly [Field in keyof T]: Template<T[Field]> }
        : T;

type Form<Name extends MessageName> = Template<MessageInit<Name>>;

/** What happens to servers. One that is alone and stopped is started again at once; of several, no second one is stopped. */
export type Disturbance =
  | { readonly kind: "stop"; readonly member: number; readonly signal: StopSignal }
  | { readonly kind: "start" | "moveLeader"; readonly member: number };

/** `member` is who is asked, or the next one that is there; the first if it is left out. */
export type Step =
  | {
      readonly kind: "call";
      readonly service: "etcdserverpb.KV" | "etcdserverpb.Lease";
      readonly method: string;
      readonly request: object;
      readonly member?: number;
    }
  | {
      readonly kind: "recipe";
      readonly service: "v3lockpb.Lock" | "v3electionpb.Election";
      readonly method: string;
      readonly request: object;
      readonly member?: number;
    }
  | { readonly kind: "keepAlive"; readonly ID: string; readonly member?: number }
  | Disturbance
  /** Asked for at once; the next step waits for their answers if `settled`, and else comes while they catch up. */
  | {
      readonly kind: "watch";
      readonly stream: number;
      readonly settled: boolean;
      readonly creates: readonly Form<"etcdserverpb.WatchCreateRequest">[];
    }
  | { readonly kind: "cancel"; readonly stream: number; readonly watchId: string }
  | { readonly kind: "progress"; readonly stream: number };

/** A small generator of numbers, the same for the same seed. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 2_654_435_761) >>> 0 || 1;
    for (let i = 0; i < 8; i++) this.below(2);
  }

  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % limit;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }
}

const EMPTY = new Uint8Array(0);
const ZERO = Uint8Array.of(0);
const KEYS: readonly Uint8Array[] = [
  ...["a", "b", "c", "d", "d/1", "d/2", "dé", "e", "zz", "L0/1", "E0/1"].map(bytes),
  ZERO,
  Uint8Array.of(0, 0),
  Uint8Array.of(0x61, 0),
  Uint8Array.of(0xff),
  Uint8Array.of(0xff, 0xff),
];
const ENDS: readonly Uint8Array[] = [...KEYS, ZERO, ZERO, ZERO, bytes("d0"), bytes("z"), bytes("F")];
const VALUES: readonly Uint8Array[] = [EMPTY, bytes("x"), bytes("y"), bytes("yy"), Uint8Array.of(0xff, 0, 0x80), ZERO];
const LEASES = ["0000000000000001", "7fffffffffffffff", "fffffffffffffffb"] as const;
const NO_LEASE = "0000000000000000";
const NOBODYS_LEASE = "00000000000000aa";
const WATCH_IDS: readonly string[] = [NO_LEASE, NO_LEASE, NO_LEASE, "0000000000000001", "0000000000000005", "fffffffffffffffe"];
export const STREAMS = 2;

class Maker {
  readonly #dice: Dice;

  constructor(seed: number) {
    this.#dice = new Dice(seed);
  }

  #key(): Uint8Array {
    // The empty one is refused: now and then is enough.
    return this.#dice.chance(2) ? EMPTY : this.#dice.of(KEYS);
  }

  #end(): Uint8Array {
    return this.#dice.chance(45) ? EMPTY : this.#dice.of(ENDS);
  }

  #lease(): string {
    return this.#dice.chance(4) ? NOBODYS_LEASE : this.#dice.of(LEASES);
  }

  #near(): Back {
    return new Back(this.#dice.below(12) - 2);
  }

  #put(): Form<"etcdserverpb.PutRequest"> {
    const ignoreValue = this.#dice.chance(10);
    const ignoreLease = this.#dice.chance(10);
    return {
      key: this.#key(),
      value: ignoreValue && this.#dice.chance(85) ? EMPTY : this.#dice.of(VALUES),
      lease: this.#dice.chance(25) && !(ignoreLease && this.#dice.chance(85)) ? this.#lease() : NO_LEASE,
      prev_kv: this.#dice.chance(40),
      ignore_value: ignoreValue,
      ignore_lease: ignoreLease,
    };
  }

  #range(): Form<"etcdserverpb.RangeRequest"> {
    const isFiltered = this.#dice.chance(25);
    const bound = (): number | Back => (isFiltered && this.#dice.chance(40) ? (this.#dice.chance(5) ? -1 : this.#near()) : 0);
    return {
      key: this.#key(),
      range_end: this.#end(),
      limit: this.#dice.chance(45) ? this.#dice.below(6) - 1 : 0,
      revision: this.#dice.chance(65) ? 0 : this.#dice.chance(8) ? -1 : this.#near(),
      sort_order: this.#dice.chance(40) ? 0 : this.#dice.below(3),
      sort_target: this.#dice.chance(40) ? 0 : this.#dice.below(5),
      serializable: this.#dice.chance(30),
      keys_only: this.#dice.chance(20),
      count_only: this.#dice.chance(12),
      min_mod_revision: bound(),
      max_mod_revision: bound(),
      min_create_revision: bound(),
      max_create_revision: bound(),
    };
  }

  #deletion(): Form<"etcdserverpb.DeleteRangeRequest"> {
    // Seldom all that there is: the rest of the sequence would be poor.
    const end = this.#dice.chance(65) ? EMPTY : this.#end();
    return { key: this.#key(), range_end: end === ZERO && this.#dice.chance(70) ? bytes("d0") : end, prev_kv: this.#dice.chance(50) };
  }

  #txn(depth: number): Form<"etcdserverpb.TxnRequest"> {
    return {
      compare: this.#dice.list(2, () => this.#compare()),
      success: this.#dice.list(4, () => this.#op(depth)),
      failure: this.#dice.list(3, () => this.#op(depth)),
    };
  }

  #compare(): Form<"etcdserverpb.Compare"> {
    const target = this.#dice.below(5);
    const unions: readonly Form<"etcdserverpb.Compare">[] = [
      { version: this.#dice.below(4) },
      { create_revision: this.#dice.chance(30) ? 0 : this.#near() },
      { mod_revision: this.#dice.chance(30) ? 0 : this.#near() },
      { value: this.#dice.of(VALUES) },
      { lease: this.#dice.chance(30) ? NO_LEASE : this.#lease() },
    ];
    return {
      // Now and then what nobody knows.
      result: this.#dice.chance(2) ? 7 : this.#dice.below(4),
      target: this.#dice.chance(1) ? 9 : target,
      key: this.#key(),
      range_end: this.#dice.chance(75) ? EMPTY : this.#end(),
      ...(this.#dice.chance(90) ? unions[target] : this.#dice.chance(50) ? this.#dice.of(unions) : {}),
    };
  }

  #op(depth: number): Form<"etcdserverpb.RequestOp"> {
    const roll = this.#dice.below(100);
    if (roll < 40) return { request_put: this.#put() };
    if (roll < 65) return { request_range: this.#range() };
    if (roll < 80) return { request_delete_range: this.#deletion() };
    if (roll < 97 && depth < 3) return { request_txn: this.#txn(depth + 1) };
    return this.#dice.chance(10) ? {} : { request_range: this.#range() };
  }

  /** Transactions at the limit of operations, and one above it. */
  #largeTxn(): Form<"etcdserverpb.TxnRequest"> {
    const gets = (count: number): Form<"etcdserverpb.RequestOp">[] =>
      Array.from({ length: count }, () => ({ request_range: { key: KEYS[0]! } }));
    switch (this.#dice.below(4)) {
      case 0:
        return { success: gets(127 + this.#dice.below(3)) };
      case 1:
        return { failure: gets(127 + this.#dice.below(3)), success: gets(1) };
      case 2:
        return {
          compare: Array.from({ length: 127 + this.#dice.below(3) }, () => ({ key: KEYS[0]!, result: 2, target: 0, version: 1_000 })),
        };
      default:
        return { success: [...gets(63), { request_txn: { success: gets(63 + this.#dice.below(3)) } }] };
    }
  }

  #watchCreate(settled: boolean): Form<"etcdserverpb.WatchCreateRequest"> {
    const key = this.#dice.chance(5) ? EMPTY : this.#dice.chance(30) ? ZERO : this.#dice.of(KEYS);
    return {
      key,
      range_end: this.#dice.chance(35) ? EMPTY : this.#dice.chance(40) ? ZERO : this.#dice.of(ENDS),
      start_revision: settled && this.#dice.chance(35) ? 0 : this.#dice.chance(10) ? 1 : this.#near(),
      prev_kv: this.#dice.chance(50),
      progress_notify: this.#dice.chance(20),
      filters: this.#dice.chance(25) ? this.#dice.list(2, () => this.#dice.below(2)) : [],
      watch_id: this.#dice.of(WATCH_IDS),
      fragment: this.#dice.chance(30),
    };
  }

  #recipe(): Step {
    // A name for each lease, so that nobody has to wait for another.
    const index = this.#dice.below(LEASES.length);
    const lease = this.#dice.chance(5) ? NOBODYS_LEASE : LEASES[index]!;
    const suffix = BigInt.asIntN(64, BigInt(`0x${LEASES[index]!}`)).toString(16);
    if (this.#dice.chance(40)) {
      const service = "v3lockpb.Lock";
      const name = `L${index}`;
      if (this.#dice.chance(50)) return { kind: "recipe", service, method: "Lock", request: { name: bytes(name), lease } };
      return { kind: "recipe", service, method: "Unlock", request: { key: bytes(`${name}/${suffix}`) } };
    }
    const service = "v3electionpb.Election";
    const name = bytes(`E${index}`);
    const leader = { name, key: bytes(`E${index}/${suffix}`), rev: this.#near(), lease };
    switch (this.#dice.below(5)) {
      case 0:
      case 1:
        return { kind: "recipe", service, method: "Campaign", request: { name, lease, value: this.#dice.of(VALUES) } };
      case 2:
        return { kind: "recipe", service, method: "Leader", request: { name } };
      case 3: {
        const request = { ...(this.#dice.chance(90) ? { leader } : {}), value: this.#dice.of(VALUES) };
        return { kind: "recipe", service, method: "Proclaim", request };
      }
      default:
        return { kind: "recipe", service, method: "Resign", request: this.#dice.chance(90) ? { leader } : {} };
    }
  }

  step(): Step {
    const kv = (method: string, request: object): Step => ({ kind: "call", service: "etcdserverpb.KV", method, request });
    const lease = (method: string, request: object): Step => ({ kind: "call", service: "etcdserverpb.Lease", method, request });
    const roll = this.#dice.below(1_000);
    const stream = this.#dice.below(STREAMS);
    if (roll < 260) return kv("Put", this.#put());
    if (roll < 480) return kv("Range", this.#range());
    if (roll < 560) return kv("DeleteRange", this.#deletion());
    if (roll < 720) return kv("Txn", this.#txn(0));
    if (roll < 725) return kv("Txn", this.#largeTxn());
    if (roll < 740)
      return kv("Compact", { revision: this.#dice.chance(10) ? this.#dice.below(3) : this.#near(), physical: this.#dice.chance(30) });
    if (roll < 790) {
      // A lease that ends by itself ends at two moments: those with a short time are refused or never renewed here.
      return lease("LeaseGrant", { ID: this.#dice.of(LEASES), TTL: this.#dice.of([600, 601, 9_000_000_000, 9_000_000_001]) });
    }
    if (roll < 805) return lease("LeaseRevoke", { ID: this.#lease() });
    if (roll < 830) return lease("LeaseTimeToLive", { ID: this.#dice.chance(5) ? NO_LEASE : this.#lease(), keys: this.#dice.chance(60) });
    if (roll < 840) return lease("LeaseLeases", {});
    if (roll < 865) return { kind: "keepAlive", ID: this.#lease() };
    if (roll < 905) return this.#recipe();
    if (roll < 965) {
      const settled = this.#dice.chance(60);
      const creates = Array.from({ length: this.#dice.chance(70) ? 1 : 1 + this.#dice.below(4) }, () => this.#watchCreate(settled));
      return { kind: "watch", stream, settled, creates };
    }
    if (roll < 990)
      return {
        kind: "cancel",
        stream,
        watchId: this.#dice.chance(70) ? `000000000000000${this.#dice.below(8)}` : this.#dice.of(WATCH_IDS),
      };
    return { kind: "progress", stream };
  }
}

/** The sequence of a seed. */
export function makeSteps(seed: number, count: number): Step[] {
  const maker = new Maker(seed);
  return Array.from({ length: count }, () => maker.step());
}

/** The same, spread over so many members of a cluster, some of which are stopped now and then, or one that is. */
export function makeDisturbedSteps(seed: number, count: number, members: number): Step[] {
  const dice = new Dice(seed ^ 0x5eed);
  return makeSteps(seed, count).flatMap((step): Step[] => {
    const spread =
      step.kind === "call" || step.kind === "recipe" || step.kind === "keepAlive" ? { ...step, member: dice.below(members) } : step;
    return dice.chance(DISTURBED_PERCENT) ? [makeDisturbance(dice, members), spread] : [spread];
  });
}

const DISTURBED_PERCENT = 5;

function makeDisturbance(dice: Dice, members: number): Disturbance {
  const member = dice.below(members);
  const roll = members === 1 ? 0 : dice.below(100);
  if (roll < 40) return { kind: "stop", member, signal: dice.of(["SIGTERM", "SIGKILL"]) };
  return roll < 75 ? { kind: "start", member } : { kind: "moveLeader", member };
}

/** The request of a step, with its revisions as numbers. */
export function resolve(template: unknown, revision: number): unknown {
  if (template instanceof Back) return revision - template.revisions;
  if (template instanceof Uint8Array || typeof template !== "object" || template === null) return template;
  if (Array.isArray(template)) return template.map((one) => resolve(one, revision));
  return Object.fromEntries(Object.entries(template).map(([name, value]) => [name, resolve(value, revision)]));
}

/** A step as a line to read. */
export function show(step: unknown): string {
  return JSON.stringify(step, (_, value: unknown) => {
    if (value instanceof Back)
      return value.revisions === 0 ? "now" : value.revisions > 0 ? `now-${value.revisions}` : `now+${-value.revisions}`;
    if (Array.isArray(value) && value.length > 60) return `${value.length} times ${show(value[0])}, then ${show(value.at(-1))}`;
    if (!(value instanceof Uint8Array)) return value === NO_LEASE || value === false || value === 0 ? undefined : value;
    return value.length === 0 ? undefined : Buffer.from(value).toString("latin1");
  });
}
