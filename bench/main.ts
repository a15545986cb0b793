/**
 * The benchmark: `npm run bench -- [--quick] [--only NAME[,NAME]] [--json FILE]`.
 *
 * Each measured load of three nodes stands beside the floor for it (floor-member.ts, hop-floor.ts). Both are warmed for a while; then the two
 * take turns: a round of each that is thrown away, then at least five pairs. The ratio is the median of the pairs. Ratios are what is required; absolute figures depend
 * on the machine, and on the minute.
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { EngineCluster, type Mode } from "./engine.ts";
import { startFloor, type Floor } from "./floor.ts";
import { measureHop } from "./hop-floor.ts";
import type { LoadResult } from "./load.ts";
import { leaderOf, measure, type Measured, type MemberProcess } from "./members.ts";
import { goalsTable, isReached, median, round, rowsTable, summarize, type Goal, type Row } from "./report.ts";
import type { Deleted, Leader, Memory, Operation, Stalls, Watchers } from "./work.ts";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    json: { type: "string" },
    directory: { type: "string" },
  },
});

const quick = flags.quick;
const SECONDS = quick ? 0.7 : 2;
/** Of writes by 1,000 clients before anything counts: it takes V8 this long to compile what a node runs, where the floor's few lines need no time. */
const WARM_SECONDS = quick ? 3 : 20;
const PAIRS = quick ? 3 : 5;
const KEYS = quick ? 20_000 : 100_000;
const KILLS = quick ? 3 : 20;

const print = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

interface Load {
  readonly name: string;
  readonly operation: Operation;
  readonly clients: number;
  readonly keys?: number;
}

const writes: readonly Load[] = [
  { name: "write, 1 client", operation: "put", clients: 1 },
  { name: "write, 100 clients", operation: "put", clients: 100 },
  { name: "write, 1,000 clients", operation: "put", clients: 1000 },
];

const reads: readonly Load[] = [
  { name: "linearizable read, 100 clients", operation: "linearizable", clients: 100 },
  { name: "lease read, 100 clients", operation: "lease", clients: 100 },
  { name: "eventual read, 100 clients", operation: "eventual", clients: 100 },
  { name: "eventual read, 1 client", operation: "eventual", clients: 1 },
];

const hot: readonly Load[] = [
  { name: "write, 100 clients, ten hot keys", operation: "put", clients: 100, keys: 10 },
  { name: "linearizable read, 100 clients, ten hot keys", operation: "linearizable", clients: 100, keys: 10 },
];

/** What a sync costs here: 4 KiB written over, then fdatasync, in one thread. */
function measureSync(directory: string): { readonly p50Ms: number; readonly p99Ms: number } {
  const file = openSync(path.join(directory, "sync"), "w");
  const block = Buffer.alloc(4096, 1);
  writeSync(file, Buffer.alloc(1 << 20));
  fdatasyncSync(file);
  const times = Array.from({ length: 200 }, (_, i) => {
    const started = performance.now();
    writeSync(file, block, 0, block.length, (i % 256) * 4096);
    fdatasyncSync(file);
    return performance.now() - started;
  }).toSorted((a, b) => a - b);
  closeSync(file);
  return { p50Ms: times[100] ?? 0, p99Ms: times[198] ?? 0 };
}

const directory = mkdtempSync(path.join(flags.directory ?? os.tmpdir(), "d-engine-bench-"));
let directories = 0;
const newDirectory = (): string => path.join(directory, String((directories += 1)));

const sync = measureSync(directory);
const machine = `Node ${process.version}, ${os.cpus().length} cores (${os.cpus()[0]?.model.trim() ?? "?"}), a sync of 4 KiB takes ${sync.p50Ms.toFixed(2)} ms (p99 ${sync.p99Ms.toFixed(2)})`;

const goals: Goal[] = [];
const tables: { readonly title: string; readonly rows: readonly Row[] }[] = [];

