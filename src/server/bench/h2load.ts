/** Load by h2load, with one prepared gRPC body: what etcd and this engine are both put under. */
import { execFile } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

export interface Load {
  readonly port: number;
  /** "/etcdserverpb.KV/Put" */
  readonly method: string;
  /** The message, without gRPC's five bytes in front. */
  readonly message: Uint8Array;
  readonly connections: number;
  /** Calls under way at once on each connection. */
  readonly streams: number;
  readonly seconds: number;
  /** Calls per second of all connections together, instead of as many as can be. */
  readonly offeredPerSecond?: number;
}

export interface LoadAnswer {
  readonly perSecond: number;
  readonly calls: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
}

/** Rejects where a call failed as HTTP; whether it failed as gRPC the caller must find out from what the calls should have done. */
export async function runH2load(directory: string, load: Load): Promise<LoadAnswer> {
  const body = path.join(directory, "body");
  const log = path.join(directory, "calls");
  const framed = new Uint8Array(5 + load.message.length);
  new DataView(framed.buffer).setUint32(1, load.message.length);
  framed.set(load.message, 5);
  writeFileSync(body, framed);
  rmSync(log, { force: true });
  const args = [
    "-c",
    String(load.connections),
    "-m",
    String(load.streams),
    "-D",
    String(load.seconds),
    "--warm-up-time",
    "1",
    "-w",
    "24",
    "-W",
    "28",
  ];
  args.push("-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers", `--log-file=${log}`);
  if (load.offeredPerSecond !== undefined) args.push("--rps", String(Math.max(1, Math.round(load.offeredPerSecond / load.connections))));
  args.push(`http://127.0.0.1:${load.port}${load.method}`);
  const output = await new Promise<string>((resolve, reject) => {
    execFile("h2load", args, { encoding: "latin1", maxBuffer: 1 << 26 }, (error, stdout) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`h2load: ${error.message}\n${stdout}`));
    });
  });
  const failed = /requests: .* ([0-9]+) failed, ([0-9]+) errored, ([0-9]+) timeout/.exec(output);
  if (failed === null || failed.slice(1).some((count) => count !== "0")) throw new Error(`h2load: ${output}`);
  const durations: number[] = [];
  let unanswered = 0;
  for (const line of readFileSync(log, "latin1").split("\n")) {
    const [, status, duration] = line.split("\t");
    if (status === "200") durations.push(Number(duration));
    // What was under way at the end has no status.
    else if (status === "0") unanswered += 1;
    else if (status !== undefined) throw new Error(`h2load met HTTP status ${status}`);
  }
  if (unanswered > load.connections * load.streams) throw new Error(`h2load: ${unanswered} calls were not answered`);
  const sorted = Float64Array.from(durations).sort();
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  const calls = Number(/requests: ([0-9]+) total/.exec(output)?.[1] ?? Number.NaN);
  return { perSecond: calls / load.seconds, calls, p50Us: at(0.5), p99Us: at(0.99), p999Us: at(0.999) };
}
