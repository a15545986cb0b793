/**
 * What locks and elections share: a key for each candidate under a name, of whom the oldest owns it, and the waiting of the others. The keys are
 * those of etcd's own clients (name/lease), so that whoever builds locks on plain keys and who asks the server exclude each other.
 */
import { keyAfter } from "../../core/kv/bytes.ts";
import { decodeKv, type UnpackedKv } from "../../core/kv/packed-kv.ts";
import type { RangeRequest } from "../../core/kv/read.ts";
import { packTxn } from "../../core/kv/txn-codec.ts";
import type { TxnCommand, TxnOp } from "../../core/kv/txn-command.ts";
import type { KeyInterval } from "../../core/kv/table.ts";
import type { CallContext } from "../../rpc/index.ts";
import type { BackendWatch } from "../backend.ts";
import { etcdError, wireError } from "../etcd-errors.ts";
import type { PackedRange } from "../kv-responses.ts";
import type { ServiceContext } from "../service-context.ts";

const NOTHING = new Uint8Array(0);

/** The keys of all candidates for a name. */
export function candidatesOf(name: Uint8Array): KeyInterval {
  const start = Buffer.concat([name, Buffer.from("/")]);
  const end = Uint8Array.from(start);
  end[end.length - 1] = 0x30; // The byte behind "/".
  return { start, end };
}

/** The key of a candidate: the lease as a signed number in hex, as Go prints it. */
export function candidateKey(name: Uint8Array, lease: string): Uint8Array {
  const id = BigInt.asIntN(64, BigInt(`0x${lease}`));
  return Buffer.concat([name, Buffer.from(`/${id.toString(16)}`)]);
}

/** A candidate's key as it stands. */
export interface Candidacy {
  readonly key: Uint8Array;
  readonly createRevision: number;
  readonly value: Uint8Array;
  /** Of the transaction. */
  readonly revision: number;
  readonly isNew: boolean;
}

/** Puts the key unless it is there. Rejects with the error of the wire. */
export function stand(
  context: ServiceContext,
  candidate: { readonly key: Uint8Array; readonly value: Uint8Array; readonly lease: string },
): Promise<Candidacy> {
  const { key, value, lease } = candidate;
  const put: TxnOp = { kind: "put", key, value, lease, ttlMs: undefined, ignoreValue: false, ignoreLease: false, prevKv: false };
  const txn: TxnCommand = { compare: [created(key, 0)], success: [put], failure: [{ kind: "get", key }] };
  return context
    .write(
      (batch) => batch.txn(packTxn(txn)),
      (reader): Candidacy => {
        const { revision, succeeded } = reader;
        if (succeeded) return { key, createRevision: revision, value, revision, isNew: true };
        const answers = reader.answers();
        answers.next();
        const kv = answers.kv()!;
        return { key, createRevision: kv.createRevision, value: Uint8Array.from(kv.value), revision, isNew: false };
      },
    )
    .catch(rejectAsRecipe);
}

/** Clients know a lease that is gone with another code from here. */
function rejectAsRecipe(error: unknown): never {
  throw (error as Error).message === etcdError("leaseNotFound").message ? etcdError("recipeLeaseNotFound") : error;
}

/** Does the operation if the key still is the one that was created at this revision. Answers whether it was. */
export function ifHeld(
  context: ServiceContext,
  held: { readonly key: Uint8Array; readonly createRevision: number },
  op: TxnOp,
): Promise<{ readonly succeeded: boolean; readonly revision: number }> {
  const txn: TxnCommand = { compare: [created(held.key, held.createRevision)], success: [op], failure: [] };
  return context
    .write(
      (batch) => batch.txn(packTxn(txn)),
      ({ succeeded, revision }) => ({ succeeded, revision }),
    )
    .catch(rejectAsRecipe);
}

function created(key: Uint8Array, revision: number): TxnCommand["compare"][number] {
  return { where: key, target: "createRevision", result: "equal", number: revision, value: NOTHING, lease: undefined };
}

/** The oldest, or the youngest that is older than `before`; undefined if there is none. */
export async function findCandidate(
  context: ServiceContext,
  name: Uint8Array,
  which: { readonly order: "ascending" | "descending"; readonly before?: number },
): Promise<{ readonly kv: UnpackedKv | undefined; readonly revision: number }> {
  const found = await readRange(context, {
    ...ALL_CURRENT,
    interval: candidatesOf(name),
    limit: 1,
    order: which.order,
    sortBy: "createRevision",
    maxCreateRevision: which.before === undefined ? undefined : which.before - 1,
  });
  return { kv: found.returned === 0 ? undefined : decodeKv(found.kvs, 0), revision: found.revision };
}

const ALL_CURRENT = { keysOnly: false, countOnly: false, revision: undefined } as const;

/** One key as it stands. */
export async function readKey(
  context: ServiceContext,
  key: Uint8Array,
): Promise<{ readonly kv: UnpackedKv | undefined; readonly revision: number }> {
  const found = await readRange(context, {
    ...ALL_CURRENT,
    interval: { start: key, end: keyAfter(key) },
    limit: 1,
    order: "ascending",
    sortBy: "key",
  });
  return { kv: found.returned === 0 ? undefined : decodeKv(found.kvs, 0), revision: found.revision };
}

async function readRange(context: ServiceContext, request: RangeRequest): Promise<PackedRange> {
  try {
    return await context.backend.range(request, "linearizable");
  } catch (error) {
    throw wireError(error);
  }
}

/**
 * Waits until no candidate is older than this one, and answers whether there was any. Rejects with the call's cancellation, after the candidate's key has been deleted if
 * the call made it.
 */
export async function waitForTurn(
  context: ServiceContext,
  name: Uint8Array,
  candidacy: Candidacy,
  call: CallContext,
): Promise<{ readonly hasWaited: boolean }> {
  try {
    for (let hasWaited = false; ; hasWaited = true) {
      const older = await findCandidate(context, name, { order: "descending", before: candidacy.createRevision });
      if (older.kv === undefined) return { hasWaited };
      await waitForDeletion(context, Uint8Array.from(older.kv.key), older.revision + 1, call);
    }
  } catch (error) {
    if (candidacy.isNew) {
      ifHeld(context, candidacy, { kind: "delete", where: candidacy.key, prevKv: false }).catch(() => {
        // It goes with its lease.
      });
    }
    throw error;
  }
}

/** Resolves when the key is deleted at or after this revision. Rejects when the call is cancelled. */
function waitForDeletion(context: ServiceContext, key: Uint8Array, fromRevision: number, call: CallContext): Promise<void> {
  return new Promise((resolve, reject) => {
    let watch: BackendWatch | undefined = undefined;
    const settle = (act: () => void): void => {
      watch?.close();
      forgetStop();
      act();
    };
    const forgetStop = context.onStop(() => settle(() => reject(etcdError("stopped"))));
    call.onCancel((reason) => settle(() => reject(reason)));
    watch = context.backend.watch(
      { interval: { start: key, end: keyAfter(key) }, fromRevision, prevKv: false, only: "deletes", progressMs: 0 },
      {
        onRegistered: () => {},
        onProgress: () => {},
        onEvents: () => settle(resolve),
        // Looked at again: it may be gone since.
        onCompacted: () => settle(resolve),
        onEnd: (error) => settle(() => reject(wireError(error) as Error)),
      },
    );
  });
}