const toRow = (name: string, result: Measured): Row => ({ name, ...result });

function show(title: string, rows: readonly Row[]): void {
  tables.push({ title, rows });
  print(`\n${title}\n${machine}; keys of 8 bytes, values of 256`);
  print(rowsTable(rows));
}

/** The row in the middle, by throughput. */
const middle = (rows: readonly Row[]): Row => rows.toSorted((a, b) => a.perSecond - b.perSecond)[rows.length >> 1] as Row;

/** Loads that have no floor: a discarded round, then one that counts. */
async function absolute(title: string, setup: { readonly nodes: 1 | 3; readonly mode: Mode }, loads: readonly Load[]): Promise<void> {
  const cluster = await EngineCluster.start({ directory: newDirectory(), ...setup, keys: KEYS });
  const rows: Row[] = [];
  for (const load of loads) {
    await measure(cluster.members, { keys: KEYS, ...load, seconds: SECONDS / 3 });
    rows.push(toRow(load.name, await measure(cluster.members, { keys: KEYS, ...load, seconds: SECONDS })));
  }
  await cluster.stop();
  show(title, rows);
}

/** Engine and floor in turn. */
async function pairs(
  cluster: EngineCluster,
  floor: Floor,
  load: Load,
): Promise<{ readonly engine: readonly Row[]; readonly floor: readonly Row[] }> {
  const result: { readonly engine: Row[]; readonly floor: Row[] } = { engine: [], floor: [] };
  const options = { keys: KEYS, operation: load.operation, clients: load.clients, seconds: SECONDS };
  for (let round = 0; round <= PAIRS; round += 1) {
    const below = await measure(floor.members, options);
    const engine = await measure(cluster.members, options);
    if (round === 0) continue;
    result.floor.push(toRow(`${load.name}: floor`, below));
    result.engine.push(toRow(`${load.name}: engine`, engine));
  }
  return result;
}

async function besideFloor(): Promise<void> {
  const floorDirectory = mkdtempSync(path.join(directory, "floor-"));
  const floor = await startFloor(floorDirectory, KEYS);
  const cluster = await EngineCluster.start({ directory: newDirectory(), nodes: 3, mode: "durable", keys: KEYS });
  const rows: Row[] = [];
  const ratio = (a: readonly Row[], b: readonly Row[], of: (row: Row) => number): readonly number[] =>
    a.map((row, i) => of(row) / of(b[i] as Row));
  for (const { members } of [floor, cluster])
    await measure(members, { keys: KEYS, operation: "put", clients: 1000, seconds: WARM_SECONDS });
  for (const load of writes) {
    const { engine, floor: below } = await pairs(cluster, floor, load);
    rows.push(middle(below), middle(engine));
    if (load.clients === 1) {
      goals.push(
        summarize(
          "write, 1 client: p50 over the floor's",
          ratio(engine, below, (row) => row.p50Us),
          { unit: "x", required: 1.3, bound: "most" },
        ),
      );
    } else {
      const required = load.clients === 100 ? 0.7 : 0.6;
      goals.push(
        summarize(
          `${load.name}: of the floor's throughput`,
          ratio(engine, below, (row) => row.perSecond),
          { unit: "x", required, bound: "least" },
        ),
      );
    }
    if (load.clients === 1000) {
      goals.push(
        summarize(
          "write, 1,000 clients: CPU, all processes (floor's beside it)",
          engine.map((row) => row.cpuPerOperationUs),
          { unit: "us", required: 11, bound: "most" },
        ),
      );
    }
  }
  for (const load of reads) {
    if (load.operation === "linearizable") {
      const { engine, floor: below } = await pairs(cluster, floor, load);
      rows.push(middle(below), middle(engine));
      goals.push(
        summarize(
          `${load.name}: of the read floor's throughput`,
          ratio(engine, below, (row) => row.perSecond),
          { unit: "x", required: 0.6, bound: "least" },
        ),
      );
      const hop: number[] = [];
      for (const { perSecond } of engine) {
        const result = await measureHop({ clients: load.clients, seconds: SECONDS, keys: KEYS }, floor.ports);
        hop.push(perSecond / (result.operations / result.seconds));
        if (hop.length === 1)
          rows.push({
            name: "the same floor, callers in a thread of their own",
            perSecond: result.operations / result.seconds,
            cpuPerOperationUs: Number.NaN,
            ...result,
          });
      }
      goals.push(
        summarize("the same, over a floor whose callers have a thread of their own", hop, { unit: "x", required: 0.6, bound: "least" }),
      );
      continue;
    }
    const results: Row[] = [];
    for (let round = 0; round <= PAIRS; round += 1) {
      const result = toRow(`${load.name}: engine`, await measure(cluster.members, { keys: KEYS, ...load, seconds: SECONDS }));
      if (round > 0) results.push(result);
    }
    rows.push(middle(results));
    if (load.clients === 1)
      goals.push(
        summarize(
          `${load.name}: p50`,
          results.map((row) => row.p50Us),
          { unit: "us", required: 5, bound: "most" },
        ),
      );
    else
      goals.push(
        summarize(
          load.name,
          results.map((row) => row.perSecond),
          { unit: "/s", required: 400_000, bound: "least" },
        ),
      );
  }
  const hop = await measureHop({ clients: 100, seconds: SECONDS, keys: KEYS });
  rows.push({
    name: "a thread asked for values, 100 clients: floor",
    perSecond: hop.operations / hop.seconds,
    cpuPerOperationUs: hop.cpuUs / hop.operations,
    ...hop,
  });
  await cluster.stop();
  await Promise.all(floor.members.map((member) => member.stop()));
  rmSync(floorDirectory, { recursive: true, force: true });
  show(`Three nodes, durable, beside the floor (medians of ${PAIRS} rounds)`, rows);
}

