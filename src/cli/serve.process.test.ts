/** `d-engine serve` as a process: what it says, what it listens at, signals, certificates, and three members started as etcd is. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import path from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { test } from "node:test";
import { CERTIFICATE, KEY } from "../rpc/test/certificate.ts";
import { EXIT } from "./exit.ts";
import { freePorts, Program, startServer, temporaryDirectory } from "./test/processes.ts";
import { run, type Ran } from "./test/world.ts";

const at = (address: string, ...args: readonly string[]): Promise<Ran> => run([...args, "--endpoints", address]);

test(
  "the first lines name version, data directory with its sync time, listeners, and three commands to try that work",
  { timeout: 60_000 },
  async (context) => {
    const { program, address, directory } = await startServer(context, ["--name", "n1", "--log-format", "text"]);
    const data = path.join(directory, "data");
    assert.match(
      program.stderr,
      /^.*info +opened[^\n]*\nd-engine \d+\.\d+\.\d+, with etcd's API of version 3\.\d+\.\d+: member n1 \([0-9a-f]{16}\) of cluster [0-9a-f]{16}\n/,
    );
    assert.ok(program.stderr.includes(`  data     ${data} (a small write is synced in `), program.stderr);
    assert.match(program.stderr, /\(a small write is synced in [\d.]+ ms\)\n  clients  http:\/\/127\.0\.0\.1:\d+\ntry:\n/);
    assert.equal(program.stdout, "", "results are standard output's, and a server has none");
    const tries = /try:\n {2}(.*)\n {2}(.*)\n {2}(.*)\n/.exec(program.stderr)?.slice(1) ?? [];
    const [put = "", watch = "", curl = ""] = tries.map((line) => line.replace(/^node \S+main\.js /, ""));
    assert.equal((await run(put.split(" "))).code, EXIT.done);
    assert.deepEqual(watch.split(" "), ["watch", "--endpoints", address, "--all"]);
    const [, url = ""] = /^curl (\S+)$/.exec(curl) ?? [];
    assert.match(await (await fetch(url)).text(), /hello/);
    assert.deepEqual(
      readdirSync(data).filter((name) => name.startsWith(".sync")),
      [],
      "nothing is left of the measurement",
    );
  },
);

test(
  "a signal closes it in order, with the exit code 0, and its data are there when it comes back",
  { timeout: 60_000 },
  async (context) => {
    const directory = temporaryDirectory(context);
    for (const [signal, value] of [
      ["SIGTERM", "1"],
      ["SIGINT", "2"],
    ] as const) {
      const { program, address } = await startServer(context, [], directory);
      const before = await at(address, "get", "k", "--print-value-only");
      assert.equal(before.stdout, value === "1" ? "" : "1\n");
      await at(address, "put", "k", value);
      const watching = at(address, "watch", "k", "--rev", "1");
      program.child.kill(signal);
      assert.equal(await program.ended, EXIT.done);
      assert.match(program.stderr, /closing: calls under way end, then leadership is handed over/);
      assert.match(program.stderr, /"closed"/);
      void watching;
    }
  },
);

test("memory: keeps nothing, and says so", { timeout: 60_000 }, async (context) => {
  const cwd = temporaryDirectory(context);
  const program = new Program(context, ["serve", "--data-dir", "memory:", "--listen-client-urls", "http://127.0.0.1:0"], { cwd });
  await program.said(/data +memory: nothing is kept\n/);
  await program.said(/ready to serve client requests/);
  assert.deepEqual(readdirSync(cwd), []);
});

test(
  "with data that are there, initial-cluster is not looked at: whom it names and where, as long as the directory is this member's",
  { timeout: 120_000 },
  async (context) => {
    const directory = temporaryDirectory(context);
    const data = path.join(directory, "data");
    const [one = 0, two = 0] = await freePorts(2);
    const serve = (args: readonly string[]): Program =>
      new Program(context, ["serve", "--name", "n1", "--data-dir", data, "--listen-client-urls", "http://127.0.0.1:0", ...args]);
    const stop = async (program: Program): Promise<void> => {
      program.child.kill("SIGTERM");
      assert.equal(await program.ended, EXIT.done, program.stderr);
    };
    const peer = (port: number): readonly string[] => ["--listen-peer-urls", `http://127.0.0.1:${port}`];
    const first = serve([...peer(one), "--initial-cluster", `n1=http://127.0.0.1:${one}`]);
    const [, cluster = ""] = await first.said(/of cluster ([0-9a-f]{16})/);
    await first.said(/ready to serve client requests/);
    await stop(first);
    const lists = [`n1=http://127.0.0.1:${two}`, `n1=http://127.0.0.1:${one},n2=http://127.0.0.1:${two}`, `other=http://127.0.0.1:${two}`];
    for (const list of lists) {
      const again = serve([...peer(two), "--initial-cluster", list]);
      assert.equal((await again.said(/of cluster ([0-9a-f]{16})/))[1], cluster, "it is the same cluster");
      await again.said(/ready to serve client requests/);
      assert.match(again.stderr, /initial-cluster is not what this member was founded with, and changes nothing/);
      await stop(again);
    }
    const same = serve([...peer(one), "--initial-cluster", `n1=http://127.0.0.1:${one}`, "--initial-cluster-token", "another"]);
    await same.said(/ready to serve client requests/);
    assert.doesNotMatch(same.stderr, /founded with/);
    await stop(same);
    const other = new Program(context, ["serve", "--name", "n2", "--data-dir", data, "--listen-client-urls", "http://127.0.0.1:0"]);
    assert.equal(await other.ended, EXIT.refused);
    assert.match(other.stderr, /belongs to the member n1/);
  },
);

test("a backup that was restored for this member alone is served with any list", { timeout: 60_000 }, async (context) => {
  const { address, directory } = await startServer(context);
  const file = path.join(directory, "backup");
  const data = path.join(directory, "restored");
  await at(address, "put", "a", "b");
  assert.equal((await at(address, "snapshot", "save", file)).code, EXIT.done);
  assert.equal((await run(["snapshot", "restore", file, "--data-dir", data, "--name", "n1"])).code, EXIT.done);
  const [port = 0] = await freePorts(1);
  const url = `http://127.0.0.1:${port}`;
  const program = new Program(context, [
    ...["serve", "--name", "n1", "--data-dir", data, "--listen-client-urls", "http://127.0.0.1:0"],
    ...["--listen-peer-urls", url, "--initial-cluster", `n1=${url}`],
  ]);
  const [, restored = ""] = await program.said(/clients +http:\/\/([^,\s]+)/);
  await program.said(/ready to serve client requests/);
  assert.equal((await at(restored, "get", "a")).stdout, "a\nb\n");
});

test("a port that is taken is found before a cluster is founded", { timeout: 60_000 }, async (context) => {
  const { address, directory } = await startServer(context);
  const [peer = 0] = await freePorts(1);
  const cases: readonly (readonly [setting: string, args: readonly string[]])[] = [
    ["listen-client-urls", ["--listen-client-urls", `http://${address}`]],
    ["listen-metrics-urls", ["--listen-client-urls", "http://127.0.0.1:0", "--listen-metrics-urls", `http://${address}`]],
    ["listen-peer-urls", ["--listen-client-urls", "http://127.0.0.1:0", "--listen-peer-urls", `http://${address}`]],
  ];
  for (const [setting, args] of cases) {
    const data = path.join(directory, setting);
    const program = new Program(context, ["serve", "--data-dir", data, ...args]);
    assert.equal(await program.ended, EXIT.refused, program.stderr);
    assert.ok(program.stderr.includes(`${setting}: another process listens on ${address}`), program.stderr);
    assert.equal(existsSync(data), false);
  }
  const twice = [`http://127.0.0.1:${peer}`, `http://127.0.0.1:${peer}`];
  const data = path.join(directory, "twice");
  const program = new Program(context, [
    ...["serve", "--data-dir", data, "--listen-client-urls", twice[0] ?? "", "--listen-metrics-urls", twice[1] ?? ""],
  ]);
  assert.equal(await program.ended, EXIT.usage, program.stderr);
  assert.match(program.stderr, /is in listen-client-urls already/);
  assert.equal(existsSync(data), false);
});

test("a second signal ends it at once", { timeout: 60_000 }, async (context) => {
  // One of three that waits for the others: a write has no majority to be done by, and the server waits a while for the write.
  const directory = temporaryDirectory(context);
  const [one = 0, two = 0] = await freePorts(2);
  const program = new Program(context, [
    ...["serve", "--name", "n1", "--data-dir", path.join(directory, "data"), "--listen-client-urls", "http://127.0.0.1:0"],
    ...["--listen-peer-urls", `http://127.0.0.1:${one}`, "--initial-cluster", `n1=http://127.0.0.1:${one},n2=http://127.0.0.1:${two}`],
  ]);
  const [, address = ""] = await program.said(/clients +http:\/\/([^,\s]+)/);
  const writing = at(address, "put", "a", "b", "--timeout", "1m");
  while (
    (await get(address, "/metrics"))[1].includes(
      'grpc_server_started_total{grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Put"} 0',
    )
  );
  program.child.kill("SIGTERM");
  await program.said(/closing/);
  program.child.kill("SIGTERM");
  assert.equal(await program.ended, 143);
  assert.doesNotMatch(program.stderr, /ready to serve client requests/, "without a majority it is not ready");
  assert.equal((await writing).code, EXIT.mayHaveApplied);
});

test(
  "what cannot be opened ends with the exit code 4, what makes no sense with 2, and both say why",
  { timeout: 60_000 },
  async (context) => {
    const { address, directory } = await startServer(context);
    const end = async (
      args: readonly string[],
      environment: Readonly<Record<string, string>> = {},
    ): Promise<readonly [unknown, string]> => {
      const program = new Program(context, ["serve", ...args], { environment });
      return [await program.ended, program.stderr];
    };
    const data = path.join(directory, "data");
    const [locked, why] = await end(["--data-dir", data, "--listen-client-urls", "http://127.0.0.1:0"]);
    assert.deepEqual([locked, /d-engine: /.test(why)], [EXIT.refused, true], why);
    const [taken, whyTaken] = await end(["--data-dir", path.join(directory, "other"), "--listen-client-urls", `http://${address}`]);
    assert.equal(taken, EXIT.refused);
    assert.match(whyTaken, /another process listens on/);
    assert.deepEqual((await end(["--nmae", "x"]))[0], EXIT.usage);
    assert.match((await end(["--heartbeat-interval", "900", "--data-dir", path.join(directory, "third")]))[1], /heartbeat/);
    const [joined, whyNot] = await end(["--initial-cluster-state", "existing", "--data-dir", path.join(directory, "fourth")]);
    assert.equal(joined, EXIT.refused);
    assert.match(whyNot, /to join a cluster with an empty directory is not to be had yet/);
  },
);

test(
  "settings come from a file and the environment; etcd's command line without a command is serve's",
  { timeout: 60_000 },
  async (context) => {
    const directory = temporaryDirectory(context);
    const file = path.join(directory, "etcd.yml");
    writeFileSync(file, `name: of-the-file\nlisten-client-urls: http://127.0.0.1:0\nlog-level: error\n`);
    const environment = { ETCD_DATA_DIR: path.join(directory, "data"), D_ENGINE_LOG_LEVEL: "info", ETCD_SNAPSHOT_COUNT: "10000" };
    const program = new Program(context, ["--config-file", file, "--name", "of-the-flag"], { environment });
    await program.said(/ready to serve client requests/);
    assert.match(program.stderr, /member of-the-flag \(/);
    assert.match(program.stderr, /snapshot-count \(ETCD_SNAPSHOT_COUNT\) changes nothing/);
    assert.ok(readdirSync(path.join(directory, "data")).length > 0);
  },
);

test("the log is JSON, a line each, and nothing below its level", { timeout: 60_000 }, async (context) => {
  const { program } = await startServer(context);
  const lines = program.stderr.split("\n").filter((line) => line.startsWith("{"));
  assert.ok(lines.length >= 2);
  for (const line of lines) {
    const { level, time, message } = JSON.parse(line) as Readonly<Record<string, string>>;
    assert.ok(["info", "warn"].includes(level ?? "") && !Number.isNaN(Date.parse(time ?? "")) && (message ?? "") !== "", line);
  }
});

const get = (
  address: string,
  where: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<readonly [number | undefined, string]> =>
  new Promise((resolve, reject) => {
    const [host = "", port = ""] = address.split(":");
    request({ host, port, path: where, headers }, (response) => {
      let text = "";
      response.on("data", (bytes: Buffer) => (text += String(bytes)));
      response.on("end", () => resolve([response.statusCode, text]));
    })
      .on("error", reject)
      .end();
  });

test("--listen-metrics-urls has /metrics and the probes, and nothing else", { timeout: 60_000 }, async (context) => {
  const { program, address } = await startServer(context, ["--listen-metrics-urls", "http://127.0.0.1:0,http://127.0.0.1:0"]);
  const [, list = ""] = await program.said(/metrics +(.*)\n/);
  const places = list.split(", ").map((url) => url.replace("http://", ""));
  assert.equal(places.length, 2);
  for (const place of places) {
    const [status, text] = await get(place, "/metrics");
    assert.equal(status, 200);
    assert.match(text, /^etcd_server_has_leader 1$/m);
    for (const probe of ["/health", "/livez", "/readyz"]) assert.equal((await get(place, probe))[0], 200, probe);
    for (const other of ["/version", "/kv/a", "/v3/kv/range", "/", "/metrics/x"]) assert.equal((await get(place, other))[0], 404, other);
    assert.equal((await get(place, "/metrics", { host: "evil.example" }))[0], 421);
    assert.equal((await get(place, "/metrics", { origin: "https://evil.example" }))[0], 403);
    const grpc = await at(place, "get", "a", "--timeout", "2s");
    assert.equal(grpc.code, EXIT.unavailable, "no gRPC");
  }
  assert.equal((await get(address, "/metrics"))[0], 200);
});

function certificateOf(address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const [host = "", port = ""] = address.split(":");
    const socket: TLSSocket = connectTls({ host, port: Number(port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

test(
  "TLS on the client port for gRPC and HTTP alike; without a certificate nobody enters where one is wanted",
  { timeout: 60_000 },
  async (context) => {
    const directory = temporaryDirectory(context);
    const [cert, key] = [path.join(directory, "cert.pem"), path.join(directory, "key.pem")];
    writeFileSync(cert, CERTIFICATE);
    writeFileSync(key, KEY);
    const { address, program } = await startServer(context, [
      ...["--listen-client-urls", "https://127.0.0.1:0", "--cert-file", cert, "--key-file", key],
      ...["--trusted-ca-file", cert, "--client-cert-auth"],
    ]);
    const mine = ["--cert", cert, "--key", key];
    assert.equal((await at(address, "put", "a", "b", "--cacert", cert, ...mine)).code, EXIT.done);
    assert.equal((await at(address, "get", "a", "--insecure-skip-tls-verify", ...mine)).stdout, "a\nb\n");
    assert.equal((await at(address.replace("127.0.0.1", "localhost"), "get", "a", "--cacert", cert, ...mine)).stdout, "a\nb\n");
    assert.equal((await at(address, "get", "a", "--cacert", cert)).code, EXIT.unavailable, "no certificate");
    assert.equal((await at(address, "get", "a", "--timeout", "2s")).code, EXIT.unavailable, "no TLS");
    assert.equal((await at(`https://${address}`, "get", "a", ...mine)).code, EXIT.unavailable, "an unknown authority");
    const tries = /try:\n {2}\S+ \S+ put (--endpoints https:\/\/\S+ --cacert \S+)/.exec(program.stderr);
    assert.ok(tries !== null, program.stderr);
  },
);

const NO_OPENSSL = spawnSync("openssl", ["version"]).error === undefined ? false : "there is no openssl on this machine";

test(
  "SIGHUP rereads the certificates; broken ones are refused, and the old ones stay",
  { timeout: 60_000, skip: NO_OPENSSL },
  async (context) => {
    const directory = temporaryDirectory(context);
    const [cert, key] = [path.join(directory, "cert.pem"), path.join(directory, "key.pem")];
    writeFileSync(cert, CERTIFICATE);
    writeFileSync(key, KEY);
    const { address, program } = await startServer(context, [
      "--listen-client-urls",
      "https://127.0.0.1:0",
      "--cert-file",
      cert,
      "--key-file",
      key,
    ]);
    const first = await certificateOf(address);
    writeFileSync(cert, "nonsense");
    program.child.kill("SIGHUP");
    await program.said(/certificates stay as they were/);
    assert.equal(await certificateOf(address), first);
    const made = spawnSync("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
      ...["-subj", "/CN=second", "-keyout", key, "-out", cert],
    ]);
    assert.equal(made.status, 0, String(made.stderr));
    program.child.kill("SIGHUP");
    await program.said(/certificates were reread/);
    assert.notEqual(await certificateOf(address), first);
    program.child.kill("SIGTERM");
    assert.equal(await program.ended, EXIT.done);
  },
);

test("SIGHUP without certificates changes nothing", { timeout: 60_000 }, async (context) => {
  const { address, program } = await startServer(context);
  program.child.kill("SIGHUP");
  await program.said(/there are no certificates to reread/);
  assert.equal((await at(address, "put", "a", "b")).code, EXIT.done);
});

/** How etcd's own Procfile starts three, but for the ports. */
const PROCFILE = `
etcd1: etcd --name infra1 --listen-client-urls http://127.0.0.1:CLIENT1 --advertise-client-urls http://127.0.0.1:CLIENT1 --listen-peer-urls http://127.0.0.1:PEER1 --initial-advertise-peer-urls http://127.0.0.1:PEER1 --initial-cluster-token etcd-cluster-1 --initial-cluster 'infra1=http://127.0.0.1:PEER1,infra2=http://127.0.0.1:PEER2,infra3=http://127.0.0.1:PEER3' --initial-cluster-state new --enable-pprof --logger=zap --log-outputs=stderr
etcd2: etcd --name infra2 --listen-client-urls http://127.0.0.1:CLIENT2 --advertise-client-urls http://127.0.0.1:CLIENT2 --listen-peer-urls http://127.0.0.1:PEER2 --initial-advertise-peer-urls http://127.0.0.1:PEER2 --initial-cluster-token etcd-cluster-1 --initial-cluster 'infra1=http://127.0.0.1:PEER1,infra2=http://127.0.0.1:PEER2,infra3=http://127.0.0.1:PEER3' --initial-cluster-state new --enable-pprof --logger=zap --log-outputs=stderr
etcd3: etcd --name infra3 --listen-client-urls http://127.0.0.1:CLIENT3 --advertise-client-urls http://127.0.0.1:CLIENT3 --listen-peer-urls http://127.0.0.1:PEER3 --initial-advertise-peer-urls http://127.0.0.1:PEER3 --initial-cluster-token etcd-cluster-1 --initial-cluster 'infra1=http://127.0.0.1:PEER1,infra2=http://127.0.0.1:PEER2,infra3=http://127.0.0.1:PEER3' --initial-cluster-state new --enable-pprof --logger=zap --log-outputs=stderr
`;

