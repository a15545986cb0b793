/**
 * etcd's JSON gateway: a POST for each method, its request as JSON, its response as JSON; streams as lines, one object each. It calls the handlers
 * that gRPC calls.
 */
import { decodeMessage } from "../api/message-codec.ts";
import { messageFromJson, messageToJson, parseJson } from "../api/json-codec.ts";
import { MalformedMessage } from "../api/malformed-message.ts";
import type { Answer, ServedMethod } from "../api/handlers.ts";
import type { MessageName } from "../api/schema/messages.ts";
import { Later, Metadata, RpcError, Status, type MessageListener, type Peer } from "../rpc/index.ts";
import type { HttpCall } from "./http-call.ts";

const JSON_TYPE = { "content-type": "application/json" };

/** HTTP's word for a status. */
const HTTP_STATUS: Readonly<Record<number, number>> = {
  [Status.CANCELLED]: 499,
  [Status.UNKNOWN]: 500,
  [Status.INVALID_ARGUMENT]: 400,
  [Status.DEADLINE_EXCEEDED]: 504,
  [Status.NOT_FOUND]: 404,
  [Status.ALREADY_EXISTS]: 409,
  [Status.PERMISSION_DENIED]: 403,
  [Status.RESOURCE_EXHAUSTED]: 429,
  [Status.FAILED_PRECONDITION]: 400,
  [Status.ABORTED]: 409,
  [Status.OUT_OF_RANGE]: 400,
  [Status.UNIMPLEMENTED]: 501,
  [Status.INTERNAL]: 500,
  [Status.UNAVAILABLE]: 503,
  [Status.DATA_LOSS]: 500,
  [Status.UNAUTHENTICATED]: 401,
};

/** The HTTP status of an error. */
export function httpStatusOf(code: number): number {
  return HTTP_STATUS[code] ?? 500;
}

/** Routes by path. */
export class Gateway {
  readonly #methods = new Map<string, ServedMethod>();

  constructor(methods: readonly ServedMethod[]) {
    for (const method of methods) for (const path of method.paths) this.#methods.set(path, method);
  }

  /** Whether there is something at the path. */
  has(path: string): boolean {
    return this.#methods.has(canonical(path));
  }

  /** Answers a call to a path that there is. */
  async handle(call: HttpCall): Promise<void> {
    const method = this.#methods.get(canonical(call.path))!;
    if (call.method !== "POST") {
      call.respond(405, { ...JSON_TYPE, allow: "POST" }, errorJson(new RpcError(Status.UNIMPLEMENTED, "Method Not Allowed")));
      return;
    }
    if (method.kind === "unary") await unary(method, call);
    else stream(method, call);
  }
}

/** Paths of an older release are the same methods. */
function canonical(path: string): string {
  return path.startsWith("/v3beta/") ? `/v3/${path.slice("/v3beta/".length)}` : path;
}

async function unary(method: ServedMethod, call: HttpCall): Promise<void> {
  try {
    const request = messageFromJson(method.request, parseJson(textOf(call.body) || "{}"));
    const given: unknown = method.handler(request, new GatewayCall(method, call));
    const answer = (await (given instanceof Later ? given.promise() : given)) as Answer<MessageName>;
    call.respond(200, JSON_TYPE, JSON.stringify(jsonOf(method.response, answer)));
  } catch (error) {
    const failure = asRpcError(error);
    call.respond(httpStatusOf(failure.code), JSON_TYPE, errorJson(failure));
  }
}

function stream(method: ServedMethod, call: HttpCall): void {
  const gatewayCall = new GatewayCall(method, call);
  try {
    const requests = parseObjects(textOf(call.body)).map((json) => messageFromJson(method.request, json));
    gatewayCall.requests = requests;
    const result: unknown =
      method.kind === "bidi"
        ? method.handler(gatewayCall, undefined)
        : method.handler(requests[0] ?? messageFromJson(method.request, {}), gatewayCall);
    if (result instanceof Promise) {
      result.then(
        () => gatewayCall.end(),
        (error: unknown) => gatewayCall.fail(error),
      );
    }
  } catch (error) {
    gatewayCall.fail(error);
  }
}

