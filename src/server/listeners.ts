/**
 * The sockets that one front end listens on, in clear text or under TLS, and the certificates that it shows: they may be renewed while it runs, for the
 * connections that come from then on.
 */
import { lstatSync, unlinkSync, unwatchFile, watchFile } from "node:fs";
import { connect, createServer, type AddressInfo, type ListenOptions, type Server as NetServer, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer, type TlsOptions } from "node:tls";
import type { RpcServer } from "../rpc/index.ts";
import type { Place } from "./places.ts";

/** How often certificate files are looked at. */
const CERTIFICATES_MS = 30_000;
const HANDSHAKE_MS = 10_000;

/** The listeners of one front end. */
export class Listeners {
  readonly #rpc: RpcServer;
  readonly #connectionsMax: number;
  readonly #alpn: string[];
  readonly #listeners: NetServer[] = [];
  readonly #secure: TlsServer[] = [];
  readonly #watched: string[] = [];

  /** `hasHttp`: HTTP/1.1 is served beside HTTP/2. */
  constructor(rpc: RpcServer, options: { readonly connectionsMax: number; readonly hasHttp: boolean }) {
    this.#rpc = rpc;
    this.#connectionsMax = options.connectionsMax;
    this.#alpn = options.hasHttp ? ["h2", "http/1.1"] : ["h2"];
  }

  /** Listens; `reusePort`: beside other threads, which the system deals connections to in turn. Resolves with the place and its port; rejects with the system's error. */
  async open(place: Place, tls: TlsOptions | undefined, reusePort = false): Promise<Place> {
    if (place.kind === "unix") await clearStale(place.path);
    const listener = place.isSecure ? this.#createTls(tls ?? {}) : createServer({ noDelay: true });
    listener.maxConnections = this.#connectionsMax;
    listener.on(place.isSecure ? "secureConnection" : "connection", (socket: Socket) => this.#rpc.accept(socket));
    this.#listeners.push(listener);
    await listen(
      listener,
      place.kind === "unix" ? { path: place.path } : { host: place.host, port: place.port, ...(reusePort ? { reusePort } : {}) },
    );
    // Running out of file descriptors while accepting must not end the process.
    listener.on("error", () => {});
    return place.kind === "unix" ? place : { ...place, port: (listener.address() as AddressInfo).port };
  }

  #createTls(tls: TlsOptions): TlsServer {
    const listener = createTlsServer({ noDelay: true, handshakeTimeout: HANDSHAKE_MS, ...tls, ALPNProtocols: this.#alpn });
    listener.on("tlsClientError", (_error, socket) => socket.destroy());
    this.#secure.push(listener);
    return listener;
  }

  /** New connections are shown these certificates. Throws what node:tls throws at some that cannot be; then the old ones stay. */
  renew(tls: TlsOptions): void {
    for (const listener of this.#secure) listener.setSecureContext(tls);
  }

  /** Calls back when one of the files has changed. */
  watch(files: readonly string[], onChange: () => void): void {
    for (const file of files) {
      this.#watched.push(file);
      watchFile(file, { interval: CERTIFICATES_MS, persistent: false }, onChange);
    }
  }

  /** Stops accepting. Connections are the rpc server's. */
  close(): void {
    for (const file of this.#watched) unwatchFile(file);
    for (const listener of this.#listeners) listener.close();
  }
}

/**
 * A port that several threads may listen on together. That somebody else has it must be found out first: the system would deal our connections to
 * a process that shares its port in the same way. Rejects with the system's error.
 */
export async function findSharedPort(place: Place & { readonly kind: "tcp" }): Promise<Place & { readonly kind: "tcp" }> {
  const alone = createServer();
  await listen(alone, { host: place.host, port: place.port });
  const { port } = alone.address() as AddressInfo;
  await new Promise((resolve) => alone.close(resolve));
  return { ...place, port };
}

/** Whether the system deals connections to one port to several threads, and this Node knows how to ask for it. */
export function canSharePort(): boolean {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const isKnown = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);
  // Elsewhere it is an error, or all connections go to the last that listens.
  return isKnown && process.platform === "linux";
}

function listen(listener: NetServer, options: ListenOptions & { readonly reusePort?: boolean }): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once("error", reject);
    listener.listen(options, () => {
      listener.removeListener("error", reject);
      resolve();
    });
  });
}

/** Removes the socket of a server that has ended without doing so. Whoever still listens there keeps it, and what is no socket stays. */
async function clearStale(path: string): Promise<void> {
  if (process.platform === "win32" || lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const isServed = await new Promise<boolean>((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED"));
  });
  if (!isServed) unlinkSync(path);
}
