import assert from "node:assert/strict";
import { test } from "node:test";
import { ATTACHMENT_IDS, Attachments, type Attachment } from "./attachments.ts";
import type { FromNode, NodeStatus, ToNode } from "./boundary.ts";

const OPENED = { kind: "opened", status: {} as NodeStatus, shared: undefined } as const;
const STATUS: FromNode = { kind: "status", status: {} as NodeStatus };

interface Told {
  readonly messages: FromNode[];
  readonly taken: ArrayBufferLike[];
  isClosed: boolean;
}

/** Attachments with a node that notes what it is asked, and ports that note what they are told. */
function create(): {
  readonly attachments: Attachments;
  readonly asked: ToNode[];
  readonly first: Told;
  readonly attach: () => { readonly told: Told; readonly attachment: Attachment | undefined; readonly firstCall: number };
} {
  const asked: ToNode[] = [];
  const posts: number[] = [];
  const portTo = (told: Told): ConstructorParameters<typeof Attachments>[0]["first"] => ({
    post: (messages, own, takers) => {
      posts.push(own);
      told.messages.push(...messages);
      for (const message of messages) {
        if (message.kind !== "watched") continue;
        assert.ok(!first.taken.includes(message.bytes.buffer), "a buffer that another thread took is told of");
        if (takers.get(message.bytes.buffer) === own) told.taken.push(message.bytes.buffer);
      }
    },
    close: () => {
      told.isClosed = true;
    },
  });
  const first: Told = { messages: [], taken: [], isClosed: false };
  const attachments = new Attachments({ first: portTo(first), receive: (messages) => void asked.push(...messages) });
  return {
    attachments,
    asked,
    first,
    attach: () => {
      const told: Told = { messages: [], taken: [], isClosed: false };
      const attachment = attachments.attach(portTo(told));
      const order = asked.at(-1);
      const firstCall = order?.kind === "attach" ? order.call : 0;
      if (attachment !== undefined) attachments.deliver([STATUS, { ...OPENED, firstCall }]);
      return { told, attachment, firstCall };
    },
  };
}

function watched(watches: readonly number[], bytes = new Uint8Array(8)): FromNode {
  return {
    kind: "watched",
    watches: watches.length > 16 ? Float64Array.from(watches) : watches,
    what: "events",
    revision: 2,
    bytes,
    count: 1,
    reason: undefined,
    compactRevision: 1,
    more: false,
  };
}

const watchedIds = (told: Told): number[] =>
  told.messages.flatMap((each) => (each.kind === "watched" ? [...Array.from(each.watches)] : []));

test("answers find the thread that asked, and what all are told begins with the node's first word", () => {
  const { attachments, first, attach } = create();
  const one = attach();
  const two = attach();
  assert.deepEqual(
    one.told.messages.map(({ kind }) => kind),
    ["opened", "status"],
  );
  assert.deepEqual(
    two.told.messages.map(({ kind }) => kind),
    ["opened"],
  );
  assert.ok(one.firstCall > ATTACHMENT_IDS && two.firstCall > 2 * ATTACHMENT_IDS);
  attachments.deliver([
    { kind: "moved", call: 7 },
    { kind: "moved", call: one.firstCall + 7 },
    { kind: "watching", watch: two.firstCall + 1, revision: 1 },
    { kind: "log", level: "info", message: "m", fields: {} },
    STATUS,
  ]);
  assert.deepEqual(
    first.messages.slice(-3).map(({ kind }) => kind),
    ["moved", "log", "status"],
  );
  assert.deepEqual(
    one.told.messages.slice(2).map(({ kind }) => kind),
    ["moved", "status"],
  );
  assert.deepEqual(
    two.told.messages.slice(1).map(({ kind }) => kind),
    ["watching", "status"],
  );
});

test("what many watch is told to each thread once, for its own watches, and the last to be told takes the bytes", () => {
  const { attachments, first, attach } = create();
  const gone = attach();
  const two = attach();
  // The lower number comes later: whoever takes a buffer must still be the last.
  gone.attachment!.receive([{ kind: "close", timeoutMs: 0 }]);
  const one = attach();
  assert.ok(one.firstCall < two.firstCall);
  const ids = [...Array.from({ length: 20 }, (_, i) => i + 1), one.firstCall + 1, two.firstCall + 1, two.firstCall + 2];
  const bytes = new Uint8Array(64);
  for (const list of [ids, ids.slice(18)]) {
    attachments.deliver([watched(list, bytes), watched(list, bytes.subarray(8))]);
    assert.deepEqual([...watchedIds(first), ...watchedIds(one.told), ...watchedIds(two.told)].toSorted(), [...list, ...list].toSorted());
    assert.deepEqual([first.taken, one.told.taken], [[], []]);
    assert.ok(two.told.taken.includes(bytes.buffer));
    for (const told of [first, one.told, two.told]) told.messages.length = 0;
  }
});

