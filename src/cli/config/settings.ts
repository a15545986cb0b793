/**
 * What `d-engine serve` can be told: one table of settings. A setting has one name, which is its flag and its key in a file; its names in the environment
 * are made from it: D_ENGINE_DATA_DIR, ETCD_DATA_DIR. Names are etcd's where the meaning is etcd's.
 */
import type { OptionKind } from "../command-line.ts";

export type SettingKind = "text" | "number" | "flag" | "duration" | "list";

export interface Setting {
  readonly name: string;
  readonly kind: SettingKind;
  readonly help: string;
  readonly value?: string;
  readonly choices?: readonly string[];
  /** What it is where nobody sets it. */
  readonly otherwise?: string | number | boolean;
  /** Accepted, so that a unit file written for etcd starts this program; the text says why it changes nothing. */
  readonly without?: string;
  /** Of a setting without effect: the values with which that is true. Others are refused. */
  readonly only?: readonly string[];
  /** Etcd's older name of it. */
  readonly also?: readonly string[];
}

/** Durations are Go's: "300ms", "1h30m"; a bare number is milliseconds. */
export const SETTINGS: readonly Setting[] = [
  { name: "name", kind: "text", value: "NAME", help: "This member's name, kept with its data", otherwise: "default" },
  { name: "data-dir", kind: "text", value: "DIR", help: "Where its data lie", otherwise: "data" },
  {
    name: "listen-client-urls",
    kind: "list",
    value: "URLS",
    help: "Where it listens for clients: http, https; unix and unixs with a path",
    otherwise: "http://127.0.0.1:2379",
  },
  { name: "advertise-client-urls", kind: "list", value: "URLS", help: "Where clients reach it. Default: where it listens" },
  { name: "listen-peer-urls", kind: "list", value: "URLS", help: "Where it listens for other members. Default: nowhere, a cluster of one" },
  {
    name: "initial-advertise-peer-urls",
    kind: "list",
    value: "URLS",
    help: "Where other members reach it. Default: where it listens for them",
  },
  {
    name: "initial-cluster",
    kind: "text",
    value: "NAME=URL,...",
    help: "All members of a new cluster, the same on each; not looked at where there are data",
  },
  {
    name: "initial-cluster-state",
    kind: "text",
    choices: ["new", "existing"],
    help: "existing: it has its data already",
    otherwise: "new",
  },
  {
    name: "initial-cluster-token",
    kind: "text",
    value: "TEXT",
    help: "Accepted for etcd's sake",
    without: "a cluster's identity is random here, so that two clusters cannot be taken for one",
  },
  { name: "heartbeat-interval", kind: "duration", value: "MS", help: "Between a leader's heartbeats", otherwise: 100 },
  { name: "election-timeout", kind: "duration", value: "MS", help: "After so long without a leader another is elected", otherwise: 1000 },
  {
    name: "quota-backend-bytes",
    kind: "number",
    value: "BYTES",
    help: "Largest size of the data, history included, at most 4 GiB; 0: a quarter of the memory, at most 2 GiB",
    otherwise: 0,
  },
  { name: "max-request-bytes", kind: "number", value: "BYTES", help: "Largest request", otherwise: 1_572_864 },
  { name: "max-txn-ops", kind: "number", value: "COUNT", help: "Most operations of one transaction", otherwise: 128 },
  {
    name: "auto-compaction-mode",
    kind: "text",
    choices: ["periodic", "revision"],
    help: "How the retention is meant",
    otherwise: "periodic",
  },
  {
    name: "auto-compaction-retention",
    kind: "text",
    value: "TIME|COUNT",
    help: "History kept: 30m, 2h, 2 (hours), or a count of revisions; 0: all",
    otherwise: "1h",
  },
  { name: "cert-file", kind: "text", value: "FILE", help: "Certificate for clients' connections" },
  { name: "key-file", kind: "text", value: "FILE", help: "Its key" },
  { name: "trusted-ca-file", kind: "text", value: "FILE", help: "Who signs clients' certificates" },
  { name: "client-cert-auth", kind: "flag", help: "Refuses clients without a certificate" },
  { name: "peer-cert-file", kind: "text", value: "FILE", help: "Certificate for connections between members" },
  { name: "peer-key-file", kind: "text", value: "FILE", help: "Its key" },
  { name: "peer-trusted-ca-file", kind: "text", value: "FILE", help: "Who signs members' certificates" },
  { name: "peer-client-cert-auth", kind: "flag", help: "Accepted for etcd's sake", without: "members with TLS always show certificates" },
  { name: "insecure", kind: "flag", help: "Allows listeners beyond loopback without TLS" },
  {
    name: "max-concurrent-streams",
    kind: "number",
    value: "COUNT",
    help: "Calls under way on one connection",
    otherwise: 10_000,
  },
  {
    name: "listen-metrics-urls",
    kind: "list",
    value: "URLS",
    help: "Where /metrics, /health, /livez and /readyz, and nothing else, are served in clear text",
  },
  {
    name: "watch-progress-notify-interval",
    kind: "duration",
    value: "MS",
    help: "After so long an idle watch that asks for it is told its progress",
    also: ["experimental-watch-progress-notify-interval"],
    otherwise: 600_000,
  },
  {
    name: "front-ends",
    kind: "number",
    value: "COUNT",
    help: "Threads that serve clients, 1 to 32; more than one wants Linux and Node 22.12. Default: the cores less two, 1 to 8",
  },
  { name: "allowed-hosts", kind: "list", value: "NAMES", help: "Host names under which browsers may reach it", also: ["host-whitelist"] },
  { name: "allowed-origins", kind: "list", value: "ORIGINS", help: "Web pages that may use it" },
  { name: "log-level", kind: "text", choices: ["debug", "info", "warn", "error"], help: "What is less is not said", otherwise: "info" },
  { name: "log-format", kind: "text", choices: ["text", "json"], help: "Default: text on a terminal, else json" },
  { name: "unsafe-no-fsync", kind: "flag", help: "Acknowledges before anything is synced: power loss loses acknowledged writes" },
  {
    name: "force-new-cluster",
    kind: "flag",
    help: "Not yet to be had",
    without: "a cluster is not made anew of one member's data",
    only: ["false"],
  },
  { name: "snapshot-count", kind: "number", value: "COUNT", help: "Accepted for etcd's sake", without: "the log is cut by its size" },
  { name: "strict-reconfig-check", kind: "flag", help: "Accepted for etcd's sake", without: "the check is always on" },
  // What else stands in etcd's own example of a configuration file, and in many that were made from it.
  ...others("its log is kept with its data, and cut by its size", { "max-snapshots": [], "max-wals": [], "wal-dir": [""] }),
  ...others("it logs to standard error; log-format says how", { "log-outputs": ["default", "stderr"], logger: ["zap"] }),
  { name: "enable-pprof", kind: "flag", help: "Accepted for etcd's sake", without: "it has no profiler" },
  ...others("it has no API but etcd's third", { "enable-v2": ["false"], proxy: ["", "off"] }),
  ...others("the gateway is always there", { "enable-grpc-gateway": ["true"] }),
  ...others("members are named by initial-cluster", {
    discovery: [""],
    "discovery-fallback": [],
    "discovery-proxy": [""],
    "discovery-srv": [""],
    "proxy-failure-wait": [],
    "proxy-refresh-interval": [],
    "proxy-dial-timeout": [],
    "proxy-write-timeout": [],
    "proxy-read-timeout": [],
  }),
  ...others("pages that may use it are named by allowed-origins", { cors: [""] }),
  ...others("certificates come from files", {
    "auto-tls": ["false"],
    "peer-auto-tls": ["false"],
    "self-signed-cert-validity": [],
    "client-crl-file": [""],
    "peer-client-crl-file": [""],
  }),
  ...others("a certificate that its CA has signed may connect, whatever its name", {
    "client-cert-allowed-hostname": [""],
    "peer-cert-allowed-cn": [""],
    "peer-cert-allowed-hostname": [""],
    "peer-allowed-cn": [""],
    "peer-allowed-hostname": [""],
  }),
  ...others("TLS is 1.2 at least, with Node's ciphers", {
    "cipher-suites": [""],
    "tls-min-version": ["", "TLS1.2"],
    "tls-max-version": ["", "TLS1.3"],
  }),
  ...others("a candidate always asks first", { "pre-vote": ["true"] }),
];

/** Settings of etcd's that have no meaning here, with the values that are true all the same; none: whatever it is. */
function others(without: string, names: Readonly<Record<string, readonly string[]>>): readonly Setting[] {
  return Object.entries(names).map(([name, only]) => ({
    name,
    kind: only.includes("true") || only.includes("false") ? "flag" : "text",
    help: "Accepted for etcd's sake",
    without,
    ...(only.length === 0 ? {} : { only }),
  }));
}

export const settingNamed = (name: string): Setting | undefined =>
  SETTINGS.find((setting) => setting.name === name || setting.also?.includes(name) === true);

/** D_ENGINE_DATA_DIR, and etcd's. */
export const environmentNames = ({ name, also = [] }: Setting): readonly string[] =>
  [name, ...also].flatMap((each) => ["D_ENGINE_", "ETCD_"].map((prefix) => prefix + each.toUpperCase().replaceAll("-", "_")));

export const optionKind = (kind: SettingKind): OptionKind => (kind === "flag" ? "flag" : "text");

/** As the help says it. */
export const helpOfSetting = ({ help, otherwise }: Setting): string =>
  otherwise === undefined ? help : `${help}. Default: ${String(otherwise)}`;
