/**
 * A machine and the model side by side: actions drawn at random are done to both, and every answer must agree. Throws where they do not.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { BATCH_PREFIX_BYTES } from "../../batch.ts";
import { CommandBatch, OP_TXN } from "../command.ts";
import { ByteWriter } from "../bytes.ts";
import { leaseFromWords, leaseHigh, leaseLow } from "../lease-id.ts";
import { unpackLeaseKeys } from "../lease-reading.ts";
import { KvMachine, type MachineEntry } from "../machine.ts";
import { packTxn } from "../txn-codec.ts";
import { decodeKv, type UnpackedKv } from "../packed-kv.ts";
import { AnswerReader, ReadBatch, type RangeRequest } from "../read.ts";
import { ResultReader } from "../result.ts";
import { stampSession } from "../session-stamp.ts";
import { SnapshotRestoring, type SnapshotReading } from "../snapshot-stream.ts";
import type { Table } from "../table.ts";
import { decodeWatchEvent } from "../watch-event.ts";
import { WATCH_OUTPUT_BYTES, type WatchOutput, type WatchRequest } from "../watch-hub.ts";
import type { PartBounds } from "../watch-parts.ts";
import { sessionId, type PlainCommand } from "./model-sessions.ts";
import { runTxn, type ModelTxn } from "./model-txn.ts";
import { bytesOf, intervalOf, Model, textOf, type ModelCommand, type ModelEvent, type ModelKv } from "./model.ts";
import { answersOf, appendTxn, readOnlyTxn, realTxn, txn } from "./txn-actions.ts";

export interface WorldOptions {
  readonly createTable: () => Table;
  /** Spoils a machine, for canaries. */
  readonly spoil?: (machine: KvMachine) => void;
  readonly history: { readonly revisionsMax: number; readonly bytesMax: number };
  /** Up to where watches are told a revision whole. */
  readonly parts?: PartBounds;
}

export type Action =
  | {
      readonly do: "apply";
      readonly commands: readonly ModelCommand[];
      readonly passMs: number;
      readonly slices: readonly number[];
      readonly peek: boolean;
    }
  | {
      readonly do: "range";
      readonly start: string;
      readonly end: string | undefined;
      readonly back: number | undefined;
      readonly limit: number;
      readonly order: RangeRequest["order"];
      readonly sortBy: RangeRequest["sortBy"];
      readonly keysOnly: boolean;
      readonly countOnly: boolean;
      readonly filter: number | undefined;
      readonly slice: number;
      readonly passing: boolean;
    }
  | {
      readonly do: "scan";
      readonly start: string;
      readonly end: string | undefined;
      readonly order: RangeRequest["order"];
      readonly bytesMax: number;
      readonly commands: readonly ModelCommand[];
    }
  | { readonly do: "readTxn"; readonly txn: ModelTxn; readonly slice: number; readonly passing: boolean }
  | { readonly do: "maintain"; readonly records: number }
  | {
      readonly do: "watch";
      readonly start: string;
      readonly end: string | undefined;
      readonly back: number | undefined;
      readonly prevKv: boolean;
      readonly only: "puts" | "deletes" | undefined;
      readonly initial: boolean;
      readonly onGap: "throw" | "reset";
    }
  | { readonly do: "credit"; readonly watch: number; readonly bytes: number }
  | { readonly do: "progress" | "unwatch"; readonly watch: number }
  | { readonly do: "pump"; readonly records: number }
  | { readonly do: "snapshot" }
  | { readonly do: "readSnapshot"; readonly bytes: number }
  | { readonly do: "install"; readonly commands: readonly ModelCommand[] };

interface Watching {
  readonly request: WatchRequest;
  readonly start: string;
  readonly end: string | undefined;
  /** Everything up to it was told. */
  told: number;
  progressWanted: boolean;
  reset: { readonly revision: number; readonly kvs: ModelKv[] } | undefined;
  /** What it was told of a revision that goes on. */
  part: { readonly revision: number; readonly events: readonly ModelEvent[] } | undefined;
  /** By what it was given, and what it was told. */
  creditBytes: number;
  initialWanted: boolean;
  ended: boolean;
}

