/** Options of Engine.open: what they mean, what is refused, and what becomes of them. */
import { readFileSync, statSync, type Stats } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { DATA_BYTES_MAX, KEYS_MAX, REQUEST_BYTES_MAX, TXN_OPS_CEILING } from "../core/kv/command.ts";
import { TXN_OPS_MAX } from "../core/kv/txn-command.ts";
import { invalidArgument } from "../errors.ts";
import { memoryLimit } from "../host/node-memory.ts";
import type { NodeOptions, PeerListener } from "../node/node-options.ts";
import { isLoopback, parseAddress } from "../transport/address.ts";
import { checkChoice, checkFlag, checkNumber, checkOptions, checkTimeout, describe } from "./arguments.ts";
import { checkBootstrap, checkName } from "./bootstrap.ts";
import type { Consistency } from "./client.ts";
import { memoryBounds } from "./memory-bounds.ts";
import type { ModuleRef } from "../storage/records/record-store.ts";
import { resolveStore } from "./store-option.ts";

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

export interface HistoryOptions {
  /** Milliseconds; Infinity: age does not count. */
  readonly ms?: number;
  readonly revisionsMin?: number;
  readonly revisionsMax?: number;
  readonly bytesMax?: number;
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
  /**
   * Where the data lie beside the log. "segments" (default): a record store of this package's, in plain files. "memory": in memory alone, and
   * in a snapshot from time to time. Or a store of your own, by module (d-engine/storage, RecordStore).
   */
  readonly store?: "segments" | "memory" | ModuleRef;
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
  /**
   * History kept: what is younger than `ms` (default an hour), but at most the last `revisionsMax` (1,000,000) revisions and `bytesMax` (half
   * of `limits.dataBytesMax`) logical bytes of it; and however old at least the last `revisionsMin` (10,000). "forever": all, until it is compacted
   * by hand. Whoever leads decides: give all members the same.
   */
  readonly history?: HistoryOptions | "forever";
  readonly limits?: {
    /**
     * Logical bytes of keys, values and history (docs/formats.md), as this node holds what it proposes against while it leads, and what its own
     * callers write: beyond it what makes the data grow is refused with NO_SPACE. Default a quarter of what this process may use (machine,
     * control group, heap), at most 2 GiB; from 1 MiB to 4 GiB. Give all members the same: whoever leads decides.
     */
    readonly dataBytesMax?: number;
    /** Likewise of keys. Default and at most 16,777,216. */
    readonly keysMax?: number;
    /** Of one request, key and value together. Default 1.5 MiB, at most 16 MiB. */
    readonly requestBytesMax?: number;
    /** Calls without an answer: one more is refused with OVERLOADED. Default 100,000. */
    readonly pendingCallsMax?: number;
    /** Default 10,000. */
    readonly watchersMax?: number;
    /** Comparisons of a transaction, and operations of each of its branches. Default 128, at most 10,000. */
    readonly txnOpsMax?: number;
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
  readonly txnOpsMax: number;
  readonly watchersMax: number;
  /** What the node may have sent to one watch that nobody has read. */
  readonly watchCreditBytes: number;
  /** About what a scan holds at a time. */
  readonly scanPageBytes: number;
  /** A lease that is kept alive has at least so long to live. */
  readonly keptTtlMsMin: number;
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
  "store",
  "electionTimeoutMs",
  "heartbeatMs",
  "consistency",
  "allowConsistencyOverride",
  "timeoutMs",
  "closeTimeoutMs",
  "history",
  "limits",
  "log",
]);
const KNOWN_HISTORY: ReadonlySet<string> = new Set(["ms", "revisionsMin", "revisionsMax", "bytesMax"]);
/** Defaults of `history`. */
const HISTORY_MS = 3_600_000;
const HISTORY_REVISIONS_MIN = 10_000;
const HISTORY_REVISIONS_MAX = 1_000_000;
const KNOWN_PEER: ReadonlySet<string> = new Set(["listen", "advertise", "tls", "insecure"]);
const KNOWN_TLS: ReadonlySet<string> = new Set(["cert", "key", "ca", "serverName"]);
const KNOWN_LIMITS: ReadonlySet<string> = new Set([
  "dataBytesMax",
  "keysMax",
  "requestBytesMax",
  "pendingCallsMax",
  "watchersMax",
  "txnOpsMax",
]);

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
  const bootstrap = isRecord(options.bootstrap) ? { ...options.bootstrap } : options.bootstrap;
  const { electionTimeoutMs = 1_000, heartbeatMs = 100, timeoutMs = 5_000, closeTimeoutMs = 10_000 } = options;
  const { requestBytesMax = REQUEST_BYTES_MAX, pendingCallsMax = 100_000, watchersMax = 10_000, txnOpsMax = TXN_OPS_MAX } = limits;
  const memory = memoryBounds(memoryLimit());
  const { dataBytesMax = memory.dataBytesMax, keysMax = KEYS_MAX } = limits;
  checkNumber(dataBytesMax, "limits.dataBytesMax", { min: 1 << 20, max: DATA_BYTES_MAX });
  checkNumber(keysMax, "limits.keysMax", { min: 1, max: KEYS_MAX });
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
  checkNumber(txnOpsMax, "limits.txnOpsMax", { min: 1, max: TXN_OPS_CEILING });
  checkNumber(watchersMax, "limits.watchersMax", { min: 0, max: 10_000_000 });
  if (log !== undefined && typeof log !== "function") throw invalidArgument("log", `a function is wanted, not ${describe(log)}`);
  if (name !== undefined) checkName(name, "name");
  const peer = resolvePeer(options.peer);
  if (bootstrap !== undefined) checkBootstrap(bootstrap, { name, peer, isAdvertised: options.peer?.advertise !== undefined });
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
      ...resolveHistory(options.history, dataBytesMax),
      dataBytesMax,
      keysMax,
      logMemoryBytesMax: memory.logMemoryBytesMax,
      pendingBytesMax: memory.pendingBytesMax,
      requestBytesMax,
      watchersMax,
      snapshotLogBytesMin: 256 << 20,
      logSegmentBytes: 64 << 20,
      store: resolveStore(options.store),
      stateMachine: undefined,
      hosts: peer === undefined ? "" : readHosts(),
      searchDomains: peer === undefined ? [] : readSearchDomains(),
    },
    settings: {
      consistency,
      allowConsistencyOverride: options.allowConsistencyOverride ?? true,
      watchersMax,
      watchCreditBytes: 256 << 10,
      scanPageBytes: 256 << 10,
      timeoutMs: timeoutMs === Number.POSITIVE_INFINITY ? Number.MAX_SAFE_INTEGER : timeoutMs,
      closeTimeoutMs,
      pendingCallsMax,
      requestBytesMax,
      txnOpsMax,
      keptTtlMsMin: Math.ceil(3 * heartbeatMs),
      log,
    },
    thread,
    workerUrl: resolveWorkerUrl(options.workerUrl),
  };
}

