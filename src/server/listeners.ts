/**
 * The sockets that a server listens on, in clear text or under TLS, and the certificates that it shows: they may be renewed while it runs, for the
 * connections that come from then on.
 */
import { unwatchFile, watchFile } from "node:fs";
import { createServer, type AddressInfo, type Server as NetServer, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer, type TlsOptions } from "node:tls";
import type { Address } from "../transport/address.ts";
import type { RpcServer } from "../rpc/index.ts";

/** How often certificate files are looked at. */
const CERTIFICATES_MS = 30_000;
const HANDSHAKE_MS = 10_000;

/** The listeners of one server. */
export class Listeners {
  readonly #rpc: RpcServer;
  readonly #connectionsMax: number;
  readonly #alpn: string[];
  readonly #listeners: NetServer[] = [];
  readonly #watched: string[] = [];

  /** `hasHttp`: HTTP/1.1 is served beside HTTP/2. */
  constructor(rpc: RpcServer, options: { readonly connectionsMax: number; readonly hasHttp: boolean }) {
    this.#rpc = rpc;
    this.#connectionsMax = options.connectionsMax;
    this.#alpn = options.hasHttp ? ["h2", "http/1.1"] : ["h2"];
  }

  /** Listens. Resolves with the port; rejects with the system's error. */
  open(address: Address, tls: TlsOptions | undefined): Promise<number> {
    const listener = tls === undefined ? createServer({ noDelay: true }) : this.#createTls(tls);
    listener.maxConnections = this.#connectionsMax;
    listener.on(tls === undefined ? "connection" : "secureConnection", (socket: Socket) => this.#rpc.accept(socket));
    this.#listeners.push(listener);
    return new Promise((resolve, reject) => {
      listener.once("error", reject);
      listener.listen(address, () => {
        listener.removeListener("error", reject);
        // Running out of file descriptors while accepting must not end the process.
        listener.on("error", () => {});
        resolve((listener.address() as AddressInfo).port);
      });
    });
  }

  #createTls(tls: TlsOptions): TlsServer {
    const listener = createTlsServer({ noDelay: true, handshakeTimeout: HANDSHAKE_MS, ...tls, ALPNProtocols: this.#alpn });
    listener.on("tlsClientError", (_error, socket) => socket.destroy());
    return listener;
  }

  /** New connections are shown these certificates. Throws what node:tls throws at some that cannot be; then the old ones stay. */
  renew(tls: TlsOptions): void {
    for (const listener of this.#listeners) (listener as TlsServer).setSecureContext(tls);
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
