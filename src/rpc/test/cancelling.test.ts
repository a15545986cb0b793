/** Calls that end at any moment, in any way, leave nothing on either side, and do not disturb the others of their connection. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import type { ClientCall } from "../grpc/client-call.ts";
import type { RpcClient } from "../grpc/client.ts";
import { RpcError, Status } from "../grpc/status.ts";
import { listen } from "./raw-server.ts";
import { Chat, Count, Echo, Flood, Hang, Ignore, startClient, startServer, until } from "./server.ts";

const TURNS_MAX = 14;
const MESSAGE = Buffer.alloc(3000, 1);
/** The method Flood sends so many as the first four bytes say. */
const FLOOD_REQUEST = Buffer.concat([Buffer.from([0, 0, 0, 50]), Buffer.alloc(3000)]);

interface Running {
  readonly done: Promise<unknown>;
  cancel(): void;
}

type Way = "signal" | "cancel" | "deadline" | "leave";

/** Begins a call of one kind that would go on for longer than it is let. */
type Begin = (
  client: RpcClient,
  options: { signal?: AbortSignal; timeoutMs?: number },
) => { call?: ClientCall<Uint8Array, Uint8Array>; done: Promise<unknown> };

async function readAll(call: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of call);
}

const KINDS: readonly (readonly [string, Begin])[] = [
  ["unary", (client, options) => ({ done: client.unary(Hang, MESSAGE, options) })],
  [
    "serverStream",
    (client, options) => {
      const call = client.serverStream(Flood, FLOOD_REQUEST, options);
      return { call, done: readAll(call) };
    },
  ],
  [
    "clientStream",
    (client, options) => {
      const call = client.stream(Count, options);
      for (let i = 0; i < 50; i++) call.send(MESSAGE);
      return { call, done: call.response() };
    },
  ],
  [
    "bidi",
    (client, options) => {
      const call = client.stream(Chat, options);
      for (let i = 0; i < 50; i++) call.send(MESSAGE);
      return { call, done: readAll(call) };
    },
  ],
  [
    "bidi that nobody answers",
    (client, options) => {
      const call = client.stream(Ignore, options);
      call.send(MESSAGE);
      return { call, done: call.writable().then(() => readAll(call)) };
    },
  ],
];

function begin(way: Way, client: RpcClient, start: Begin): Running {
  const controller = new AbortController();
  const { call, done } = start(client, way === "signal" ? { signal: controller.signal } : way === "deadline" ? { timeoutMs: 1 } : {});
  return {
    done,
    cancel: () => {
      if (way === "signal") controller.abort();
      else if (way === "cancel") call?.cancel();
      else if (way === "leave") void call?.[Symbol.asyncIterator]().return?.();
    },
  };
}

for (const [kind, start] of KINDS) {
  test(`A ${kind} call may be cancelled after any number of turns, in any way, connected or not`, async (context) => {
    const { server, port } = await startServer(context);
    for (const way of ["signal", "cancel", "deadline", "leave"] as const) {
      // A unary call has no handle, and only iterations can be left.
      if (way === "cancel" && kind === "unary") continue;
      if (way === "leave" && (kind === "unary" || kind === "clientStream")) continue;
      for (let turns = 0; turns <= TURNS_MAX; turns++) {
        const client = startClient(context, port);
        // Every other time the call has to wait for its connection.
        if (turns % 2 === 0) await client.unary(Echo, MESSAGE);
        const running = begin(way, client, start);
        const outcome = running.done.then(
          () => undefined,
          (error: unknown) => error,
        );
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
        running.cancel();
        const error = await outcome;
        if (error !== undefined) {
          assert.ok(RpcError.is(error), String(error));
          assert.equal(error.code, way === "deadline" ? Status.DEADLINE_EXCEEDED : Status.CANCELLED);
        }
        assert.equal((await client.unary(Echo, MESSAGE)).length, MESSAGE.length);
        await until(() => client.calls === 0 && server.runningCalls === 0 && server.memoryBytes === 0);
        assert.equal(client.connections, 1);
        await client.close();
      }
    }
    await until(() => server.connections === 0);
  });

  test(`The line of a ${kind} call may break after any number of turns`, async (context) => {
    const { server, port } = await startServer(context);
    let line: Socket | undefined;
    const proxyPort = await listen(
      context,
      createServer((socket) => {
        const onward = connect(port, "127.0.0.1");
        line = socket;
        socket.pipe(onward).pipe(socket);
        for (const end of [socket, onward]) {
          end.on("error", () => {});
          end.on("close", () => {
            socket.destroy();
            onward.destroy();
          });
        }
      }),
    );
    for (let turns = 0; turns <= TURNS_MAX; turns++) {
      const client = startClient(context, proxyPort);
      await client.unary(Echo, MESSAGE);
      const outcome = begin("cancel", client, start).done.then(
        () => undefined,
        (error: unknown) => error,
      );
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      line!.resetAndDestroy();
      const error = await outcome;
      if (error !== undefined) assert.equal((error as RpcError).code, Status.UNAVAILABLE);
      await until(() => client.calls === 0 && server.runningCalls === 0 && server.memoryBytes === 0 && server.connections === 0);
      await client.close();
    }
  });
}