interface Taking {
  readonly reading: SnapshotReading;
  readonly hash: number;
  readonly index: number;
  readonly slices: Uint8Array[];
}

const NO_WORK = 1_000_000;
/** More than any that the actions make. */
const EVENT_BYTES_MAX = 400;

export class World {
  readonly model: Model;
  machine: KvMachine;
  private readonly options: WorldOptions;
  private readonly entries: MachineEntry[] = [];
  private readonly watches: Map<number, Watching> = new Map();
  private watchIds = 0;
  private taking: Taking | undefined = undefined;
  private taken: Taking | undefined = undefined;

  constructor(options: WorldOptions) {
    this.options = options;
    this.model = new Model(options.history);
    this.machine = this.spoiled(new KvMachine({ table: options.createTable(), history: options.history }));
    // The hub goes on when another machine takes this one's place.
    Object.assign(this.machine.watches.partBounds, options.parts);
  }

  run(actions: readonly Action[]): void {
    for (const action of actions) this.act(action);
    this.settle();
  }

  private spoiled(machine: KvMachine): KvMachine {
    this.options.spoil?.(machine);
    return machine;
  }

  private act(action: Action): void {
    switch (action.do) {
      case "apply":
        return this.apply(action.commands, action.passMs, action.slices, action.peek);
      case "range":
        return this.range(action);
      case "scan":
        return this.scan(action);
      case "readTxn":
        return this.readTxn(action);
      case "maintain":
        this.machine.maintain(action.records);
        return;
      case "watch":
        return this.watch(action);
      case "credit":
        this.credit(this.nth(action.watch), action.bytes);
        return;
      case "progress": {
        const watching = this.watches.get(this.nth(action.watch));
        if (watching === undefined) return;
        watching.progressWanted = true;
        this.machine.watches.requestProgress(watching.request.id);
        return;
      }
      case "unwatch":
        this.machine.watches.remove(this.nth(action.watch));
        this.watches.delete(this.nth(action.watch));
        return;
      case "pump":
        return this.pump(action.records);
      case "snapshot":
        this.taking?.reading.cancel();
        this.taking = { reading: this.machine.snapshot(), hash: this.machine.stateHash(), index: this.machine.appliedIndex, slices: [] };
        return;
      case "readSnapshot":
        return this.readSnapshot(action.bytes);
      case "install":
        return this.install(action.commands);
    }
  }

  private nth(watch: number): number {
    const ids = [...this.watches.keys()];
    return ids[watch % Math.max(1, ids.length)] ?? -1;
  }

  private apply(commands: readonly ModelCommand[], passMs: number, slices: readonly number[], peek: boolean): void {
    const entry = this.propose(commands, passMs);
    const expected = this.model.apply(entry.index, entry.clockMs, commands);
    this.machine.begin(entry, true);
    for (let i = 0; !this.machine.step(slices[i % slices.length]!); i++) {
      assert(i < 10_000, "an entry ends");
      if (!peek) continue;
      this.checkAll(this.machine.revision);
      this.pump(2);
    }
    assert.equal(this.machine.revision, this.model.revision, "revision");
    assert.equal(this.machine.compactRevision, this.model.compactRevision, "compact revision");
    assert.equal(this.machine.appliedIndex, entry.index);
    assert.equal(this.machine.nextDue(), this.model.nextDue, "next due");
    const reader = new ResultReader(this.machine.results());
    for (const result of expected) {
      assert.equal(reader.next(), true);
      const prevKvs = reader.prevKvs().map(plain);
      const { refusal, revision, succeeded, deleted } = reader;
      if (refusal?.code === "answerNotKept") {
        assert.deepEqual(
          [result.refusal, revision, refusal.max],
          [undefined, result.revision, result.revision],
          "what was too long to keep",
        );
        continue;
      }
      const answers = reader.op === OP_TXN && refusal === undefined ? answersOf(reader, plain) : [];
      const renewed = Array.from({ length: reader.renewals }, (_, at) => reader.renewedTtlMs(at));
      assert.deepEqual({ refusal: refusal?.code, revision, succeeded, deleted, prevKvs, renewed, answers }, result, "result");
    }
    assert.equal(reader.next(), false);
    this.checkAll(this.machine.revision);
    this.checkLeases();
  }

