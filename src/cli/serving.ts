/** What `serve` does: opens the engine and its listeners, says so, and closes them in order. Loaded only then, so that other commands begin sooner. */
import { readdirSync } from "node:fs";
import path from "node:path";
import { ETCD_VERSION } from "../api/versions.ts";
import type { LogRecord } from "../client/engine-options.ts";
import { Engine } from "../index.ts";
import { serve as startServer, type Server } from "../server/index.ts";
import type { CommandLine } from "./command-line.ts";
import type { World } from "./command.ts";
import { loadConfig } from "./config/load-config.ts";
import { nodeConfig, type NodeConfig } from "./config/node-config.ts";
import { EXIT, ExitError, type ExitCode } from "./exit.ts";
import { openMetricsListeners, type MetricsListeners } from "./metrics-listeners.ts";
import { VERSION } from "../version.ts";
import { createServerLog, type ServerLog } from "./server-log.ts";
import { syncTimeMs } from "./sync-time.ts";

/** One run of it, from its command line to its end. */
export async function runServe(line: CommandLine, world: World): Promise<ExitCode> {
  const { config, warnings } = loadConfig(line, world.environment);
  const settings = nodeConfig(config);
  const log = createServerLog(world, settings);
  for (const warning of [...warnings, ...settings.warnings]) log.write("warn", warning);
  await runServer(settings, log, world);
  return EXIT.done;
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
  const syncMs = isKept ? syncTimeMs(dataDir) : undefined;
  const engine = await Engine.open({
    ...settings.engine,
    log: ({ level, message, fields }: LogRecord) => log.write(level, message, fields),
  });
  let server: Server | undefined;
  let metrics: MetricsListeners | undefined;
  try {
    server = await startServer(engine, settings.serve);
    metrics = await openMetricsListeners(engine, settings);
    rereadAtHangup(server, settings, log, world);
    greet(world, engine, { settings, dataDir, syncMs, addresses: server.addresses, metrics: metrics.addresses });
    if (syncMs !== undefined && syncMs > SLOW_SYNC_MS)
      log.write("warn", "the disk is slow: each write waits for a sync", { syncMs: Math.round(syncMs * 100) / 100 });
    announceReady(engine, server.addresses, log, world.signal);
    await ended(engine, world.signal);
    log.write("info", "closing: leadership is handed over first; a second signal ends it at once");
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
  readonly addresses: readonly string[];
  readonly metrics: readonly string[];
}

function greet(world: World, engine: Engine, { settings, dataDir, syncMs, addresses, metrics }: Greeting): void {
  const [address = ""] = addresses;
  const hasTls = settings.serve.tls !== undefined;
  const scheme = hasTls ? "https" : "http";
  const secrets = hasTls ? " --cacert CA.pem" : "";
  const endpoint = address === "127.0.0.1:2379" && !hasTls ? "" : ` --endpoints ${hasTls ? "https://" : ""}${address}`;
  const program = programName(world);
  const sync = syncMs === undefined ? "" : ` (a small write is synced in ${syncMs.toFixed(syncMs < 10 ? 2 : 0)} ms)`;
  world.say(
    [
      `d-engine ${VERSION}, with etcd's API of version ${ETCD_VERSION}: member ${engine.name} (${engine.memberId}) of cluster ${engine.clusterId}`,
      `  data     ${dataDir}${sync}`,
      `  clients  ${addresses.map((each) => `${scheme}://${each}`).join(", ")}`,
      ...(settings.engine.peer === undefined ? [] : [`  members  ${settings.engine.peer.listen}`]),
      ...(metrics.length === 0 ? [] : [`  metrics  ${metrics.map((each) => `http://${each}`).join(", ")}`]),
      ...(settings.engine.unsafeNoFsync === true ? ["  NOTHING IS SYNCED: power loss loses acknowledged writes"] : []),
      "try:",
      `  ${program} put${endpoint}${secrets} greeting hello`,
      `  ${program} watch${endpoint}${secrets} --all`,
      `  curl${hasTls ? " --cacert CA.pem" : ""} ${scheme}://${address}/kv/greeting`,
    ].join("\n"),
  );
}

/** How this program was called, so that what is shown to be tried works where it is tried. */
function programName({ environment }: World): string {
  if (environment["npm_command"] === "exec") return "npx d-engine";
  const [, file = ""] = process.argv;
  const name = path.basename(file);
  return name === "main.js" ? `node ${path.relative(process.cwd(), file)}` : name;
}
