/** Scenes that are played before a real etcd and before ours: for what a sequence of single steps does not show, such as waiting, and many requests at once. */
import assert from "node:assert/strict";
import { messageToJson } from "../../api/json-codec.ts";
import { bytes, comparable, startEtcd, startServed, WireClient, type Ending } from "./wire.ts";

/** A lease or a watch, by its number. */
export const id = (n: number): string => n.toString(16).padStart(16, "0");

/** Plays a scene before a fresh etcd and before ours, which must both answer the same. */
export async function playBefore(
  context: Ending,
  scene: (client: WireClient, whose: "theirs" | "ours") => Promise<unknown>,
): Promise<void> {
  const theirs = new WireClient(context, await startEtcd(context));
  const { client: ours } = await startServed(context);
  const [expected, actual] = await Promise.all([scene(theirs, "theirs"), scene(ours, "ours")]);
  assert.deepEqual(actual, expected);
}

/** All events of all keys, as JSON, in their order. */
export function eventsOf(client: WireClient): { readonly told: unknown[]; readonly revisions: number[]; close(): void } {
  const told: unknown[] = [];
  const revisions: number[] = [];
  const call = client.stream("etcdserverpb.Watch", "Watch");
  call.listen({
    onMessage: ({ events }) => {
      for (const event of events) {
        told.push(comparable(messageToJson("mvccpb.Event", event)));
        revisions.push(event.kv!.mod_revision);
      }
    },
    onEnd: () => {},
  });
  void call.send({ create_request: { key: Uint8Array.of(0), range_end: Uint8Array.of(0), start_revision: 1, prev_kv: true } });
  return { told, revisions, close: () => call.cancel() };
}

/** Resolves when so many keys are under the prefix. */
export async function keysUnder(client: WireClient, prefix: string, count: number): Promise<void> {
  const range = { key: bytes(`${prefix}/`), range_end: bytes(`${prefix}0`), count_only: true };
  const endMs = performance.now() + 10_000;
  // oxlint-disable-next-line no-await-in-loop -- looked at again and again
  while ((await client.call("etcdserverpb.KV", "Range", range)).count !== count) {
    assert.ok(performance.now() < endMs, `there are not ${count} keys under ${prefix}`);
  }
}
