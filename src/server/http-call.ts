/**
 * One plain HTTP request and its answer, whichever version of HTTP it came by: HTTP/1.1 from node:http, HTTP/2 from the gRPC port's own exchange. The
 * body is collected, up to a bound.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { HttpExchange } from "../rpc/index.ts";
import type { BodyBudget } from "./body-budget.ts";

const TEXT = { "content-type": "text/plain; charset=utf-8" };

/** What a route needs to know and to do. */
export interface HttpCall {
  readonly method: string;
  /** The path as it was sent: nothing in it is decoded, and no ".." is resolved. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly host: string;
  readonly body: Uint8Array;
  header(name: string): string | undefined;
  /** The whole answer. */
  respond(status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void;
  /** The head of an answer that write() goes on with. */
  begin(status: number, headers: Readonly<Record<string, string>>): void;
  /** False: much waits, see drained(). */
  write(text: string): boolean;
  /** Resolves when little waits, or when the client is gone. */
  drained(): Promise<void>;
  end(): void;
  /** Runs once when the client is gone before the end. */
  onGone(callback: () => void): void;
}

interface Target {
  readonly path: string;
  readonly query: URLSearchParams;
}

/** Not by URL, which resolves ".." and what a browser would take for it: a key may hold both. */
function targetOf(text: string): Target {
  // A target that is no path ("*", "http://...") is one that nothing is at.
  if (!text.startsWith("/")) return { path: "", query: new URLSearchParams() };
  const [target = ""] = text.split("#", 1);
  const mark = target.indexOf("?");
  if (mark < 0) return { path: target, query: new URLSearchParams() };
  return { path: target.slice(0, mark), query: new URLSearchParams(target.slice(mark)) };
}

/**
 * Calls back with the call once its body has come. Answers 413 to one that is larger than its bound, 503 where all that are under way are larger than
 * theirs, and 400 to a request with two hosts, of which nobody can say which one it was let in for.
 */
export function collectHttp1(
  request: IncomingMessage,
  response: ServerResponse,
  budget: BodyBudget,
  onCall: (call: HttpCall) => void,
): void {
  const parts: Buffer[] = [];
  let bytes = 0;
  const giveBack = (): void => {
    budget.giveBack(bytes);
    bytes = 0;
  };
  const refuse = (status: number, reason: string): void => {
    parts.length = 0;
    request.removeAllListeners("data").removeAllListeners("end");
    request.resume();
    response.writeHead(status, { ...TEXT, connection: "close" }).end(`${reason}\n`);
  };
  request.on("error", () => {});
  response.on("error", () => {});
  // Until the answer is out, or its client is gone: what is collected is held so long.
  response.once("close", giveBack);
  if ((request.headersDistinct["host"]?.length ?? 0) > 1) return refuse(400, "one Host is wanted");
  request.on("data", (part: Buffer) => {
    if (bytes + part.length > budget.bodyBytesMax) return refuse(413, `a body has at most ${budget.bodyBytesMax} bytes`);
    if (!budget.grow(bytes, bytes + part.length)) return refuse(503, "too many large requests are under way");
    bytes += part.length;
    parts.push(part);
  });
  request.on("end", () => onCall(new Http1Call(request, response, Buffer.concat(parts))));
}

class Http1Call implements HttpCall {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly host: string;
  readonly body: Uint8Array;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse, body: Buffer) {
    this.method = request.method ?? "";
    ({ path: this.path, query: this.query } = targetOf(request.url ?? "/"));
    this.host = request.headers.host ?? "";
    this.body = body;
    this.#request = request;
    this.#response = response;
  }

  header(name: string): string | undefined {
    const value = this.#request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  respond(status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void {
    const bytes = Buffer.from(body);
    this.#response.writeHead(status, { ...headers, "content-length": String(bytes.length) });
    this.#response.end(this.method === "HEAD" ? undefined : bytes);
  }

  begin(status: number, headers: Readonly<Record<string, string>>): void {
    this.#response.writeHead(status, headers);
    this.#response.flushHeaders();
  }

  write(text: string): boolean {
    return this.#response.write(text);
  }

  drained(): Promise<void> {
    const response = this.#response;
    if (!response.writableNeedDrain || response.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        response.off("drain", done).off("close", done);
        resolve();
      };
      response.on("drain", done).on("close", done);
    });
  }

  end(): void {
    this.#response.end();
  }

  onGone(callback: () => void): void {
    this.#response.once("close", () => {
      if (!this.#response.writableFinished) callback();
    });
  }
}

/** The same for a request over HTTP/2. */
export class Http2Call implements HttpCall {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly host: string;
  readonly body: Uint8Array;
  readonly #exchange: HttpExchange;
  readonly #gone: (() => void)[] = [];
  #drained: (() => void)[] = [];
  #isFull = false;
  #isGone = false;

  constructor(exchange: HttpExchange) {
    this.method = exchange.method;
    ({ path: this.path, query: this.query } = targetOf(exchange.path));
    this.host = exchange.authority;
    this.body = exchange.body;
    this.#exchange = exchange;
    exchange.onCancel = (): void => {
      this.#isGone = true;
      for (const callback of this.#gone) callback();
      this.#release();
    };
    exchange.onDrain = (): void => this.#release();
  }

  #release(): void {
    this.#isFull = false;
    const waiting = this.#drained;
    this.#drained = [];
    for (const resolve of waiting) resolve();
  }

  header(name: string): string | undefined {
    return this.#exchange.header(name);
  }

  respond(status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void {
    const bytes = Buffer.from(body);
    this.#exchange.respond(
      status,
      { ...headers, "content-length": String(bytes.length) },
      this.method === "HEAD" ? new Uint8Array(0) : bytes,
    );
  }

  begin(status: number, headers: Readonly<Record<string, string>>): void {
    this.#exchange.respond(status, headers);
  }

  write(text: string): boolean {
    if (this.#isGone) return true;
    const hasRoom = this.#exchange.write(Buffer.from(text));
    this.#isFull = !hasRoom;
    return hasRoom;
  }

  drained(): Promise<void> {
    if (!this.#isFull || this.#isGone) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained.push(resolve);
    });
  }

  end(): void {
    if (!this.#isGone) this.#exchange.end();
  }

  onGone(callback: () => void): void {
    this.#gone.push(callback);
  }
}