interface Pair {
  readonly goal: string;
  readonly required: number;
  readonly clients: number;
  readonly keys: number;
  readonly with: { readonly name: string; readonly watchers?: Watchers; readonly operation?: Operation };
  readonly without: string;
}

/** Writes with something beside them, and without it, in turn on one cluster. */
async function besidePuts(title: string, loads: readonly Pair[]): Promise<void> {
  const cluster = await EngineCluster.start({ directory: newDirectory(), nodes: 3, mode: "durable", keys: KEYS });
  const rows: Row[] = [];
  for (const { goal, required, clients, keys, with: more, without } of loads) {
    const load = { operation: "put", clients, keys, seconds: SECONDS } as const;
    const plain: Row[] = [];
    const loaded: Row[] = [];
    for (let round = 0; round <= PAIRS; round += 1) {
      const alone = toRow(without, await measure(cluster.members, load));
      const beside = toRow(more.name, await measure(cluster.members, { ...load, ...more }));
      if (round === 0) continue;
      plain.push(alone);
      loaded.push(beside);
    }
    rows.push(middle(plain), middle(loaded));
    const ratios = loaded.map(({ perSecond }, i) => perSecond / (plain[i] as Row).perSecond);
    goals.push(summarize(goal, ratios, { unit: "x", required, bound: "least" }));
  }
  await cluster.stop();
  show(`${title} (medians of ${PAIRS} rounds)`, rows);
}

const txns: readonly Pair[] = [
  {
    goal: "transactions (compare one key, put one key), 100 clients, of plain puts",
    required: 0.7,
    clients: 100,
    keys: KEYS,
    with: { name: "transaction, 100 clients", operation: "txn" },
    without: "write, 100 clients",
  },
];

