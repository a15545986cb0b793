/** What `serve` does: opens the engine and its listeners, says so, and closes them in order. Loaded only then, so that other commands begin sooner. */
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { ETCD_VERSION } from "../api/versions.ts";
import type { LogRecord } from "../client/engine-options.ts";
import { foundedMember } from "../client/founded-member.ts";
import { Engine } from "../index.ts";
import { metricsOf, serve as startServer, type Server } from "../server/serve.ts";
import { resolveServeOptions } from "../server/serve-options.ts";
import type { CommandLine } from "./command-line.ts";
import type { World } from "./command.ts";
import { loadConfig } from "./config/load-config.ts";
import { nodeConfig, type NodeConfig } from "./config/node-config.ts";
import { EXIT, ExitError, type ExitCode } from "./exit.ts";
import { openMetricsListeners, type MetricsListeners } from "./metrics-listeners.ts";
import { VERSION } from "../version.ts";
import { checkPorts } from "./port-check.ts";
import { createServerLog, type ServerLog } from "./server-log.ts";
import { inSettings, startError } from "./start-error.ts";
import { syncTimeMs } from "./sync-time.ts";

/** One run of it, from its command line to its end. */
export async function runServe(line: CommandLine, world: World): Promise<ExitCode> {
  const { config, warnings } = loadConfig(line, world.environment);
  const founded = foundedMember(String(config.get("data-dir")?.value ?? ""));
  const settings = nodeConfig(config, founded !== undefined);
  const log = createServerLog(world, settings);
  for (const warning of [...warnings, ...settings.warnings]) log.write("warn", warning);
  if (founded !== undefined) tellOtherMembers(founded.bootstrap, settings, log);
  try {
    // Before the engine is opened, which makes a cluster where there is none: a wrong certificate is no reason to have one.
    const { listen } = resolveServeOptions(settings.serve);
    await checkPorts({ clients: listen, metrics: settings.metrics, peer: settings.engine.peer?.listen });
    await runServer(settings, log, world);
  } catch (error) {
    throw startError(error);
  }
  return EXIT.done;
}

/** As an etcd with data does: they say who the members are. */
function tellOtherMembers(founded: Readonly<Record<string, string>> | undefined, { engine, members }: NodeConfig, log: ServerLog): void {
  if (members === undefined) return;
  const own = founded ?? { [engine.name ?? ""]: "" };
  const names = Object.keys(members);
  // One that was founded alone listened nowhere.
  const isSame =
    names.length === Object.keys(own).length && names.every((name) => (founded === undefined ? name in own : members[name] === own[name]));
  if (isSame) return;
  log.write("warn", "initial-cluster is not what this member was founded with, and changes nothing: it is for new data directories only", {
    given: listOf(members),
    founded: founded === undefined ? "this member alone" : listOf(founded),
  });
}

function listOf(members: Readonly<Record<string, string>>): string {
  return Object.entries(members)
    .map(([name, address]) => `${name}=${address}`)
    .join(",");
}

/** Above this, in milliseconds, every write is felt to wait for the disk. */
const SLOW_SYNC_MS = 20;

/** Resolves once a signal has ended it, with leadership handed over. */
async function runServer(settings: NodeConfig, log: ServerLog, world: World): Promise<void> {
  const isKept = settings.engine.dataDir !== "memory:";
  const dataDir = isKept ? path.resolve(String(settings.engine.dataDir)) : "memory: nothing is kept";
  if (settings.wantsData && !hasData(dataDir)) {
    throw new ExitError(
      EXIT.refused,
      `initial-cluster-state is existing, and there is nothing in ${dataDir}: to join a cluster with an empty directory is not to be had yet`,
    );
  }
  if (isKept && isEtcds(dataDir)) {
    throw new ExitError(
      EXIT.refused,
      `${dataDir} holds an etcd's data, which this server cannot read, and it would begin with nothing: give it a directory of its own`,
    );
  }
  const syncMs = isKept ? syncTimeMs(dataDir) : undefined;
  const engine = await Engine.open({
    ...settings.engine,
    log: ({ level, message, fields }: LogRecord) => log.write(level, inSettings(message), fields),
  });
  let server: Server | undefined;
  let metrics: MetricsListeners | undefined;
  try {
    server = await startServer(engine, settings.serve);
    metrics = await openMetricsListeners(engine, metricsOf(server), settings);
    rereadAtHangup(server, settings, log, world);
    greet(world, engine, { settings, dataDir, syncMs, server, metrics: metrics.addresses });
    if (syncMs !== undefined && syncMs > SLOW_SYNC_MS)
      log.write("warn", "the disk is slow: each write waits for a sync", { syncMs: Math.round(syncMs * 100) / 100 });
    announceReady(engine, server.addresses, log, world.signal);
    await ended(engine, world.signal);
    log.write("info", "closing: calls under way end, then leadership is handed over; a second signal ends it at once");
  } finally {
    try {
      await Promise.all([server?.close(), metrics?.close()]);
    } finally {
      await engine.close();
    }
  }
}

