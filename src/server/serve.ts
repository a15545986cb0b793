/**
 * A front end before an embedded engine: gRPC and HTTP on the same port, so that etcd's clients, d-engine's, curl and Prometheus reach it. It owns
 * its sockets and nothing else: the engine is the caller's, and stays open.
 */
import type { Server as HttpServer } from "node:http";
import { createApi, engineBackend, type ServedMethod } from "../api/index.ts";
import type { Engine } from "../client/engine.ts";
import { internalsOf } from "../client/engine-internals.ts";
import { EngineError } from "../errors.ts";
import { RpcServer } from "../rpc/index.ts";
import { formatAddress } from "../transport/address.ts";
import { announced, reachable } from "./advertised.ts";
import { HttpFront } from "./http-front.ts";
import { createHttp1Server } from "./http1-server.ts";
import { Listeners } from "./listeners.ts";
import { Metrics } from "./metrics.ts";
import { resolveServeOptions, resolveTls, type ResolvedServeOptions, type ServeOptions, type ServerTlsOptions } from "./serve-options.ts";

export type { ServeOptions, ServerTlsOptions } from "./serve-options.ts";

/** What one connection may have waiting: a few of the largest answers. */
const SEND_QUEUE_BYTES_MAX: number = 256 << 20;
/** A client may cancel all that it has under way at once. */
const RESETS_BURST_MIN = 1_000;
const CLOSE_TIMEOUT_MS = 5_000;

/** A running front end. */
export interface Server extends AsyncDisposable {
  /** Where it listens: "host:port". */
  readonly addresses: readonly string[];
  /** Reads the certificate files again, as after a renewal; they are also looked at every 30 seconds. Throws INVALID_ARGUMENT, and keeps the old ones, where they cannot be. */
  renewCertificates(): void;
  /** Stops accepting, lets calls in flight end for up to `timeoutMs` (default 5,000), then closes. Does not close the engine. Idempotent. */
  close(options?: { readonly timeoutMs?: number }): Promise<void>;
}

/**
 * Puts etcd's API, d-engine's own and HTTP in front of an engine of this process. Rejects with INVALID_ARGUMENT for options that cannot be, with
 * IN_USE for a port that is taken, with UNSUPPORTED for an engine that Engine.open did not open.
 */
export async function serve(engine: Engine, options: ServeOptions = {}): Promise<Server> {
  const resolved = resolveServeOptions(options);
  const backend = engineBackend(engine);
  const addresses: string[] = [];
  const scheme = resolved.tls === undefined ? "http" : "https";
  const { status, addresses: told } = internalsOf(engine)!;
  const { peerAddress } = status.node;
  const clientUrls = (): readonly string[] =>
    resolved.advertise ?? addresses.map((address) => `${scheme}://${reachable(address, peerAddress)}`);
  const metrics = new Metrics(backend);
  const api = createApi(backend, clientUrls);
  const methods = api.methods.map((method) => metrics.counted(method));
  const front = new HttpFront({ backend, methods, metrics, options: resolved, clientUrls });
  const http1 = resolved.http === undefined ? undefined : createHttp1Server((request, response) => front.onHttp1(request, response));
  const rpc = createRpcServer(methods, resolved, front, http1);
  const listeners = new Listeners(rpc, { connectionsMax: resolved.connectionsMax, hasHttp: http1 !== undefined });
  try {
    for (const { host, port } of resolved.listen) {
      // One after another, so that a port of 0 and the order of the addresses are what they seem.
      // oxlint-disable-next-line no-await-in-loop -- at most sixteen
      addresses.push(formatAddress({ host, port: await listeners.open({ host, port }, resolved.tls) }));
    }
  } catch (error) {
    listeners.close();
    http1?.close();
    await rpc.close();
    throw listenError(error, resolved);
  }
  const takeBack = told.add(announced(clientUrls()));
  const stopWaiting = (): void => {
    takeBack();
    api.stop();
  };
  const server = new RunningServer({ rpc, listeners, addresses, http1, tls: options.tls, stopWaiting });
  listeners.watch(resolved.tlsFiles, () => server.renewQuietly());
  return server;
}

function createRpcServer(
  methods: readonly ServedMethod[],
  options: ResolvedServeOptions,
  front: HttpFront,
  http1: HttpServer | undefined,
): RpcServer {
  const server = new RpcServer({
    ...(http1 === undefined ? {} : { http1, onHttpRequest: (exchange) => front.onHttp2(exchange) }),
    limits: {
      concurrentStreamsMax: options.concurrentStreamsMax,
      resetsBurst: Math.max(RESETS_BURST_MIN, options.concurrentStreamsMax),
      sendQueueBytesMax: SEND_QUEUE_BYTES_MAX,
    },
    messageBytesMax: options.requestBytesMax,
    connectionsMax: options.connectionsMax,
  });
  for (const { method, handler } of methods) server.add(method, handler);
  return server;
}

function listenError(error: unknown, options: ResolvedServeOptions): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code !== "EADDRINUSE") return error;
  const at = options.listen.map(formatAddress).join(", ");
  return new EngineError("IN_USE", `another process listens on ${at}`, { what: "port", at }, { cause: error });
}

interface Running {
  readonly rpc: RpcServer;
  readonly listeners: Listeners;
  readonly addresses: readonly string[];
  readonly http1: HttpServer | undefined;
  readonly tls: ServerTlsOptions | undefined;
  /** Ends the calls that wait for something to happen. */
  readonly stopWaiting: () => void;
}

class RunningServer implements Server {
  readonly addresses: readonly string[];
  readonly #parts: Running;
  #closing: Promise<void> | undefined;

  constructor(parts: Running) {
    this.addresses = parts.addresses;
    this.#parts = parts;
  }

  renewCertificates(): void {
    const { tls, listeners } = this.#parts;
    if (tls !== undefined) listeners.renew(resolveTls(tls));
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
    const { rpc, listeners, http1, stopWaiting } = this.#parts;
    listeners.close();
    const closed = rpc.close({ graceMs });
    stopWaiting();
    await closed;
    http1?.close();
    http1?.closeAllConnections();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
