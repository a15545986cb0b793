/** Settings: where they come from, which source wins, what is refused, and what becomes of each. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { parseCommandLine } from "../command-line.ts";
import { serve } from "../commands/serve.ts";
import { durationMs } from "../duration.ts";
import { EXIT, ExitError } from "../exit.ts";
import { run } from "../test/world.ts";
import { loadConfig } from "./load-config.ts";
import { nodeConfig, type NodeConfig } from "./node-config.ts";
import { environmentNames, SETTINGS } from "./settings.ts";

const directory = mkdtempSync(path.join(tmpdir(), "d-engine-config-"));
after(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
function file(extension: string, text: string): string {
  const name = path.join(directory, `c${(files += 1)}.${extension}`);
  writeFileSync(name, text);
  return name;
}

type Environment = Readonly<Record<string, string>>;
const load = (args: readonly string[], environment: Environment = {}): ReturnType<typeof loadConfig> =>
  loadConfig(parseCommandLine(serve.spec, args), environment);
const node = (args: readonly string[], environment: Environment = {}): NodeConfig => nodeConfig(load(args, environment).config);

const refused = (args: readonly string[], message: RegExp, environment: Environment = {}): void =>
  assert.throws(
    () => node(args, environment),
    (error: unknown) => {
      assert.ok(error instanceof ExitError && error.code === EXIT.usage, String(error));
      assert.match(error.message, message);
      return true;
    },
  );

test("later sources win: default, file, ETCD_ variables, D_ENGINE_ variables, flags", () => {
  const yaml = file("yml", "name: from-file\ndata-dir: from-file\nmax-txn-ops: 200\nclient-cert-auth: true\n");
  const name = (args: readonly string[], environment?: Environment): unknown => load(args, environment).config.get("name");
  const given = ["--config-file", yaml];
  const etcd = { ETCD_NAME: "from-etcd" };
  assert.deepEqual(name([]), { value: "default", source: "default" });
  assert.deepEqual(name(given), { value: "from-file", source: path.basename(yaml) });
  assert.deepEqual(name(given, etcd), { value: "from-etcd", source: "ETCD_NAME" });
  assert.deepEqual(name(given, { ...etcd, D_ENGINE_NAME: "ours" }), { value: "ours", source: "D_ENGINE_NAME" });
  assert.deepEqual(name([...given, "--name", "flag"], { ...etcd, D_ENGINE_NAME: "ours" }), { value: "flag", source: "flag" });
  const { config } = load([...given, "--client-cert-auth=false"], { ETCD_DATA_DIR: "" });
  assert.equal(config.get("client-cert-auth")?.value, false, "a flag that says false wins, too");
  assert.equal(config.get("data-dir")?.value, "from-file", "an empty variable says nothing");
  assert.equal(config.get("max-txn-ops")?.value, 200);
  assert.equal(load([], { ETCD_CONFIG_FILE: yaml }).config.get("name")?.value, "from-file");
});

test("unknown keys of a file are refused and name the nearest; unknown variables are told, since others may own them", () => {
  refused(["--config-file", file("yml", "nmae: n1\n")], /unknown setting nmae; did you mean name\?/);
  refused(["--config-file", file("toml", 'dta-dir = "x"\n')], /unknown setting dta-dir; did you mean data-dir\?/);
  refused(
    ["--config-file", file("yml", "client-transport-security:\n  cert-fil: x\n")],
    /unknown setting cert-fil; did you mean cert-file\?/,
  );
  const others = { D_ENGINE_ENDPOINTS: "y", D_ENGINE_LOCK_KEY: "k", ETCDCTL_API: "3", ETCD_WATCH_KEY: "k", ETCD_UNSUPPORTED_ARCH: "arm" };
  assert.deepEqual(load([], { ...others, ETCD_NMAE: "n" }).warnings, [
    "the environment's ETCD_NMAE is no setting; did you mean ETCD_NAME?",
  ]);
  assert.deepEqual(load([], { ...others, D_ENGINE_DATA_DIRR: "x" }).warnings, [
    "the environment's D_ENGINE_DATA_DIRR is no setting; did you mean D_ENGINE_DATA_DIR?",
  ]);
});

test("files that are none, or say what cannot be, are refused with their name", () => {
  refused(["--config-file", path.join(directory, "absent.yml")], /absent\.yml cannot be read: ENOENT/);
  refused(["--config-file", file("yml", "a: b: c\n")], /c\d+\.yml/);
  refused(["--config-file", file("yml", "- a\n- b\n")], /settings are wanted/);
  refused(["--config-file", file("toml", "name = \n")], /c\d+\.toml/);
  refused(["--config-file", file("yml", "name: {a: 1}\n")], /name: .* makes no sense/);
  refused(["--config-file", file("yml", "client-cert-auth: maybe\n")], /client-cert-auth is true or false, not "maybe"/);
  refused(["--config-file", file("yml", `# ${"x".repeat(1 << 20)}\n`)], /larger than 1 MiB/);
  assert.equal(load(["--config-file", file("yml", "")]).config.get("name")?.value, "default", "an empty one says nothing");
});

test("TOML and YAML say the same", () => {
  const toml = file(
    "toml",
    'name = "n1"\nheartbeat-interval = "200ms"\nelection-timeout = 2000\nlisten-client-urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]\n',
  );
  const yaml = file(
    "yaml",
    "name: n1\nheartbeat-interval: 200ms\nelection-timeout: 2000\nlisten-client-urls: http://127.0.0.1:1, http://127.0.0.1:2\n",
  );
  const [first, second] = [toml, yaml].map((each) => node(["--config-file", each]));
  assert.deepEqual(first, second);
  assert.deepEqual(first?.serve.listen, ["127.0.0.1:1", "127.0.0.1:2"]);
  assert.deepEqual([first.engine.heartbeatMs, first.engine.electionTimeoutMs], [200, 2000]);
});

test("lengths of time are Go's", () => {
  assert.deepEqual(
    ["300ms", "5s", "1h30m", "1.5h", "0s"].map((text) => durationMs(text, "x")),
    [300, 5_000, 5_400_000, 5_400_000, 0],
  );
  for (const text of ["", "5", "5x", "-5s", "5 s", "s", "99999999999999999999h"])
    assert.throws(() => durationMs(text, "x"), /x wants a time such as/, text);
});

/** As etcd brings it (etcd.conf.yml.sample), with the addresses of one machine. */
const ETCDS_FILE = `
name: 'infra1'
data-dir: /var/lib/etcd
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster: infra1=http://localhost:2380
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: false
proxy: 'off'
proxy-failure-wait: 5000
proxy-refresh-interval: 30000
proxy-dial-timeout: 1000
proxy-write-timeout: 5000
proxy-read-timeout: 0
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
`;