const watched: readonly Pair[] = [
  {
    goal: "writes with 10,000 watchers on other keys, of none",
    required: 0.9,
    clients: 100,
    keys: KEYS,
    with: { name: "write, 100 clients, 10,000 watchers on other keys", watchers: { count: 10_000, of: "other keys" } },
    without: "write, 100 clients",
  },
  {
    goal: "one writer, 1,000 watchers of its key, of that writer's rate with none",
    required: 0.8,
    clients: 1,
    keys: 1,
    with: { name: "write, 1 client, 1,000 watchers of its key", watchers: { count: 1_000, of: "the key" } },
    without: "write, 1 client, one key",
  },
];

/** kill -9 of the leader, and how long until one of the others has a write acknowledged. */
async function withoutLeader(): Promise<void> {
  const cluster = await EngineCluster.start({ directory: newDirectory(), nodes: 3, mode: "durable", keys: 0 });
  const times: number[] = [];
  for (let trial = 0; trial < KILLS; trial += 1) {
    const leader = await leaderOf(cluster.members);
    const place = cluster.members.indexOf(leader);
    const others = cluster.members.filter((member) => member !== leader);
    await Promise.all(others.map((member) => member.ask({ kind: "firstWrite" })));
    const killedAtMs = Number(process.hrtime.bigint() / 1000n) / 1000;
    await leader.kill();
    const { atMs } = await Promise.race(others.map((member) => member.ask<{ readonly atMs: number }>({ kind: "firstWrite" })));
    times.push(atMs - killedAtMs);
    const again = await cluster.startMember(place);
    await again.ask({ kind: "firstWrite" });
  }
  await cluster.stop();
  print(`\nWithout a leader after kill -9, from the kill to the first acknowledged write, default settings, ${KILLS} trials`);
  print(`  median ${round(median(times))} ms, best ${round(Math.min(...times))} ms, worst ${round(Math.max(...times))} ms`);
  goals.push(summarize("without a leader after kill -9", times, { unit: "ms", required: 1500, bound: "most" }));
}

/** Durable writes of clusters with a record store and without, in turn. */
async function besideMemory(): Promise<void> {
  const start = (mode: Mode): Promise<EngineCluster> => EngineCluster.start({ directory: newDirectory(), nodes: 3, mode, keys: KEYS });
  const stored = await start("durable");
  const memory = await start("memory");
  const load = { operation: "put", clients: 100, keys: KEYS, seconds: SECONDS } as const;
  const rows: { readonly stored: Row[]; readonly memory: Row[] } = { stored: [], memory: [] };
  for (let round = 0; round <= PAIRS; round += 1) {
    const without = toRow("write, 100 clients, store in memory", await measure(memory.members, load));
    const beside = toRow("write, 100 clients, default store", await measure(stored.members, load));
    if (round === 0) continue;
    rows.memory.push(without);
    rows.stored.push(beside);
  }
  await stored.stop();
  await memory.stop();
  show(`Three nodes, durable, record stores (medians of ${PAIRS} rounds)`, [middle(rows.memory), middle(rows.stored)]);
  const ratios = rows.stored.map(({ perSecond }, i) => perSecond / (rows.memory[i] as Row).perSecond);
  const goal = { unit: "x", required: 0.8, bound: "least" } as const;
  goals.push(summarize("durable writes, 100 clients, default store of memory store", ratios, goal));
}

/** Writes beside backups of many keys on one node, each time between two rounds without, which are what it is held against. */
async function backups(): Promise<void> {
  const keys = quick ? 100_000 : 1_000_000;
  const cluster = await EngineCluster.start({ directory: newDirectory(), nodes: 1, mode: "durable", keys });
  const load = { operation: "put", clients: 100, keys, seconds: SECONDS } as const;
  const write = async (): Promise<Row> => toRow("write, 100 clients", await measure(cluster.members, load));
  const backedUp: Row[] = [];
  const ratios: number[] = [];
  await write();
  const plain = [await write()];
  for (let round = 0; round < PAIRS; round += 1) {
    const beside = toRow("write, 100 clients, beside backups", await measure(cluster.members, { ...load, backups: true }));
    const before = plain.at(-1) as Row;
    const after = await write();
    backedUp.push(beside);
    plain.push(after);
    ratios.push(beside.p99Us / ((before.p99Us + after.p99Us) / 2));
  }
  await cluster.stop();
  const name = `${keys.toLocaleString("en")} keys of 256 bytes, one node`;
  show(`${name}, backups (medians of ${PAIRS} rounds)`, [middle(plain), middle(backedUp)]);
  goals.push(summarize(`${name}: p99 of writes beside a backup, of that without`, ratios, { unit: "x", required: 2, bound: "most" }));
}

