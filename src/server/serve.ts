/**
 * A front end before an embedded engine: gRPC and HTTP on the same port, so that etcd's clients, d-engine's, curl and Prometheus reach it. It owns
 * its sockets and threads and nothing else: the engine is the caller's, and stays open.
 */
import type { Engine } from "../client/engine.ts";
import { canAttach } from "../client/attached-engine.ts";
import { internalsOf } from "../client/engine-internals.ts";
import { EngineError } from "../errors.ts";
import { announced, reachable } from "./advertised.ts";
import { FrontEnd } from "./front-end.ts";
import { FrontThreads, hasFrontEntry } from "./front-threads.ts";
import { canSharePort, findSharedPort } from "./listeners.ts";
import type { Metrics } from "./metrics.ts";
import { formatPlace, type Place } from "./places.ts";
import { resolveServeOptions, resolveTls, type ResolvedServeOptions, type ServeOptions, type ServerTlsOptions } from "./serve-options.ts";

export type { ServeOptions, ServerTlsOptions } from "./serve-options.ts";

const CLOSE_TIMEOUT_MS = 5_000;

/** A running front end. */
export interface Server extends AsyncDisposable {
  /** Where it listens: "host:port", "unix:PATH". */
  readonly addresses: readonly string[];
  /** How many threads serve, the caller's included. */
  readonly frontEnds: number;
  /** Reads the certificate files again, as after a renewal; they are also looked at every 30 seconds. Throws INVALID_ARGUMENT, and keeps the old ones, where they cannot be. */
  renewCertificates(): void;
  /** Stops accepting, lets calls in flight end for up to `timeoutMs` (default 5,000), then closes. Does not close the engine. Idempotent. */
  close(options?: { readonly timeoutMs?: number }): Promise<void>;
}

/**
 * Puts etcd's API, d-engine's own and HTTP in front of an engine of this process. Rejects with INVALID_ARGUMENT for options that cannot be, with
 * IN_USE for a port or a socket that is taken, with UNSUPPORTED for an engine that Engine.open did not open.
 */
export async function serve(engine: Engine, options: ServeOptions = {}): Promise<Server> {
  const resolved = resolveServeOptions(options);
  const places: Place[] = [];
  const frontEnds = canHaveSeveral(engine, resolved) ? resolved.frontEnds : 1;
  const clientUrls = (): readonly string[] => resolved.advertise ?? urlsOf(places, engine);
  const first = new FrontEnd(engine, resolved, { frontEnd: 0, frontEnds, counts: undefined }, clientUrls);
  const { status, addresses: told } = internalsOf(engine)!;
  let threads: FrontThreads | undefined;
  try {
    for (const place of resolved.listen) {
      // One after another, so that a port of 0 and the order of the addresses are what they seem.
      // oxlint-disable-next-line no-await-in-loop -- at most sixteen
      places.push(await openFirst(first, place, frontEnds > 1));
    }
    if (frontEnds > 1) {
      const onLost = (reason: string): void => status.log("error", "a front end has ended, and is started again", { reason });
      threads = new FrontThreads({ engine, options: resolved, places, clientUrls: clientUrls(), frontEnds, counts: first.counts, onLost });
      await threads.open();
    }
  } catch (error) {
    await first.close(0);
    throw listenError(error, resolved);
  }
  const takeBack = told.add(announced(clientUrls()));
  const server = new RunningServer({ first, threads, addresses: places.map(formatPlace), frontEnds, tls: options.tls, takeBack });
  first.watch(resolved.tlsFiles, () => server.renewQuietly());
  metrics.set(server, first.metrics);
  return server;
}

function canHaveSeveral(engine: Engine, { listen }: ResolvedServeOptions): boolean {
  return canAttach(engine) && canSharePort() && hasFrontEntry() && listen.some(({ kind }) => kind === "tcp");
}

const metrics = new WeakMap<Server, Metrics>();

/** What a server of this copy of the package tells of itself, wherever it is asked. */
export function metricsOf(server: Server): Metrics {
  return metrics.get(server)!;
}

/** The first front end finds the port that the others are to share. */
async function openFirst(front: FrontEnd, place: Place, isShared: boolean): Promise<Place> {
  if (place.kind === "unix" || !isShared) return front.open(place, false);
  return front.open(await findSharedPort(place), true);
}

/** Sockets in the file system are nothing that other machines could be told. */
function urlsOf(places: readonly Place[], engine: Engine): readonly string[] {
  const { peerAddress } = internalsOf(engine)!.status.node;
  return places
    .filter(({ kind }) => kind === "tcp")
    .map((place) => `${place.isSecure ? "https" : "http"}://${reachable(formatPlace(place), peerAddress)}`);
}

function listenError(error: unknown, options: ResolvedServeOptions): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code !== "EADDRINUSE") return error;
  const at = options.listen.map(formatPlace).join(", ");
  return new EngineError("IN_USE", `another process listens on ${at}`, { what: "port", at }, { cause: error });
}

interface Running {
  readonly first: FrontEnd;
  readonly threads: FrontThreads | undefined;
  readonly addresses: readonly string[];
  readonly frontEnds: number;
  readonly tls: ServerTlsOptions | undefined;
  /** Clients are no longer told to come here. */
  readonly takeBack: () => void;
}

class RunningServer implements Server {
  readonly addresses: readonly string[];
  readonly frontEnds: number;
  readonly #parts: Running;
  #closing: Promise<void> | undefined;

  constructor(parts: Running) {
    this.addresses = parts.addresses;
    this.frontEnds = parts.frontEnds;
    this.#parts = parts;
  }

  renewCertificates(): void {
    const { tls, first, threads } = this.#parts;
    if (tls === undefined) return;
    const renewed = resolveTls(tls);
    first.renew(renewed);
    threads?.renew(renewed);
  }

  /** The files have changed: if what is in them cannot be, the old certificates stay until it can. */
  renewQuietly(): void {
    try {
      this.renewCertificates();
    } catch {
      // Half written, or a key that does not belong to its certificate yet.
    }
  }

  close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.timeoutMs ?? CLOSE_TIMEOUT_MS);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const { first, threads, takeBack } = this.#parts;
    takeBack();
    await Promise.all([first.close(graceMs), threads?.close(graceMs)]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