  private checkLeases(): void {
    const { machine, model } = this;
    const { count, idHigh, idLow, ttlMs, dueMs } = machine.leaseColumns();
    const found = Array.from({ length: count }, (_, at) => [leaseFromWords(idHigh[at]!, idLow[at]!), ttlMs[at], dueMs[at]]);
    const expected = model.leases.map((lease) => [lease.id, lease.ttlMs, lease.dueMs]);
    assert.deepEqual(found.sort(), expected.sort(), "leases");
    for (const { id, ttlMs: wantedTtl, dueMs: wantedDue } of model.leases) {
      const reading = machine.lease(id, true);
      assert(reading !== undefined, "a lease that is there can be read");
      while (!reading.step(2));
      const answer = reading.result();
      assert(answer !== "tooLarge");
      const keys = unpackLeaseKeys(answer.keys, answer.count).map(textOf);
      assert.deepEqual([answer.ttlMs, answer.dueMs, keys], [wantedTtl, wantedDue, model.leaseKeys(id)], "one lease");
    }
    assert.equal(machine.lease("00000000000000ee", true), undefined);
  }

  private propose(commands: readonly ModelCommand[], passMs: number): MachineEntry {
    const { opened } = this.model.sessions;
    const packed = new ByteWriter(64);
    for (const command of commands) packed.raw(packedCommand(command, opened));
    const index = this.machine.appliedIndex + 1;
    const entry = { index, term: 1, clockMs: this.model.clockMs + passMs, commands: packed.take(), count: commands.length };
    this.entries.push(entry);
    return entry;
  }

  /** Everything that is there, by point reads and by a range. */
  private checkAll(revision: number): void {
    const batch = new ReadBatch();
    const keys = ["a", "b", "ab", "c\0", "abc", "zz"];
    for (const key of keys) batch.get(bytesOf(key));
    const answers = new AnswerReader(this.machine.read(batch.finish(), keys.length));
    assert.equal(answers.revision, revision);
    for (const key of keys) {
      const answer = answers.next();
      assert(answer !== "leftOut");
      assert.deepEqual(answer === undefined ? undefined : plain(answer), this.model.states[revision]!.get(key), "point read");
    }
    const reading = this.machine.range(everything(undefined));
    while (!reading.step(3));
    const answer = reading.result();
    assert(!("refused" in answer));
    assert.deepEqual(unpack(answer.kvs, answer.returned), this.model.sorted(revision), "range of all");
    assert.equal(answer.count, this.model.states[revision]!.size);
  }

  private range(action: Action & { readonly do: "range" }): void {
    const { start, end, back, limit, order, sortBy, keysOnly, countOnly, filter } = action;
    const { model } = this;
    const revision = back === undefined ? undefined : model.revision - back;
    const bounds =
      filter === undefined ? {} : { minModRevision: model.revision - filter, maxCreateRevision: model.revision - (filter >> 1) };
    const request: RangeRequest = { interval: intervalOf(start, end), limit, order, sortBy, keysOnly, countOnly, revision, ...bounds };
    const at = revision ?? model.revision;
    const expectation = { compact: model.compactRevision, revision: model.revision };
    const reading = this.machine.range(request);
    while (!reading.step(action.slice)) {
      if (action.passing)
        this.apply(
          [
            { op: "put", key: start === "" ? "a" : start, value: "passing" },
            { op: "deleteKey", key: "b" },
          ],
          1,
          [1],
          false,
        );
      this.machine.maintain(NO_WORK);
    }
    const answer = reading.result();
    if (at > expectation.revision) {
      assert.deepEqual(answer, { refused: "future", revision: expectation.revision });
    } else if ("refused" in answer) {
      assert.deepEqual(answer, { refused: "compacted", revision: expectation.compact + 1 });
      assert(at <= expectation.compact);
    } else {
      // A revision below the compacted one may still be readable here, if somebody pins it; then it must be right.
      const all = model.within(start, end, at);
      const matching =
        filter === undefined
          ? all
          : all.filter((kv) => kv.modRevision >= bounds.minModRevision! && kv.createRevision <= bounds.maxCreateRevision!);
      const sign = order === "ascending" ? 1 : -1;
      const sorted = matching.sort((left, right) => sign * compareBy(sortBy, left, right));
      const kept = countOnly ? [] : limit > 0 ? sorted.slice(0, limit) : sorted;
      assert.equal(answer.count, all.length, "count");
      assert.equal(answer.more, !countOnly && kept.length < matching.length, "more");
      assert.deepEqual(
        unpack(answer.kvs, answer.returned),
        kept.map((kv) => (keysOnly ? { ...kv, value: "" } : kv)),
        "range",
      );
    }
  }

