/**
 * What the Maintenance service tells of the data of the member that is asked: its size, its hash, and all of it as a snapshot. The format of a snapshot is that
 * of this package's backups, which nothing of etcd's reads but to check its length and digest.
 */
import { EngineError } from "../../errors.ts";
import type { ResponseStream } from "../../rpc/index.ts";
import { BACKUP_DIGEST_BYTES } from "../../storage/backup-format.ts";
import { wireError } from "../etcd-errors.ts";
import type { Answer } from "../handlers.ts";
import type { Message, MessageInit } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";
import { ETCD_VERSION } from "../versions.ts";

/** Of one part of a snapshot. */
const BLOB_BYTES_MAX = 32 << 10;
/** A hash of everything takes longer than a call of the data. */
const HASH_TIMEOUT_MS = 60_000;

/** Both sizes are what the quota counts: there is nothing that defragmentation would give back. Empty where the node has failed. */
export async function sizes(context: ServiceContext): Promise<MessageInit<"etcdserverpb.StatusResponse">> {
  try {
    const { dataBytes, dataBytesMax } = await context.backend.client.maintenance.status();
    return { dbSize: dataBytes, dbSizeInUse: dataBytes, dbSizeQuota: dataBytesMax };
  } catch (error) {
    if (EngineError.is(error)) return {};
    throw error;
  }
}

/** As of what this member has applied. */
export async function hash(context: ServiceContext): Promise<MessageInit<"etcdserverpb.HashResponse">> {
  const found = await hashAt(context, 0);
  return { header: context.header(), hash: found.hash };
}

/** As of a revision; 0: as of what this member has applied. */
export async function hashKv(
  context: ServiceContext,
  request: Message<"etcdserverpb.HashKVRequest">,
): Promise<MessageInit<"etcdserverpb.HashKVResponse">> {
  const { hash: found, revision, compactRevision } = await hashAt(context, request.revision);
  // A revision that the header is behind was applied meanwhile.
  const header = context.header(Math.max(revision, context.backend.revision()));
  return { header, hash: found, compact_revision: compactRevision > 1 ? compactRevision : -1, hash_revision: revision };
}

async function hashAt(
  { backend }: ServiceContext,
  revision: number,
): Promise<{ readonly hash: number; readonly revision: number; readonly compactRevision: number }> {
  try {
    return await backend.client.maintenance.hash({ timeoutMs: HASH_TIMEOUT_MS, ...(revision > 0 ? { revision } : {}) });
  } catch (error) {
    throw wireError(error);
  }
}

/**
 * A backup in parts. How many bytes remain is an estimate, by what the quota counts, and never less than the digest until that comes as the last
 * part: clients look whether it is zero.
 */
export async function snapshot({ backend }: ServiceContext, call: ResponseStream<Answer<"etcdserverpb.SnapshotResponse">>): Promise<void> {
  try {
    const { maintenance } = backend.client;
    let { dataBytes: left } = await maintenance.status();
    const send = async (blob: Uint8Array, remaining_bytes: number): Promise<void> => {
      if (!call.send({ blob, remaining_bytes, version: ETCD_VERSION })) await call.writable();
    };
    let last: Uint8Array | undefined;
    for await (const part of maintenance.backup()) {
      if (last !== undefined) left = await sendPart(last, left, send);
      last = part;
    }
    if (last === undefined) return;
    const end = last.byteLength - BACKUP_DIGEST_BYTES;
    await sendPart(last.subarray(0, end), 0, send);
    await send(last.subarray(end), 0);
  } catch (error) {
    throw wireError(error);
  }
}

/** Answers what is left, as far as is known. */
async function sendPart(part: Uint8Array, leftBefore: number, send: (blob: Uint8Array, left: number) => Promise<void>): Promise<number> {
  let left = leftBefore;
  for (let at = 0; at < part.byteLength; at += BLOB_BYTES_MAX) {
    const blob = part.subarray(at, at + BLOB_BYTES_MAX);
    left = Math.max(BACKUP_DIGEST_BYTES, left - blob.byteLength);
    // oxlint-disable-next-line no-await-in-loop -- one after another
    await send(blob, left);
  }
  return left;
}