/** What a member's process takes, in MB. */
async function memoryOf(member: MemberProcess): Promise<{ readonly residentMb: number; readonly dataMb: number }> {
  const { rssBytes, dataBytes } = await member.ask<Memory>({ kind: "memory" });
  return { residentMb: rssBytes / 2 ** 20, dataMb: dataBytes / 2 ** 20 };
}

/** Many keys on one node: its memory, and how long it takes to open again. */
async function manyKeys(): Promise<void> {
  const keys = quick ? 100_000 : 1_000_000;
  const cluster = await EngineCluster.start({ directory: newDirectory(), nodes: 1, mode: "durable", keys });
  const loaded = await memoryOf(cluster.members[0] as MemberProcess);
  await cluster.stop();
  const openings: number[] = [];
  const sizes: number[] = [];
  for (let opening = 0; opening < 3; opening += 1) {
    const member = await cluster.startMember(0);
    openings.push((await member.ask<{ readonly firstReadMs: number }>({ kind: "firstRead" })).firstReadMs);
    sizes.push((await memoryOf(member)).residentMb);
    await member.stop();
  }
  const name = `${keys.toLocaleString("en")} keys of 256 bytes, one node`;
  print(`\n${name}: ${round(loaded.residentMb)} MB resident once written, ${round(median(sizes))} MB opened again`);
  goals.push(summarize(`${name}: resident memory, opened again`, sizes, { unit: "MB", required: 600, bound: "most" }));
  goals.push(summarize(`${name}: from open to the first linearizable read`, openings, { unit: "ms", required: 5_000, bound: "most" }));
}

/** Many keys on one node, written over at a steady rate: how long its thread is ever held up, and what history takes. */
async function steadyWrites(): Promise<void> {
  const keys = quick ? 100_000 : 1_000_000;
  const cluster = await EngineCluster.start({ directory: newDirectory(), nodes: 1, mode: "timed", keys });
  const member = cluster.members[0] as MemberProcess;
  const before = await memoryOf(member);
  await member.ask<Stalls>({ kind: "stalls" });
  const load = { operation: "put", clients: 1, keys, seconds: quick ? 5 : 60, perSecond: 50_000 } as const;
  const result = toRow("write, 50,000/s asked for", await measure(cluster.members, load));
  const { longestMs, longestOfProcessorMs, waitsMs } = await member.ask<Stalls>({ kind: "stalls" });
  const after = await memoryOf(member);
  await cluster.stop();
  const name = `${keys.toLocaleString("en")} keys of 256 bytes, one node`;
  show(`${name}, written over for ${load.seconds} s`, [result]);
  print(
    `  the node's thread waited ${round(waitsMs)} ms for a processor in all; its longest turn took ${round(longestOfProcessorMs)} ms of one`,
  );
  print(
    `  resident ${round(before.residentMb)} MB before, ${round(after.residentMb)} after; data and history, logically ${round(before.dataMb)} and ${round(after.dataMb)}`,
  );
  goals.push(
    summarize(`${name}, 50,000 writes/s: longest stall of the node's thread, less waits for a processor`, [longestMs], {
      unit: "ms",
      required: 20,
      bound: "most",
    }),
  );
}

