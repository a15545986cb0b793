/** Options of Engine.open: what they mean, what is refused, and what becomes of them. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { REQUEST_BYTES_MAX } from "../core/kv/command.ts";
import { invalidArgument } from "../errors.ts";
import type { NodeOptions, PeerListener } from "../node/node-options.ts";
import { isLoopback, parseAddress } from "../transport/address.ts";
import { checkChoice, checkFlag, checkNumber, checkOptions, checkTimeout, describe } from "./arguments.ts";
import type { Consistency } from "./client.ts";

export interface TlsOptions {
  /** Paths, or PEM itself. */
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
  /** Whom to trust: a peer must show a certificate from here. */
  readonly ca?: string | Uint8Array;
  /** The name that the others' certificates bear, where it is not the host of their address. */
  readonly serverName?: string;
}

export interface PeerOptions {
  /** Where this node listens for other members, e.g. "0.0.0.0:2380". */
  readonly listen: string;
  /** Where they find it. Default `listen`; required if that is a wildcard. */
  readonly advertise?: string;
  /** Required unless `listen` is loopback or `insecure` is true: whoever reaches this port can rewrite the log. */
  readonly tls?: TlsOptions;
  readonly insecure?: true;
}

export interface LogRecord {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number | boolean>>;
}

export interface EngineOptions {
  /** Made if it is not there; locked while open (IN_USE names the process that has it). "memory:" keeps nothing, for tests. */
  readonly dataDir: string | URL;
  /** This member's name, kept with its data. Default the host's name. */
  readonly name?: string;
  /** Absent (default): nothing listens, a cluster of one. */
  readonly peer?: PeerOptions;
  /**
   * How a new data directory begins; afterwards it may be given again or left out. A new cluster of exactly these, the same list on each:
   * { n1: "10.0.0.1:2380", ... }. All must be up once, at the founding. Absent: a new cluster of this node alone.
   */
  readonly bootstrap?: Readonly<Record<string, string>>;
  /** "worker" (default): own threads, so that a blocked application costs no leadership. "inline": this thread, for tests and bundles. */
  readonly thread?: "worker" | "inline";
  /** The built worker file, if a bundler has moved it. Default: beside the package. The disk's worker is looked for beside it. */
  readonly workerUrl?: string | URL;
  /** Acknowledge before anything is synced. For tests: power loss then loses acknowledged writes. */
  readonly unsafeNoFsync?: boolean;
  /** Defaults 1,000 and 100. */
  readonly electionTimeoutMs?: number;
  readonly heartbeatMs?: number;
  /** Default "linearizable". */
  readonly consistency?: Consistency;
  /** false: callers' own `consistency` is refused. Default true. */
  readonly allowConsistencyOverride?: boolean;
  /** Default of every call: 5,000. */
  readonly timeoutMs?: number;
  /** Default 10,000. */
  readonly closeTimeoutMs?: number;
  readonly limits?: {
    /** Of one request, key and value together. Default 1.5 MiB, at most 16 MiB. */
    readonly requestBytesMax?: number;
    /** Calls without an answer: one more is refused with OVERLOADED. Default 100,000. */
    readonly pendingCallsMax?: number;
    /** Default 10,000. */
    readonly watchersMax?: number;
  };
  /** Nothing is printed unless this is given. Must not throw; what it throws is ignored. */
  readonly log?: (record: LogRecord) => void;
}

/** What stays in the caller's thread. */
export interface EngineSettings {
  readonly consistency: Consistency;
  readonly allowConsistencyOverride: boolean;
  readonly timeoutMs: number;
  readonly closeTimeoutMs: number;
  readonly pendingCallsMax: number;
  readonly requestBytesMax: number;
  readonly log: ((record: LogRecord) => void) | undefined;
}

const KNOWN: ReadonlySet<string> = new Set([
  "dataDir",
  "name",
  "peer",
  "bootstrap",
  "thread",
  "workerUrl",
  "unsafeNoFsync",
  "electionTimeoutMs",
  "heartbeatMs",
  "consistency",
  "allowConsistencyOverride",
  "timeoutMs",
  "closeTimeoutMs",
  "limits",
  "log",
]);
const KNOWN_PEER: ReadonlySet<string> = new Set(["listen", "advertise", "tls", "insecure"]);
const KNOWN_TLS: ReadonlySet<string> = new Set(["cert", "key", "ca", "serverName"]);
const KNOWN_LIMITS: ReadonlySet<string> = new Set(["requestBytesMax", "pendingCallsMax", "watchersMax"]);

/** What Engine.open does with its options. */
export interface ResolvedOptions {
  readonly node: NodeOptions;
  readonly settings: EngineSettings;
  readonly thread: "worker" | "inline";
  readonly workerUrl: URL | undefined;
}

