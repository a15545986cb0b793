/**
 * Ranges and puts as the wire has them: what is refused before anything is looked at, and their translation into the engine's. Used by single
 * requests and by those within transactions.
 */
import { compareBytes } from "../../core/kv/bytes.ts";
import { decodeKv, type UnpackedKv } from "../../core/kv/packed-kv.ts";
import type { RangeRequest } from "../../core/kv/read.ts";
import { etcdError } from "../etcd-errors.ts";
import { toInterval } from "../intervals.ts";
import type { PackedRange } from "../kv-responses.ts";
import { NO_ID, type Message, type MessageInit } from "../schema/messages.ts";

type RangeMessage = Message<"etcdserverpb.RangeRequest">;
type PutMessage = Message<"etcdserverpb.PutRequest">;

const SORTS = ["key", "version", "createRevision", "modRevision", "value"] as const;

/** Refuses what no range can be. */
export function checkRange(request: RangeMessage): void {
  if (request.key.length === 0) throw etcdError("emptyKey");
  if (request.sort_order < 0 || request.sort_order > 2 || request.sort_target < 0 || request.sort_target > 4)
    throw etcdError("invalidSortOption");
}

/** Refuses what no put can be. */
export function checkPut(request: PutMessage): void {
  if (request.key.length === 0) throw etcdError("emptyKey");
  if (request.ignore_value && request.value.length > 0) throw etcdError("valueProvided");
  if (request.ignore_lease && request.lease !== NO_ID) throw etcdError("leaseProvided");
}

/** One key, as of now. */
export function isPoint(request: RangeMessage): boolean {
  return (
    request.range_end.length === 0 &&
    request.revision <= 0 &&
    request.min_mod_revision === 0 &&
    request.max_mod_revision === 0 &&
    request.min_create_revision === 0 &&
    request.max_create_revision === 0
  );
}

/** Whether the limit counts in the order of keys, and only what it leaves is sorted: etcd does so where a target has no order. */
export function isSortedLate(request: RangeMessage): boolean {
  return (
    request.sort_order === 0 &&
    request.sort_target !== 0 &&
    request.limit > 0 &&
    !request.count_only &&
    request.min_mod_revision === 0 &&
    request.max_mod_revision === 0 &&
    request.min_create_revision === 0 &&
    request.max_create_revision === 0
  );
}

/** A range as the node is asked for it. */
export function rangeRequest(request: RangeMessage): RangeRequest {
  const late = isSortedLate(request);
  const limit = Math.max(0, request.limit);
  return {
    interval: toInterval(request.key, request.range_end),
    limit: request.count_only ? 0 : late ? limit + 1 : limit,
    order: request.sort_order === 2 ? "descending" : "ascending",
    sortBy: late ? "key" : SORTS[request.sort_target]!,
    // Sorted here, the values may be needed.
    keysOnly: request.keys_only && !(late && request.sort_target === 4),
    countOnly: request.count_only,
    revision: request.revision > 0 ? request.revision : undefined,
    minModRevision: request.min_mod_revision === 0 ? undefined : Math.max(0, request.min_mod_revision),
    maxModRevision: request.max_mod_revision === 0 ? undefined : Math.max(0, request.max_mod_revision),
    minCreateRevision: request.min_create_revision === 0 ? undefined : Math.max(0, request.min_create_revision),
    maxCreateRevision: request.max_create_revision === 0 ? undefined : Math.max(0, request.max_create_revision),
  };
}

/** What was asked for, of one more than the limit in the order of keys. */
export function sortLate(
  request: RangeMessage,
  found: UnpackedKv[],
): { readonly kvs: readonly MessageInit<"mvccpb.KeyValue">[]; readonly more: boolean } {
  const sorted = found.toSorted((a, b) => compareBy(request.sort_target, a, b));
  return { kvs: sorted.slice(0, request.limit).map((kv) => kvMessage(kv, !request.keys_only)), more: sorted.length > request.limit };
}

/** A kv as a message. */
export function kvMessage(kv: UnpackedKv, withValue = true): MessageInit<"mvccpb.KeyValue"> {
  const { key, createRevision, modRevision, version, value, lease } = kv;
  return {
    key,
    create_revision: createRevision,
    mod_revision: modRevision,
    version,
    value: withValue ? value : undefined,
    lease,
  };
}

function compareBy(target: number, a: UnpackedKv, b: UnpackedKv): number {
  switch (target) {
    case 1:
      return a.version - b.version;
    case 2:
      return a.createRevision - b.createRevision;
    case 3:
      return a.modRevision - b.modRevision;
    default:
      return compareBytes(a.value, b.value);
  }
}

/** The kvs of a range: views. */
export function unpack(range: PackedRange): UnpackedKv[] {
  const kvs: UnpackedKv[] = [];
  for (let i = 0, at = 0; i < range.returned; i++) {
    const kv = decodeKv(range.kvs, at);
    kvs.push(kv);
    at = kv.next;
  }
  return kvs;
}
