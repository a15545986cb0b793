/** Servers that do what a test says, and ports on which there is none. */
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { FrameType } from "../http2/protocol.ts";
import { frame, RawPeer, settingsPayload } from "./raw-peer.ts";

/** Listens on a free port until the test ends. Returns the port. */
export async function listen(context: TestContext, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A server that does what a test says with each connection, after the client's preface and an exchange of settings. */
export async function startRawServer(context: TestContext, onPeer: (peer: RawPeer) => void, ...ourSettings: number[]): Promise<number> {
  return listen(
    context,
    createServer((socket: Socket) => {
      // The preface is cut off by hand: what follows are frames.
      socket.once("readable", () => {
        socket.read(24);
        const peer = new RawPeer(socket);
        context.after(() => peer.destroy());
        peer.send(frame(FrameType.settings, 0, 0, settingsPayload(...ourSettings)), frame(FrameType.settings, 1, 0));
        onPeer(peer);
      });
    }),
  );
}

/** A port on which nobody listens. */
export async function deadPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
