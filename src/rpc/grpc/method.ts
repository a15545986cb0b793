/**
 * What one method of a service is: its path, which sides stream, and four plain functions between messages and bytes. The codec is the
 * caller's choice; this layer knows no schema.
 */

/** Which side sends more than one message. */
export type MethodKind = "unary" | "serverStream" | "clientStream" | "bidi";

/**
 * A method. Decoders are given a view that may lie in the socket's read buffer: what they keep of it they copy, or it keeps up to 64 KiB alive.
 * They throw on malformed bytes. What encoders return must not be changed afterwards.
 */
export interface Method<Request, Response, Kind extends MethodKind = MethodKind> {
  /** "/package.Service/Method" */
  readonly path: string;
  readonly kind: Kind;
  readonly encodeRequest: (message: Request) => Uint8Array;
  readonly decodeRequest: (bytes: Uint8Array) => Request;
  readonly encodeResponse: (message: Response) => Uint8Array;
  readonly decodeResponse: (bytes: Uint8Array) => Response;
  /** A message of so many bytes is sent that its handler has encoded (`sendParts`). */
  readonly onEncoded?: (bytes: number) => void;
}
