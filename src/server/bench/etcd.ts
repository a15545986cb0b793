/**
 * This engine's server beside a real etcd: `npm run bench:etcd [-- --quick] [--json FILE]`. Both are started with the same flags, sync before they
 * acknowledge, and are put under the same load by h2load with a prepared body: one key, 256 bytes. They take turns; the ratio is the median of
 * the pairs. With three members the load goes to the one that leads.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { RpcClient } from "../../rpc/index.ts";
import { PUT, putRequest, RANGE, rangeRequest, versionOf as versionOfKey, WATCH, watchRequest } from "./etcd-messages.ts";
import { isInstalled, Peer, versionOf, type Product } from "./etcd-peer.ts";
import { runH2load, type LoadAnswer } from "./h2load.ts";

const { values: flags } = parseArgs({
  options: { quick: { type: "boolean", default: false }, json: { type: "string" }, only: { type: "string" } },
});
const quick = flags.quick;
const SECONDS = quick ? 1 : 3;
const PAIRS = quick ? 1 : 3;
const KEYS = quick ? 50_000 : 1_000_000;
const WATCHERS = 1_000;
const KEY = "bench/key";
const VALUE = new Uint8Array(256).fill(120);

interface Row {
  readonly name: string;
  readonly method: string;
  readonly message: Uint8Array;
  readonly connections: number;
  readonly streams: number;
  /** etcd's figure below, ours above: the ratio that is wanted, by number of members. "latency": ours over etcd's, at most. */
  readonly goals: Readonly<Record<1 | 3, number>>;
  readonly kind: "throughput" | "latency";
}

const ROWS: readonly Row[] = [
  {
    name: "put, 10 x 10",
    method: PUT.path,
    message: putRequest(KEY, VALUE),
    connections: 10,
    streams: 10,
    goals: { 1: 3, 3: 5 },
    kind: "throughput",
  },
  {
    name: "put, 10 x 100",
    method: PUT.path,
    message: putRequest(KEY, VALUE),
    connections: 10,
    streams: 100,
    goals: { 1: 3, 3: 5 },
    kind: "throughput",
  },
  {
    name: "linearizable get, 10 x 100",
    method: RANGE.path,
    message: rangeRequest(KEY, false),
    connections: 10,
    streams: 100,
    goals: { 1: 6, 3: 6 },
    kind: "throughput",
  },
  {
    name: "serializable get, 10 x 100",
    method: RANGE.path,
    message: rangeRequest(KEY, true),
    connections: 10,
    streams: 100,
    goals: { 1: 6, 3: 6 },
    kind: "throughput",
  },
  {
    name: "put, one at a time, p50",
    method: PUT.path,
    message: putRequest(KEY, VALUE),
    connections: 1,
    streams: 1,
    goals: { 1: 1, 3: 0.6 },
    kind: "latency",
  },
];

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const figure = (value: number): string => (value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toPrecision(3));
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const results: Record<string, unknown>[] = [];

function report(row: {
  readonly name: string;
  readonly etcd: number;
  readonly ours: number;
  readonly ratio: number;
  readonly goal: number;
  readonly most?: boolean;
  readonly note?: string;
}): void {
  const reached = row.most === true ? row.ratio <= row.goal : row.ratio >= row.goal;
  results.push({ ...row, reached });
  print(
    `  ${row.name.padEnd(44)} ${figure(row.etcd).padStart(10)} ${figure(row.ours).padStart(10)} ${row.ratio.toFixed(2).padStart(7)}  ${row.most === true ? "<=" : ">="} ${row.goal}  ${reached ? "reached" : "MISSED"}${row.note === undefined ? "" : `  ${row.note}`}`,
  );
}

async function withClient<T>(port: number, run: (client: RpcClient) => Promise<T>): Promise<T> {
  const client = new RpcClient({ endpoints: [`127.0.0.1:${port}`] });
  try {
    return await run(client);
  } finally {
    await client.close();
  }
}

const version = (port: number): Promise<number> =>
  withClient(port, async (client) => versionOfKey(await client.unary(RANGE, rangeRequest(KEY, false))));

/** A failed call is a success to HTTP: puts must show in the key's version, and the key must be there to be read. */
async function load(directory: string, peer: Peer, row: Row, offeredPerSecond?: number): Promise<LoadAnswer> {
  const port = await peer.leaderPort();
  const before = await version(port);
  const answer = await runH2load(directory, {
    port,
    method: row.method,
    message: row.message,
    connections: row.connections,
    streams: row.streams,
    seconds: SECONDS,
    ...(offeredPerSecond === undefined ? {} : { offeredPerSecond }),
  });
  const written = (await version(port)) - before;
  if (row.method === PUT.path ? written < answer.calls : before === 0)
    throw new Error(`${peer.product}: ${answer.calls} calls, ${written} puts done`);
  return answer;
}

