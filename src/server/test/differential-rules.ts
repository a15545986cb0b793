/**
 * Where this server deliberately answers otherwise than etcd 3.4, each with its reason: it is what later versions of etcd do, or a fault of etcd's, or a
 * promise of ours. A step that a rule leaves out is sent to neither server; an outcome that a rule allows may differ.
 */
import { isDeepStrictEqual } from "node:util";
import { isOpenEnd } from "../../api/intervals.ts";
import type { MessageInit } from "../../api/schema/messages.ts";
import type { Step } from "./differential-steps.ts";

type Txn = MessageInit<"etcdserverpb.TxnRequest">;
type Op = MessageInit<"etcdserverpb.RequestOp">;

/** What is known when a step, whose revisions are numbers by now, is about to be taken. */
export interface Situation {
  /** Whether a watch of the stream begins behind the newest revision. */
  readonly hasFutureWatch: (stream: number) => boolean;
  /** The first revision that is not compacted, and the newest. */
  readonly oldest: number;
  readonly newest: number;
  /** Whether the servers may be stopped and started. */
  readonly canStop: boolean;
}

/** One deliberate difference. One without a test for it is allowed for where it shows. */
export interface Rule {
  readonly what: string;
  readonly why: string;
  /** The step is not taken. */
  readonly leavesOut?: (step: Step, situation: Situation) => boolean;
  /** The outcomes may be these. */
  readonly allows?: (step: Step, theirs: unknown, ours: unknown) => boolean;
}

/** All of them. */
export const RULES: readonly Rule[] = [
  {
    what: "a put of a key that a deletion to the last key covers, in the same branch",
    why: "etcd overlooks it, though the same deletion with another range_end is refused: its order would decide",
    leavesOut: (step) => step.kind === "call" && step.method === "Txn" && hasOpenDeletion(step.request) && hasPut(step.request),
  },
  {
    what: "a put in a nested transaction whose key a deletion in a later one of the same branch covers",
    why: "etcd looks at the deletions before it only, and would refuse the two in the other order",
    leavesOut: (step) => step.kind === "call" && step.method === "Txn" && hasLaterDeletion(step.request),
  },
  {
    what: "a range of a negative revision in a transaction",
    why: "this server takes it for the present, as in a range alone; etcd for one that is compacted",
    leavesOut: (step) => step.kind === "call" && step.method === "Txn" && hasNegativeRevision(step.request),
  },
  {
    what: "a transaction that writes and reads a revision of the future, or one that is compacted, where servers are stopped",
    why: "the member that is asked refuses it; where nobody waits for the answer, on the others and after a kill, etcd 3.4 leaves its reads out, and writes",
    leavesOut: (step, { canStop, oldest, newest }) =>
      canStop && step.kind === "call" && step.method === "Txn" && hasRevisionOutside(step.request, oldest, newest),
  },
  {
    what: "Compact of a revision below 2",
    why: "it discards nothing; etcd lets it pass once",
    allows: (step, _theirs, ours) =>
      step.kind === "call" &&
      step.method === "Compact" &&
      Number((step.request as MessageInit<"etcdserverpb.CompactionRequest">).revision) < 2 &&
      typeof ours === "object",
  },
  {
    what: "the revision in the header of a Campaign",
    why: "etcd tells that of its first transaction, this server the newest at which the caller leads",
    allows: (step, theirs, ours) =>
      step.kind === "recipe" && step.method === "Campaign" && isDeepStrictEqual(withoutHeader(theirs), withoutHeader(ours)),
  },
  {
    what: "the order of kvs that are equal in what they are sorted by",
    why: "etcd does not state one, and its sort of more than twelve is not stable; this server has them in the order of keys",
    allows: (step, theirs, ours) =>
      step.kind === "call" &&
      (step.method === "Range" || step.method === "Txn") &&
      (isDeepStrictEqual(inOrderOfKeys(theirs), inOrderOfKeys(ours)) || isSortedAlike(step, theirs, ours)),
  },
  {
    what: "a watch from a negative revision",
    why: "etcd 3.4 takes it for one from now on, later ones refuse it as compacted; so does this server",
    leavesOut: (step) => step.kind === "watch" && step.creates.some(({ start_revision }) => (start_revision as number) < 0),
  },
  {
    what: "what was before the first revision that is not compacted, as a watch tells it",
    why: "this server keeps it; etcd leaves it out, and deletions at that revision too (Side.told)",
  },
  {
    what: "a lock that is granted to a lease which ended while it waited",
    why: "etcd 3.4 grants it, later ones refuse it; so does this server (differential-streams.test.ts)",
  },
  {
    what: "progress of a stream with a watch that begins in the future",
    why: "etcd 3.4 tells it all the same, later ones do not; nor does this server",
    leavesOut: (step, { hasFutureWatch }) => step.kind === "progress" && hasFutureWatch(step.stream),
  },
];