/** Throws INVALID_ARGUMENT. What comes out is plain data of its own: nothing of the caller's objects is looked at again. */
export function resolveOptions(given: EngineOptions): ResolvedOptions {
  if (typeof given !== "object" || given === null) throw invalidArgument("options", "an object with at least dataDir is wanted");
  checkOptions(given, KNOWN, "options");
  const options: EngineOptions = { ...given };
  checkOptions(options.limits, KNOWN_LIMITS, "limits");
  const { name, consistency = "linearizable", thread = "worker", log } = options;
  const limits = { ...options.limits };
  const bootstrap = typeof options.bootstrap === "object" && options.bootstrap !== null ? { ...options.bootstrap } : options.bootstrap;
  const { electionTimeoutMs = 1_000, heartbeatMs = 100, timeoutMs = 5_000, closeTimeoutMs = 10_000 } = options;
  const { requestBytesMax = REQUEST_BYTES_MAX, pendingCallsMax = 100_000, watchersMax = 10_000 } = limits;
  checkChoice(thread, "thread", ["worker", "inline"]);
  // A text "false" must not switch off the syncing of the disk.
  checkFlag(options.unsafeNoFsync, "unsafeNoFsync");
  checkFlag(options.allowConsistencyOverride, "allowConsistencyOverride");
  checkChoice(consistency, "consistency", ["linearizable", "lease", "eventual"]);
  checkNumber(heartbeatMs, "heartbeatMs", { min: 1, max: 60_000, integer: false });
  checkNumber(electionTimeoutMs, "electionTimeoutMs", { min: 10, max: 600_000, integer: false });
  if (electionTimeoutMs < 3 * heartbeatMs)
    throw invalidArgument(
      "electionTimeoutMs",
      `it must be at least three times heartbeatMs (${heartbeatMs}), or one late heartbeat costs the leader its place`,
    );
  checkTimeout(timeoutMs);
  checkNumber(closeTimeoutMs, "closeTimeoutMs", { min: 0, max: 3_600_000, integer: false });
  checkNumber(requestBytesMax, "limits.requestBytesMax", { min: 1_024, max: 16 << 20 });
  checkNumber(pendingCallsMax, "limits.pendingCallsMax", { min: 1, max: 10_000_000 });
  checkNumber(watchersMax, "limits.watchersMax", { min: 0, max: 10_000_000 });
  if (log !== undefined && typeof log !== "function") throw invalidArgument("log", `a function is wanted, not ${describe(log)}`);
  if (name !== undefined) checkName(name, "name");
  const peer = resolvePeer(options.peer);
  if (bootstrap !== undefined) checkBootstrap(bootstrap, name, peer);
  return {
    node: {
      directory: resolveDirectory(options.dataDir),
      name: name ?? "",
      defaultName: hostname().slice(0, 255) || "node",
      peer,
      bootstrap,
      unsafeNoFsync: options.unsafeNoFsync ?? false,
      electionTimeoutMs,
      heartbeatMs,
      consistency,
      historyRevisionsMax: 100_000,
      historyBytesMax: 64 << 20,
      requestBytesMax,
      watchersMax,
      snapshotLogBytesMin: 256 << 20,
      logSegmentBytes: 64 << 20,
      hosts: peer === undefined ? "" : readHosts(),
      searchDomains: peer === undefined ? [] : readSearchDomains(),
    },
    settings: {
      consistency,
      allowConsistencyOverride: options.allowConsistencyOverride ?? true,
      timeoutMs: timeoutMs === Number.POSITIVE_INFINITY ? Number.MAX_SAFE_INTEGER : timeoutMs,
      closeTimeoutMs,
      pendingCallsMax,
      requestBytesMax,
      log,
    },
    thread,
    workerUrl: resolveWorkerUrl(options.workerUrl),
  };
}

function resolveWorkerUrl(workerUrl: string | URL | undefined): URL | undefined {
  if (workerUrl === undefined) return undefined;
  try {
    if (workerUrl instanceof URL || workerUrl.startsWith("file:")) return new URL(workerUrl);
    if (workerUrl !== "") return pathToFileURL(workerUrl);
  } catch {
    // Said below.
  }
  throw invalidArgument("workerUrl", `a path or a file: URL is wanted, not ${describe(workerUrl)}`);
}

function resolveDirectory(dataDir: string | URL): string | undefined {
  if (dataDir instanceof URL) {
    try {
      return fileURLToPath(dataDir);
    } catch {
      throw invalidArgument("dataDir", `a file: URL is wanted, not ${dataDir.href}`);
    }
  }
  if (typeof dataDir !== "string" || dataDir === "" || dataDir.includes("\0"))
    throw invalidArgument("dataDir", 'a path, a file: URL or "memory:" is wanted');
  return dataDir === "memory:" ? undefined : resolve(dataDir);
}