  private readTxn(action: Action & { readonly do: "readTxn" }): void {
    const { model } = this;
    const expected = runTxn(model, action.txn, "");
    const { revision } = model;
    const reading = this.machine.readTxn(packTxn(realTxn(action.txn)).slice());
    assert(typeof reading !== "string");
    while (!reading.step(action.slice)) {
      if (action.passing) {
        this.apply(
          [
            { op: "put", key: "a", value: "passing" },
            { op: "deleteKey", key: "b" },
          ],
          1,
          [1],
          false,
        );
      }
      this.machine.maintain(NO_WORK);
    }
    const result = reading.result();
    if (!(result instanceof Uint8Array)) {
      assert.deepEqual(result, { refused: expected.refusal, revision: expected.max });
      return;
    }
    const reader = new ResultReader(result);
    assert(reader.next());
    const answers = answersOf(reader, plain);
    const { refusal, succeeded } = reader;
    assert.deepEqual({ refusal, max: 0, succeeded, answers }, expected, "what a transaction reads");
    assert.equal(reader.revision, revision);
  }

  private scan(action: Action & { readonly do: "scan" }): void {
    const { revision } = this.model;
    const pin = this.machine.pin();
    assert(pin !== undefined);
    const found: ModelKv[] = [];
    const ascending = action.order === "ascending";
    let { start, end } = action;
    for (;;) {
      const request = { ...everything(revision), interval: intervalOf(start, end), order: action.order };
      const reading = this.machine.range(request, { bytesMax: action.bytesMax, pinned: true });
      while (!reading.step(2));
      const answer = reading.result();
      assert(!("refused" in answer), "a pinned revision can be read");
      const kvs = unpack(answer.kvs, answer.returned);
      found.push(...kvs);
      if (!answer.more) break;
      assert(kvs.length > 0, "a page makes progress");
      const last = kvs.at(-1)!.key;
      if (ascending) start = `${last}\0`;
      else end = last;
      this.apply(action.commands, 1, [2], false);
      this.machine.maintain(NO_WORK);
    }
    pin.release();
    const expected = this.model.within(action.start, action.end, revision);
    assert.deepEqual(found, ascending ? expected : expected.toReversed(), "scan");
  }

  private watch(action: Action & { readonly do: "watch" }): void {
    const { start, end, back, prevKv, only, initial, onGap } = action;
    const id = ++this.watchIds;
    const fromRevision = back === undefined ? undefined : Math.max(1, this.model.revision - back);
    const request: WatchRequest = { id, interval: intervalOf(start, end), fromRevision, prevKv, only, initial, onGap };
    const { revision } = this.machine.watches.add(request);
    const told = initial ? this.model.revision : (fromRevision ?? this.model.revision + 1) - 1;
    assert.equal(revision, told, "the revision that a watch is ready at");
    const rest = { progressWanted: false, reset: undefined, part: undefined, creditBytes: 0, initialWanted: initial, ended: false };
    this.watches.set(id, { request, start, end, told, ...rest });
  }

  private credit(id: number, bytes: number): void {
    this.machine.watches.credit(id, bytes);
    const watching = this.watches.get(id);
    if (watching !== undefined) watching.creditBytes += bytes;
  }

  private pump(records: number): void {
    for (const output of this.machine.watches.pump(records)) {
      assert.equal(new Set(Array.from(output.ids)).size, output.ids.length, "nobody is told twice at once");
      for (const id of Array.from(output.ids)) this.onOutput(id, output);
    }
  }

