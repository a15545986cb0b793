/** Flow control, in both directions (RFC 9113 sections 5.2 and 6.9). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { frame, grpcMessage, number32, RawPeer, settingsPayload } from "../test/raw-peer.ts";
import { Chat, startServer } from "../test/server.ts";
import { ErrorCode, FrameType, Setting } from "./protocol.ts";

const { data, headers, rstStream, settings, windowUpdate } = FrameType;
const END_STREAM = 1;
const END_HEADERS = 4;

test("Data waits for the stream's window and for the connection's, and is cut to fit (5.2)", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  peer.send(frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 10)));
  const message = grpcMessage(Buffer.alloc(40, 7));
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Echo")), frame(data, END_STREAM, 1, message));
  const lengths: number[] = [];
  const first = await peer.next((found) => found.type === data);
  lengths.push(first!.payload.length);
  assert.equal(await peer.sync(), true);
  peer.send(frame(windowUpdate, 0, 1, number32(20)));
  lengths.push((await peer.next((found) => found.type === data))!.payload.length);
  // A change of the initial window reaches open streams, also downwards.
  peer.send(frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0)), frame(windowUpdate, 0, 1, number32(10)));
  assert.equal(await peer.sync(), true);
  peer.send(frame(windowUpdate, 0, 1, number32(1000)));
  const last = await peer.next((found) => found.type === data);
  lengths.push(last!.payload.length);
  assert.deepEqual(lengths, [10, 20, 15]);
  const trailers = await peer.headers(1);
  assert.equal(trailers?.get("grpc-status"), "0");
  peer.destroy();
});

test("Small messages, too, stay within the connection's window, whatever their streams' windows are (5.2)", async (context) => {
  const { port } = await startServer(context);
  const peer = await RawPeer.connect(port);
  peer.send(frame(settings, 0, 0, settingsPayload(Setting.initialWindowSize, 0x7fff_ffff)));
  const request = Buffer.alloc(64);
  request.writeUInt32BE(5000);
  for (const id of [1, 3])
    peer.send(frame(headers, END_HEADERS, id, peer.request("/test.Raw/Flood")), frame(data, END_STREAM, id, grpcMessage(request)));
  const total = 2 * 5000 * 69;
  let window = 65_535;
  let received = 0;
  while (received < total) {
    const found = await peer.next((candidate) => candidate.type === data);
    assert.ok(found !== undefined);
    received += found.payload.length;
    window -= found.payload.length;
    assert.ok(window >= 0);
    if (window > 0 || received === total) continue;
    assert.equal(await peer.sync(), true);
    peer.send(frame(windowUpdate, 0, 0, number32(20_000)));
    window = 20_000;
  }
  peer.destroy();
});

test("Messages of two streams that are sent by turns in one turn of the loop do not mix", async (context) => {
  const { port, server } = await startServer(context);
  const open: { send(message: Uint8Array): boolean; end(): void }[] = [];
  server.add({ ...Chat, path: "/test.Raw/Both" }, (call) => {
    open.push(call);
    if (open.length < 2) return;
    for (let i = 0; i < 2; i++) for (const one of open) one.send(Buffer.alloc(10, i));
    // And here they have a reason to mix: heads are out, and nothing lies between the messages.
    for (let i = 2; i < 50; i++)
      for (const [which, one] of open.entries()) for (let j = 0; j <= which; j++) one.send(Buffer.alloc(10 + i, which * 100 + i));
    for (const one of open) one.end();
  });
  const peer = await RawPeer.connect(port);
  for (const id of [1, 3]) peer.send(frame(headers, END_HEADERS, id, peer.request("/test.Raw/Both")));
  const got = new Map<number, Buffer[]>([
    [1, []],
    [3, []],
  ]);
  for (let ends = 0; ends < 2;) {
    const found = await peer.next((candidate) => candidate.type === data || candidate.type === headers);
    assert.ok(found !== undefined);
    if (found.type === data) got.get(found.streamId)!.push(found.payload);
    else if ((found.flags & END_STREAM) !== 0) ends++;
  }
  for (const [which, id] of [1, 3].entries()) {
    const expected = [grpcMessage(Buffer.alloc(10, 0)), grpcMessage(Buffer.alloc(10, 1))];
    for (let i = 2; i < 50; i++) for (let j = 0; j <= which; j++) expected.push(grpcMessage(Buffer.alloc(10 + i, which * 100 + i)));
    assert.deepEqual(Buffer.concat(got.get(id)!), Buffer.concat(expected));
  }
  peer.destroy();
});

test("More data than the stream's window ends the stream (6.9.1)", async (context) => {
  const { port } = await startServer(context, { limits: { streamWindowBytes: 70_000 } });
  const peer = await RawPeer.connect(port);
  const message = grpcMessage(new Uint8Array(15_995));
  peer.send(frame(headers, END_HEADERS, 1, peer.request("/test.Raw/Ignore")));
  for (let i = 0; i < 4; i++) peer.send(frame(data, 0, 1, message));
  assert.equal(await peer.sync(), true);
  peer.send(frame(data, 0, 1, message));
  assert.equal(await peer.resetCode(1), ErrorCode.FLOW_CONTROL_ERROR);
  assert.equal(await peer.sync(), true);
  peer.destroy();
});

test("More data than the connection's window ends the connection (6.9.1)", async (context) => {
  const { port } = await startServer(context, { limits: { streamWindowBytes: 70_000, connectionWindowBytes: 100_000, unreadBytesMax: 0 } });
  const peer = await RawPeer.connect(port);
  const message = grpcMessage(new Uint8Array(15_995));
  for (const id of [1, 3]) peer.send(frame(headers, END_HEADERS, id, peer.request("/test.Raw/Ignore")));
  for (let i = 0; i < 3; i++) for (const id of [1, 3]) peer.send(frame(data, 0, id, message));
  assert.equal(await peer.sync(), true);
  peer.send(frame(data, 0, 1, message));
  assert.equal(await peer.goawayCode(), ErrorCode.FLOW_CONTROL_ERROR);
});

test("What a handler has read is granted again, and so is what it never will read (5.2)", async (context) => {
  const { port } = await startServer(context, { limits: { streamWindowBytes: 70_000, connectionWindowBytes: 70_000, unreadBytesMax: 0 } });
  const peer = await RawPeer.connect(port);
  const message = grpcMessage(new Uint8Array(15_995));
  for (let id = 1; id < 40; id += 2) {
    peer.send(frame(headers, END_HEADERS, id, peer.request(id % 4 === 1 ? "/test.Raw/Ignore" : "/test.Raw/Count")));
    // Up to half of the window may be consumed and not yet granted: the peer sends less than the other half.
    for (let i = 0; i < 2; i++) peer.send(frame(data, 0, id, message));
    assert.equal(await peer.sync(), true);
    peer.send(frame(rstStream, 0, id, number32(ErrorCode.CANCEL)));
    assert.equal(await peer.sync(), true);
  }
  peer.destroy();
});

test("Streams that nobody reads do not stop the others on their connection, up to unreadBytesMax", async (context) => {
  const { port } = await startServer(context, {
    limits: { streamWindowBytes: 70_000, connectionWindowBytes: 70_000, unreadBytesMax: 200_000 },
  });
  const peer = await RawPeer.connect(port);
  const message = grpcMessage(new Uint8Array(15_995));
  let granted = 70_000;
  const send = async (id: number): Promise<void> => {
    for (let i = 0; i < 4; i++) {
      while (granted < message.length) {
        const found = await peer.next((candidate) => candidate.type === windowUpdate && candidate.streamId === 0);
        assert.ok(found !== undefined);
        granted += found.payload.readUInt32BE(0);
      }
      peer.send(frame(data, 0, id, message));
      granted -= message.length;
    }
  };
  for (const id of [1, 3, 5]) {
    peer.send(frame(headers, END_HEADERS, id, peer.request("/test.Raw/Ignore")));
    await send(id);
  }
  // Three streams hold what they may. A fourth, which is read, goes on and on.
  peer.send(frame(headers, END_HEADERS, 7, peer.request("/test.Raw/Count")));
  await send(7);
  peer.send(frame(data, END_STREAM, 7));
  assert.equal((await peer.headers(7))?.get(":status"), "200");
  peer.destroy();
});