test("etcd's own example of a file starts a server", () => {
  const settings = node(["--config-file", file("yml", ETCDS_FILE)]);
  assert.equal(settings.engine.name, "infra1");
  assert.equal(settings.engine.dataDir, "/var/lib/etcd");
  assert.deepEqual(settings.engine.peer, { listen: "localhost:2380", advertise: "localhost:2380" });
  assert.deepEqual(settings.engine.bootstrap, { infra1: "localhost:2380" });
  assert.deepEqual(settings.engine.history, { ms: 3_600_000 });
  assert.deepEqual(settings.serve.listen, ["localhost:2379"]);
  assert.equal(settings.serve.tls, undefined);
  assert.equal(settings.logLevel, "debug");
});

test("front ends and intervals that cannot be are refused", () => {
  for (const count of ["0", "33"]) refused(["--front-ends", count], /front-ends: 1 to 32 are wanted/);
  refused(["--watch-progress-notify-interval", "0"], /watch-progress-notify-interval: a millisecond to 24 days are wanted/);
});

test("sockets in the file system are told as etcd tells them, beside ports, and want no certificates but as unixs", () => {
  const urls = "unix:///run/d.sock,unix://d.sock:1,http://127.0.0.1:1";
  assert.deepEqual(node(["--listen-client-urls", urls]).serve.listen, ["unix:/run/d.sock", "unix:d.sock:1", "127.0.0.1:1"]);
  refused(["--listen-client-urls", "unixs:///run/d.sock"], /listen-client-urls says unixs: cert-file and key-file are wanted/);
  refused(["--listen-client-urls", "unix:"], /listen-client-urls: "unix:" wants a path/);
});

