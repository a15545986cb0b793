/** Plain HTTP on the gRPC port: who may ask at all, and which route answers. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Backend, ServedMethod } from "../api/index.ts";
import type { HttpExchange } from "../rpc/index.ts";
import { Gateway } from "./gateway.ts";
import { collectHttp1, Http2Call, type HttpCall } from "./http-call.ts";
import type { Metrics } from "./metrics.ts";
import { refusalOf, type GuardOptions } from "./origin-guard.ts";
import { handlePeople, isPeoplesPath, respondError } from "./people.ts";
import { handleProbe } from "./probes.ts";
import type { ResolvedServeOptions } from "./serve-options.ts";

const TEXT = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };

/** One for each listener. */
export class HttpFront {
  readonly #backend: Backend;
  readonly #gateway: Gateway;
  readonly #metrics: Metrics;
  readonly #guard: GuardOptions;
  readonly #bodyBytesMax: number;

  constructor(parts: {
    readonly backend: Backend;
    readonly methods: readonly ServedMethod[];
    readonly metrics: Metrics;
    readonly options: ResolvedServeOptions;
    readonly clientUrls: () => readonly string[];
  }) {
    const { backend, methods, metrics, options, clientUrls } = parts;
    this.#backend = backend;
    this.#gateway = new Gateway(methods);
    this.#metrics = metrics;
    this.#guard = { allowedHosts: [], allowedOrigins: [], ...options.http, advertised: clientUrls };
    this.#bodyBytesMax = options.requestBytesMax;
  }

  onHttp1(request: IncomingMessage, response: ServerResponse): void {
    collectHttp1(request, response, this.#bodyBytesMax, (call) => this.#handle(call));
  }

  onHttp2(exchange: HttpExchange): void {
    this.#handle(new Http2Call(exchange));
  }

  #handle(call: HttpCall): void {
    const refusal = refusalOf(call, this.#guard);
    if (refusal !== undefined) return call.respond(refusal.status, TEXT, `${refusal.reason}\n`);
    this.#route(call).catch((error: unknown) => {
      try {
        respondError(call, error);
      } catch {
        endQuietly(call);
      }
    });
  }

  async #route(call: HttpCall): Promise<void> {
    const path = call.url.pathname;
    if (this.#gateway.has(path)) return this.#gateway.handle(call);
    if (isPeoplesPath(path)) return handlePeople(this.#backend.client, call);
    if (path === "/metrics") return call.respond(200, { "content-type": this.#metrics.contentType }, await this.#metrics.text());
    if (await handleProbe(this.#backend, call)) return;
    call.respond(404, TEXT, "Not Found\n");
  }
}

/** The answer had begun: its client sees it end, if there still is one. */
function endQuietly(call: HttpCall): void {
  try {
    call.end();
  } catch {
    // It had ended as well.
  }
}
