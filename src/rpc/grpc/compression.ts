/**
 * Compression of messages: `gzip`, or none. Both directions are synchronous, so that messages keep their order and no thread pool is used;
 * what is inflated is bounded by the message limit, so a small bomb costs no more than a large message.
 */
import { gunzipSync, gzipSync } from "node:zlib";

/** What we say in grpc-accept-encoding. */
export const ACCEPTED_ENCODINGS = "identity,gzip";

/** Compresses a message. Level 1: the wire is rarely slower than the higher levels. */
export function compress(bytes: Uint8Array): Uint8Array {
  return gzipSync(bytes, { level: 1 });
}

/** The message, or why there is none: it is malformed, or larger than the limit. */
export function decompress(bytes: Uint8Array, bytesMax: number): Uint8Array | "malformed" | "tooLarge" {
  try {
    return gunzipSync(bytes, { maxOutputLength: Math.max(1, bytesMax) });
  } catch (error) {
    return (error as { readonly code?: unknown }).code === "ERR_BUFFER_TOO_LARGE" ? "tooLarge" : "malformed";
  }
}
