/** Plain HTTP on the gRPC port: who may ask at all, and which route answers. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { setTimeout } from "node:timers/promises";
import type { Backend, ServedMethod } from "../api/index.ts";
import type { HttpExchange } from "../rpc/index.ts";
import { BodyBudget } from "./body-budget.ts";
import { Gateway } from "./gateway.ts";
import { collectHttp1, Http2Call, type HttpCall } from "./http-call.ts";
import type { Metrics } from "./metrics.ts";
import { refusalOf, type GuardOptions } from "./origin-guard.ts";
import { handlePeople, isPeoplesPath, respondError } from "./people.ts";
import { handleProbe } from "./probes.ts";
import type { ResolvedServeOptions } from "./serve-options.ts";

const TEXT = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };

/** Of one connection, under way at a time. Browsers and curl send the next request when they have the answer to the one before. */
const PIPELINED_MAX = 64;

/** One for each listener. */
export class HttpFront {
  readonly #backend: Backend;
  readonly #gateway: Gateway;
  readonly #metrics: Metrics;
  readonly #guard: GuardOptions;
  readonly #bodies: BodyBudget;
  readonly #underWay = new Set<ServerResponse>();
  readonly #pipelined = new WeakMap<Socket, number>();

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
    this.#bodies = new BodyBudget(options.requestBytesMax);
  }

  onHttp1(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const pipelined = (this.#pipelined.get(socket) ?? 0) + 1;
    // node:http begins them all at once, however slowly their answers are taken.
    if (pipelined > PIPELINED_MAX) socket.destroy();
    if (socket.destroyed) return;
    this.#pipelined.set(socket, pipelined);
    response.once("close", () => this.#pipelined.set(socket, (this.#pipelined.get(socket) ?? 1) - 1));
    collectHttp1(request, response, this.#bodies, (call) => {
      this.#underWay.add(response);
      response.once("close", () => this.#underWay.delete(response));
      this.#handle(call);
    });
  }

  /** Whether HTTP/1.1 calls wait for the beginning of their answers. */
  get isAsked(): boolean {
    return [...this.#underWay].some((response) => !response.headersSent);
  }

  /** Resolves when those that do now have been answered, or after the time. */
  async settle(timeoutMs: number): Promise<void> {
    const waiting = [...this.#underWay].filter((response) => !response.headersSent);
    for (const response of waiting) response.setHeader("connection", "close");
    const closed = Promise.all(waiting.map((response) => once(response, "close")));
    const over = new AbortController();
    await Promise.race([closed, setTimeout(timeoutMs, undefined, { signal: over.signal }).catch(() => {})]);
    over.abort();
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
    const { path } = call;
    if (this.#gateway.has(path)) return this.#gateway.handle(call);
    if (isPeoplesPath(path)) return handlePeople(this.#backend.client, call);
    if (path === "/metrics" && call.method !== "GET" && call.method !== "HEAD")
      return call.respond(405, { ...TEXT, allow: "GET" }, "Method Not Allowed\n");
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