test("what etcd can and this server cannot is refused rather than left out", () => {
  for (const [line, message] of [
    ["force-new-cluster: true", /force-new-cluster: "true" is not to be had here/],
    ["discovery: https://discovery.etcd.io/x", /discovery: .* is not to be had here: members are named by initial-cluster/],
    ["client-transport-security:\n  auto-tls: true", /auto-tls: "true" is not to be had here/],
    [
      "peer-transport-security:\n  allowed-cn: member",
      /peer-allowed-cn: "member" is not to be had here: a certificate that its CA has signed may connect/,
    ],
    ["wal-dir: /fast", /wal-dir: "\/fast" is not to be had here/],
  ] as const)
    refused(["--config-file", file("yml", `${line}\n`)], message);
});

/** What each setting does: a value, and where it can be seen afterwards. A setting without effect says why instead. */
const EFFECTS: Readonly<Record<string, readonly [args: readonly string[], (settings: NodeConfig) => unknown, expected: unknown]>> = {
  name: [["--name", "n1"], ({ engine }) => engine.name, "n1"],
  "data-dir": [["--data-dir", "/d"], ({ engine }) => engine.dataDir, "/d"],
  "listen-client-urls": [["--listen-client-urls", "http://127.0.0.1:1"], ({ serve: { listen } }) => listen, ["127.0.0.1:1"]],
  "advertise-client-urls": [["--advertise-client-urls", "http://a:1"], ({ serve: { advertise } }) => advertise, ["http://a:1"]],
  "listen-peer-urls": [["--listen-peer-urls", "http://127.0.0.1:2"], ({ engine }) => engine.peer?.listen, "127.0.0.1:2"],
  "initial-advertise-peer-urls": [
    ["--listen-peer-urls", "http://127.0.0.1:2", "--initial-advertise-peer-urls", "http://a:3"],
    ({ engine }) => engine.peer?.advertise,
    "a:3",
  ],
  "initial-cluster": [
    ["--name", "n1", "--listen-peer-urls", "http://127.0.0.1:2", "--initial-cluster", "n1=http://127.0.0.1:2,n2=http://b:2"],
    ({ engine }) => engine.bootstrap,
    { n1: "127.0.0.1:2", n2: "b:2" },
  ],
  "initial-cluster-state": [["--initial-cluster-state", "existing"], ({ wantsData }) => wantsData, true],
  "heartbeat-interval": [["--heartbeat-interval", "50"], ({ engine }) => engine.heartbeatMs, 50],
  "election-timeout": [["--election-timeout", "2s"], ({ engine }) => engine.electionTimeoutMs, 2_000],
  "quota-backend-bytes": [["--quota-backend-bytes", "5000000"], ({ engine }) => engine.limits?.dataBytesMax, 5_000_000],
  "max-concurrent-streams": [["--max-concurrent-streams", "77"], ({ serve: { concurrentStreamsMax } }) => concurrentStreamsMax, 77],
  "max-request-bytes": [
    ["--max-request-bytes", "3000000"],
    ({ engine, serve: { requestBytesMax } }) => [engine.limits?.requestBytesMax, requestBytesMax],
    [3_000_000, 3_524_288],
  ],
  "max-txn-ops": [["--max-txn-ops", "7"], ({ engine }) => engine.limits?.txnOpsMax, 7],
  "auto-compaction-mode": [
    ["--auto-compaction-mode", "revision", "--auto-compaction-retention", "500"],
    ({ engine }) => engine.history,
    { ms: Number.POSITIVE_INFINITY, revisionsMin: 500, revisionsMax: 500 },
  ],
  "auto-compaction-retention": [["--auto-compaction-retention", "30m"], ({ engine }) => engine.history, { ms: 1_800_000 }],
  insecure: [
    ["--insecure", "--listen-client-urls", "http://0.0.0.0:1", "--listen-peer-urls", "http://10.0.0.1:2"],
    ({ engine, serve: { insecure } }) => [engine.peer?.insecure, insecure],
    [true, true],
  ],
  "listen-metrics-urls": [["--listen-metrics-urls", "http://127.0.0.1:9"], ({ metrics }) => metrics, [{ host: "127.0.0.1", port: 9 }]],
  "watch-progress-notify-interval": [
    ["--watch-progress-notify-interval", "5s"],
    ({ serve: { watchProgressNotifyMs } }) => watchProgressNotifyMs,
    5_000,
  ],
  "front-ends": [["--front-ends", "3"], ({ serve: { frontEnds } }) => frontEnds, 3],
  "allowed-hosts": [["--allowed-hosts", "a,b"], ({ serve: { http } }) => http, { allowedHosts: ["a", "b"], allowedOrigins: [] }],
  "allowed-origins": [
    ["--allowed-origins", "https://a"],
    ({ serve: { http } }) => http,
    { allowedHosts: [], allowedOrigins: ["https://a"] },
  ],
  "log-level": [["--log-level", "warn"], ({ logLevel }) => logLevel, "warn"],
  "log-format": [["--log-format", "json"], ({ logFormat }) => logFormat, "json"],
  "unsafe-no-fsync": [["--unsafe-no-fsync"], ({ engine }) => engine.unsafeNoFsync, true],
  ...Object.fromEntries(
    ["cert-file", "key-file", "trusted-ca-file", "client-cert-auth"].map((name) => [
      name,
      [
        [
          ...["--listen-client-urls", "https://0.0.0.0:1", "--cert-file", "c", "--key-file", "k"],
          ...["--trusted-ca-file", "t", "--client-cert-auth"],
        ],
        ({ serve: { tls } }: NodeConfig) => tls,
        { cert: "c", key: "k", ca: "t", requireClientCert: true },
      ],
    ]),
  ),
  ...Object.fromEntries(
    ["peer-cert-file", "peer-key-file", "peer-trusted-ca-file"].map((name) => [
      name,
      [
        ["--listen-peer-urls", "https://10.0.0.1:2", "--peer-cert-file", "c", "--peer-key-file", "k", "--peer-trusted-ca-file", "t"],
        ({ engine }: NodeConfig) => engine.peer?.tls,
        { cert: "c", key: "k", ca: "t" },
      ],
    ]),
  ),
};

