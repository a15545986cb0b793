/** Very many watches of one key: each is told everything, and a client that does not read makes the server hold next to nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message } from "../../api/schema/messages.ts";
import { bytes, startServed } from "./wire.ts";

const WATCHES = 1_000;
const WRITES = 300;
const VALUE = "x".repeat(1_000);

void test("A thousand watches on a connection that nobody reads hold next to nothing, and go on where they were", async (context) => {
  const { engine, client } = await startServed(context);
  const call = client.stream("etcdserverpb.Watch", "Watch");
  const responses: AsyncIterator<Message<"etcdserverpb.WatchResponse">> = call[Symbol.asyncIterator]();
  for (let i = 0; i < WATCHES; i++) void call.send({ create_request: { key: bytes("k") } });
  for (let i = 0; i < WATCHES; i++) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const { value } = await responses.next();
    assert.equal((value as Message<"etcdserverpb.WatchResponse">).created, true);
  }
  const before = process.memoryUsage().rss;
  let written = 0;
  const writer = async (): Promise<void> => {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    while (written < WRITES) await engine.put("k", `${written++}${VALUE}`);
  };
  await Promise.all([writer(), writer(), writer()]);
  const grown = process.memoryUsage().rss - before;
  // What all of them would hold is 300 MB.
  assert.ok(grown < 100 << 20, `${grown >> 20} MiB more`);

  const revisions = new Map<string, number[]>();
  for (let events = 0; events < WATCHES * WRITES;) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const response = (await responses.next()).value as Message<"etcdserverpb.WatchResponse">;
    let seen = revisions.get(response.watch_id);
    if (seen === undefined) revisions.set(response.watch_id, (seen = []));
    for (const { kv } of response.events) seen.push(kv!.mod_revision);
    events += response.events.length;
    assert.equal(response.header!.revision, seen.at(-1));
  }
  assert.equal(revisions.size, WATCHES);
  const [first] = revisions.values();
  assert.equal(new Set(first).size, WRITES);
  assert.deepEqual(
    first,
    first!.toSorted((one, other) => one - other),
  );
  for (const seen of revisions.values()) assert.deepEqual(seen, first);
  call.cancel();
});
