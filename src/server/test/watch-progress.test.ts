/** Progress that nobody asks for: of watches that want notices of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, startServed } from "./wire.ts";

void test("An idle watch with progress_notify is told its progress after the interval, others are not", async (context) => {
  const { client, engine } = await startServed(context, { watchProgressNotifyMs: 20 });
  const call = client.stream("etcdserverpb.Watch", "Watch");
  void call.send({ create_request: { key: bytes("a"), watch_id: "1", progress_notify: true } });
  void call.send({ create_request: { key: bytes("b"), watch_id: "2" } });
  const responses = call[Symbol.asyncIterator]();
  const next = async (): Promise<{ readonly watch_id: number; readonly revision: number; readonly events: number }> => {
    const { watch_id, header, events } = (await responses.next()).value!;
    return { watch_id: Number(watch_id), revision: Number(header!.revision), events: events.length };
  };
  assert.deepEqual([(await next()).watch_id, (await next()).watch_id], [1, 2]);
  for (let told = 0; told < 3; told++) assert.deepEqual(await next(), { watch_id: 1, revision: 1, events: 0 });
  const { revision } = await engine.put("elsewhere", "1");
  for (;;) {
    const told = await next();
    assert.deepEqual([told.watch_id, told.events], [1, 0]);
    if (told.revision === revision) break;
  }
});