async function measure(members: 1 | 3, directory: string): Promise<void> {
  const peers = new Map<Product, Peer>();
  try {
    for (const product of ["etcd", "d-engine"] as const) {
      const peer = await Peer.start(product, members, directory);
      peers.set(product, peer);
      const port = await peer.leaderPort();
      await withClient(port, (client) => client.unary(PUT, putRequest(KEY, VALUE)));
    }
    print(`\n${members === 1 ? "One member" : "Three members"}${" ".repeat(33)}    etcd       ours   ratio`);
    for (const row of ROWS) {
      const pairs: { readonly etcd: LoadAnswer; readonly ours: LoadAnswer }[] = [];
      for (let pair = 0; pair < PAIRS; pair += 1)
        pairs.push({ etcd: await load(directory, peers.get("etcd")!, row), ours: await load(directory, peers.get("d-engine")!, row) });
      const value = (answer: LoadAnswer): number => (row.kind === "latency" ? answer.p50Us : answer.perSecond);
      const ratios = pairs.map(({ etcd, ours }) => value(ours) / value(etcd));
      report({
        name: row.name,
        etcd: median(pairs.map(({ etcd }) => value(etcd))),
        ours: median(pairs.map(({ ours }) => value(ours))),
        ratio: median(ratios),
        goal: row.goals[members],
        most: row.kind === "latency",
        note: `pairs ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
      });
      if (row.kind === "latency") continue;
      const offered = median(pairs.map(({ etcd, ours }) => Math.min(etcd.perSecond, ours.perSecond))) / 2;
      const etcd = await load(directory, peers.get("etcd")!, row, offered);
      const ours = await load(directory, peers.get("d-engine")!, row, offered);
      const show = (answer: LoadAnswer): string => [answer.p50Us, answer.p99Us, answer.p999Us].map((us) => figure(us)).join(" / ");
      print(`    at ${figure(offered)}/s, p50 / p99 / p99.9 us: etcd ${show(etcd)}; ours ${show(ours)}`);
    }
    if (members === 1) await measureWatchers(peers);
  } finally {
    await Promise.all([...peers.values()].map((peer) => peer.stop()));
  }
}

interface WatchAnswer {
  readonly perSecond: number;
  /** Events in a response, on average. */
  readonly together: number;
  /** Of one core, that this process used to read them: what it can read at most bounds both products. */
  readonly loaderShare: number;
}

/** Events that 1,000 watchers of one key are given in a second, while 10 writers write it as fast as they are answered; after a second to warm up. */
async function watchEvents(peer: Peer): Promise<WatchAnswer> {
  const port = await peer.leaderPort();
  const clients = Array.from({ length: 10 }, () => new RpcClient({ endpoints: [`127.0.0.1:${port}`] }));
  try {
    let events = 0;
    let responses = 0;
    let created = 0;
    await new Promise<void>((resolve, reject) => {
      for (const client of clients) {
        const call = client.stream(WATCH);
        for (let i = 0; i < WATCHERS / clients.length; i += 1) call.send(watchRequest(KEY));
        void (async () => {
          for await (const count of call) {
            events += count;
            responses += 1;
            if (count === 0 && ++created === WATCHERS) resolve();
          }
        })().catch((error: unknown) => reject(error instanceof Error ? error : new Error(String(error))));
      }
    });
    let isOver = false;
    const writer = async (client: RpcClient): Promise<void> => {
      while (!isOver) await client.unary(PUT, putRequest(KEY, VALUE));
    };
    const writers = clients.map(writer);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const started = performance.now();
    const before = { events, responses, cpu: process.cpuUsage() };
    await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
    const elapsedMs = performance.now() - started;
    const { user, system } = process.cpuUsage(before.cpu);
    const told = events - before.events;
    const together = told / (responses - before.responses);
    isOver = true;
    await Promise.all(writers);
    return { perSecond: (told * 1000) / elapsedMs, together, loaderShare: (user + system) / 1e3 / elapsedMs };
  } finally {
    // The watches' calls fail with it, which is how they end.
    await Promise.all(clients.map((client) => client.close({ graceMs: 0 })));
  }
}

async function measureWatchers(peers: ReadonlyMap<Product, Peer>): Promise<void> {
  const etcd = await watchEvents(peers.get("etcd")!);
  const ours = await watchEvents(peers.get("d-engine")!);
  report({
    name: "events to 1,000 watchers of one key, per s",
    etcd: etcd.perSecond,
    ours: ours.perSecond,
    ratio: ours.perSecond / etcd.perSecond,
    goal: 5,
    note: `events a response ${figure(etcd.together)} and ${figure(ours.together)}; the reader used ${figure(etcd.loaderShare)} and ${figure(ours.loaderShare)} of a core`,
  });
}

async function measureMemory(directory: string): Promise<void> {
  const resident: number[] = [];
  for (const product of ["etcd", "d-engine"] as const) {
    const peer = await Peer.start(product, 1, path.join(directory, "memory"));
    try {
      await withClient(await peer.leaderPort(), async (client) => {
        let next = 0;
        const writer = async (): Promise<void> => {
          while (next < KEYS) await client.unary(PUT, putRequest(`key/${String(next++).padStart(8, "0")}`, VALUE));
        };
        await Promise.all(Array.from({ length: 200 }, writer));
      });
      resident.push(peer.residentBytes() / 1e6);
    } finally {
      await peer.stop();
    }
  }
  const [etcd = Number.NaN, ours = Number.NaN] = resident;
  report({ name: `resident MB, ${figure(KEYS)} keys of 256 bytes`, etcd, ours, ratio: ours / etcd, goal: 0.7, most: true });
}

if (!isInstalled()) {
  print("skipped: etcd (Debian's etcd-server) and h2load (nghttp2-client) are not both installed");
} else {
  const directory = mkdtempSync(path.join(os.tmpdir(), "d-engine-etcd-"));
  try {
    print(
      `etcd ${versionOf("etcd")}, d-engine ${versionOf("d-engine")}, Node ${process.version}, ${os.cpus().length} cores (${os.cpus()[0]?.model.trim() ?? "?"}); fdatasync before each acknowledgement on both sides`,
    );
    if (quick) print("--quick: too short to judge by");
    const parts = (flags.only ?? "one,three,memory").split(",");
    if (parts.includes("one")) await measure(1, path.join(directory, "one"));
    if (parts.includes("three")) await measure(3, path.join(directory, "three"));
    if (parts.includes("memory")) await measureMemory(directory);
    if (flags.json !== undefined) writeFileSync(flags.json, JSON.stringify(results, undefined, 2));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
