/** What handlers of the server are given, and what they look like. */
import type { MessageListener } from "./inbox.ts";
import type { Later } from "./later.ts";
import type { Metadata, MetadataInit } from "./metadata.ts";
import type { Method } from "./method.ts";
import type { RpcError } from "./status.ts";

/** What handlers look like, for each kind of method. Those that return no promise although they stream keep the call open until its `end` or `fail`. */
export interface Handlers<Request, Response> {
  unary: (request: Request, call: CallContext) => Response | Promise<Response> | Later<Response>;
  serverStream: (request: Request, call: ResponseStream<Response>) => void | Promise<void>;
  clientStream: (call: RequestStream<Request>) => Promise<Response>;
  bidi: (call: DuplexStream<Request, Response>) => void | Promise<void>;
}

/** A registered method with its handler. */
export interface Registration {
  // Requests and responses of one registration agree; the table of all of them cannot say so.
  readonly method: Method<any, any>;
  readonly handler: (first: any, call: any) => any;
}

/** What a handler can know and do about its call. */
export interface CallContext {
  readonly path: string;
  /** What the client sent with the call. */
  readonly metadata: Metadata;
  /** Milliseconds left until the client's deadline; Infinity if it has none. */
  readonly timeLeftMs: number;
  /** Address and port of the client, and its certificate's owner if it was verified. */
  readonly peer: Peer;
  /** True once nobody waits for an answer: cancelled, deadline passed, connection lost. */
  readonly isCancelled: boolean;
  /** Aborted when the call is cancelled; its reason is an RpcError. */
  readonly signal: AbortSignal;
  /** Sent with the status. */
  readonly trailers: Metadata;
  /** Compress what is sent from now on, if the client accepts it. */
  compress: boolean;
  /** Runs once when the call is cancelled, at once if it already is. */
  onCancel(callback: (reason: RpcError) => void): void;
  /** Sends the response's head now, with metadata. It can be sent once, before the first message. */
  sendMetadata(metadata: MetadataInit): void;
}

/** Who calls. */
export interface Peer {
  readonly address: string;
  readonly port: number;
  /** Under TLS: the subject's common name of a verified client certificate. */
  readonly commonName: string | undefined;
}

/** The sending side of a streaming response. */
export interface ResponseStream<Response> extends CallContext {
  /** Sends a message. False: much waits already, better wait for `writable()`. After a cancellation it does nothing and returns false. */
  send(message: Response): boolean;
  /**
   * Sends a message that is encoded, and lies in three parts, which must not change afterwards. False: it waits for the connection, better wait for
   * `drained()`. After a cancellation it does nothing and returns false.
   */
  sendParts(first: Uint8Array, second: Uint8Array, third: Uint8Array): boolean;
  /** Resolves when little waits. Rejects with the RpcError if the call is cancelled or has failed. */
  writable(): Promise<void>;
  /** The same when nothing waits. */
  drained(): Promise<void>;
  /** Ends the call with OK. Not needed in handlers that return a promise. */
  end(): void;
  /** Ends the call with an error. */
  fail(error: unknown): void;
}

/** The receiving side of a streaming request: iterate over it, or `listen`. Leaving an iteration early means that the rest is of no interest. */
export interface RequestStream<Request> extends CallContext, AsyncIterable<Request> {
  listen(listener: MessageListener<Request>): void;
}

/** Both sides. */
export interface DuplexStream<Request, Response> extends RequestStream<Request>, ResponseStream<Response> {}
