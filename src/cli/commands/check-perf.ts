import { isJson, OUTPUT_OPTION, type Command } from "../command.ts";
import { EXIT, usageError } from "../exit.ts";
import { prefixEnd } from "../key-range.ts";
import { pause } from "../pause.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";

const VALUE_BYTES = 256;
const BAR = 30;
/** Above this the 99th percentile of writes is called slow: an election timeout is a second, and leases are renewed at a third of theirs. */
const P99_MS_MAX = 100;
const SAMPLES_MAX = 1_000_000;
const FAILURE_PAUSE_MS = 50;

export const checkPerf: Command = {
  spec: {
    name: "check perf",
    summary: "Writes small values for a while, says how fast that was, and deletes them. Ends with 1 where it was slow.",
    words: [],
    options: [
      { name: "seconds", kind: "number", help: "Default: 5" },
      { name: "clients", kind: "number", help: "Writes under way at once. Default: 50" },
      { name: "prefix", kind: "text", help: "Of the keys that are written, and deleted at the end. Default: d-engine/check-perf/" },
      OUTPUT_OPTION,
      ...REMOTE_OPTIONS,
    ],
  },
  run: async (line, world) => {
    const seconds = line.number("seconds") ?? 5;
    const clients = line.number("clients") ?? 50;
    if (seconds < 1 || seconds > 3600) throw usageError("--seconds is from 1 to 3600");
    if (clients < 1 || clients > 10_000) throw usageError("--clients is from 1 to 10000");
    const prefix = new TextEncoder().encode(line.text("prefix") ?? "d-engine/check-perf/");
    if (prefix.length === 0) throw usageError("an empty prefix is every key, and they are deleted at the end");
    const remote = remoteOf(line, world);
    try {
      const range = { key: prefix, range_end: prefixEnd(prefix) };
      const { count } = await remote.call("etcdserverpb.KV", "Range", { ...range, count_only: true });
      if (count > 0)
        throw usageError(`there are ${count} keys under the prefix already, and they would be deleted: choose another with --prefix`);
      const tookMs = new Float64Array(SAMPLES_MAX);
      let writes = 0;
      let failures = 0;
      let firstFailure = "";
      const started = performance.now();
      const until = started + seconds * 1000;
      const value = new Uint8Array(VALUE_BYTES).fill(120);
      const bar = world.isTerminal.stderr
        ? setInterval(() => {
            const done = Math.min(1, (performance.now() - started) / (seconds * 1000));
            const filled = Math.round(done * BAR);
            process.stderr.write(`\r[${"#".repeat(filled)}${".".repeat(BAR - filled)}] ${Math.round(done * 100)} % ${writes} writes`);
          }, 200)
        : undefined;
      const writer = async (client: number): Promise<void> => {
        const key = Uint8Array.from([...prefix, ...new TextEncoder().encode(String(client))]);
        while (performance.now() < until && !world.signal.aborted) {
          const before = performance.now();
          try {
            await remote.call("etcdserverpb.KV", "Put", { key, value });
            if (writes < SAMPLES_MAX) tookMs[writes] = performance.now() - before;
            writes += 1;
          } catch (error) {
            if (world.signal.aborted) return;
            failures += 1;
            firstFailure ||= error instanceof Error ? error.message : String(error);
            await pause(FAILURE_PAUSE_MS, world.signal);
          }
        }
      };
      try {
        await Promise.all(Array.from({ length: clients }, (_, client) => writer(client)));
      } finally {
        clearInterval(bar);
        if (bar !== undefined) process.stderr.write(`\r${" ".repeat(BAR + 40)}\r`);
      }
      const elapsed = (performance.now() - started) / 1000;
      await remote.call("etcdserverpb.KV", "DeleteRange", range, { signal: null });
      const sorted = tookMs.subarray(0, Math.min(writes, SAMPLES_MAX)).sort();
      const at = (share: number): number =>
        Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 100) / 100;
      const found = { writesPerSecond: Math.round(writes / elapsed), p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1), failures };
      const isSlow = writes === 0 || failures > 0 || found.p99Ms > P99_MS_MAX;
      if (isJson(line, world)) await world.print(`${JSON.stringify({ ...found, pass: !isSlow })}\n`);
      else
        await world.print(
          `${isSlow ? "SLOW" : "ok"}: ${found.writesPerSecond} writes per second by ${clients} clients; p50 ${found.p50Ms} ms, p99 ${found.p99Ms} ms, longest ${found.maxMs} ms; ${failures} failed${firstFailure === "" ? "" : ` (${firstFailure})`}\n`,
        );
      return isSlow ? EXIT.no : EXIT.done;
    } finally {
      await remote.close();
    }
  },
};