  /** The events that this watch must be told of one revision. */
  private eventsAt(watching: Watching, revision: number): ModelEvent[] {
    const { start, end, request } = watching;
    return this.model.events[revision]!.filter(
      ({ kind, kv }) =>
        kv.key >= start &&
        (end === undefined || kv.key < end) &&
        (request.only === undefined || request.only === (kind === "put" ? "puts" : "deletes")),
    ).map((event) => (request.prevKv ? event : { ...event, prevKv: undefined }));
  }

  private assertSilence(watching: Watching, through: number): void {
    for (let at = Math.max(2, watching.told + 1); at <= Math.min(through, this.model.revision); at++) {
      assert.deepEqual(this.eventsAt(watching, at), [], "nothing is left out");
    }
  }

  private onOutput(id: number, output: WatchOutput): void {
    const watching = this.watches.get(id);
    assert(watching !== undefined && !watching.ended, "only watches that are there are told");
    const { revision } = output;
    if (output.kind === "events" || output.kind === "reset") assert(watching.creditBytes > 0, "nothing is told without credit");
    if (watching.initialWanted) {
      assert(output.kind === "reset" && output.reason === "initial", "it begins with what is there");
      watching.initialWanted = output.more;
    }
    if (output.kind !== "ended") watching.creditBytes -= output.bytes.length + WATCH_OUTPUT_BYTES;
    assert(revision <= this.machine.revision || output.kind === "ended", "only whole revisions are told");
    switch (output.kind) {
      case "events":
        assert(revision > watching.told, "nothing is repeated");
        this.assertSilence(watching, revision - 1);
        assert(output.count > 0);
        this.onEvents(watching, output);
        break;
      case "progress":
        assert(watching.progressWanted, "progress is asked for");
        assert(watching.part === undefined, "no progress is told in the middle of a revision");
        assert(revision >= Math.min(watching.told, this.machine.revision));
        this.assertSilence(watching, revision);
        watching.told = Math.max(watching.told, revision);
        watching.progressWanted = false;
        break;
      case "ended":
        assert.equal(output.compactRevision, this.machine.compactRevision);
        assert(watching.told < this.model.compactRevision, "a watch ends only where history is gone");
        assert.equal(watching.request.onGap, "throw");
        watching.ended = true;
        break;
      case "reset": {
        watching.part = undefined;
        assert(revision >= watching.told, "a reset is not of the past");
        if (output.reason === "compacted") assert.equal(watching.request.onGap, "reset");
        else assert(watching.request.initial);
        const before = watching.reset?.revision === revision ? watching.reset.kvs : [];
        const kvs = [...before, ...unpack(output.bytes, output.count)];
        watching.reset = output.more ? { revision, kvs } : undefined;
        if (output.more) break;
        assert.deepEqual(kvs, this.model.within(watching.start, watching.end, revision), "what a reset holds");
        watching.told = revision;
        break;
      }
    }
  }

  /** A revision, or part of one: whole if it may be, and exact however often it was interrupted. */
  private onEvents(watching: Watching, output: WatchOutput): void {
    const { revision, count, bytes, more } = output;
    const { events: eventsMax, bytes: bytesMax, copiesBytes } = this.machine.watches.partBounds;
    if (watching.part !== undefined) assert.equal(revision, watching.part.revision, "a revision goes on before another begins");
    const events = [...(watching.part?.events ?? []), ...unpackEvents(output)];
    const expected = this.eventsAt(watching, revision);
    assert(count <= eventsMax && (count === 1 || bytes.length < bytesMax + EVENT_BYTES_MAX), "a part is bounded");
    if (more) {
      assert(count === eventsMax || bytes.length >= bytesMax || copiesBytes < bytesMax, "only what is full is told in parts");
      assert(events.length < expected.length, "there is more where it says so");
      assert.deepEqual(events, expected.slice(0, events.length), "part of the events");
      watching.part = { revision, events };
      return;
    }
    assert.deepEqual(events, expected, "events");
    watching.part = undefined;
    watching.told = revision;
  }