function isRecord(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

type HistorySettings = Pick<NodeOptions, "historyMs" | "historyRevisionsMin" | "historyRevisionsMax" | "historyBytesMax">;

function resolveHistory(history: HistoryOptions | "forever" | undefined, dataBytesMax: number): HistorySettings {
  if (history === "forever") {
    const all = Number.MAX_SAFE_INTEGER;
    return { historyMs: Number.POSITIVE_INFINITY, historyRevisionsMin: 0, historyRevisionsMax: all, historyBytesMax: all };
  }
  if (history !== undefined && (typeof history !== "object" || history === null))
    throw invalidArgument("history", `{ ms, revisionsMin, revisionsMax, bytesMax } or "forever" is wanted, not ${describe(history)}`);
  checkOptions(history, KNOWN_HISTORY, "history");
  const { ms = HISTORY_MS, revisionsMax = HISTORY_REVISIONS_MAX, bytesMax = Math.floor(dataBytesMax / 2) } = history ?? {};
  const { revisionsMin = Math.min(HISTORY_REVISIONS_MIN, revisionsMax) } = history ?? {};
  if (ms !== Number.POSITIVE_INFINITY) checkNumber(ms, "history.ms", { min: 0, integer: false });
  checkNumber(revisionsMax, "history.revisionsMax", { min: 1 });
  checkNumber(revisionsMin, "history.revisionsMin", { min: 0, max: revisionsMax });
  checkNumber(bytesMax, "history.bytesMax", { min: 0 });
  return { historyMs: ms, historyRevisionsMin: revisionsMin, historyRevisionsMax: revisionsMax, historyBytesMax: bytesMax };
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

/** An absolute path; undefined for "memory:". Throws INVALID_ARGUMENT. */
export function resolveDirectory(dataDir: string | URL): string | undefined {
  if (dataDir instanceof URL) {
    let path: string;
    try {
      path = fileURLToPath(dataDir);
    } catch {
      throw invalidArgument("dataDir", `a file: URL is wanted, not ${dataDir.href}`);
    }
    return checkDirectory(path);
  }
  if (typeof dataDir !== "string" || dataDir === "" || dataDir.includes("\0"))
    throw invalidArgument("dataDir", 'a path, a file: URL or "memory:" is wanted');
  return dataDir === "memory:" ? undefined : checkDirectory(resolve(dataDir));
}

/** What is there already is a directory. What else may be wrong with it is the disk thread's to find out. */
function checkDirectory(path: string): string {
  let found: Stats | undefined;
  try {
    // `throwIfNoEntry: false` would, in later versions of Node.js, say the same of what lies below a file.
    found = statSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR")
      throw invalidArgument("dataDir", `${path} lies below a file: a directory is wanted`);
  }
  if (found !== undefined && !found.isDirectory()) throw invalidArgument("dataDir", `${path} is a file: a directory is wanted`);
  return path;
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
