/** What the processes of the floor say to each other: a length, a kind, a body. An acknowledgement's body is a count. */
import type { Socket } from "node:net";

export const APPEND = 1;
export const ROUND = 2;

/** Cuts frames from a stream and hands over kind and body, a view. */
export function onFrames(socket: Socket, handle: (kind: number, body: Buffer) => void): void {
  let rest: Buffer | undefined;
  socket.on("data", (chunk: Buffer) => {
    const data = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (at + 4 <= data.length) {
      const end = at + 4 + data.readUInt32LE(at);
      if (end > data.length) break;
      handle(data.readUInt8(at + 4), data.subarray(at + 5, end));
      at = end;
    }
    rest = at < data.length ? Buffer.from(data.subarray(at)) : undefined;
  });
}

export function countFrame(kind: number, count: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes.writeUInt32LE(5, 0);
  bytes.writeUInt8(kind, 4);
  bytes.writeUInt32LE(count, 5);
  return bytes;
}
