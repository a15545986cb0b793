/** From settings to what Engine.open and serve() take. */
import type { EngineOptions, HistoryOptions, PeerOptions } from "../../client/engine-options.ts";
import type { ServeOptions } from "../../server/index.ts";
import { FRONT_ENDS_MAX } from "../../server/serve-options.ts";
import { durationMs } from "../duration.ts";
import { usageError } from "../exit.ts";
import { isLoopback, parseAddress } from "../../transport/address.ts";
import type { Config } from "./load-config.ts";

export interface NodeConfig {
  readonly engine: EngineOptions;
  readonly serve: ServeOptions;
  readonly metrics: readonly { readonly host: string; readonly port: number }[];
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly logFormat: "text" | "json" | undefined;
  /** It goes on with the data that it has; without any there is nothing to go on with. */
  readonly wantsData: boolean;
  /** As initial-cluster has them, by name. */
  readonly members: Readonly<Record<string, string>> | undefined;
  readonly warnings: readonly string[];
}

const HOUR_MS = 3_600_000;
/** The engine's own bound. */
const DATA_BYTES_MAX: number = 4 * 2 ** 30;

/**
 * Throws ExitError (usage) where settings contradict each other. `isFounded`: the data directory belongs to a member, so that initial-cluster says
 * nothing any more, as with etcd: whom it names, and where, is not looked at.
 */
export function nodeConfig(config: Config, isFounded = false): NodeConfig {
  const text = (name: string): string | undefined => config.get(name)?.value as string | undefined;
  const number = (name: string): number | undefined => config.get(name)?.value as number | undefined;
  const flag = (name: string): boolean => config.get(name)?.value === true;
  const list = (name: string): readonly string[] | undefined => config.get(name)?.value as readonly string[] | undefined;

  const warnings: string[] = [];
  const wantsData = text("initial-cluster-state") === "existing";
  const name = text("name") ?? "";
  const listenUrls = list("listen-client-urls") ?? [];
  if (listenUrls.length === 0) throw usageError("listen-client-urls: at least one URL is wanted");
  const certificates = { cert: text("cert-file"), key: text("key-file") };
  const insecure = flag("insecure");
  const ca = text("trusted-ca-file");
  checkPair("cert-file", certificates.cert, "key-file", certificates.key);
  const places = listenUrls.map((url) => clientPlace(url));
  const networkUrls = listenUrls.filter((url) => !isUnix(url));
  const schemes = new Set(networkUrls.map((url) => schemeOf(url, "listen-client-urls")));
  if (places.some((place) => place.startsWith("unixs:")) && certificates.cert === undefined)
    throw usageError("listen-client-urls says unixs: cert-file and key-file are wanted");
  if (schemes.has("https") && certificates.cert === undefined)
    throw usageError("listen-client-urls says https: cert-file and key-file are wanted");
  if (schemes.has("http") && certificates.cert !== undefined)
    throw usageError("cert-file is given, and listen-client-urls says http: say https there");
  const advertise = list("advertise-client-urls");
  let quota = number("quota-backend-bytes") ?? 0;
  if (quota > DATA_BYTES_MAX) {
    warnings.push(`quota-backend-bytes ${quota} is more than this engine holds: ${DATA_BYTES_MAX} it is`);
    quota = DATA_BYTES_MAX;
  }
  if (ca === undefined && flag("client-cert-auth")) throw usageError("client-cert-auth is given: trusted-ca-file is wanted too");
  if (certificates.cert === undefined && ca !== undefined)
    throw usageError("trusted-ca-file is given: cert-file and key-file are wanted too");
  if (!insecure && certificates.cert === undefined)
    for (const url of networkUrls) checkLoopback(url, "listen-client-urls", "cert-file and key-file");
  for (const url of advertise ?? []) schemeOf(url, "advertise-client-urls");
  const history = historyOf(config);
  const peer = peerOf(config, insecure);
  const members = membersOf(text("initial-cluster"));
  if (!isFounded) checkNamed(members, name);
  const bootstrap = isFounded ? undefined : members;
  if (peer === undefined && bootstrap !== undefined && Object.keys(bootstrap).length > 1)
    throw usageError("initial-cluster names other members: listen-peer-urls is wanted");
  const heartbeatMs = number("heartbeat-interval");
  const electionTimeoutMs = number("election-timeout");
  const txnOpsMax = number("max-txn-ops");
  const requestBytesMax = number("max-request-bytes");
  const concurrentStreamsMax = number("max-concurrent-streams");
  const watchProgressNotifyMs = number("watch-progress-notify-interval");
  const frontEnds = number("front-ends");
  if (frontEnds !== undefined && (frontEnds < 1 || frontEnds > FRONT_ENDS_MAX))
    throw usageError(`front-ends: 1 to ${FRONT_ENDS_MAX} are wanted`);
  if (watchProgressNotifyMs !== undefined && !(watchProgressNotifyMs >= 1 && watchProgressNotifyMs < 2 ** 31))
    throw usageError("watch-progress-notify-interval: a millisecond to 24 days are wanted");
  const allowedHosts = list("allowed-hosts");
  const allowedOrigins = list("allowed-origins");
  const limits = {
    ...(quota === 0 ? {} : { dataBytesMax: quota }),
    ...(txnOpsMax === undefined ? {} : { txnOpsMax }),
    ...(requestBytesMax === undefined ? {} : { requestBytesMax }),
  };
  return {
    engine: {
      dataDir: text("data-dir") ?? "",
      name,
      ...(peer === undefined ? {} : { peer }),
      // What a member has founded, it knows; the list may have changed since.
      ...(peer === undefined || bootstrap === undefined || wantsData ? {} : { bootstrap }),
      ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
      ...(electionTimeoutMs === undefined ? {} : { electionTimeoutMs }),
      ...(history === undefined ? {} : { history }),
      ...(flag("unsafe-no-fsync") ? { unsafeNoFsync: true } : {}),
      limits,
    },
    serve: {
      listen: places,
      ...(advertise === undefined ? {} : { advertise }),
      ...(certificates.cert === undefined || certificates.key === undefined
        ? {}
        : {
            tls: {
              cert: certificates.cert,
              key: certificates.key,
              ...(ca === undefined ? {} : { ca }),
              ...(flag("client-cert-auth") ? { requireClientCert: true } : {}),
            },
          }),
      ...(insecure ? { insecure: true as const } : {}),
      ...(allowedHosts === undefined && allowedOrigins === undefined
        ? {}
        : { http: { allowedHosts: allowedHosts ?? [], allowedOrigins: allowedOrigins ?? [] } }),
      // The largest request and what is around it, as etcd counts it.
      ...(requestBytesMax === undefined ? {} : { requestBytesMax: requestBytesMax + 524_288 }),
      ...(concurrentStreamsMax === undefined ? {} : { concurrentStreamsMax }),
      ...(watchProgressNotifyMs === undefined ? {} : { watchProgressNotifyMs: Math.round(watchProgressNotifyMs) }),
      ...(frontEnds === undefined ? {} : { frontEnds }),
    },
    metrics: (list("listen-metrics-urls") ?? []).map((url) => metricsAddress(url)),
    logLevel: (text("log-level") as NodeConfig["logLevel"] | undefined) ?? "info",
    logFormat: text("log-format") as NodeConfig["logFormat"],
    wantsData,
    members,
    warnings,
  };
}

