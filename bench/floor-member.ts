/**
 * The floor: what three processes cost that do nothing but what any such engine must. A write is batched with the others of its
 * turn, sent to two processes, written and synced by all three (one group at a time, the next one gathering meanwhile), and
 * acknowledged when two of the three have it on disk. A linearizable read is batched the same way and answered after one round to
 * a majority; no disk. There are no terms, no elections, no threads, no history and no recovery.
 *
 *   node floor-member.js DIRECTORY follower        tells its port
 *   node floor-member.js DIRECTORY leader PORT PORT
 */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { crc32 } from "node:zlib";
import { APPEND, countFrame, onFrames, ROUND } from "./floor-frame.ts";
import { keyIndex, makeKeys, runLoad } from "./load.ts";
import { cpuUs, serveRequests, VALUE_BYTES, type Answer, type Request } from "./work.ts";

const LOG_BYTES = 64 << 20;
const KEY_BYTES = 8;
const RECORD_BYTES = 4 + KEY_BYTES + VALUE_BYTES;

const isFollower = process.argv[3] === "follower";
const directory = process.argv[2] ?? ".";
const state = new Map<string, Buffer>();

/** Group commit: what arrives during a sync shares the next one. `durable` is told how many buffers reached the disk. */
function openLog(name: string, durable: (buffers: number) => void): (bytes: Buffer) => void {
  const file = fs.openSync(path.join(directory, name), "w");
  fs.writeSync(file, Buffer.alloc(LOG_BYTES));
  fs.fsyncSync(file);
  let gathering: Buffer[] = [];
  let busy = false;
  let position = 0;
  const commit = (): void => {
    if (busy || gathering.length === 0) return;
    busy = true;
    const group = gathering;
    gathering = [];
    let bytes = 0;
    for (const buffer of group) {
      crc32(buffer);
      bytes += buffer.length;
    }
    if (position + bytes > LOG_BYTES) position = 0;
    fs.writev(file, group, position, (writeError) => {
      if (writeError !== null) throw writeError;
      fs.fdatasync(file, (syncError) => {
        if (syncError !== null) throw syncError;
        busy = false;
        durable(group.length);
        commit();
      });
    });
    position += bytes;
  };
  return (bytes) => {
    gathering.push(bytes);
    commit();
  };
}

function follow(): void {
  const server = net.createServer({ noDelay: true }, (socket) => {
    // Opened by the first append: a connection that only reads needs none.
    let append: ((bytes: Buffer) => void) | undefined;
    onFrames(socket, (kind, body) => {
      if (kind === ROUND) {
        socket.write(countFrame(ROUND, 1));
        return;
      }
      const batch = Buffer.from(body);
      append ??= openLog(`log-${process.pid}`, (buffers) => socket.write(countFrame(APPEND, buffers)));
      append(batch);
      for (let at = 0; at < batch.length; at += RECORD_BYTES) {
        state.set(batch.toString("latin1", at + 4, at + 4 + KEY_BYTES), batch.subarray(at + 4 + KEY_BYTES, at + RECORD_BYTES));
      }
    });
  });
  server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as net.AddressInfo).port }));
  serveRequests((request) => Promise.resolve(request.kind === "cpu" ? { cpuUs: cpuUs() } : { isLeader: false }));
}

interface Write {
  readonly key: string;
  readonly value: Buffer;
  readonly resolve: () => void;
}

interface Read {
  readonly key: string;
  readonly resolve: (value: Buffer | undefined) => void;
}

async function lead(ports: readonly number[]): Promise<void> {
  const sockets = await Promise.all(
    ports.map(
      (port) =>
        new Promise<net.Socket>((resolve, reject) => {
          const socket = net.connect({ port, host: "127.0.0.1", noDelay: true }, () => resolve(socket));
          socket.on("error", reject);
        }),
    ),
  );

  /** Stand for what was acknowledged or answered, so that it can be let go. */
  const done: Write[] = [];
  const answered: Read[] = [];

  const durableOn = [0, 0, 0];
  const batches: Write[][] = [];
  let committed = 0;
  const commit = (): void => {
    const majority = durableOn.toSorted((a, b) => b - a)[1] ?? 0;
    for (; committed < majority; committed += 1) {
      for (const write of batches[committed] ?? []) {
        state.set(write.key, write.value);
        write.resolve();
      }
      batches[committed] = done;
    }
  };

  const rounds: Read[][] = [];
  const roundsOf = [0, 0];
  let confirmed = 0;
  const confirm = (): void => {
    // This process and one other are two of three.
    for (const reached = Math.max(...roundsOf); confirmed < reached; confirmed += 1) {
      for (const read of rounds[confirmed] ?? []) read.resolve(state.get(read.key));
      rounds[confirmed] = answered;
    }
  };

  sockets.forEach((socket, i) => {
    onFrames(socket, (kind, body) => {
      if (kind === ROUND) {
        roundsOf[i] = (roundsOf[i] ?? 0) + 1;
        confirm();
      } else {
        durableOn[i + 1] = (durableOn[i + 1] ?? 0) + body.readUInt32LE(0);
        commit();
      }
    });
  });
  const append = openLog("log-leader", (buffers) => {
    durableOn[0] = (durableOn[0] ?? 0) + buffers;
    commit();
  });

  let writes: Write[] = [];
  let reads: Read[] = [];
  let scheduled = false;
  const flush = (): void => {
    scheduled = false;
    if (writes.length > 0) {
      const batch = writes;
      writes = [];
      const bytes = Buffer.allocUnsafe(5 + batch.length * RECORD_BYTES);
      bytes.writeUInt32LE(bytes.length - 4, 0);
      bytes.writeUInt8(APPEND, 4);
      let at = 5;
      for (const { key, value } of batch) {
        bytes.writeUInt32LE(RECORD_BYTES - 4, at);
        bytes.write(key, at + 4, "latin1");
        value.copy(bytes, at + 4 + KEY_BYTES);
        at += RECORD_BYTES;
      }
      batches.push(batch);
      for (const socket of sockets) socket.write(bytes);
      append(bytes.subarray(5));
    }
    if (reads.length > 0) {
      rounds.push(reads);
      reads = [];
      for (const socket of sockets) socket.write(countFrame(ROUND, 1));
    }
  };
  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(flush);
  };
  const put = (key: string, value: Buffer): Promise<void> =>
    new Promise((resolve) => {
      writes.push({ key, value, resolve });
      schedule();
    });
  const get = (key: string): Promise<Buffer | undefined> =>
    new Promise((resolve) => {
      reads.push({ key, resolve });
      schedule();
    });

  const value = Buffer.alloc(VALUE_BYTES, 3);
  let keys = makeKeys(1);
  const answer = async (request: Request): Promise<Answer> => {
    switch (request.kind) {
      case "cpu":
        return { cpuUs: cpuUs() };
      case "leader":
        return { isLeader: true };
      case "fill":
        keys = makeKeys(request.keys);
        await Promise.all(keys.map((key) => put(key, value)));
        return {};
      case "load": {
        const key = (client: number, count: number): string => keys[keyIndex(client, count, request.keys)] ?? "";
        return runLoad(
          request,
          request.operation === "put" ? (client, count) => put(key(client, count), value) : (client, count) => get(key(client, count)),
        );
      }
      default:
        return {};
    }
  };
  serveRequests(answer);
  process.send?.({ port: 0 });
}

if (isFollower) follow();
else await lead(process.argv.slice(4).map(Number));
