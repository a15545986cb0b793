/**
 * Entries of any bytes: batches of all commands, of several sessions, with bits turned, parts cut out, lengths and numbers changed. Whatever they
 * are, members stay equal that apply them in other slices, wait for their results or not, hold pins and read in between, were restored from a
 * snapshot on the way, or compact memory at another pace; and nothing throws.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES, type BatchSession } from "../batch.ts";
import { CommandBatch, COMMAND_HEADER_BYTES, OP_SESSION_CLOSE } from "./command.ts";
import { growth, withoutGrowth } from "./growth.ts";
import { growthCost } from "./growth-cost.ts";
import { KvMachine, type MachineEntry } from "./machine.ts";
import { ResultReader } from "./result.ts";
import { stampSession } from "./session-stamp.ts";
import { SnapshotRestoring } from "./snapshot-stream.ts";
import { createTable } from "./table/packed-table.ts";
import { packTxn } from "./txn-codec.ts";
import type { TxnCommand, TxnOp } from "./txn-command.ts";
import type { RangeRequest } from "./read.ts";

const LIVES = 150;
const ENTRIES = 40;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Below `below`, the same for the same seed. */
type Draw = (below: number) => number;

function drawOf(seed: number): Draw {
  let state = (seed + 1) * 0x9e37_79b1;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) + 0x9e37_79b9) | 0;
    const mixed = Math.imul(state ^ (state >>> 12), 0x297a_2d39);
    return ((mixed ^ (mixed >>> 15)) >>> 0) % below;
  };
}

const KEYS = ["a", "b", "c", "ab", "b\0", "\u00ff"];
const LEASES = ["1", "2", "8000000000000000", "10000", "20000", "30001"];
const NUMBERS = [0, -0, 1, 2, 20, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 2 ** 53 - 1, 1e308, 3_000];

class Drawing {
  readonly #draw: Draw;
  readonly #sessions: readonly BatchSession[];

  constructor(draw: Draw, sessions: readonly BatchSession[]) {
    this.#draw = draw;
    this.#sessions = sessions;
  }