function checkPair(one: string, its: string | undefined, other: string, others: string | undefined): void {
  if ((its === undefined) !== (others === undefined))
    throw usageError(`${its === undefined ? other : one} is given: ${its === undefined ? one : other} is wanted too`);
}

function schemeOf(url: string, setting: string): "http" | "https" {
  const scheme = /^(https?):\/\//.exec(url)?.[1];
  if (scheme === undefined) throw usageError(`${setting}: ${JSON.stringify(url)} is no URL such as http://127.0.0.1:2379`);
  return scheme as "http" | "https";
}

function metricsAddress(url: string): { readonly host: string; readonly port: number } {
  const address = parseAddress(addressOf(url, "listen-metrics-urls"));
  if (address === undefined || schemeOf(url, "listen-metrics-urls") === "https")
    throw usageError("listen-metrics-urls: URLs such as http://127.0.0.1:2381 are wanted; under TLS /metrics is on the client port");
  return address;
}

/** Whoever reaches a port without TLS may do everything: beyond this machine that is asked for by name. */
function checkLoopback(url: string, setting: string, wanted: string): void {
  const address = parseAddress(addressOf(url, setting));
  if (address === undefined) throw usageError(`${setting}: ${JSON.stringify(url)} wants a host and a port`);
  if (!isLoopback(address.host)) throw usageError(`${setting}: ${url} can be reached from other machines: give ${wanted}, or insecure`);
}

function isUnix(url: string): boolean {
  return /^unixs?:/.test(url);
}

/** Where serve() listens. A socket's path is all that stands behind the scheme, as etcd has it: relative in unix://name, absolute in unix:///run/name. */
function clientPlace(url: string): string {
  if (!isUnix(url)) return addressOf(url, "listen-client-urls");
  const [, scheme, path] = /^(unixs?):\/\/(.+)$/s.exec(url) ?? [];
  if (path === undefined) throw usageError(`listen-client-urls: ${JSON.stringify(url)} wants a path`);
  return `${scheme}:${path}`;
}