  private readSnapshot(bytes: number): void {
    if (this.taking === undefined) return;
    const slice = this.taking.reading.read(bytes);
    if (slice === undefined) {
      assert.equal(this.taking.reading.hash, this.taking.hash, "writing while a snapshot is read does not change it");
      this.taken = this.taking;
      this.taking = undefined;
      this.restore(this.taken);
    } else {
      assert(slice.length <= bytes);
      this.taking.slices.push(slice);
    }
  }

  private restore(taken: Taking): KvMachine {
    const restoring = new SnapshotRestoring({ table: this.options.createTable() });
    for (const slice of taken.slices) assert.equal(restoring.write(slice), undefined, "a whole snapshot is not refused");
    const machine = restoring.finish({ index: taken.index, term: 1 });
    assert(machine instanceof KvMachine);
    this.spoiled(machine);
    assert.equal(machine.stateHash(), taken.hash, "a restored state is equal");
    for (const entry of this.entries) {
      if (entry.index <= taken.index) continue;
      machine.begin(entry, false);
      while (!machine.step(7)) machine.maintain(3);
    }
    assert.equal(machine.stateHash(), this.machine.stateHash(), "replicas are equal");
    return machine;
  }

  /** A member that lags is sent a state from ahead of its own. */
  private install(commands: readonly ModelCommand[]): void {
    if (this.taken === undefined) return;
    const old = this.machine;
    const machine = this.restore(this.taken);
    this.machine = machine;
    // The hub stays with the old machine until it is told.
    this.applyQuietly(commands);
    old.watches.rebase(machine);
    this.taking?.reading.cancel();
    this.taking = undefined;
    this.checkAll(machine.revision);
  }

  private applyQuietly(commands: readonly ModelCommand[]): void {
    const entry = this.propose(commands, 1);
    this.model.apply(entry.index, entry.clockMs, commands);
    this.machine.begin(entry, false);
    while (!this.machine.step(5));
  }

  /** Everybody reads on to the end. */
  private settle(): void {
    for (let i = 0; i < 10_000; i++) {
      for (const id of this.watches.keys()) this.credit(id, 1_000_000);
      this.pump(5);
      if (!this.machine.watches.behind) break;
    }
    assert(!this.machine.watches.behind, "watches come to an end");
    while (!this.machine.maintain(2));
    this.pump(NO_WORK);
    for (const watching of this.watches.values()) {
      if (watching.ended) continue;
      this.assertSilence(watching, this.model.revision);
      if (watching.request.initial) assert(watching.told > 0);
      assert(!watching.progressWanted, "progress comes");
      assert(watching.part === undefined, "a revision that was begun is told to its end");
    }
    while (this.taking !== undefined) this.readSnapshot(50);
  }
}

/** By itself, so that each command of a batch may be of another session. */
function packedCommand(command: ModelCommand, opened: readonly string[]): Uint8Array {
  const batch = new CommandBatch(64, undefined, command.op === "inSession");
  if (command.op === "openSession") batch.openSession(command);
  else if (command.op === "closeSession") batch.closeSession(wordsOf(sessionId(opened, command.nth)));
  else append(batch, command.op === "inSession" ? command.command : command);
  assert.equal(batch.count, 1);
  const record = batch.finish();
  if (command.op === "inSession") {
    const { nth: which, sequence, acked } = command;
    stampSession(record, 1, { ...wordsOf(sessionId(opened, which)), sequence, acked });
  }
  return record.subarray(BATCH_PREFIX_BYTES);
}

function wordsOf(id: string): { high: number; low: number } {
  return { high: leaseHigh(id), low: leaseLow(id) };
}

function append(batch: CommandBatch, command: PlainCommand): void {
  switch (command.op) {
    case "txn":
      appendTxn(batch, command.txn);
      break;
    case "compact":
      batch.compact(command.revision);
      break;
    case "limitHistory":
      batch.limitHistory(command);
      break;
    case "put":
      batch.put(bytesOf(command.key), bytesOf(command.value), command);
      break;
    case "deleteKey":
      batch.deleteKey(bytesOf(command.key), command);
      break;
    case "deleteRange":
      batch.deleteRange(intervalOf(command.start, command.end), command);
      break;
    case "compareAndSwap": {
      const expected = command.expected === undefined ? undefined : bytesOf(command.expected);
      batch.compareAndSwap(bytesOf(command.key), expected, bytesOf(command.value), command);
      break;
    }
    case "grant":
      batch.grantLease(command.lease, command.ttlMs);
      break;
    case "renew":
      batch.renewLeases(command.leases);
      break;
    case "revoke":
      batch.revokeLease(command.lease);
  }
}

