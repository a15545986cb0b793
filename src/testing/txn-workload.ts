/**
 * What applications do in a simulation beyond plain calls: transactions, nested ones among them; transfers between accounts, of which the
 * sum never changes; counters that are updated; ranges, counts and scans with everything that can be asked of them, also of the past and of
 * what is no older than so long; compaction. All keys have a prefix of their own, and all is noted for the checks.
 */
import type { Consistency, RangeResult } from "../client/client.ts";
import type { Op, Txn, TxnResult } from "../client/transaction.ts";
import type { KeyMeta, KeyValue } from "../client/client.ts";
import { CheckFailure, type Operation, type OperationBody, type ReadValue } from "./history.ts";
import type { SimRandom } from "./sim-random.ts";
import { ACCOUNTS, amountOf, balance, COUNTERS, sumOf, TXN_PREFIX } from "./accounts.ts";
import { KEYS, OLD_KEYS, TxnDraw } from "./txn-draw.ts";
import { readValue, type Workload, type WorkloadNode } from "./workload.ts";
import type { OpAnswer, RangeWish, TxnAnswer } from "./txn-model.ts";

export interface TxnPlan {
  readonly clientsPerNode: number;
  /** Between an answer and the next call of one client, on average. */
  readonly thinkMs: number;
  readonly keys: number;
  readonly accounts: number;
  /** Shares of the calls; the rest reads. */
  readonly transferShare: number;
  readonly txnShare: number;
  readonly updateShare: number;
  readonly plainShare: number;
  readonly compactShare: number;
  /** Shares of the reads. */
  readonly pastShare: number;
  readonly eventualShare: number;
  readonly leaseShare: number;
  readonly watchesPerNode: number;
}

/** Of all accounts together, at any revision at which there is one. */
const OPENED_WITH = 100;
/** Rounding of clocks to whole milliseconds, on the way and in between. */
const ROUNDING_MS = 3;
const COUNTER_KEYS = 2;

export class TxnWorkload {
  readonly #workload: Workload;
  readonly #plan: TxnPlan;
  readonly #random: SimRandom;
  readonly #draw: TxnDraw;
  readonly #drift: number;
  /** Highest revision that somebody asked to compact to, and when: what history may be gone without being old. */
  readonly compactions: { readonly revision: number; readonly at: number }[] = [];
  #clients = 0;
  readonly #revision: () => number;

  constructor(options: {
    readonly workload: Workload;
    readonly plan: TxnPlan;
    readonly random: SimRandom;
    readonly clockDrift: number;
    readonly revision: () => number;
  }) {
    this.#workload = options.workload;
    this.#plan = options.plan;
    this.#random = options.random;
    this.#revision = options.revision;
    const { random, revision, workload, plan } = options;
    const { keys, accounts } = plan;
    this.#draw = new TxnDraw({ random, revision, keys, accounts, uniqueValue: (client) => workload.uniqueValue(client) });
    this.#drift = options.clockDrift;
  }

  /** What the accounts hold together, if there are any. */
  get total(): number {
    return this.#plan.accounts * OPENED_WITH;
  }

  attach(node: WorkloadNode): void {
    for (let count = 0; count < this.#plan.clientsPerNode; count++) this.#goOn(node, `t${++this.#clients}@${node.name}`);
    for (let count = 0; count < this.#plan.watchesPerNode; count++)
      this.#workload.watch(node, this.#random, [TXN_PREFIX, ACCOUNTS, ACCOUNTS, COUNTERS]);
  }

  #goOn(node: WorkloadNode, client: string): void {
    const pauseMs = -Math.log(1 - this.#random.fraction()) * this.#plan.thinkMs;
    node.process.applicationClock.setTimer(pauseMs, () => {
      if (this.#workload.isStopped) return;
      this.#call(new Caller(this.#workload, node, client)).then(
        () => this.#goOn(node, client),
        (error: unknown) => this.#workload.unexpected.push(error as Error),
      );
    });
  }

  #call(caller: Caller): Promise<void> {
    const { transferShare, txnShare, updateShare, plainShare, compactShare } = this.#plan;
    let draw = this.#random.fraction();
    if ((draw -= transferShare) < 0) return this.#transfer(caller);
    if ((draw -= txnShare) < 0) return this.#txn(caller, this.#draw.txn(caller.name));
    if ((draw -= updateShare) < 0) return this.#update(caller);
    if ((draw -= plainShare) < 0) return this.#write(caller);
    if ((draw -= compactShare) < 0) return this.#compact(caller);
    return this.#read(caller);
  }

  // -------------------------------------------------------------------------------------------------------------- writes

  #write(caller: Caller): Promise<void> {
    const key = this.#random.chance(0.3) ? `${OLD_KEYS}${this.#random.below(6)}` : `${KEYS}${this.#random.below(this.#plan.keys)}`;
    const { client, timeoutMs } = caller;
    if (this.#random.chance(0.7)) {
      const value = this.#workload.uniqueValue(caller.name);
      return caller.record(
        { kind: "put", key, value, ttlMs: undefined },
        {},
        async () => (await client.put(key, value, { timeoutMs })).revision,
      );
    }
    const body: OperationBody & { readonly kind: "delete" } = { kind: "delete", key };
    return caller.record(body, {}, async () => {
      const { deleted, revision } = await client.delete(key, { timeoutMs });
      body.deleted = deleted;
      return revision;
    });
  }

