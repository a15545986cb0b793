/** The status codes of gRPC, the error that carries one, and how statuses map to and from HTTP/2 and HTTP. */
import { ErrorCode } from "../http2/protocol.ts";
import type { StreamReset } from "../http2/stream.ts";
import type { Metadata } from "./metadata.ts";

/** The status codes of gRPC. */
export const Status = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** A status code. */
export type StatusCode = (typeof Status)[keyof typeof Status];

const STATUS_NAMES: readonly string[] = Object.keys(Status);

/** The name of a status code, for messages. */
export function statusName(code: number): string {
  return STATUS_NAMES[code] ?? `status ${code}`;
}

const BRAND = Symbol.for("rpc.RpcError");

/** What an RpcError carries besides code and message. */
export interface RpcErrorOptions {
  /** Sent and received as trailers. */
  readonly metadata?: Metadata | undefined;
  /** `grpc-status-details-bin`, an encoded google.rpc.Status. */
  readonly details?: Uint8Array | undefined;
  readonly mayHaveRun?: boolean;
  readonly cause?: unknown;
}

/**
 * A call that did not end with OK. Thrown by a handler, it is sent as it is; any other error becomes UNKNOWN without its text. `code` is what to
 * switch on; it may lie outside the known codes if the peer's does.
 */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;
  readonly metadata: Metadata | undefined;
  readonly details: Uint8Array | undefined;
  /** Client: false is a promise that no handler has seen the call. */
  readonly mayHaveRun: boolean;

  constructor(code: number, message: string, options?: RpcErrorOptions) {
    super(message, options !== undefined && "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.metadata = options?.metadata;
    this.details = options?.details;
    this.mayHaveRun = options?.mayHaveRun ?? true;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** Works across copies of the package. */
  static is(error: unknown): error is RpcError {
    return typeof error === "object" && error !== null && BRAND in error;
  }
}

/** The status of a call whose stream was reset. isAnswered: a response had begun, whatever the reset says of the request. */
export function errorOfReset(reset: StreamReset, isAnswered = false): RpcError {
  return new RpcError(statusOfReset(reset), reset.reason, { mayHaveRun: isAnswered || !reset.unprocessed });
}

function statusOfReset(reset: StreamReset): StatusCode {
  if (reset.unprocessed || reset.by === "network") return Status.UNAVAILABLE;
  switch (reset.code) {
    case ErrorCode.REFUSED_STREAM:
      return Status.UNAVAILABLE;
    case ErrorCode.CANCEL:
      return Status.CANCELLED;
    case ErrorCode.ENHANCE_YOUR_CALM:
      return Status.RESOURCE_EXHAUSTED;
    case ErrorCode.INADEQUATE_SECURITY:
      return Status.PERMISSION_DENIED;
    default:
      return Status.INTERNAL;
  }
}

/** The status of a response whose HTTP status is not 200 and that has no grpc-status. */
export function statusOfHttp(httpStatus: number): StatusCode {
  switch (httpStatus) {
    case 400:
      return Status.INTERNAL;
    case 401:
      return Status.UNAUTHENTICATED;
    case 403:
      return Status.PERMISSION_DENIED;
    case 404:
      return Status.UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
      return Status.UNAVAILABLE;
    default:
      return Status.UNKNOWN;
  }
}

/** Encodes `grpc-message`: UTF-8, with everything but printable ASCII, and the percent sign, as %XX. */
export function encodeStatusMessage(message: string): string {
  let plain = true;
  for (let i = 0; i < message.length && plain; i++) {
    const c = message.charCodeAt(i);
    plain = c >= 0x20 && c <= 0x7e && c !== 0x25;
  }
  // Blanks at the ends would not survive as a header value.
  if (plain && !message.startsWith(" ") && !message.endsWith(" ")) return message;
  const bytes = Buffer.from(message, "utf8");
  let text = "";
  for (let i = 0; i < bytes.length; i++) {
    const c = bytes[i]!;
    const atEnd = c === 0x20 && (i === 0 || i === bytes.length - 1);
    if (c >= 0x20 && c <= 0x7e && c !== 0x25 && !atEnd) text += String.fromCharCode(c);
    else text += `%${c < 16 ? "0" : ""}${c.toString(16).toUpperCase()}`;
  }
  return text;
}

/** Decodes `grpc-message`. What is no valid escape stays as it is. */
export function decodeStatusMessage(text: string): string {
  if (!text.includes("%")) return text;
  const bytes = Buffer.allocUnsafe(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const hex = text.slice(i + 1, i + 3);
    if (text[i] === "%" && /^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes[length++] = Number.parseInt(hex, 16);
      i += 2;
    } else {
      bytes[length++] = text.charCodeAt(i) & 0xff;
    }
  }
  return bytes.toString("utf8", 0, length);
}