  one<T>(from: readonly T[]): T {
    return from[this.#draw(from.length)]!;
  }

  key(): Uint8Array {
    return text(this.one(KEYS));
  }

  value(): Uint8Array {
    return new Uint8Array(this.one([0, 1, 3, 80, 5_000])).fill(this.#draw(3));
  }

  interval(): { start: Uint8Array; end: Uint8Array | undefined } {
    return { start: text(this.one(["", ...KEYS])), end: this.#draw(2) === 0 ? undefined : this.key() };
  }

  op(depth: number): TxnOp {
    const what = this.#draw(depth > 2 ? 9 : 11);
    if (what < 5) {
      const keep = this.#draw(6);
      const ignoreValue = keep === 1 || keep === 2;
      const ignoreLease = keep === 2 || keep === 3;
      const lease = !ignoreLease && this.#draw(3) === 0 ? this.one(LEASES) : undefined;
      const value = ignoreValue ? text("") : this.value();
      const prevKv = this.#draw(2) === 0;
      return { kind: "put", key: this.key(), value, lease, ttlMs: undefined, ignoreValue, ignoreLease, prevKv };
    }
    if (what < 6) return { kind: "delete", where: this.#draw(2) === 0 ? this.key() : this.interval(), prevKv: true };
    if (what < 7) return { kind: "get", key: this.key() };
    if (what < 9) return { kind: "range", request: this.range() };
    return { kind: "txn", txn: this.txn(depth + 1) };
  }

  range(): RangeRequest {
    return {
      interval: this.interval(),
      limit: this.#draw(3),
      order: this.one(["ascending", "descending"]),
      sortBy: this.one(["key", "version", "value", "modRevision"]),
      keysOnly: false,
      countOnly: this.#draw(4) === 0,
      revision: this.#draw(3) === 0 ? 1 + this.#draw(60) : undefined,
    };
  }

  txn(depth = 1): TxnCommand {
    const ops = (): TxnOp[] => Array.from({ length: this.#draw(4) }, () => this.op(depth));
    const compare = Array.from({ length: this.#draw(2) }, () => ({
      where: this.#draw(2) === 0 ? this.key() : this.interval(),
      target: this.one(["version", "value", "lease", "modRevision"] as const),
      result: this.one(["equal", "not", "less", "greater"] as const),
      number: this.#draw(5),
      value: this.value(),
      lease: this.#draw(2) === 0 ? this.one(LEASES) : undefined,
    }));
    return { compare: compare.map((one) => (one.target === "value" ? one : { ...one, value: text("") })), success: ops(), failure: ops() };
  }

  command(batch: CommandBatch): void {
    switch (this.#draw(16)) {
      case 0:
      case 1:
        return batch.put(this.key(), this.value(), { prevKv: this.#draw(2) === 0 });
      case 2:
        return batch.put(this.key(), this.value(), { ttlMs: 1 + this.#draw(30) });
      case 3:
        return batch.put(this.key(), text(""), { ignoreValue: true, lease: this.#draw(2) === 0 ? this.one(LEASES) : undefined });
      case 4:
        return batch.put(this.key(), this.value(), { lease: this.one(LEASES), prevKv: true });
      case 5:
        return batch.compareAndSwap(this.key(), this.#draw(2) === 0 ? undefined : this.value(), this.value());
      case 6:
        return batch.deleteKey(this.key(), { prevKv: true });
      case 7:
        return batch.deleteRange(this.interval(), { prevKv: this.#draw(2) === 0 });
      case 8:
        return batch.grantLease(this.one(LEASES), 1 + this.#draw(40));
      case 9:
        return batch.renewLeases([this.one(LEASES), this.one(LEASES)]);
      case 10:
        return batch.revokeLease(this.one(LEASES));
      case 11:
        if (this.#draw(3) === 0) return batch.compact(this.#draw(60));
        if (this.#draw(2) === 0) return batch.freeHistory(this.#draw(60));
        return batch.limitHistory({ revisionsMax: 1 + this.#draw(30), bytesMax: this.#draw(20_000) });
      case 12:
        if (this.#draw(4) > 0) return batch.openSession({ window: 1 + this.#draw(70), lifeMs: 1_000 });
        return batch.closeSession(this.one(this.#sessions));
      default:
        try {
          batch.txn(packTxn(this.txn()));
        } catch {
          batch.deleteKey(this.key());
        }
    }
  }
}

/** A batch, sound or spoiled, with room for a session or not; its commands lie behind the prefix. */
function drawnRecord(draw: Draw, sessions: readonly BatchSession[]): { record: Uint8Array; count: number } {
  const inSession = draw(3) === 0;
  const batch = new CommandBatch(64, undefined, inSession);
  const drawing = new Drawing(draw, sessions);
  const commands = 1 + draw(8);
  for (let left = commands; left > 0; left--) drawing.command(batch);
  let { count } = batch;
  let record: Uint8Array = batch.finish().slice();
  if (inSession) stampSession(record, count, drawing.one(sessions));
  if (draw(12) === 0) record = withoutGrowth(record, count, { of: "quota", used: 9, max: 8 });
  if (draw(3) > 0) return { record, count };
  for (let faults = 1 + draw(4); faults > 0 && record.length > BATCH_PREFIX_BYTES; faults--) record = spoiled(record, draw);
  if (draw(6) === 0) count = [0, 1, count + 5, 0xffff_ffff][draw(4)]!;
  return { record, count };
}

function spoiled(record: Uint8Array, draw: Draw): Uint8Array {
  const length = record.length - BATCH_PREFIX_BYTES;
  const at = BATCH_PREFIX_BYTES + draw(length);
  switch (draw(6)) {
    case 0:
      record[at] = record[at]! ^ (1 << draw(8));
      return record;
    case 1:
      record[at] = [0, 1, 2, 8, 16, 64, 128, 255][draw(8)]!;
      return record;
    case 2:
      // Of the first command: its kind, its flags, its lengths.
      record[BATCH_PREFIX_BYTES + draw(Math.min(length, COMMAND_HEADER_BYTES))] = draw(OP_SESSION_CLOSE + 3);
      return record;
    case 3:
      if (length < 16) return record;
      new DataView(record.buffer, record.byteOffset).setFloat64(
        BATCH_PREFIX_BYTES + draw(length - 8),
        NUMBERS[draw(NUMBERS.length)]!,
        true,
      );
      return record;
    case 4:
      return record.slice(0, at);
    default: {
      const to = Math.min(record.length, at + draw(60));
      const out = new Uint8Array(record.length - (to - at));
      out.set(record.subarray(0, at));
      out.set(record.subarray(to), at);
      return out;
    }
  }
}

function newMachine(seed: number): KvMachine {
  const history = { revisionsMax: 1 + ((seed * 7) % 30), bytesMax: 2_000 };
  return new KvMachine({ table: createTable({ hashSeed: { low: seed, high: 2 } }), history });
}

function restored(machine: KvMachine, sliceBytes: number, seed: number): KvMachine {
  const restoring = new SnapshotRestoring({ table: createTable({ hashSeed: { low: seed, high: 3 } }) });
  const reading = machine.snapshot();
  for (let slice = reading.read(sliceBytes); slice !== undefined; slice = reading.read(sliceBytes)) {
    assert.equal(restoring.write(slice), undefined, "a state that was applied can be restored");
  }
  const made = restoring.finish({ index: machine.appliedIndex, term: machine.appliedTerm });
  assert.ok(made instanceof KvMachine);
  return made;
}

/** All that members must agree on. */
function standing(machine: KvMachine): unknown {
  return {
    hash: machine.stateHash(),
    revision: machine.revision,
    readableFrom: machine.readableFrom,
    compactRevision: machine.compactRevision,
    usedBytes: machine.usedBytes,
    historyBytes: machine.historyBytes,
    freeing: [1, 500, 1e9].map((bytes) => machine.revisionFreeing(bytes)),
    nextDue: machine.nextDue(),
    leases: machine.leases,
    keys: machine.table.keys,
    clockMs: machine.clockMs,
  };
}

/** While its steps last, something else is done with it. */
function applyBusily(machine: KvMachine, entry: MachineEntry, wanted: boolean, draw: Draw): Uint8Array {
  machine.begin(entry, wanted);
  for (let steps = 0; !machine.step(1 + draw(4)); steps++) {
    assert.ok(steps < 1_000_000, "an entry ends");
    if (draw(4) === 0) machine.maintain(1 + draw(5));
    if (draw(8) === 0) machine.pin()?.release();
    if (draw(8) > 0) continue;
    const reading = machine.readTxn(packTxn({ compare: [], success: [{ kind: "get", key: text("a") }], failure: [] }).slice());
    assert.ok(typeof reading !== "string");
    reading.step(draw(3));
    reading.cancel();
  }
  return machine.results();
}

test("entries of any bytes are applied without harm, and leave members equal that apply them in other ways", () => {
  for (let seed = 0; seed < LIVES; seed++) {
    const draw = drawOf(seed);
    const busy = newMachine(seed);
    const quiet = newMachine(seed);
    let moved = newMachine(seed);
    const sessions: BatchSession[] = [{ high: 0, low: 77, sequence: 1, acked: 0 }];
    let clockMs = 0;
    let pin = busy.pin();
    for (let index = 1; index <= ENTRIES; index++) {
      const { record, count } = drawnRecord(draw, sessions);
      clockMs += draw(20);
      const commands = record.subarray(BATCH_PREFIX_BYTES);
      const session =
        draw(4) === 0 ? { ...sessions[draw(sessions.length)]!, sequence: 1 + draw(90), acked: draw(3) * draw(30) } : undefined;
      const entry: MachineEntry = { index, term: 1, clockMs, commands, count, session };
      growth(record, count);
      assert.ok(growthCost(record, count, busy).bytes >= record.length);
      const results = new ResultReader(applyBusily(busy, entry, true, drawOf(seed * 1_000 + index)));
      for (let left = 0; results.next(); left++) {
        assert.ok(left <= count);
        results.prevKvs();
        const opened = results.session;
        if (opened !== undefined) sessions.push({ ...opened, sequence: 1 + draw(5), acked: 0 });
      }
      quiet.begin(entry, false);
      while (!quiet.step(1_000));
      moved.begin(entry, draw(2) === 0);
      while (!moved.step(7)) moved.maintain(3);
      moved.results();
      const wanted = standing(quiet);
      assert.deepEqual(standing(busy), wanted, `seed ${seed}, entry ${index}: slices`);
      assert.deepEqual(standing(moved), wanted, `seed ${seed}, entry ${index}: restored`);
      if (draw(5) === 0) {
        moved = restored(draw(2) === 0 ? busy : moved, 1 + draw(300), seed + index);
        assert.deepEqual(standing(moved), wanted, `seed ${seed}, entry ${index}: just restored`);
      }
      if (draw(3) === 0) {
        pin?.release();
        pin = busy.pin(busy.readableFrom);
      }
      if (draw(3) === 0) quiet.maintain(1_000);
      const [live, dead] = [quiet.hash(), busy.hash()];
      assert.ok(!("refused" in live) && !("refused" in dead));
      while (!live.step(5));
      while (!dead.step(100));
      assert.equal(live.hash, dead.hash);
    }
  }
});