/** "host:port" of a URL that says both. */
function addressOf(url: string, setting: string): string {
  schemeOf(url, setting);
  const address = /^https?:\/\/([^/?#]+)\/?$/.exec(url)?.[1];
  if (address === undefined || !/:\d+$/.test(address))
    throw usageError(`${setting}: ${JSON.stringify(url)} wants a host and a port, and nothing behind them`);
  return address;
}

function peerOf(config: Config, insecure: boolean): PeerOptions | undefined {
  const text = (name: string): string | undefined => config.get(name)?.value as string | undefined;
  const urls = config.get("listen-peer-urls")?.value as readonly string[] | undefined;
  if (urls === undefined) return undefined;
  const [url, ...more] = urls;
  if (url === undefined || more.length > 0) throw usageError("listen-peer-urls: one URL is wanted");
  const advertised = config.get("initial-advertise-peer-urls")?.value as readonly string[] | undefined;
  if (advertised !== undefined && advertised.length !== 1) throw usageError("initial-advertise-peer-urls: one URL is wanted");
  const cert = text("peer-cert-file");
  const key = text("peer-key-file");
  const ca = text("peer-trusted-ca-file");
  checkPair("peer-cert-file", cert, "peer-key-file", key);
  if (schemeOf(url, "listen-peer-urls") === "https" && cert === undefined)
    throw usageError("listen-peer-urls says https: peer-cert-file, peer-key-file and peer-trusted-ca-file are wanted");
  if (schemeOf(url, "listen-peer-urls") === "http" && cert !== undefined)
    throw usageError("peer-cert-file is given, and listen-peer-urls says http: say https there");
  if (!insecure && cert === undefined) checkLoopback(url, "listen-peer-urls", "peer-cert-file, peer-key-file and peer-trusted-ca-file");
  return {
    listen: addressOf(url, "listen-peer-urls"),
    ...(advertised?.[0] === undefined ? {} : { advertise: addressOf(advertised[0], "initial-advertise-peer-urls") }),
    ...(cert === undefined || key === undefined ? {} : { tls: { cert, key, ...(ca === undefined ? {} : { ca }) } }),
    ...(insecure ? { insecure: true as const } : {}),
  };
}

/** The members of "NAME=URL,...". Throws ExitError (usage) where `name` is not among them. */
export function bootstrapOf(list: string | undefined, name: string): Readonly<Record<string, string>> | undefined {
  const members = membersOf(list);
  checkNamed(members, name);
  return members;
}

function checkNamed(members: Readonly<Record<string, string>> | undefined, name: string): void {
  if (members !== undefined && !Object.hasOwn(members, name)) throw usageError(`initial-cluster does not name this member, ${name}`);
}

function membersOf(list: string | undefined): Readonly<Record<string, string>> | undefined {
  if (list === undefined) return undefined;
  const bootstrap: Record<string, string> = {};
  for (const each of list.split(",")) {
    const [, member, url] = /^\s*([^=]+)=(.+?)\s*$/.exec(each) ?? [];
    if (member === undefined || url === undefined) throw usageError(`initial-cluster: ${JSON.stringify(each)} is not NAME=URL`);
    if (Object.hasOwn(bootstrap, member)) throw usageError(`initial-cluster: ${member} has two URLs; one is wanted`);
    bootstrap[member] = addressOf(url, "initial-cluster");
  }
  return bootstrap;
}

/** Etcd's: a bare number is hours, or revisions where the mode says so. */
function historyOf(config: Config): HistoryOptions | "forever" | undefined {
  const retention = config.get("auto-compaction-retention")?.value as string | undefined;
  if (retention === undefined) return undefined;
  if (/^0[a-z]*$/.test(retention)) return "forever";
  if (config.get("auto-compaction-mode")?.value === "revision") {
    if (!/^\d+$/.test(retention))
      throw usageError(`auto-compaction-retention wants a count of revisions, not ${JSON.stringify(retention)}`);
    const revisions = Number(retention);
    if (!Number.isSafeInteger(revisions)) throw usageError(`auto-compaction-retention ${retention} is too large`);
    return { ms: Number.POSITIVE_INFINITY, revisionsMin: Math.min(revisions, 10_000), revisionsMax: revisions };
  }
  const ms = /^\d+$/.test(retention) ? Number(retention) * HOUR_MS : durationMs(retention, "auto-compaction-retention");
  return { ms };
}
