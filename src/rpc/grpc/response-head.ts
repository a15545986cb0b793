/** What the header blocks of a response, head and trailers, say to gRPC. Interpreted once for each distinct block. */
import { HeaderName, type HeaderBlock } from "../hpack/header-field.ts";
import { messageHeadOf } from "../http2/message-head.ts";
import { decodeBinaryValue, Metadata } from "./metadata.ts";
import { isGrpcContentType } from "./request-head.ts";
import { decodeStatusMessage, RpcError, Status, statusOfHttp } from "./status.ts";

/** Head or trailers of a gRPC response. */
export interface ResponseHead {
  /** 0 in trailers. */
  readonly httpStatus: number;
  readonly isGrpc: boolean;
  /** grpc-encoding; "identity" if there is none. */
  readonly encoding: string;
  /** grpc-status; -1 if there is none, UNKNOWN if it is malformed. */
  readonly status: number;
  readonly message: string;
  readonly details: string | undefined;
}

/** The head or trailers. The same object for the same block. */
export function responseHeadOf(block: HeaderBlock): ResponseHead {
  if (block.parsed !== undefined) return block.parsed as ResponseHead;
  let isGrpc = false;
  let encoding = "identity";
  let status = -1;
  let message = "";
  let details: string | undefined;
  for (const { kind, value } of block.fields) {
    switch (kind) {
      case HeaderName.contentType:
        isGrpc = isGrpcContentType(value);
        break;
      case HeaderName.grpcEncoding:
        encoding = value;
        break;
      case HeaderName.grpcStatus:
        status = /^[0-9]{1,5}$/.test(value) ? Number(value) : Status.UNKNOWN;
        break;
      case HeaderName.grpcMessage:
        message = decodeStatusMessage(value);
        break;
      case HeaderName.grpcStatusDetails:
        details = value;
        break;
    }
  }
  const head: ResponseHead = { httpStatus: messageHeadOf(block).status, isGrpc, encoding, status, message, details };
  block.parsed = head;
  return head;
}

/** The error that a head or trailers stand for; undefined for OK. */
export function errorOfHead(head: ResponseHead, block: HeaderBlock): RpcError | undefined {
  if (head.status === Status.OK) return undefined;
  const metadata = Metadata.ofBlock(block);
  if (head.status > 0) {
    const details = head.details === undefined ? undefined : decodeBinaryValue(head.details);
    return new RpcError(head.status, head.message, { metadata, details });
  }
  if (head.httpStatus !== 0 && head.httpStatus !== 200) {
    return new RpcError(statusOfHttp(head.httpStatus), `the server answered with HTTP status ${head.httpStatus}`, { metadata });
  }
  return new RpcError(Status.UNKNOWN, "the response ended without a grpc-status", { metadata });
}
