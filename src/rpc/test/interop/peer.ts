/** What the interoperability tests need of a gRPC implementation, as client and as server. Messages are google.protobuf.BytesValue. */
import type { MethodKind } from "../../grpc/method.ts";

/** The methods of the service test.Interop, and what each does. */
export const METHODS: Readonly<Record<string, MethodKind>> = {
  /** Answers the request. Metadata `x-head` comes back in the head, `x-trailer-bin` in the trailers. */
  Unary: "unary",
  /** Answers with as many bytes as the request's number says. */
  Sized: "unary",
  /** Fails with the code in the first byte and the message in the others. */
  Fail: "unary",
  /** Never answers; counts its cancellations. */
  Sleep: "unary",
  /** Answers the request after 30 ms. */
  Slow: "unary",
  /** How often calls were cancelled. */
  Cancellations: "unary",
  /** Sends as many messages as the first number says, of so many bytes as the second. */
  ServerStream: "serverStream",
  /** The sum of the lengths of all requests. */
  ClientStream: "clientStream",
  /** Answers each request with the same; counts its cancellations. */
  Bidi: "bidi",
};

/** What a call can be told. */
export interface InteropOptions {
  readonly timeoutMs?: number;
  readonly metadata?: Readonly<Record<string, string | Uint8Array>>;
  readonly signal?: AbortSignal;
}

/** The answer to a unary call. */
export interface InteropAnswer {
  readonly response: Uint8Array;
  /** `x-head` of the response's head, `x-trailer-bin` of its trailers. */
  readonly head: string | undefined;
  readonly trailer: Uint8Array | undefined;
}

/** A call whose responses stream, and perhaps its requests. */
export interface InteropDuplex {
  send(message: Uint8Array): void;
  end(): void;
  /** The next response; undefined at the end. Rejects with an InteropError. */
  next(): Promise<Uint8Array | undefined>;
  cancel(): void;
}

/** A client. What fails, rejects with an InteropError. */
export interface InteropClient {
  unary(method: string, request: Uint8Array, options?: InteropOptions): Promise<InteropAnswer>;
  serverStream(method: string, request: Uint8Array, options?: InteropOptions): InteropDuplex;
  clientStream(method: string, requests: readonly Uint8Array[], options?: InteropOptions): Promise<Uint8Array>;
  bidi(method: string, options?: InteropOptions): InteropDuplex;
  close(): Promise<void>;
}

/** A server of test.Interop on a free port. */
export interface InteropServer {
  readonly port: number;
  /** Stops accepting calls and lets those that are open finish. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** An implementation of gRPC. */
export interface Implementation {
  readonly name: string;
  readonly startServer?: () => Promise<InteropServer>;
  readonly startClient?: (port: number, options: { readonly compress: boolean }) => InteropClient;
}

/** How a call failed, in any implementation. */
export class InteropError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Numbers as the bytes of a request. */
export function numbers(...values: number[]): Uint8Array {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, i * 4);
  return bytes;
}

/** The number at a place in such bytes. */
export function numberAt(bytes: Uint8Array, index: number): number {
  return Buffer.from(bytes).readUInt32BE(index * 4);
}

/** A queue between callbacks and an awaiting reader. */
export class Mailbox {
  readonly #items: (Uint8Array | undefined | Error)[] = [];
  #wake: (() => void) | undefined;

  /** undefined: the end. */
  put(item: Uint8Array | undefined | Error): void {
    this.#items.push(item);
    this.#wake?.();
  }

  async next(): Promise<Uint8Array | undefined> {
    while (this.#items.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    const item = this.#items[0];
    // The end is seen again by whoever asks again.
    if (item instanceof Uint8Array) this.#items.shift();
    if (item instanceof Error) throw item;
    return item;
  }
}