  /** A counter, whose value begins with how often it was counted. */
  #update(caller: Caller): Promise<void> {
    const key = `${COUNTERS}${this.#random.below(COUNTER_KEYS)}`;
    const { client, timeoutMs } = caller;
    const body: OperationBody & { readonly kind: "update" } = { kind: "update", key, tries: [] };
    return caller.record(body, {}, async () => {
      const result = await client.update(
        key,
        (current) => {
          const value = balance((current === undefined ? 0 : amountOf(current.text())) + 1, this.#workload.uniqueValue(caller.name));
          body.tries.push({ value, modRevision: current?.modRevision ?? 0 });
          return value;
        },
        { timeoutMs },
      );
      return result?.revision;
    });
  }

  #compact(caller: Caller): Promise<void> {
    // One that is applied in the same event as the revisions that it takes away would take them out of the sight of the checks.
    const revision = Math.max(1, Math.min(this.#draw.pastRevision(), this.#revision()));
    this.compactions.push({ revision, at: this.#workload.now() });
    return caller.record({ kind: "compact", revision }, {}, async () => {
      await caller.client.maintenance.compact(revision, { timeoutMs: caller.timeoutMs });
      return undefined;
    });
  }

  /** Between two accounts, of what one has; empty ones may go. If nobody has opened them, they are opened. */
  async #transfer(caller: Caller): Promise<void> {
    const random = this.#random;
    const names = random.shuffle(Array.from({ length: this.#plan.accounts }, (_, at) => `${ACCOUNTS}${at}`));
    const [from, to] = names;
    if (from === undefined || to === undefined) return;
    const get: OperationBody & { readonly kind: "get" } = { kind: "get", keys: [from, to] };
    const consistency = random.pick(["linearizable", "eventual", "lease"] as const);
    await caller.record(get, { consistency }, async () => {
      const kvs = await caller.client.getMany([from, to], { consistency, timeoutMs: caller.timeoutMs });
      get.values = [readValue(from, kvs[0]), readValue(to, kvs[1])];
      return undefined;
    });
    const [source, target] = get.values ?? [];
    if (source === undefined || target === undefined || this.#workload.isStopped) return;
    const puts: string[] = [];
    const value = (amount: number): string => {
      const unique = balance(amount, this.#workload.uniqueValue(caller.name));
      puts.push(unique);
      return unique;
    };
    const all: Op = { range: { prefix: ACCOUNTS } };
    if (source.value === undefined && target.value === undefined) {
      const success = names.map((put): Op => ({ put, value: value(OPENED_WITH) }));
      await this.#txn(caller, { txn: { compare: [{ range: { prefix: ACCOUNTS }, exists: false }], success, failure: [all] }, puts });
      return;
    }
    if (source.value === undefined) return;
    const has = amountOf(source.value);
    const moved = random.chance(0.2) ? has : random.below(has + 1);
    const isEmptied = moved === has && random.chance(0.5);
    const given: Op = isEmptied ? { delete: from, prevKv: true } : { put: from, value: value(has - moved) };
    const taken: Op = {
      put: to,
      value: value((target.value === undefined ? 0 : amountOf(target.value)) + moved),
      prevKv: random.chance(0.5),
    };
    const ops = random.shuffle([given, taken]);
    const success = random.chance(0.3) ? ops.map((op): Op => ({ txn: { success: [op] } })) : ops;
    const compare = [source, target].map(({ key, modRevision }) => ({ key, modRevision }));
    await this.#txn(caller, { txn: { compare, success: random.chance(0.5) ? [...success, all] : success, failure: [all] }, puts });
  }

  #txn(caller: Caller, { txn, puts }: { readonly txn: Txn; readonly puts: readonly string[] }): Promise<void> {
    const body: OperationBody & { readonly kind: "txn" } = { kind: "txn", prefix: TXN_PREFIX, txn, puts };
    return caller.record(body, {}, async () => {
      const result = (await caller.client.txn(txn, { timeoutMs: caller.timeoutMs })) as TxnResult;
      const answer = answerOf(txn, result);
      body.answer = answer;
      this.#checkAnswer(txn, answer);
      return result.revision;
    });
  }

  // --------------------------------------------------------------------------------------------------------------- reads

  async #read(caller: Caller): Promise<void> {
    const random = this.#random;
    const { client, timeoutMs, node } = caller;
    const { pastShare, eventualShare, leaseShare } = this.#plan;
    const draw = random.fraction();
    const consistency: Consistency = draw < eventualShare ? "eventual" : draw < eventualShare + leaseShare ? "lease" : "linearizable";
    const at = random.chance(pastShare) ? Math.max(1, this.#draw.pastRevision()) : undefined;
    const minRevision = at === undefined && random.chance(0.2) ? Math.max(0, this.#draw.pastRevision()) : undefined;
    const stalenessMsMax = consistency === "eventual" && random.chance(0.7) ? random.pick([0, 20, 200, 1_000]) : undefined;
    const options = {
      consistency,
      timeoutMs,
      ...(at === undefined ? {} : { revision: at }),
      ...(minRevision === undefined ? {} : { minRevision }),
      ...(stalenessMsMax === undefined ? {} : { stalenessMsMax }),
    };
    const { machine } = node.process;
    const operation = {
      consistency,
      ...(minRevision === undefined ? {} : { minRevision }),
      // Time that passed while the machine slept, and its wall clock was set, cannot be known to it.
      ...(stalenessMsMax === undefined || (machine.sleeps > 0 && machine.wallOffsetMs !== 0)
        ? {}
        : { staleMsMax: stalenessMsMax / (1 - this.#drift) + ROUNDING_MS }),
    };
    if (random.chance(0.3)) {
      const keys = Array.from({ length: 1 + random.below(3) }, () => this.#draw.key());
      const body: OperationBody & { readonly kind: "get" } = { kind: "get", keys, ...(at === undefined ? {} : { at }) };
      return caller.record(body, operation, async () => {
        const [first] = keys;
        const kvs = keys.length === 1 && first !== undefined ? [await client.get(first, options)] : await client.getMany(keys, options);
        body.values = keys.map((key, i) => readValue(key, kvs[i]));
        return undefined;
      });
    }
    const prefix = random.pick([TXN_PREFIX, ACCOUNTS, ACCOUNTS, KEYS]);
    const how = random.pick(["range", "range", "scan", "count"] as const);
    const { sortBy, ...wish } = how === "count" ? {} : this.#draw.wish();
    const body: OperationBody & { readonly kind: "query" } = {
      kind: "query",
      how,
      prefix,
      wish: how === "range" && sortBy !== undefined ? { ...wish, sortBy } : wish,
      ...(at === undefined ? {} : { at }),
    };
    return caller.record(body, operation, async () => {
      if (how === "count") {
        body.found = { count: await client.count({ prefix }, options) };
        return undefined;
      }
      if (how === "scan") {
        const scan = client.scan({ prefix }, { ...wish, ...options });
        const values: ReadValue[] = [];
        for await (const kv of scan) {
          values.push(valueOf(kv, wish.keysOnly === true));
          if (random.chance(0.1)) await caller.sleep(random.below(20));
        }
        const { revision } = await scan.ready();
        body.found = { values };
        this.#checkSum(prefix, wish, values, revision);
        return at === undefined ? revision : undefined;
      }
      const result: RangeResult = await client.range({ prefix }, { ...body.wish, ...options });
      const { more, count, revision } = result;
      const values = result.kvs.map((kv) => valueOf(kv, wish.keysOnly === true));
      body.found = { values, more, count };
      this.#checkSum(prefix, body.wish, values, revision);
      if (at !== undefined && revision !== at) throw new CheckFailure("past", `a range as of ${at} says that it is as of ${revision}`);
      return at === undefined ? revision : undefined;
    });
  }

  // ------------------------------------------------------------------------------------------------- what needs no model

  #checkAnswer({ success = [], failure = [] }: Txn, { succeeded, results, revision }: TxnAnswer): void {
    for (const [at, op] of (succeeded ? success : failure).entries()) {
      const result = results[at];
      if ("range" in op && result?.kind === "range" && "prefix" in op.range)
        this.#checkSum(op.range.prefix as string, op, result.found.values, revision);
    }
  }

  /** Whoever sees all accounts sees all that they hold, or none. */
  #checkSum(prefix: string, wish: RangeWish, values: readonly ReadValue[], revision: number): void {
    const { limit = 0, keysOnly, minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = wish;
    const isWhole =
      limit === 0 &&
      keysOnly !== true &&
      [minModRevision, maxModRevision, minCreateRevision, maxCreateRevision].every((bound) => bound === undefined);
    if (!isWhole || !ACCOUNTS.startsWith(prefix)) return;
    const sum = sumOf(values);
    if (sum !== undefined && sum !== this.total)
      throw new CheckFailure("accounts", `they hold ${sum} of ${this.total} as of revision ${revision}: ${JSON.stringify(values)}`);
  }
}

/** One call of one client. */
class Caller {
  readonly node: WorkloadNode;
  readonly name: string;
  readonly #workload: Workload;

  constructor(workload: Workload, node: WorkloadNode, name: string) {
    this.#workload = workload;
    this.node = node;
    this.name = name;
  }

  get client(): WorkloadNode["client"] {
    return this.node.client;
  }

  get timeoutMs(): number {
    return this.#workload.options.timeoutMs;
  }

  record(body: OperationBody, parts: Partial<Operation>, answer: () => Promise<number | undefined>): Promise<void> {
    const operation: Operation = {
      client: this.name,
      node: `${this.node.name}#${this.node.boot}`,
      call: this.#workload.now(),
      body,
      consistency: "linearizable",
      outcome: "unknown",
      end: Number.POSITIVE_INFINITY,
      revision: undefined,
      ...parts,
    };
    return this.#workload.record(operation, answer);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.node.process.applicationClock.setTimer(ms, resolve));
  }
}

function valueOf(kv: KeyMeta, keysOnly: boolean): ReadValue {
  if (!keysOnly) return readValue(kv.key, kv as KeyValue);
  const { key, modRevision, createRevision, version } = kv;
  return { key, value: "", modRevision, createRevision, version };
}

/** As the model says it. */
function answerOf(txn: Txn, { succeeded, revision, results }: TxnResult): TxnAnswer {
  const ops = (succeeded ? txn.success : txn.failure) ?? [];
  const all: readonly unknown[] = results;
  return { succeeded, revision, results: ops.map((op, at) => opAnswerOf(op, all[at])) };
}

function opAnswerOf(op: Op, result: unknown): OpAnswer {
  const value = (kv: KeyValue | undefined): ReadValue | undefined => (kv === undefined ? undefined : readValue(kv.key, kv));
  if ("get" in op) return { kind: "get", value: value(result as KeyValue | undefined) };
  if ("txn" in op) return { kind: "txn", answer: answerOf(op.txn, result as TxnResult) };
  if ("range" in op) {
    const { kvs, count, more, revision } = result as RangeResult;
    return { kind: "range", found: { values: kvs.map((kv) => valueOf(kv, op.keysOnly === true)), count, more }, revision };
  }
  if ("delete" in op) {
    const { deleted, prevKvs, revision } = result as { deleted: number; prevKvs: readonly KeyValue[]; revision: number };
    return { kind: "delete", deleted, before: prevKvs.map((kv) => readValue(kv.key, kv)), revision };
  }
  const { prevKv, revision } = result as { prevKv: KeyValue | undefined; revision: number };
  return { kind: "put", before: value(prevKv), revision };
}