interface Kv {
  readonly key: string;
}

/** Answers of ranges with their kvs in the order of the keys. */
function inOrderOfKeys(outcome: unknown): unknown {
  return JSON.parse(JSON.stringify(outcome), (name: string, value: unknown) =>
    name === "kvs" ? (value as Kv[]).toSorted((one, other) => (one.key < other.key ? -1 : 1)) : value,
  );
}

const SORTED_BY = ["key", "version", "create_revision", "mod_revision", "value"] as const;

/** With a limit, which of those that are equal are left out is not stated either. */
function isSortedAlike(step: Step & { readonly kind: "call" }, theirs: unknown, ours: unknown): boolean {
  const { limit, sort_target: target, keys_only: isKeysOnly } = step.request as MessageInit<"etcdserverpb.RangeRequest">;
  const field = SORTED_BY[target ?? 0];
  if (step.method !== "Range" || !limit || field === undefined || field === "key" || (field === "value" && isKeysOnly)) return false;
  const only = (outcome: unknown): unknown =>
    JSON.parse(JSON.stringify(outcome), (name: string, value: unknown) =>
      name === "kvs" ? (value as Readonly<Record<string, unknown>>[]).map((kv) => kv[field]) : value,
    );
  return isDeepStrictEqual(only(theirs), only(ours));
}

function withoutHeader(outcome: unknown): unknown {
  return typeof outcome === "object" ? { ...outcome, header: undefined } : outcome;
}

function branches(txn: Txn): readonly Op[] {
  return [...(txn.success ?? []), ...(txn.failure ?? [])];
}

/** Of all branches, at any depth. */
function allOps(txn: Txn): readonly Op[] {
  return branches(txn).flatMap((op) => [op, ...(op.request_txn === undefined ? [] : allOps(op.request_txn))]);
}

function hasNegativeRevision(txn: Txn): boolean {
  return allOps(txn).some(({ request_range: range }) => (range?.revision ?? 0) < 0);
}

function hasRevisionOutside(txn: Txn, oldest: number, newest: number): boolean {
  return allOps(txn).some(({ request_range: range }) => {
    const revision = range?.revision ?? 0;
    return revision !== 0 && (revision < oldest || revision > newest);
  });
}

function hasLaterDeletion(txn: Txn): boolean {
  return [txn.success ?? [], txn.failure ?? []].some((branch) => {
    const nested = branch.flatMap(({ request_txn }) => request_txn ?? []);
    return nested.some((one, i) => hasLaterDeletion(one) || nested.slice(i + 1).some((later) => putsWhatIsDeleted(one, later)));
  });
}

function putsWhatIsDeleted(txn: Txn, later: Txn): boolean {
  const deletions = allOps(later).flatMap(({ request_delete_range: deletion }) => deletion ?? []);
  return allOps(txn).some(({ request_put: put }) => put !== undefined && deletions.some((deletion) => covers(deletion, put.key!)));
}

function covers({ key, range_end: end }: MessageInit<"etcdserverpb.DeleteRangeRequest">, put: Uint8Array): boolean {
  if (end === undefined || end.length === 0) return Buffer.compare(put, key!) === 0;
  return Buffer.compare(put, key!) >= 0 && (isOpenEnd(end) || Buffer.compare(put, end) < 0);
}

function hasOpenDeletion(txn: Txn): boolean {
  return allOps(txn).some(({ request_delete_range: deletion }) => deletion?.range_end !== undefined && isOpenEnd(deletion.range_end));
}

function hasPut(txn: Txn): boolean {
  return allOps(txn).some(({ request_put: put }) => put !== undefined);
}
