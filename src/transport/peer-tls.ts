/**
 * TLS between members: certificates on both sides, from the same authority. Holding one makes a process a possible member; which member
 * it is, the handshake of the link says. The one who dials also checks that the certificate names the host that it dialled.
 */
import { connect as connectPlain, type Socket } from "node:net";
import { checkServerIdentity, connect as connectTls, createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { EngineError } from "../errors.ts";

/** PEM texts, not paths. */
export interface TlsConfig {
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
  /** Whom to trust, instead of the authorities that the machine trusts. */
  readonly ca: string | Uint8Array;
  /** The name that the others' certificates bear, where it is not the host of their address. */
  readonly serverName?: string;
}

/** What Node makes a context of. Older protocols are left out, since both sides are this program. */
export function contextOptions(config: TlsConfig): SecureContextOptions {
  const pem = (text: string | Uint8Array): string | Buffer => (typeof text === "string" ? text : Buffer.from(text));
  return { cert: pem(config.cert), key: pem(config.key), ca: pem(config.ca), minVersion: "TLSv1.3" };
}

/** Throws INVALID_ARGUMENT for texts that are no certificate, no key, or do not belong together. */
export function createPeerContext(config: TlsConfig): SecureContext {
  // Node takes an empty text for one that is not given.
  for (const part of ["cert", "key", "ca"] as const) if (config[part].length === 0) throw invalidTls(`\`${part}\` is empty`);
  try {
    return createSecureContext(contextOptions(config));
  } catch (error) {
    throw invalidTls(error instanceof Error ? error.message : String(error), error);
  }
}

/** What a dial needs to be encrypted. */
export interface DialTls {
  readonly context: SecureContext;
  readonly serverName: string | undefined;
}

export interface DialTarget {
  /** An IP address, so that no name is ever looked up here. */
  readonly ip: string;
  readonly port: number;
  /** What the certificate must name unless the configuration gives another. */
  readonly host: string;
}

/** Begins to connect; `onReady` runs when bytes can be written. Errors come as events of the socket. */
export function dial(target: DialTarget, tls: DialTls | undefined, onReady: () => void): Socket {
  if (tls === undefined) {
    return connectPlain({ host: target.ip, port: target.port, lookup: neverLookup }, onReady);
  }
  const name = tls.serverName ?? target.host;
  return connectTls(
    {
      host: target.ip,
      port: target.port,
      lookup: neverLookup,
      secureContext: tls.context,
      rejectUnauthorized: true,
      // Node would compare the certificate with the address that was connected to; what was asked for is the name.
      checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
      ...(/[a-z]/i.test(name) && !name.includes(":") ? { servername: name.replace(/\.$/, "") } : {}),
    },
    onReady,
  );
}

function neverLookup(hostname: string): never {
  throw new EngineError("INTERNAL", `broken invariant: peers are dialled by IP address, not as ${hostname}`, {
    invariant: "peers are dialled by IP address",
  });
}

function invalidTls(reason: string, cause?: unknown): EngineError<"INVALID_ARGUMENT"> {
  return new EngineError("INVALID_ARGUMENT", `peer.tls: ${reason}`, { argument: "peer.tls", reason }, { cause });
}
