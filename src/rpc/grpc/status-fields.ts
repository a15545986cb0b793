/** The header fields in which a server sends the status of a call that failed. */
import { encodeBinaryValue, type Metadata } from "./metadata.ts";
import { encodeStatusMessage, Status, type RpcError } from "./status.ts";

/** A longer message, or one that takes more bytes when it is encoded, would only risk the peer's header limit. */
const MESSAGE_LENGTH_MAX = 2048;
const ENCODED_LENGTH_MAX = 4096;

/** Names and values in turn: the status, then the error's metadata, then the trailers. */
export function statusFields(error: RpcError, trailers: Metadata | undefined): string[] {
  // An OK thrown as an error, or a code that is none, would confuse the client.
  const code = Number.isInteger(error.code) && error.code > 0 ? error.code : Status.UNKNOWN;
  let message = encodeStatusMessage(error.message.slice(0, MESSAGE_LENGTH_MAX));
  // A character takes up to nine bytes, so this ends after three rounds at most.
  for (let length = MESSAGE_LENGTH_MAX / 2; message.length > ENCODED_LENGTH_MAX; length /= 2) {
    message = encodeStatusMessage(error.message.slice(0, length));
  }
  const fields = ["grpc-status", String(code), "grpc-message", message];
  if (error.details !== undefined) fields.push("grpc-status-details-bin", encodeBinaryValue(error.details));
  if (error.metadata !== undefined) fields.push(...error.metadata.fields);
  if (trailers !== undefined) fields.push(...trailers.fields);
  return fields;
}
