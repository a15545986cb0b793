/** The codecs that were written by hand for speed, against those of the table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ByteWriter } from "../../core/kv/bytes.ts";
import { decodeKv, type UnpackedKv } from "../../core/kv/packed-kv.ts";
import type { PackedEvents } from "../backend.ts";
import { decodePutRequest, decodeRangeRequest } from "../hot-requests.ts";
import { messageToJson } from "../json-codec.ts";
import { encodeDeleteResponse, encodePointResponse, encodePutResponse, encodeRangeResponse, ResponseHeads } from "../kv-responses.ts";
import { MalformedMessage } from "../malformed-message.ts";
import { decodeMessage, encodeMessage } from "../message-codec.ts";
import type { MessageName } from "../schema/messages.ts";
import { batchOf, headOf } from "../watch-batch.ts";
import { encodedEvents, FRAGMENT_BYTES_MAX, fragmentsOf, watchIdField } from "../watch-responses.ts";
import { messageArbitrary } from "./messages.ts";

const CLUSTER = "cdf818194e3a8c32";
const MEMBER = "000000000000002a";
const heads = new ResponseHeads(CLUSTER, MEMBER, () => 7);

const DECODERS = {
  "etcdserverpb.RangeRequest": decodeRangeRequest,
  "etcdserverpb.PutRequest": decodePutRequest,
} as const;

for (const [name, decode] of Object.entries(DECODERS) as [MessageName, (bytes: Uint8Array) => object][]) {
  void test(`${name}: decoded by hand it is what the table makes of it`, () => {
    fc.assert(
      fc.property(messageArbitrary(name), fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 2 }), (message, changes) => {
        const bytes = Uint8Array.from(encodeMessage(name, message as never));
        for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        const byHand = attempt(() => decode(bytes));
        const byTable = attempt(() => decodeMessage(name, bytes));
        assert.deepEqual(byHand, byTable);
      }),
      { numRuns: 2_000 },
    );
  });
}

/** What it answers, or that it was refused as malformed. */
function attempt(decode: () => object): unknown {
  try {
    return { ...decode() };
  } catch (error) {
    assert.ok(error instanceof MalformedMessage, String(error));
    return "malformed";
  }
}

const revisions = fc.oneof(
  fc.integer({ min: 1, max: 400 }),
  fc.maxSafeNat().map((n) => Math.max(1, n)),
);
const kvs: fc.Arbitrary<UnpackedKv> = fc.record({
  key: fc.uint8Array({ minLength: 1, maxLength: 200 }),
  value: fc.uint8Array({ maxLength: 400 }),
  createRevision: revisions,
  modRevision: revisions,
  version: revisions,
  lease: fc.option(
    fc.bigInt({ min: 1n, max: (1n << 64n) - 1n }).map((id) => id.toString(16).padStart(16, "0")),
    { nil: undefined },
  ),
  next: fc.constant(0),
});

/** As the node packs it. */
function pack(writer: ByteWriter, kv: UnpackedKv): void {
  const high = kv.lease === undefined ? 0 : Number.parseInt(kv.lease.slice(0, 8), 16);
  const low = kv.lease === undefined ? 0 : Number.parseInt(kv.lease.slice(8), 16);
  for (const number of [kv.createRevision, kv.modRevision, kv.version]) writer.f64(number);
  for (const number of [high, low, kv.key.length, kv.value.length]) writer.u32(number);
  writer.raw(kv.key);
  writer.raw(kv.value);
}

function kvJson(kv: UnpackedKv, withValue = true): object {
  return messageToJson("mvccpb.KeyValue", {
    key: kv.key,
    create_revision: kv.createRevision,
    mod_revision: kv.modRevision,
    version: kv.version,
    value: withValue ? kv.value : undefined,
    lease: kv.lease,
  }) as object;
}

function json(name: MessageName, bytes: Uint8Array): unknown {
  return messageToJson(name, decodeMessage(name, bytes));
}

function headerOf(revision: number): object {
  return { cluster_id: BigInt(`0x${CLUSTER}`).toString(), member_id: "42", revision: String(revision), raft_term: "7" };
}