for (const setting of SETTINGS) {
  if (setting.without === undefined) {
    test(`${setting.name} has its effect`, () => {
      const effect = EFFECTS[setting.name];
      assert.ok(effect !== undefined, "it has a line here");
      const [args, see, expected] = effect;
      assert.ok(args.includes(`--${setting.name}`));
      assert.deepEqual(see(node(args)), expected);
    });
  } else {
    test(`${setting.name} changes nothing, and says so`, () => {
      const value = setting.only === undefined ? (setting.kind === "text" ? "x" : "1") : (setting.only.at(-1) ?? "");
      const name = environmentNames(setting)[1] ?? "";
      const { config, warnings } = load([], { [name]: value });
      const told = setting.only === undefined ? [`${setting.name} (${name}) changes nothing: ${setting.without ?? ""}`] : [];
      assert.deepEqual(warnings, told);
      assert.deepEqual(nodeConfig(config), node([]));
      if (setting.only !== undefined)
        refused(
          [`--${setting.name}=${setting.kind === "flag" ? String(setting.only.includes("false")) : "sometimes"}`],
          /not to be had here/,
        );
    });
  }
}

test("settings that contradict each other are refused", () => {
  refused(["--listen-client-urls", "http://0.0.0.0:1"], /can be reached from other machines: give cert-file and key-file, or insecure/);
  refused(["--listen-client-urls", "https://127.0.0.1:1"], /says https: cert-file and key-file are wanted/);
  refused(["--cert-file", "c", "--key-file", "k"], /listen-client-urls says http: say https there/);
  refused(["--cert-file", "c"], /cert-file is given: key-file is wanted too/);
  refused(["--client-cert-auth"], /trusted-ca-file is wanted too/);
  refused(["--trusted-ca-file", "t"], /cert-file and key-file are wanted too/);
  refused(["--listen-client-urls", "127.0.0.1:1"], /is no URL such as/);
  refused(["--listen-client-urls", "http://127.0.0.1"], /wants a host and a port/);
  refused(["--listen-client-urls", "http://127.0.0.1:1/path"], /nothing behind them/);
  refused(["--listen-client-urls", ","], /at least one URL is wanted/);
  refused(["--listen-peer-urls", "http://10.0.0.1:2"], /can be reached from other machines/);
  refused(["--listen-peer-urls", "https://127.0.0.1:2"], /peer-cert-file, peer-key-file and peer-trusted-ca-file are wanted/);
  refused(["--listen-peer-urls", "http://127.0.0.1:2,http://127.0.0.1:3"], /one URL is wanted/);
  refused(["--initial-cluster", "n1=http://a:1,n2=http://b:1", "--name", "n1"], /listen-peer-urls is wanted/);
  refused(["--initial-cluster", "n1=http://a:1", "--name", "n2"], /does not name this member, n2/);
  refused(["--initial-cluster", "n1=http://a:1,n1=http://b:1", "--name", "n1"], /n1 has two URLs/);
  refused(["--initial-cluster", "n1"], /is not NAME=URL/);
  refused(["--auto-compaction-retention", "soon"], /wants a time/);
  refused(["--auto-compaction-mode", "revision", "--auto-compaction-retention", "1h"], /wants a count of revisions/);
  refused(["--listen-metrics-urls", "https://127.0.0.1:1"], /listen-metrics-urls/);
  refused(["--quota-backend-bytes", "-1"], /quota-backend-bytes wants a whole number/);
  refused(["--initial-cluster-state", "old"], /is one of new, existing/);
});

