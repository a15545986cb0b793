/** Why an HTTP/2 connection ended. Streams report a code of RFC 9113 section 7 instead. */
import { errorCodeName } from "./protocol.ts";

/** The end of a connection that was not asked for. */
export class Http2Error extends Error {
  override readonly name = "Http2Error";
  /** A code of RFC 9113 section 7. */
  readonly code: number;
  /** Who gave up: we because of the peer, the peer with a GOAWAY, or the network. */
  readonly by: "us" | "peer" | "network";
  /** The message without the code, which says nothing when the network is to blame. */
  readonly reason: string;

  constructor(code: number, by: "us" | "peer" | "network", reason: string, options?: { readonly cause?: unknown }) {
    super(`${errorCodeName(code)}: ${reason}`, options);
    this.code = code;
    this.by = by;
    this.reason = reason;
  }
}