test("a thread that ends leaves nothing under way, and its number's next thread hears nothing of it", () => {
  const { attachments, asked, attach } = create();
  const { told, attachment, firstCall } = attach();
  const id = (n: number): number => firstCall + n;
  const range = {
    kind: "range",
    request: {} as never,
    bytesMax: 0,
    consistency: "eventual",
    minRevision: 0,
    pinned: 0,
    timeoutMs: 1,
  } as const;
  const watch = { kind: "watch", interval: {} as never, fromRevision: 1, initial: false, prevKv: false, only: undefined } as const;
  attachment!.receive([
    { kind: "inspect", call: id(1), timeoutMs: 1 },
    { kind: "inspect", call: id(2), timeoutMs: 1 },
    { ...range, call: id(3), pin: true },
    { ...watch, watch: id(4), onGap: "throw", progressMs: 0, creditBytes: 1 },
    { ...watch, watch: id(5), onGap: "throw", progressMs: 0, creditBytes: 1 },
    { ...watch, watch: id(6), onGap: "throw", progressMs: 0, creditBytes: 1 },
    { kind: "backup", call: id(7), backup: 0, timeoutMs: 1 },
    { kind: "backup", call: id(8), backup: id(7), timeoutMs: 1 },
    { kind: "keep", keep: id(9), lease: "", ttlMs: 1, sentAt: 0, appLagMsMax: 1, slot: undefined as never, pulse: undefined as never },
  ]);
  attachments.deliver([
    { kind: "inspect", call: id(1), inspection: {} as never },
    { kind: "range", call: id(3), kvs: new Uint8Array(0), returned: 0, count: 0, more: false, revision: 1 },
    { ...(watched([id(5)]) as FromNode & { readonly kind: "watched" }), what: "ended" },
    { kind: "backup", call: id(7), description: undefined, bytes: new Uint8Array(0), last: false },
  ]);
  attachment!.receive([{ kind: "unwatch", watch: id(6) }]);
  asked.length = 0;
  attachment!.receive([
    { kind: "cancel", call: id(2) },
    { kind: "close", timeoutMs: 1 },
    { kind: "inspect", call: id(10), timeoutMs: 1 },
  ]);
  assert.deepEqual(asked, [
    { kind: "cancel", call: id(2) },
    { kind: "cancel", call: id(3) },
    { kind: "unpin", call: id(3) },
    { kind: "unwatch", watch: id(4) },
    { kind: "endBackup", backup: id(7) },
    { kind: "cancel", call: id(8) },
    { kind: "unkeep", keep: id(9) },
  ]);
  assert.equal(told.messages.at(-1)?.kind, "closed");
  assert.ok(told.isClosed);
  assert.equal(attachments.count, 0);
  const next = attach();
  assert.ok(next.firstCall > id(9) && next.firstCall < 2 * ATTACHMENT_IDS);
  // From its own end a thread's port closes once more: nothing comes of it.
  attachment!.detach();
  assert.equal(attachments.count, 1);
});

test("where the node refuses a thread, and where it ends, the thread hears it and its port closes", () => {
  const { attachments, asked, attach } = create();
  const open = attach();
  const told: Told = { messages: [], taken: [], isClosed: false };
  attachments.attach({ post: (messages) => void told.messages.push(...messages), close: () => void (told.isClosed = true) });
  const { call } = asked.at(-1) as ToNode & { readonly kind: "attach" };
  const error = { code: "CLOSED", message: "closed" } as never;
  attachments.deliver([{ kind: "failed", call, error }, STATUS]);
  assert.deepEqual(told.messages, [{ kind: "openFailed", error }]);
  assert.ok(told.isClosed);
  attachments.deliver([{ kind: "closed" }]);
  assert.equal(open.told.messages.at(-1)?.kind, "closed");
  assert.ok(open.told.isClosed);
  assert.equal(attachments.count, 0);
});
