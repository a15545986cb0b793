/** A cable that a test can cut: relays connections to a member, so that one direction of a pair can be broken or frozen by itself. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

export class Relay {
  readonly #target: string;
  readonly #sockets = new Set<Socket>();
  #isCut = false;
  /** Connections that came in, those of a cut cable included. */
  dials = 0;
  readonly #server: Server = createServer((near) => {
    this.dials += 1;
    this.#keep(near);
    if (this.#isCut) {
      near.destroy();
      return;
    }
    const far = connect({ host: "127.0.0.1", port: Number(this.#target.slice(this.#target.lastIndexOf(":") + 1)) });
    this.#keep(far);
    near.pipe(far);
    far.pipe(near);
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  });

  constructor(target: string) {
    this.#target = target;
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen({ host: "127.0.0.1", port: 0 }, resolve));
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Breaks what is connected and whoever dials until mend(). */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  /** What is connected stays so, and carries nothing any more. */
  freeze(): void {
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }
}
