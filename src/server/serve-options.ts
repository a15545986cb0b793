/** Options of serve(): what they mean, what is refused, and what becomes of them. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { createSecureContext, type TlsOptions as NodeTlsOptions } from "node:tls";
import { invalidArgument } from "../errors.ts";
import { checkAdvertised } from "./advertised.ts";
import { isLocal, parsePlace, type Place } from "./places.ts";

/** Certificates of a server. */
export interface ServerTlsOptions {
  /** Paths, or PEM itself. Files are looked at every 30 seconds, and taken up when they change. */
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
  /** Whom to trust, of clients that show a certificate. */
  readonly ca?: string | Uint8Array;
  /** Refuses clients without one. Wants `ca`. */
  readonly requireClientCert?: boolean;
}

/** What serve() can be told. */
export interface ServeOptions {
  /**
   * "host:port", or several; port 0 takes a free one. Default "127.0.0.1:2379". Anything but loopback wants `tls` or `insecure`. "unix:PATH" is a
   * socket in the file system, in clear text: whoever may write to it may use it; "unixs:PATH" is one under `tls`.
   */
  readonly listen?: string | readonly string[];
  /**
   * Where clients reach this member, as every member tells them: at most 16 URLs of 256 bytes. Default: where it listens; of a wildcard, the host
   * under which other members find it.
   */
  readonly advertise?: readonly string[];
  readonly tls?: ServerTlsOptions;
  /** Whoever reaches the port may read and write everything. */
  readonly insecure?: true;
  /**
   * etcd's JSON gateway, /kv, /health, /livez, /readyz, /version, /metrics. Default true. Requests with a foreign Host or Origin are refused, so
   * that no web page reaches it; hosts and origins that are no address of this machine are named here.
   */
  readonly http?: boolean | { readonly allowedHosts?: readonly string[]; readonly allowedOrigins?: readonly string[] };
  /** Of a message of a client. Default 2 MiB: etcd's largest request and 512 KiB. */
  readonly requestBytesMax?: number;
  /** Default 20,000. Several front ends share it evenly. */
  readonly connectionsMax?: number;
  /** Calls and streams under way on one connection. Default 10,000: some clients open one for each watch. */
  readonly concurrentStreamsMax?: number;
  /**
   * How often a watch that asked for notices of its progress, and of which nothing was told, is told its progress, in milliseconds. Default 600,000.
   */
  readonly watchProgressNotifyMs?: number;
  /**
   * Threads that parse requests and write answers, the caller's own included: 1 to 32. The system deals connections to them. Default: the processor's
   * cores less two, at least 1, at most 8. More than one wants Linux, Node 22.12 or later, and an engine whose node has its own thread; elsewhere there is
   * one, and `Server.frontEnds` says so.
   */
  readonly frontEnds?: number;
}

/** What serve() does with its options. */
export interface ResolvedServeOptions {
  readonly listen: readonly Place[];
  readonly advertise: readonly string[] | undefined;
  readonly tls: NodeTlsOptions | undefined;
  /** Certificates and keys that were given by their paths. */
  readonly tlsFiles: readonly string[];
  readonly http: { readonly allowedHosts: readonly string[]; readonly allowedOrigins: readonly string[] } | undefined;
  readonly requestBytesMax: number;
  readonly connectionsMax: number;
  readonly concurrentStreamsMax: number;
  readonly watchProgressNotifyMs: number;
  /** As many as are wanted. */
  readonly frontEnds: number;
}

const KNOWN = new Set([
  "listen",
  "advertise",
  "tls",
  "insecure",
  "http",
  "requestBytesMax",
  "connectionsMax",
  "concurrentStreamsMax",
  "watchProgressNotifyMs",
  "frontEnds",
]);
const KNOWN_TLS = new Set(["cert", "key", "ca", "requireClientCert"]);
const KNOWN_HTTP = new Set(["allowedHosts", "allowedOrigins"]);
const REQUEST_BYTES_MAX = 2_097_152;
const LISTENERS_MAX = 16;
/** Threads of one server. */
export const FRONT_ENDS_MAX = 32;
/** Without being asked. */
const FRONT_ENDS_DEFAULT_MAX = 8;
/** Etcd's. */
const WATCH_PROGRESS_NOTIFY_MS = 600_000;