/** All of many keys deleted by one command, while others read on each member. */
async function bigDeletion(): Promise<void> {
  const keys = quick ? 100_000 : 1_000_000;
  const cluster = await EngineCluster.start({ directory: newDirectory(), nodes: 3, mode: "timed", keys });
  const { members } = cluster;
  const leader = await leaderOf(members);
  const { term } = await leader.ask<Leader>({ kind: "leader" });
  const each = <T>(ask: (member: MemberProcess) => Promise<T>): Promise<readonly T[]> => Promise.all(members.map(ask));
  const load = { kind: "load", operation: "eventual", clients: 1, keys, perSecond: 2_000 } as const;
  await each((member) => member.ask<LoadResult>({ ...load, seconds: 1 }));
  await each((member) => member.ask<Stalls>({ kind: "stalls" }));
  const reading = each((member) => member.ask<LoadResult>({ ...load, seconds: quick ? 3 : 10 }));
  const { deleted, ms } = await leader.ask<Deleted>({ kind: "deleteAll" });
  const results = await reading;
  const stalls = await each((member) => member.ask<Stalls>({ kind: "stalls" }));
  const now = await (await leaderOf(members)).ask<Leader>({ kind: "leader" });
  await cluster.stop();
  if (deleted !== keys) throw new Error(`${deleted} of ${keys} keys were deleted`);
  const name = `deleteRange of ${keys.toLocaleString("en")} keys, three nodes`;
  print(
    `\n${name}: ${round(ms)} ms; longest turns of the nodes' threads, less waits for a processor: ${stalls.map(({ longestMs }) => round(longestMs)).join(", ")} ms; of a processor ${stalls.map(({ longestOfProcessorMs }) => round(longestOfProcessorMs)).join(", ")}`,
  );
  goals.push(summarize(`${name}: elections`, [now.term - term], { unit: "", required: 0, bound: "most" }));
  const p99Ms = Math.max(...results.map(({ p99Us }) => p99Us / 1000));
  goals.push(summarize(`${name}: p99 of eventual reads, of the slowest member`, [p99Ms], { unit: "ms", required: 50, bound: "most" }));
}

const sections: Readonly<Record<string, () => Promise<void>>> = {
  floor: besideFloor,
  one: () => absolute("One node, durable", { nodes: 1, mode: "durable" }, [...writes, ...reads, ...hot]),
  hot: () => absolute("Three nodes, durable, hot keys", { nodes: 3, mode: "durable" }, hot),
  relaxed: () =>
    absolute(
      "Three nodes, relaxed: nothing is synced, power loss loses acknowledged writes (unsafeNoFsync)",
      { nodes: 3, mode: "relaxed" },
      writes,
    ),
  slow: () => absolute("Three nodes, durable, 2 ms added to each sync", { nodes: 3, mode: "slow" }, writes),
  txn: () => besidePuts("Three nodes, durable, transactions", txns),
  watch: () => besidePuts("Three nodes, durable, watched", watched),
  store: besideMemory,
  keys: manyKeys,
  steady: steadyWrites,
  deletion: bigDeletion,
  backup: backups,
  kill: withoutLeader,
};

async function main(): Promise<number> {
  const names = flags.only?.split(",") ?? Object.keys(sections);
  const unknown = names.filter((name) => sections[name] === undefined);
  if (unknown.length > 0) {
    process.stderr.write(`no such part: ${unknown.join(", ")}; there are ${Object.keys(sections).join(", ")}\n`);
    return 2;
  }
  try {
    print(machine);
    if (quick) print("--quick: too short to judge by");
    for (const name of names) await sections[name]?.();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  if (goals.length > 0) {
    print("\nGoals");
    print(goalsTable(goals));
  }
  if (flags.json !== undefined) {
    writeFileSync(
      flags.json,
      `${JSON.stringify({ node: process.version, cores: os.cpus().length, sync, quick, tables, goals: goals.map((goal) => ({ ...goal, reached: isReached(goal) })) }, undefined, 2)}\n`,
    );
  }
  // A benchmark says what it saw; it is no test. Only what kept it from measuring is an error.
  return 0;
}

process.exitCode = await main();
