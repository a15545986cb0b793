/** What the header block of a request says to gRPC. Interpreted once for each distinct block. */
import { HeaderName, type HeaderBlock } from "../hpack/header-field.ts";
import { messageHeadOf } from "../http2/message-head.ts";
import { parseTimeout } from "./timeout.ts";

/** A gRPC request's head. */
export interface RequestHead {
  readonly path: string;
  readonly method: string;
  /** True if content-type is application/grpc, with or without a suffix. */
  readonly isGrpc: boolean;
  /** undefined: none. NaN: malformed. */
  readonly timeoutMs: number | undefined;
  /** grpc-encoding; "identity" if there is none. */
  readonly encoding: string;
  readonly acceptsGzip: boolean;
}

/** The head of a request. The same object for the same block. */
export function requestHeadOf(block: HeaderBlock): RequestHead {
  if (block.parsed !== undefined) return block.parsed as RequestHead;
  const { path, method } = messageHeadOf(block);
  let isGrpc = false;
  let timeoutMs: number | undefined;
  let encoding = "identity";
  let acceptsGzip = false;
  for (const { kind, value } of block.fields) {
    switch (kind) {
      case HeaderName.contentType:
        isGrpc = isGrpcContentType(value);
        break;
      case HeaderName.grpcTimeout:
        timeoutMs = parseTimeout(value) ?? Number.NaN;
        break;
      case HeaderName.grpcEncoding:
        encoding = value;
        break;
      case HeaderName.grpcAcceptEncoding:
        acceptsGzip = /(?:^|,)\s*gzip\s*(?:,|$)/.test(value);
        break;
    }
  }
  const head: RequestHead = { path: path ?? "", method: method ?? "", isGrpc, timeoutMs, encoding, acceptsGzip };
  block.parsed = head;
  return head;
}

/** True for application/grpc, application/grpc+proto and the like, but not for application/grpc-web. */
export function isGrpcContentType(contentType: string): boolean {
  if (!contentType.startsWith("application/grpc")) return false;
  const next = contentType.charCodeAt(16);
  // The end, "+", ";" or a blank.
  return Number.isNaN(next) || next === 0x2b || next === 0x3b || next === 0x20;
}
