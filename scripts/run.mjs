// What stands behind `npm start`, `npm test` and the other scripts. Works in a clone with nothing installed: it installs what the
// lock file names and compiles, says so in a line each on standard error, and then does what was asked.
// Plain JavaScript without a dependency, since it runs before there are any.
import { availableParallelism } from "node:os";
import path from "node:path";
import { build, install, root, runNode } from "./prepare.mjs";

const usage = `usage: node scripts/run.mjs COMMAND [ARGUMENTS]

  start [OPTIONS]       a server of its own, its data in ./data: d-engine serve
  demo                  three nodes as processes; the leader is killed; nothing is missing
  build                 compiles
  test [NAME...]        all tests, or those of the files whose path contains one of the names
  check [NAME...]       static checks: types, lint, layers, format, dead code, package
  sim [ARGUMENTS]       the simulator: --seeds N, --from S, --seed S
  bench [ARGUMENTS]     the benchmark: --quick, --json FILE, ...
  bench:rpc [N] [S]     the benchmark of the gRPC layer beside grpc-js and node:http2: N rounds of S seconds
  bench:etcd [ARGUMENTS] the server beside a real etcd: --quick, --json FILE
  nodes [VERSION...]    the tests on other versions of Node.js (default 22 24 26)
`;

/** The compiled program behind a command that is nothing but a program. */
const programs = {
  start: "dist/cli/main.js",
  demo: "examples/dist/demo/main.js",
  sim: "dist/testing/cli.js",
  bench: "bench/dist/main.js",
  "bench:rpc": "dist/rpc/bench/bench.js",
  "bench:etcd": "dist/server/bench/etcd.js",
};

async function main(command, args) {
  if (
    command === undefined ||
    !["start", "demo", "build", "test", "check", "sim", "bench", "bench:rpc", "bench:etcd", "nodes"].includes(command)
  ) {
    process.stderr.write(usage);
    return 2;
  }
  install();
  if (command === "check") return (await import("./check.mjs")).check(args);
  const built = build();
  // Tests of a tree that does not compile say little; a program that was compiled may still be worth running.
  if (!built && command !== "start" && command !== "demo") return 1;
  if (command === "build") return 0;
  if (command === "test") return (await import("./test.mjs")).test(args, { concurrency: Math.min(4, availableParallelism()) });
  if (command === "nodes") return (await import("./nodes.mjs")).testOnOtherNodes(args);
  return runNode(path.join(root, programs[command]), command === "start" ? ["serve", ...args] : args);
}

process.exitCode = await main(process.argv[2], process.argv.slice(3));