function checkName(name: unknown, argument: string): void {
  if (typeof name !== "string" || name === "" || name.length > 255 || /[\p{Cc}=,]/u.test(name)) {
    throw invalidArgument(argument, `1 to 255 characters without control characters, "=" and "," are wanted, not ${describe(name)}`);
  }
}

function resolvePeer(peer: PeerOptions | undefined): PeerListener | undefined {
  if (peer === undefined) return undefined;
  checkOptions(peer, KNOWN_PEER, "peer");
  checkFlag(peer.insecure, "peer.insecure");
  const listen = typeof peer.listen === "string" ? parseAddress(peer.listen) : undefined;
  if (listen === undefined) throw invalidArgument("peer.listen", `"host:port" is wanted, not ${describe(peer.listen)}`);
  const advertise = peer.advertise ?? peer.listen;
  const advertised = typeof advertise === "string" ? parseAddress(advertise) : undefined;
  if (advertised === undefined) throw invalidArgument("peer.advertise", `"host:port" is wanted, not ${describe(peer.advertise)}`);
  if (["0.0.0.0", "::", "*", ""].includes(advertised.host))
    throw invalidArgument("peer.advertise", "others cannot reach a wildcard address: say where they find this node");
  if (!isLoopback(listen.host) && peer.tls === undefined && peer.insecure !== true) {
    throw invalidArgument(
      "peer.tls",
      "whoever reaches a peer listener can rewrite the log: beyond loopback it needs tls, or insecure: true",
    );
  }
  if (peer.tls === undefined) return { listen: peer.listen, advertise, tls: undefined };
  checkOptions(peer.tls, KNOWN_TLS, "peer.tls");
  const { cert, key, ca, serverName } = peer.tls;
  if (serverName !== undefined && (typeof serverName !== "string" || serverName === ""))
    throw invalidArgument("peer.tls.serverName", `a host name is wanted, not ${describe(serverName)}`);
  const tls = { cert: readPem(cert, "peer.tls.cert"), key: readPem(key, "peer.tls.key"), ca: readPem(ca ?? cert, "peer.tls.ca") };
  return { listen: peer.listen, advertise, tls: serverName === undefined ? tls : { ...tls, serverName } };
}

function readPem(source: string | Uint8Array, argument: string): string {
  const text = typeof source === "string" ? source : source instanceof Uint8Array ? Buffer.from(source).toString("utf8") : undefined;
  if (text === undefined) throw invalidArgument(argument, `a path or PEM is wanted, not ${describe(source)}`);
  if (text.includes("-----BEGIN")) return text;
  try {
    return readFileSync(text, "utf8");
  } catch (cause) {
    throw invalidArgument(argument, `neither PEM nor a file that can be read: ${String(cause)}`);
  }
}

function checkBootstrap(bootstrap: Readonly<Record<string, string>>, name: string | undefined, peer: PeerListener | undefined): void {
  if (typeof bootstrap !== "object" || bootstrap === null) throw invalidArgument("bootstrap", '{ name: "host:port", ... } is wanted');
  const entries = Object.entries(bootstrap);
  if (entries.length === 0 || entries.length > 64) throw invalidArgument("bootstrap", "1 to 64 members are wanted");
  for (const [member, address] of entries) {
    checkName(member, "bootstrap");
    const parsed = typeof address === "string" ? parseAddress(address) : undefined;
    if (parsed === undefined || parsed.port === 0)
      throw invalidArgument("bootstrap", `"host:port" is wanted for ${member}, not ${describe(address)}`);
  }
  if (new Set(entries.map(([, address]) => address)).size !== entries.length)
    throw invalidArgument("bootstrap", "two members have the same address");
  if (name === undefined || !Object.hasOwn(bootstrap, name)) {
    throw invalidArgument("name", `with bootstrap, name says which of ${entries.map(([member]) => member).join(", ")} this node is`);
  }
  if (entries.length > 1 && peer === undefined) throw invalidArgument("peer", "a cluster of several members needs peer.listen");
}

/** Names of members are resolved ahead of need and never in libuv's thread pool; what the hosts file says is read here, before the node's thread starts. */
function readHosts(): string {
  try {
    return readFileSync(process.platform === "win32" ? "C:\\Windows\\System32\\drivers\\etc\\hosts" : "/etc/hosts", "utf8");
  } catch {
    return ""; // No hosts file: names are asked of the name servers alone.
  }
}

function readSearchDomains(): readonly string[] {
  try {
    const lines = readFileSync("/etc/resolv.conf", "utf8").split("\n");
    return (
      lines
        .findLast((line) => /^\s*search\s/.test(line))
        ?.trim()
        .split(/\s+/)
        .slice(1) ?? []
    );
  } catch {
    return []; // No such file on this system: names are tried as they are.
  }
}