void test("Responses written from packed answers say what was packed", () => {
  fc.assert(
    fc.property(fc.array(kvs, { maxLength: 4 }), revisions, fc.boolean(), fc.nat({ max: 1_000 }), (found, revision, more, count) => {
      const writer = new ByteWriter();
      for (const kv of found) pack(writer, kv);
      const header = headerOf(revision);
      const list = found.length === 0 ? {} : { kvs: found.map((kv) => kvJson(kv)) };
      const rest = { ...(more ? { more } : {}), ...(count > 0 ? { count: String(count) } : {}) };
      const range = encodeRangeResponse(heads, { kvs: writer.take(), returned: found.length, count, more, revision });
      assert.deepEqual(json("etcdserverpb.RangeResponse", range), { header, ...list, ...rest });

      const first = found[0];
      const put = encodePutResponse(heads, revision, first);
      assert.deepEqual(json("etcdserverpb.PutResponse", put), { header, ...(first === undefined ? {} : { prev_kv: kvJson(first) }) });

      for (const keys_only of [true, false]) {
        for (const count_only of [true, false]) {
          const point = encodePointResponse(heads, revision, first, { keys_only, count_only });
          const one = first === undefined ? {} : { ...(count_only ? {} : { kvs: [kvJson(first, !keys_only)] }), count: "1" };
          assert.deepEqual(json("etcdserverpb.RangeResponse", point), { header, ...one });
        }
      }

      const deletion = encodeDeleteResponse(heads, revision, count, found);
      assert.deepEqual(json("etcdserverpb.DeleteRangeResponse", deletion), {
        header,
        ...(count > 0 ? { deleted: String(count) } : {}),
        ...(found.length > 0 ? { prev_kvs: found.map((kv) => kvJson(kv)) } : {}),
      });
    }),
    { numRuns: 300 },
  );
});

/** Events as the node packs them: u8 flags | kv | [kv before]. */
function packEvents(
  events: readonly { readonly kv: UnpackedKv; readonly isDelete: boolean; readonly before: UnpackedKv | undefined }[],
): PackedEvents {
  const writer = new ByteWriter();
  for (const { kv, isDelete, before } of events) {
    writer.u8((isDelete ? 1 : 0) | (before === undefined ? 0 : 4));
    pack(writer, kv);
    if (before !== undefined) pack(writer, before);
  }
  return { revision: 9, bytes: writer.take(), count: events.length, more: false, creditBytes: 0, encoded: undefined };
}

void test("Events are encoded once, and each watch gets them under its own id", () => {
  const events = fc.record({ kv: kvs, isDelete: fc.boolean(), before: fc.option(kvs, { nil: undefined }) });
  const ids = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  fc.assert(
    fc.property(fc.array(events, { minLength: 1, maxLength: 4 }), ids, ids, (list, ...watches) => {
      const packed = packEvents(list);
      const expected = list.map(({ kv, isDelete, before }) => ({
        ...(isDelete ? { type: "DELETE" } : {}),
        kv: kvJson(kv),
        ...(before === undefined ? {} : { prev_kv: kvJson(before) }),
      }));
      const batch = batchOf(packed);
      for (const id of watches) {
        const idField = watchIdField(id.toString(16).padStart(16, "0"));
        const response = Buffer.concat([headOf(batch, heads), idField, batch.encoded]);
        const signed = BigInt.asIntN(64, id);
        assert.deepEqual(json("etcdserverpb.WatchResponse", response), {
          header: headerOf(9),
          ...(signed === 0n ? {} : { watch_id: signed.toString() }),
          events: expected,
        });
      }
    }),
    { numRuns: 200 },
  );
});

void test("A response that is too large is cut between events, for those who ask for it", () => {
  const value = new Uint8Array(700_000);
  const kv = (i: number): UnpackedKv => ({
    key: Uint8Array.of(i),
    value,
    createRevision: 9,
    modRevision: 9,
    version: 1,
    lease: undefined,
    next: 0,
  });
  const packed = packEvents(Array.from({ length: 7 }, (_, i) => ({ kv: kv(i), isDelete: false, before: undefined })));
  const parts = fragmentsOf(encodedEvents(packed)).map((part) => decodeMessage("etcdserverpb.WatchResponse", part));
  assert.deepEqual(
    parts.map(({ events }) => events.length),
    [2, 2, 2, 1],
  );
  assert.deepEqual(
    parts.flatMap(({ events }) => events.map((event) => event.kv!.key[0])),
    [0, 1, 2, 3, 4, 5, 6],
  );
  // One event is never cut.
  const huge = packEvents([{ kv: { ...kv(1), value: new Uint8Array(FRAGMENT_BYTES_MAX) }, isDelete: false, before: undefined }]);
  assert.equal(fragmentsOf(encodedEvents(huge)).length, 1);
});

void test("What a test packs is what the node packs", () => {
  fc.assert(
    fc.property(kvs, (kv) => {
      const writer = new ByteWriter();
      pack(writer, kv);
      const { next, ...found } = decodeKv(writer.take(), 0);
      assert.ok(next > 0);
      assert.deepEqual({ ...found, next: 0 }, { ...kv });
    }),
    { numRuns: 100 },
  );
});