function everything(revision: number | undefined): RangeRequest {
  return { interval: intervalOf("", undefined), limit: 0, order: "ascending", sortBy: "key", keysOnly: false, countOnly: false, revision };
}

export function plain(kv: UnpackedKv): ModelKv {
  const { createRevision, modRevision, version, lease } = kv;
  return { key: textOf(kv.key), value: textOf(kv.value), createRevision, modRevision, version, lease };
}

function unpack(bytes: Uint8Array, count: number): ModelKv[] {
  const kvs: ModelKv[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const kv = decodeKv(bytes, at);
    kvs.push(plain(kv));
    at = kv.next;
  }
  assert.equal(at, bytes.length, "nothing lies behind the last kv");
  return kvs;
}

function unpackEvents(output: WatchOutput): ModelEvent[] {
  const events: ModelEvent[] = [];
  let at = 0;
  for (let i = 0; i < output.count; i++) {
    const { kind, kv, created, cause, prevKv, next } = decodeWatchEvent(output.bytes, at);
    events.push({ kind, kv: plain(kv), created, cause, prevKv: prevKv === undefined ? undefined : plain(prevKv) });
    at = next;
  }
  assert.equal(at, output.bytes.length);
  return events;
}

function compareBy(sortBy: RangeRequest["sortBy"], left: ModelKv, right: ModelKv): number {
  const a = left[sortBy];
  const b = right[sortBy];
  return a < b ? -1 : a > b ? 1 : 0;
}

const key: fc.Arbitrary<string> = fc.constantFrom("a", "b", "c", "ab", "ac", "abc", "b\0", "c\0", "\xff", "ba");
const bound: fc.Arbitrary<string> = fc.constantFrom("", "a", "b", "c", "ab", "ab\0", "b\0", "\xff", "ba");
const end: fc.Arbitrary<string | undefined> = fc.option(bound, { nil: undefined });
const interval: fc.Arbitrary<{ start: string; end: string | undefined }> = fc.oneof(
  key.map((start) => ({ start, end: `${start}\0` })),
  fc.record({ start: bound, end }),
  fc.constant({ start: "", end: undefined }),
);
const value: fc.Arbitrary<string> = fc.oneof(fc.constantFrom("", "1", "2", "value"), fc.constant("x".repeat(90)));
const ttlMs: fc.Arbitrary<number> = fc.integer({ min: 1, max: 40 });
/** Some that clients choose; and those that the first commands of early entries make, which clients may choose too. */
const lease: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom("0000000000000007", "8000000000000000", "7fffffffffffffff") },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 12 }).map((index) => (index * 65_536).toString(16).padStart(16, "0")) },
);

/** A transaction that takes the keys of leases that puts have made, and goes on with one of these leases. */
const takingOver: fc.Arbitrary<ModelTxn> = fc.tuple(lease, value).map(([one, written]) => ({
  compare: [],
  success: [
    { op: "delete", start: "", end: "c" },
    { op: "put", key: "c", value: written, lease: one },
  ],
  failure: [],
}));