/** The objects of a body, one behind another. Throws MalformedMessage. */
function parseObjects(text: string): unknown[] {
  const objects: unknown[] = [];
  let depth = 0;
  let isText = false;
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (isText) {
      if (c === "\\") i++;
      else if (c === '"') isText = false;
    } else if (c === "{") {
      if (depth++ === 0) from = i;
    } else if (depth === 0) {
      if (!/\s/.test(c ?? "")) throw new MalformedMessage("the body is not JSON");
    } else if (c === '"') isText = true;
    else if (c === "}" && --depth === 0) objects.push(parseJson(text.slice(from, i + 1)));
  }
  if (depth !== 0 || isText) throw new MalformedMessage("the body is not JSON");
  return objects;
}

/** A call of the gateway, as handlers see it. */
class GatewayCall implements AsyncIterable<unknown> {
  readonly path: string;
  readonly metadata: Metadata = new Metadata();
  readonly timeLeftMs: number = Number.POSITIVE_INFINITY;
  readonly peer: Peer = { address: "", port: 0, commonName: undefined };
  readonly trailers: Metadata = new Metadata();
  compress = false;
  requests: readonly unknown[] = [];
  readonly #method: ServedMethod;
  readonly #call: HttpCall;
  readonly #controller = new AbortController();
  readonly #cancelled: ((reason: RpcError) => void)[] = [];
  #hasBegun = false;
  #isEnded = false;

  constructor(method: ServedMethod, call: HttpCall) {
    this.path = method.method.path;
    this.#method = method;
    this.#call = call;
    call.onGone(() => this.#cancel());
  }

  #cancel(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const reason = new RpcError(Status.CANCELLED, "the client is gone");
    this.#controller.abort(reason);
    for (const callback of this.#cancelled) callback(reason);
  }

  get isCancelled(): boolean {
    return this.#controller.signal.aborted;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  onCancel(callback: (reason: RpcError) => void): void {
    if (this.isCancelled) callback(this.#controller.signal.reason as RpcError);
    else this.#cancelled.push(callback);
  }

  sendMetadata(): void {}

  send(answer: Answer<MessageName>): boolean {
    return this.#line({ result: jsonOf(this.#method.response, answer) });
  }

  sendParts(first: Uint8Array, second: Uint8Array, third: Uint8Array): boolean {
    return this.send(Buffer.concat([first, second, third]));
  }

  #line(json: object): boolean {
    if (this.#isEnded) return true;
    if (!this.#hasBegun) this.#call.begin(200, JSON_TYPE);
    this.#hasBegun = true;
    return this.#call.write(`${JSON.stringify(json)}\n`);
  }

  writable(): Promise<void> {
    return this.#call.drained();
  }

  drained(): Promise<void> {
    return this.#call.drained();
  }

  end(): void {
    if (this.#isEnded) return;
    if (!this.#hasBegun) this.#call.begin(200, JSON_TYPE);
    this.#isEnded = true;
    this.#call.end();
  }

  fail(error: unknown): void {
    if (this.#isEnded) return;
    const failure = asRpcError(error);
    if (!this.#hasBegun) {
      this.#isEnded = true;
      this.#call.respond(httpStatusOf(failure.code), JSON_TYPE, errorJson(failure));
      return;
    }
    this.#line({ error: JSON.parse(errorJson(failure)) });
    this.end();
  }

  listen(listener: MessageListener<unknown>): void {
    for (const request of this.requests) listener.onMessage(request);
    listener.onEnd(undefined);
  }

  async *[Symbol.asyncIterator](): AsyncIterator<unknown, undefined> {
    yield* this.requests;
    return undefined;
  }
}

function jsonOf(name: MessageName, answer: Answer<MessageName>): object {
  return messageToJson(name, answer instanceof Uint8Array ? decodeMessage(name, answer) : answer) as object;
}

function asRpcError(error: unknown): RpcError {
  if (RpcError.is(error)) return error;
  if (error instanceof MalformedMessage) return new RpcError(Status.INVALID_ARGUMENT, error.message);
  return new RpcError(Status.UNKNOWN, "the handler failed");
}

/** An error as the gateway tells it. Clients made for etcd up to 3.5 look for its text as `error`, those made for later ones as `message`. */
export function errorJson({ code, message }: RpcError): string {
  return JSON.stringify({ error: message, code, message, details: [] });
}

function textOf(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8").trim();
}