/** Throws INVALID_ARGUMENT. */
export function resolveServeOptions(options: ServeOptions): ResolvedServeOptions {
  checkKnown(options, KNOWN, "options");
  const { listen = "127.0.0.1:2379", advertise, tls, insecure, http = true } = options;
  const texts = typeof listen === "string" ? [listen] : [...listen];
  if (texts.length === 0 || texts.length > LISTENERS_MAX) throw invalidArgument("listen", `1 to ${LISTENERS_MAX} addresses are wanted`);
  const addresses = texts.map((text) => {
    const place = typeof text === "string" ? parsePlace(text, tls !== undefined) : undefined;
    if (place === undefined) throw invalidArgument("listen", `"host:port" or "unix:PATH" is wanted, not ${JSON.stringify(text)}`);
    if (tls === undefined && insecure !== true && !isLocal(place)) {
      throw invalidArgument("listen", `${text} can be reached from other machines: give tls, or insecure: true`);
    }
    if (place.isSecure && tls === undefined) throw invalidArgument("listen", `${text} wants tls`);
    return place;
  });
  checkAdvertised(advertise ?? []);
  if (typeof http === "object") checkKnown(http, KNOWN_HTTP, "http");
  const named = typeof http === "object" ? http : {};
  return {
    listen: addresses,
    advertise,
    tls: tls === undefined ? undefined : resolveTls(tls),
    tlsFiles: [tls?.cert, tls?.key, tls?.ca].filter((part) => typeof part === "string" && !isPem(part)) as string[],
    http: http === false ? undefined : { allowedHosts: named.allowedHosts ?? [], allowedOrigins: named.allowedOrigins ?? [] },
    requestBytesMax: count(options.requestBytesMax, "requestBytesMax", REQUEST_BYTES_MAX, 64 << 20),
    connectionsMax: count(options.connectionsMax, "connectionsMax", 20_000, 1_000_000),
    concurrentStreamsMax: count(options.concurrentStreamsMax, "concurrentStreamsMax", 10_000, 1_000_000),
    watchProgressNotifyMs: count(options.watchProgressNotifyMs, "watchProgressNotifyMs", WATCH_PROGRESS_NOTIFY_MS, 2 ** 31 - 1),
    frontEnds: count(options.frontEnds, "frontEnds", defaultFrontEnds(), FRONT_ENDS_MAX),
  };
}

/** What node:tls takes. Reads the files anew. Throws INVALID_ARGUMENT. */
export function resolveTls(tls: ServerTlsOptions): NodeTlsOptions {
  checkKnown(tls, KNOWN_TLS, "tls");
  const { cert, key, ca, requireClientCert = false } = tls;
  if (requireClientCert && ca === undefined) throw invalidArgument("tls.ca", "requireClientCert wants to know whom to trust");
  const resolved: NodeTlsOptions = {
    cert: pem(cert, "tls.cert"),
    key: pem(key, "tls.key"),
    ...(ca === undefined ? {} : { ca: pem(ca, "tls.ca"), requestCert: true, rejectUnauthorized: requireClientCert }),
    minVersion: "TLSv1.2",
  };
  try {
    createSecureContext(resolved);
  } catch (error) {
    throw invalidArgument("tls", error instanceof Error ? error.message : String(error));
  }
  return resolved;
}

/** PEM as it was given, or what is in the file of that path. */
function pem(text: string | Uint8Array, argument: string): string | Buffer {
  if (typeof text !== "string") return Buffer.from(text);
  if (isPem(text)) return text;
  try {
    return readFileSync(text);
  } catch (cause) {
    throw invalidArgument(argument, `the file cannot be read: ${String(cause)}`);
  }
}

function isPem(text: string): boolean {
  return text.includes("-----BEGIN");
}

/** A core for the node, one for its disk and all else, the others for front ends. */
function defaultFrontEnds(): number {
  return Math.min(FRONT_ENDS_DEFAULT_MAX, Math.max(1, availableParallelism() - 2));
}

function checkKnown(options: object, known: ReadonlySet<string>, argument: string): void {
  if (typeof options !== "object" || options === null) throw invalidArgument(argument, "an object is wanted");
  for (const name of Object.keys(options)) {
    if (!known.has(name)) throw invalidArgument(argument, `unknown option ${name}; known are ${[...known].join(", ")}`);
  }
}

function count(value: number | undefined, argument: string, otherwise: number, max: number): number {
  if (value === undefined) return otherwise;
  if (!Number.isInteger(value) || value < 1 || value > max) throw invalidArgument(argument, `a whole number from 1 to ${max} is wanted`);
  return value;
}