test(
  "etcd's Procfile starts three members; a leader that is told to end hands over; a member comes back as existing",
  { timeout: 120_000 },
  async (context) => {
    const directory = temporaryDirectory(context);
    const ports = await freePorts(6);
    const procfile = PROCFILE.replaceAll(/(CLIENT|PEER)(\d)/g, (_, kind, i) => String(ports[(kind === "PEER" ? 3 : 0) + Number(i) - 1]));
    // So long that a hand-over is told from an election.
    const environment = { ETCD_ELECTION_TIMEOUT: "8000", ETCD_HEARTBEAT_INTERVAL: "200" };
    const commandLines = procfile
      .trim()
      .split("\n")
      .map((line) =>
        line
          .replace(/^\w+: etcd /, "")
          .replaceAll("'", "")
          .split(" "),
      );
    const start = (i: number, args: readonly string[] = commandLines[i] ?? []): Program =>
      new Program(context, ["--data-dir", path.join(directory, `infra${i + 1}.etcd`), ...args], { environment });
    const members = commandLines.map((_, i) => start(i));
    await Promise.all(members.map((member) => member.said(/ready to serve client requests/)));
    const endpoints = ports.slice(0, 3).map((port) => `127.0.0.1:${port}`);
    const all = endpoints.join(",");
    const listed = JSON.parse((await at(all, "member", "list", "-o", "json")).stdout) as readonly {
      readonly id: string;
      readonly name: string;
      readonly clientUrls: readonly string[];
    }[];
    assert.deepEqual(listed.map(({ name }) => name).toSorted(), ["infra1", "infra2", "infra3"]);
    for (const [i, endpoint] of endpoints.entries()) {
      const own = JSON.parse((await at(endpoint, "member", "list", "-o", "json")).stdout) as typeof listed;
      assert.deepEqual(own.find(({ name }) => name === `infra${i + 1}`)?.clientUrls, [`http://${endpoint}`]);
    }
    for (const [i, endpoint] of endpoints.entries()) assert.equal((await at(endpoint, "put", `k${i}`, "v")).code, EXIT.done);
    assert.equal((await at(endpoints[2] ?? "", "get", "k", "--prefix", "--keys-only")).stdout, "k0\nk1\nk2\n");
    const health = await at(all, "endpoint", "health");
    assert.equal(health.stdout.match(/is healthy/g)?.length, 3);
    // A member that tells where clients reach it is asked, and of the others it is said that they are not.
    const cluster = await at(all, "endpoint", "health", "--cluster");
    const [, silent = ""] = /not asked, .*: (.*)\n/.exec(cluster.stderr) ?? [];
    assert.equal((cluster.stdout.match(/is healthy/g)?.length ?? 0) + silent.split(", ").filter((name) => name !== "").length, 3);

    const statuses = JSON.parse((await at(all, "endpoint", "status", "-o", "json")).stdout) as readonly { readonly role: string }[];
    const target = statuses.findIndex(({ role }) => role === "leader");

    // A watch that goes on at another member, from where it was.
    const others = endpoints.filter((_, i) => i !== target);
    const watching = at([endpoints[target] ?? "", ...others].join(","), "watch", "w", "--prefix", "--rev", "1", "--count", "2");
    await at(all, "put", "w1", "before");
    const told = members[target];
    told?.child.kill("SIGTERM");
    assert.equal(await told?.ended, EXIT.done);
    const after = await at(others.join(","), "put", "w2", "after", "--timeout", "6s");
    assert.equal(after.code, EXIT.done, `nobody leads yet: ${after.stderr}`);
    assert.equal((await watching).stdout, "PUT\nw1\nbefore\nPUT\nw2\nafter\n");

    const existing = (commandLines[target] ?? []).map((word) => (word === "new" ? "existing" : word));
    const back = start(target, existing);
    await back.said(/ready to serve client requests/);
    assert.equal((await at(endpoints[target] ?? "", "get", "w2")).stdout, "w2\nafter\n");
  },
);
