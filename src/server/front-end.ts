/**
 * One front end: services, plain HTTP and listeners over one engine, in the thread that creates it. A server has one in the engine's own thread, and
 * may have others in threads of theirs (front-threads.ts), which share its ports and count into the same metrics.
 */
import type { Server as HttpServer } from "node:http";
import type { TlsOptions } from "node:tls";
import type { Api } from "../api/api.ts";
import { createApi, engineBackend, type ServedMethod } from "../api/index.ts";
import type { Engine } from "../client/engine.ts";
import { RpcServer } from "../rpc/index.ts";
import { CallCounts, createCallCounts } from "./call-counts.ts";
import { HttpFront } from "./http-front.ts";
import { createHttp1Server } from "./http1-server.ts";
import { Listeners } from "./listeners.ts";
import { Metrics } from "./metrics.ts";
import type { Place } from "./places.ts";
import type { ResolvedServeOptions } from "./serve-options.ts";

/** What one connection may have waiting: a few of the largest answers. */
const SEND_QUEUE_BYTES_MAX: number = 256 << 20;
/** For requests that are incomplete, and for answers that are not taken, of all front ends together; but for the least for each. */
const MEMORY_BYTES_MAX: number = 256 << 20;
const MEMORY_BYTES_MIN: number = 64 << 20;
const SEND_MEMORY_BYTES_MAX: number = 512 << 20;
/** A client may cancel all that it has under way at once. */
const RESETS_BURST_MIN = 1_000;

/** Which front end of a server this is. */
export interface FrontEndPlace {
  /** From 0 on. */
  readonly frontEnd: number;
  readonly frontEnds: number;
  /** The memory of the metrics; undefined: it makes it. */
  readonly counts: SharedArrayBuffer | undefined;
}

/** A front end. Listens nowhere until it is told to. */
export class FrontEnd {
  readonly metrics: Metrics;
  /** For the front ends of other threads. */
  readonly counts: SharedArrayBuffer;
  readonly #api: Api;
  readonly #front: HttpFront;
  readonly #rpc: RpcServer;
  readonly #http1: HttpServer | undefined;
  readonly #listeners: Listeners;
  readonly #tls: TlsOptions | undefined;

  /** Throws UNSUPPORTED for what is no embedded engine of this copy of the package. */
  constructor(engine: Engine, options: ResolvedServeOptions, place: FrontEndPlace, clientUrls: () => readonly string[]) {
    const backend = engineBackend(engine);
    this.#api = createApi(backend, clientUrls, options.watchProgressNotifyMs);
    this.counts = place.counts ?? createCallCounts(this.#api.methods.length, place.frontEnds);
    this.metrics = new Metrics(backend, new CallCounts(this.counts, place));
    const methods = this.#api.methods.map((method) => this.metrics.counted(method));
    this.#front = new HttpFront({ backend, methods, metrics: this.metrics, options, clientUrls });
    this.#http1 = options.http === undefined ? undefined : createHttp1Server((request, response) => this.#front.onHttp1(request, response));
    const connectionsMax = Math.ceil(options.connectionsMax / place.frontEnds);
    this.#rpc = createRpcServer({
      methods,
      options: { ...options, connectionsMax },
      frontEnds: place.frontEnds,
      front: this.#front,
      http1: this.#http1,
    });
    this.#listeners = new Listeners(this.#rpc, { connectionsMax, hasHttp: this.#http1 !== undefined });
    this.#tls = options.tls;
  }

  /** Listens. Resolves with the place and its port; rejects with the system's error. */
  open(place: Place, reusePort: boolean): Promise<Place> {
    return this.#listeners.open(place, this.#tls, reusePort);
  }

  /** New connections are shown these certificates. Throws at some that cannot be; then the old ones stay. */
  renew(tls: TlsOptions): void {
    this.#listeners.renew(tls);
  }

  /** Calls back when one of the files has changed. */
  watch(files: readonly string[], onChange: () => void): void {
    this.#listeners.watch(files, onChange);
  }

  /** Stops accepting, lets calls in flight end for up to `graceMs`, then closes. */
  async close(graceMs: number): Promise<void> {
    this.#listeners.close();
    const began = performance.now();
    if (this.#front.isAsked) {
      // First those of HTTP/1.1: the rpc server knows their connections only, and ends them when its own calls have ended.
      this.#api.stop();
      await this.#front.settle(graceMs);
    }
    const closed = this.#rpc.close({ graceMs: Math.max(0, graceMs - (performance.now() - began)) });
    this.#api.stop();
    await closed;
    this.#http1?.close();
    this.#http1?.closeAllConnections();
  }
}

function createRpcServer(parts: {
  readonly methods: readonly ServedMethod[];
  readonly options: ResolvedServeOptions;
  readonly frontEnds: number;
  readonly front: HttpFront;
  readonly http1: HttpServer | undefined;
}): RpcServer {
  const { methods, options, frontEnds, front, http1 } = parts;
  const server = new RpcServer({
    ...(http1 === undefined ? {} : { http1, onHttpRequest: (exchange) => front.onHttp2(exchange) }),
    limits: {
      concurrentStreamsMax: options.concurrentStreamsMax,
      resetsBurst: Math.max(RESETS_BURST_MIN, options.concurrentStreamsMax),
      sendQueueBytesMax: SEND_QUEUE_BYTES_MAX,
    },
    messageBytesMax: options.requestBytesMax,
    memoryBytesMax: Math.max(MEMORY_BYTES_MIN, Math.ceil(MEMORY_BYTES_MAX / frontEnds)),
    sendMemoryBytesMax: Math.max(SEND_QUEUE_BYTES_MAX, Math.ceil(SEND_MEMORY_BYTES_MAX / frontEnds)),
    connectionsMax: options.connectionsMax,
  });
  for (const { method, handler } of methods) server.add(method, handler);
  return server;
}
