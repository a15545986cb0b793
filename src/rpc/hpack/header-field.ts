/**
 * One header field, and the block of fields that one HEADERS frame carries. A field is classified and checked once, when its text is
 * first seen; fields that the dynamic table repeats are the same object, so that a repeated header costs no text at all.
 */

/** Names that HTTP/2 or gRPC treat specially, as small numbers to switch on. */
export const HeaderName = {
  other: 0,
  method: 1,
  scheme: 2,
  path: 3,
  authority: 4,
  status: 5,
  /** A pseudo-header that no RFC we implement defines. */
  unknownPseudo: 6,
  contentType: 7,
  te: 8,
  contentLength: 9,
  grpcEncoding: 10,
  grpcAcceptEncoding: 11,
  grpcTimeout: 12,
  grpcStatus: 13,
  grpcMessage: 14,
  grpcStatusDetails: 15,
  userAgent: 16,
  /** Hop-by-hop names of HTTP/1.1, which RFC 9113 section 8.2.2 forbids. */
  connectionSpecific: 17,
} as const;

const kinds: ReadonlyMap<string, number> = new Map([
  [":method", HeaderName.method],
  [":scheme", HeaderName.scheme],
  [":path", HeaderName.path],
  [":authority", HeaderName.authority],
  [":status", HeaderName.status],
  ["content-type", HeaderName.contentType],
  ["te", HeaderName.te],
  ["content-length", HeaderName.contentLength],
  ["grpc-encoding", HeaderName.grpcEncoding],
  ["grpc-accept-encoding", HeaderName.grpcAcceptEncoding],
  ["grpc-timeout", HeaderName.grpcTimeout],
  ["grpc-status", HeaderName.grpcStatus],
  ["grpc-message", HeaderName.grpcMessage],
  ["grpc-status-details-bin", HeaderName.grpcStatusDetails],
  ["user-agent", HeaderName.userAgent],
  ["connection", HeaderName.connectionSpecific],
  ["keep-alive", HeaderName.connectionSpecific],
  ["proxy-connection", HeaderName.connectionSpecific],
  ["transfer-encoding", HeaderName.connectionSpecific],
  ["upgrade", HeaderName.connectionSpecific],
]);

/** The HeaderName of a name in lower case. */
export function headerNameOf(name: string): number {
  return kinds.get(name) ?? (name.charCodeAt(0) === 0x3a ? HeaderName.unknownPseudo : HeaderName.other);
}

/** A header field. Text is latin1: one character for each byte on the wire. */
export class HeaderField {
  readonly name: string;
  readonly value: string;
  /** A value of HeaderName. */
  readonly kind: number;
  /** False if name or value contain what RFC 9113 section 8.2.1 forbids. */
  readonly valid: boolean;

  constructor(name: string, value: string, kind: number, valid: boolean) {
    this.name = name;
    this.value = value;
    this.kind = kind;
    this.valid = valid;
  }
}

/** The size that the field counts for in tables and limits (RFC 7541 section 4.1). */
export function headerFieldBytes(name: string, value: string): number {
  return name.length + value.length + 32;
}

/** True if the name may be sent and received: lower case, no blanks, controls or colon, except that of a pseudo-header (RFC 9113 section 8.2.1). */
export function isHeaderNameValid(name: string): boolean {
  const length = name.length;
  if (length === 0) return false;
  for (let i = name.charCodeAt(0) === 0x3a ? 1 : 0; i < length; i++) {
    const c = name.charCodeAt(i);
    if (c <= 0x20 || c >= 0x7f || c === 0x3a || (c >= 0x41 && c <= 0x5a)) return false;
  }
  return length > 1 || name !== ":";
}

/** True if the value may be sent and received: no NUL, CR or LF, no blank at either end (RFC 9113 section 8.2.1). */
export function isHeaderValueValid(value: string): boolean {
  const length = value.length;
  if (length === 0) return true;
  const first = value.charCodeAt(0);
  const last = value.charCodeAt(length - 1);
  if (first === 0x20 || first === 0x09 || last === 0x20 || last === 0x09) return false;
  for (let i = 0; i < length; i++) {
    const c = value.charCodeAt(i);
    if (c === 0 || c === 0x0a || c === 0x0d || c > 0xff) return false;
  }
  return true;
}

/** The fields of one header block, in order. Immutable once decoded: a repeated block is the same object. */
export class HeaderBlock {
  readonly fields: HeaderField[] = [];
  /** The size as RFC 9113 section 6.5.2 counts it. Fields beyond the limit are counted here but left out of `fields`. */
  listBytes = 0;
  /** True if the list was larger than the decoder's limit. */
  oversized = false;
  /** What HTTP/2 and the layer above it made of the fields, kept with them so that a repeated block is interpreted once. */
  head: unknown = undefined;
  parsed: unknown = undefined;

  /** The first value of the name, or undefined. */
  get(name: string): string | undefined {
    for (const field of this.fields) if (field.name === name) return field.value;
    return undefined;
  }
}
