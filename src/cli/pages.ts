/** An interval of any size, read page by page as of one revision, so that neither side holds all of it at once. */
import type { Message, MessageInit } from "../api/schema/messages.ts";
import { RpcError, Status } from "../rpc/index.ts";
import type { Remote } from "./remote.ts";

const FIRST_PAGE = 100;
/** Of the largest values that a server takes, as a rule, so many fit into one answer. */
const SMALL_PAGE = 16;
const PAGE_MAX = 1_000;
const PAGE_BYTES = 8 << 20;

/** The pages, in key order. The request's own limit, revision and order are not for it to have, but for a revision to begin with. */
export async function* pages(
  remote: Remote,
  request: MessageInit<"etcdserverpb.RangeRequest">,
): AsyncGenerator<Message<"etcdserverpb.RangeResponse">> {
  let key = request.key ?? new Uint8Array(0);
  let revision = request.revision ?? 0;
  let limit = FIRST_PAGE;
  for (;;) {
    let answer: Message<"etcdserverpb.RangeResponse">;
    try {
      answer = await remote.call("etcdserverpb.KV", "Range", { ...request, key, limit, revision });
    } catch (error) {
      if (!RpcError.is(error) || error.code !== Status.RESOURCE_EXHAUSTED || limit === 1) throw error;
      // The next keys have larger values than the ones before.
      limit = limit > SMALL_PAGE ? SMALL_PAGE : 1;
      continue;
    }
    revision ||= answer.header?.revision ?? 0;
    yield answer;
    const last = answer.kvs.at(-1);
    if (!answer.more || last === undefined) return;
    key = Uint8Array.from([...last.key, 0]);
    const bytes = answer.kvs.reduce((sum, kv) => sum + kv.key.length + kv.value.length, 1);
    limit = Math.max(1, Math.min(PAGE_MAX, limit * 4, Math.floor((answer.kvs.length * PAGE_BYTES) / bytes)));
  }
}
