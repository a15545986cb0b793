/** Where a server listens: a TCP address, or a socket in the file system. */
import { formatAddress, isLoopback, parseAddress } from "../transport/address.ts";

/** Where, and whether under the server's certificates. */
export type Place =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly isSecure: boolean }
  | { readonly kind: "unix"; readonly path: string; readonly isSecure: boolean };

/** What the system takes of the path of a socket, on all of its kinds. */
const PATH_BYTES_MAX = 103;

/** "host:port", "unix:PATH", or "unixs:PATH" under TLS; undefined for what is none of these. */
export function parsePlace(text: string, hasTls: boolean): Place | undefined {
  const unix = /^(unixs?):(?:\/\/)?(.+)$/s.exec(text);
  if (unix !== null) {
    const [, scheme, path = ""] = unix;
    if (path.includes("\0") || Buffer.byteLength(path) > PATH_BYTES_MAX) return undefined;
    return { kind: "unix", path, isSecure: scheme === "unixs" };
  }
  const address = parseAddress(text);
  return address === undefined ? undefined : { kind: "tcp", ...address, isSecure: hasTls };
}

/** The text that parsePlace() reads. */
export function formatPlace(place: Place): string {
  return place.kind === "tcp" ? formatAddress(place) : `${place.isSecure ? "unixs" : "unix"}:${place.path}`;
}

/** Whether other machines cannot reach it. */
export function isLocal(place: Place): boolean {
  return place.kind === "unix" || isLoopback(place.host);
}