test("a quota beyond what the engine holds is cut, and said", () => {
  const settings = node(["--quota-backend-bytes", "8589934592"]);
  assert.equal(settings.engine.limits?.dataBytesMax, 4 * 2 ** 30);
  assert.match(settings.warnings.join(), /8589934592 is more than this engine holds/);
});

test("a retention of nothing is all of history", () => {
  assert.equal(node(["--auto-compaction-retention", "0"]).engine.history, "forever");
});

test("what config print shows is a configuration file that gives the same settings", async () => {
  const args = [
    "--name",
    "a: b",
    "--insecure",
    "--heartbeat-interval",
    "200ms",
    "--listen-metrics-urls",
    "http://127.0.0.1:1,http://127.0.0.1:2",
  ];
  const printed = await run(["config", "print", ...args], { environment: { ETCD_DATA_DIR: "/d", D_ENGINE_LOG_LEVEL: "warn" } });
  assert.deepEqual([printed.code, printed.stderr], [EXIT.done, ""]);
  assert.match(printed.stdout, /^name: "a: b" # flag$/m);
  assert.match(printed.stdout, /^data-dir: \/d # ETCD_DATA_DIR$/m);
  assert.match(printed.stdout, /^election-timeout: 1000 # default$/m);
  const again = node(["--config-file", file("yml", printed.stdout)]);
  assert.deepEqual(again, node(args, { ETCD_DATA_DIR: "/d", D_ENGINE_LOG_LEVEL: "warn" }));
  const json = await run(["config", "print", "-o", "json", ...args]);
  const parsed = JSON.parse(json.stdout) as Readonly<Record<string, unknown>>;
  assert.equal(parsed["name"], "a: b");
  assert.deepEqual(parsed["listen-metrics-urls"], ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
});

test("config check says ok, or what is wrong", async () => {
  assert.deepEqual(await run(["config", "check"]).then(({ code, stdout }) => [code, stdout]), [EXIT.done, "ok\n"]);
  const wrong = await run(["config", "check", "--cert-file", "c"]);
  assert.equal(wrong.code, EXIT.usage);
  assert.match(wrong.stderr, /^d-engine: cert-file is given: key-file is wanted too\n/);
  const told = await run(["config", "check", "--snapshot-count", "5"]);
  assert.match(told.stderr, /snapshot-count \(flag\) changes nothing: the log is cut by its size/);
});