const plainCommand: fc.Arbitrary<PlainCommand> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ op: fc.constant("put" as const), key, value, prevKv: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("put" as const), key, value, ttlMs }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("put" as const), key, value, lease }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("grant" as const), lease, ttlMs }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("renew" as const), leases: fc.array(lease, { minLength: 1, maxLength: 8 }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("revoke" as const), lease }) },
  { weight: 6, arbitrary: txn.map((one) => ({ op: "txn" as const, txn: one })) },
  { weight: 1, arbitrary: takingOver.map((one) => ({ op: "txn" as const, txn: one })) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("put" as const), key, value, ignoreLease: fc.constant(true) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("compact" as const), revision: fc.integer({ min: 0, max: 40 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("limitHistory" as const),
      revisionsMax: fc.constantFrom(2, 10, 1_000),
      bytesMax: fc.constantFrom(500, 1_000_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("deleteKey" as const), key, prevKv: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant({ op: "deleteRange" as const, start: "", end: undefined }) },
  { weight: 1, arbitrary: fc.tuple(interval, fc.boolean()).map(([range, prevKv]) => ({ op: "deleteRange" as const, ...range, prevKv })) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant("compareAndSwap" as const), key, expected: fc.option(value, { nil: undefined }), value }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("compareAndSwap" as const), key, expected: fc.constant(undefined), value, ttlMs }) },
);
const nthSession: fc.Arbitrary<number> = fc.nat(3);
const command: fc.Arbitrary<ModelCommand> = fc.oneof(
  { weight: 45, arbitrary: plainCommand },
  {
    weight: 12,
    arbitrary: fc.record({
      op: fc.constant("inSession" as const),
      nth: nthSession,
      sequence: fc.integer({ min: 1, max: 10 }),
      acked: fc.constantFrom(0, 0, 0, 0, 1, 2, 3, 5),
      command: plainCommand,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant("openSession" as const),
      window: fc.constantFrom(3, 6, 100),
      lifeMs: fc.constantFrom(1_000, 1_010),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("closeSession" as const), nth: nthSession }) },
);
const commands: fc.Arbitrary<ModelCommand[]> = fc.array(command, { maxLength: 6 });
const order: fc.Arbitrary<"ascending" | "descending"> = fc.constantFrom("ascending", "descending");
const back: fc.Arbitrary<number | undefined> = fc.option(fc.integer({ min: -2, max: 20 }), { nil: undefined });
const nth: fc.Arbitrary<number> = fc.nat(10);

export const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("apply" as const),
      commands,
      passMs: fc.oneof({ weight: 15, arbitrary: fc.integer({ min: 0, max: 15 }) }, { weight: 1, arbitrary: fc.constantFrom(990, 1_000) }),
      slices: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
      peek: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        interval,
        fc.record({
          back,
          limit: fc.constantFrom(0, 0, 1, 2, 4),
          order,
          sortBy: fc.constantFrom("key", "key", "key", "version", "createRevision", "modRevision", "value"),
          keysOnly: fc.boolean(),
          countOnly: fc.constantFrom(false, false, false, true),
          filter: fc.option(fc.nat(15), { nil: undefined, freq: 1 }),
          slice: fc.integer({ min: 1, max: 10 }),
          passing: fc.boolean(),
        }),
      )
      .map(([range, rest]) => ({ do: "range" as const, ...range, ...rest })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(interval, order, fc.integer({ min: 1, max: 200 }), commands)
      .map(([range, direction, bytesMax, passing]) => ({ do: "scan" as const, ...range, order: direction, bytesMax, commands: passing })),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("readTxn" as const),
      txn: readOnlyTxn,
      slice: fc.integer({ min: 1, max: 5 }),
      passing: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("maintain" as const), records: fc.constantFrom(1, 3, NO_WORK) }) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        interval,
        fc.record({
          back,
          prevKv: fc.boolean(),
          only: fc.constantFrom(undefined, undefined, "puts" as const, "deletes" as const),
          initial: fc.boolean(),
          onGap: fc.constantFrom("throw" as const, "reset" as const),
        }),
      )
      .map(([range, rest]) => ({ do: "watch" as const, ...range, ...rest })),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("credit" as const), watch: nth, bytes: fc.constantFrom(1, 100, 1_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("progress" as const, "progress" as const, "unwatch" as const), watch: nth }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("pump" as const), records: fc.constantFrom(1, 2, 5, 6, 8, 50) }) },
  { weight: 1, arbitrary: fc.constant({ do: "snapshot" as const }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("readSnapshot" as const), bytes: fc.constantFrom(1, 30, 200, 5_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("install" as const), commands }) },
);

export const history: fc.Arbitrary<{ revisionsMax: number; bytesMax: number }> = fc.record({
  revisionsMax: fc.constantFrom(1, 4, 12, 1_000),
  bytesMax: fc.constantFrom(200, 1_000, 1_000_000),
});