function hasData(directory: string): boolean {
  try {
    return readdirSync(directory).length > 0;
  } catch {
    return false;
  }
}

/** Whoever starts this server with the settings of an etcd must not find an empty one in its place, and take that for what it had. */
function isEtcds(directory: string): boolean {
  const has = (...names: readonly string[]): boolean => existsSync(path.join(directory, ...names));
  return !has("identity") && (has("member", "wal") || has("member", "snap"));
}

function rereadAtHangup(server: Server, settings: NodeConfig, log: ServerLog, world: World): void {
  world.onHangup(() => {
    if (settings.serve.tls === undefined) return log.write("info", "SIGHUP: there are no certificates to reread");
    try {
      server.renewCertificates();
      log.write("info", "certificates were reread");
    } catch (error) {
      log.write("error", "certificates stay as they were", { reason: error instanceof Error ? error.message : String(error) });
    }
  });
}

/** What starts it may wait for this line, as for etcd's: from then on a majority answers. */
function announceReady(engine: Engine, addresses: readonly string[], log: ServerLog, signal: AbortSignal): void {
  engine.waitReady({ timeoutMs: Number.POSITIVE_INFINITY, signal }).then(
    () => log.write("info", "ready to serve client requests", { addresses: addresses.join(", ") }),
    () => {}, // It ends before that: its end is told elsewhere.
  );
}

/** Until a signal, or until the member has failed for good. */
async function ended(engine: Engine, signal: AbortSignal): Promise<void> {
  try {
    for await (const state of engine.stateChanges({ signal })) {
      if (state.kind === "failed")
        throw new ExitError(EXIT.refused, `this member has failed: ${state.error.message}`, { cause: state.error });
      if (state.kind === "removed") throw new ExitError(EXIT.refused, "this member was removed from its cluster");
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

interface Greeting {
  readonly settings: NodeConfig;
  readonly dataDir: string;
  readonly syncMs: number | undefined;
  readonly server: Server;
  readonly metrics: readonly string[];
}

/** More of them are asked for than there can be. */
const ONE_FRONT_END = "one of the front ends that are wanted: more take Linux, Node 22.12 or later, and a port";

function greet(world: World, engine: Engine, { settings, dataDir, syncMs, server, metrics }: Greeting): void {
  const { addresses, frontEnds } = server;
  const address = addresses.find((each) => !isSocket(each)) ?? addresses[0] ?? "";
  const hasTls = settings.serve.tls !== undefined && !address.startsWith("unix:");
  const scheme = hasTls ? "https" : "http";
  const certificate = settings.serve.tls?.requireClientCert === true ? " --cert CERT.pem --key KEY.pem" : "";
  const secrets = hasTls ? ` --cacert CA.pem${certificate}` : "";
  const endpoint = address === "127.0.0.1:2379" && !hasTls ? "" : ` --endpoints ${endpointOf(address, hasTls)}`;
  const wanted = settings.serve.frontEnds ?? 1;
  const program = programName(world);
  const sync = syncMs === undefined ? "" : ` (a small write is synced in ${syncMs.toFixed(syncMs < 10 ? 2 : 0)} ms)`;
  world.say(
    [
      `d-engine ${VERSION}, with etcd's API of version ${ETCD_VERSION}: member ${engine.name} (${engine.memberId}) of cluster ${engine.clusterId}`,
      `  data     ${dataDir}${sync}`,
      `  clients  ${addresses.map((each) => (isSocket(each) ? each : `${scheme}://${each}`)).join(", ")}`,
      ...(wanted > 1 && frontEnds === 1 ? [`  threads  ${ONE_FRONT_END}`] : frontEnds === 1 ? [] : [`  threads  ${frontEnds} front ends`]),
      ...(settings.engine.peer === undefined ? [] : [`  members  ${settings.engine.peer.listen}`]),
      ...(metrics.length === 0 ? [] : [`  metrics  ${metrics.map((each) => `http://${each}`).join(", ")}`]),
      ...(settings.engine.unsafeNoFsync === true ? ["  NOTHING IS SYNCED: power loss loses acknowledged writes"] : []),
      "try:",
      `  ${program} put${endpoint}${secrets} greeting hello`,
      `  ${program} watch${endpoint}${secrets} --all`,
      isSocket(address)
        ? `  curl${secrets} --unix-socket ${address.slice(address.indexOf(":") + 1)} ${scheme}://localhost/kv/greeting`
        : `  curl${secrets} ${scheme}://${address}/kv/greeting`,
    ].join("\n"),
  );
}

function isSocket(address: string): boolean {
  return /^unixs?:/.test(address);
}

function endpointOf(address: string, hasTls: boolean): string {
  if (isSocket(address)) return `unix:${address.slice(address.indexOf(":") + 1)}`;
  return hasTls ? `https://${address}` : address;
}

/** How this program was called, so that what is shown to be tried works where it is tried. */
function programName({ environment }: World): string {
  if (environment["npm_command"] === "exec") return "npx d-engine";
  const [, file = ""] = process.argv;
  const name = path.basename(file);
  return name === "main.js" ? `node ${path.relative(process.cwd(), file)}` : name;
}
