/** Where an endpoint of a client is, and how it is written. */

/** Where to connect. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** A Unix socket, instead of host and port. */
  readonly path: string | undefined;
  readonly isTls: boolean;
  /** Sent as :authority. */
  readonly authority: string;
}

/** The address that a text names, see `RpcClientOptions.endpoints`. Throws TypeError if it names none. */
export function parseEndpoint(text: string, isTlsGiven: boolean, authority: string | undefined): Address {
  const unix = /^unix(s?):(?:\/\/)?(.+)$/s.exec(text);
  if (unix !== null) {
    return { host: "", port: 0, path: unix[2], isTls: isTlsGiven || unix[1] === "s", authority: authority ?? "localhost" };
  }
  const scheme = /^(https?):\/\//.exec(text);
  const rest = scheme === null ? text : text.slice(scheme[0].length).replace(/\/$/, "");
  const parts = /^(\[[0-9a-fA-F:.]+\]|[^:/\s]+):([0-9]{1,5})$/.exec(rest);
  const port = parts === null ? 0 : Number(parts[2]);
  if (parts === null || port < 1 || port > 65_535) {
    throw new TypeError(`not an endpoint: ${JSON.stringify(text)}; write "host:port", "https://host:port", "[::1]:port" or "unix:/path"`);
  }
  const isTls = scheme === null ? isTlsGiven : scheme[1] === "https";
  return { host: parts[1]!.replace(/^\[|\]$/g, ""), port, path: undefined, isTls, authority: authority ?? rest };
}
