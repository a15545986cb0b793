/** Runs etcdctl, and makes what it prints of two servers comparable. */
import { spawn } from "node:child_process";

/** How a command ended, and what it printed: on standard output, then on standard error. */
export interface Outcome {
  readonly code: number | null;
  readonly out: string;
}

/** How a command is run. */
export interface RunOptions {
  readonly input?: string;
  /** It is killed once it has printed this. */
  readonly stopWhen?: string;
}

/** Runs etcdctl. */
export function etcdctl(address: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn("etcdctl", ["--endpoints", address, ...args], { env: { ...process.env, ETCDCTL_API: "3" } });
    // Which of the two comes first is a matter of chance.
    const printed = ["", ""];
    [child.stdout, child.stderr].forEach((stream, i) =>
      stream.on("data", (chunk: Buffer) => {
        printed[i] += chunk.toString("latin1");
        if (options.stopWhen !== undefined && printed[i]!.includes(options.stopWhen)) child.kill("SIGKILL");
      }),
    );
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, out: printed.join("") }));
    // It may end without having read anything.
    child.stdin.on("error", () => {});
    // One that is stopped may go on reading.
    if (options.stopWhen === undefined) child.stdin.end(options.input ?? "");
    else child.stdin.write(options.input ?? "");
  });
}

/** Without what differs from run to run and from server to server. */
export function comparable({ code, out }: Outcome): Outcome {
  const plain = out
    .replaceAll(/127\.0\.0\.1:\d+/g, "ADDRESS")
    .replaceAll(/"(cluster_id|member_id|raft_term)":\d+,?/g, "")
    .replaceAll(/"(ClusterID|MemberID|RaftTerm)" : \d+\n/g, "")
    .replaceAll(/took = [\d.]+\w+/g, "took = TIME")
    .replaceAll(/remaining\(\d+s\)/g, "remaining(TIME)")
    .replaceAll(/^lease [0-9a-f]{14,16} granted/gm, "lease ID granted")
    .replaceAll(/^\{"level".*\n/gm, "");
  return { code, out: plain };
}

/** The same for what is laid out in tables, and for names of leases and members that servers chose. */
export function withoutNames({ code, out }: Outcome): Outcome {
  const plain = out
    .replaceAll(/^http:\/\//gm, "")
    .replaceAll(/"took":"[^"]+"/g, '"took":"TIME"')
    .replaceAll(/"Took" : \S+/g, '"Took" : TIME')
    .replaceAll(/\b[\d.]+(µs|ms|s)\b/g, "TIME")
    .replaceAll(/\b\d{10,}\b/g, "ID")
    .replaceAll(/\b[0-9a-f]{13,16}\b/g, "ID")
    .replaceAll(/-{3,}/g, "---")
    .replaceAll(/ {2,}/g, " ");
  return comparable({ code, out: plain });
}
