/**
 * Keys for people with curl: GET, PUT and DELETE of /kv/KEY, a prefix as a list, and changes as server-sent events that go on where they were cut
 * off. Text stays text; other bytes are marked as base64.
 */
import type { Client, Consistency, KeyValue, ReadOptions, WatchBatch } from "../client/client.ts";
import { EngineError, invalidArgument } from "../errors.ts";
import type { HttpCall } from "./http-call.ts";

const JSON_TYPE = { "content-type": "application/json" };
const LIST_LIMIT = 1_000;
const PROGRESS_MS = 15_000;
const PREFIX = "/kv/";
const ANY_KEY = Uint8Array.of(0);

const strictText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Whether the path is one of ours. */
export function isPeoplesPath(path: string): boolean {
  return path === "/kv" || path.startsWith(PREFIX);
}

/** Answers a request for such a path. */
export async function handlePeople(client: Client, call: HttpCall): Promise<void> {
  try {
    const key = decodeKey(call.path.slice(PREFIX.length));
    const isPrefix = call.query.has("prefix");
    if (key.length === 0 && !isPrefix) throw invalidArgument("path", "/kv/KEY is wanted, or /kv/?prefix for all keys");
    switch (call.method) {
      case "GET":
      case "HEAD":
        if (call.query.has("watch") || call.header("accept") === "text/event-stream") return await watch(client, call, key, isPrefix);
        return await (isPrefix ? list(client, call, key) : get(client, call, key));
      case "PUT":
        return await put(client, call, key);
      case "DELETE": {
        const { deleted, revision } = await client.delete(isPrefix ? rangeOf(key) : key);
        return call.respond(200, JSON_TYPE, json({ deleted, revision }));
      }
      default:
        return call.respond(405, { ...JSON_TYPE, allow: "GET, HEAD, PUT, DELETE" }, json({ error: "GET, PUT or DELETE is wanted" }));
    }
  } catch (error) {
    respondError(call, error);
  }
}

/** A path's bytes: %XX is any byte. */
function decodeKey(path: string): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < path.length; i++) {
    const hex = path.slice(i + 1, i + 3);
    if (path[i] === "%" && /^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    } else bytes.push(path.charCodeAt(i));
  }
  return Uint8Array.from(bytes);
}

function rangeOf(prefix: Uint8Array): { readonly all: true } | { readonly prefix: Uint8Array } {
  return prefix.length === 0 ? { all: true } : { prefix };
}

function readOptionsOf(call: HttpCall): ReadOptions {
  const { query } = call;
  const consistency = query.get("consistency");
  const revision = query.get("revision");
  return {
    ...(consistency === null ? {} : { consistency: consistency as Consistency }),
    ...(revision === null ? {} : { revision: Number(revision) }),
  };
}

async function get(client: Client, call: HttpCall, key: Uint8Array): Promise<void> {
  const kv = await client.get(key, readOptionsOf(call));
  if (kv === undefined) return call.respond(404, JSON_TYPE, json({ error: "there is no such key" }));
  if (call.query.has("json")) return call.respond(200, JSON_TYPE, json(kvJson(kv)));
  const { value } = kv;
  call.respond(
    200,
    {
      "content-type": isText(value) ? "text/plain; charset=utf-8" : "application/octet-stream",
      // So that no browser takes it for a page.
      "x-content-type-options": "nosniff",
      etag: `"${kv.modRevision}"`,
      "x-create-revision": String(kv.createRevision),
      "x-mod-revision": String(kv.modRevision),
      "x-version": String(kv.version),
    },
    value,
  );
}

async function list(client: Client, call: HttpCall, prefix: Uint8Array): Promise<void> {
  const asked = Number(call.query.get("limit") ?? LIST_LIMIT);
  if (!Number.isInteger(asked) || asked < 1) throw invalidArgument("limit", `a whole number from 1 to ${LIST_LIMIT} is wanted`);
  const limit = Math.min(asked, LIST_LIMIT);
  const { kvs, count, more, revision } = await client.range(rangeOf(prefix), { ...readOptionsOf(call), limit });
  call.respond(200, JSON_TYPE, json({ revision, count, more, kvs: kvs.map(kvJson) }));
}

async function put(client: Client, call: HttpCall, key: Uint8Array): Promise<void> {
  const ttlMs = call.query.get("ttlMs");
  const { revision } = await client.put(key, call.body, ttlMs === null ? {} : { ttlMs: Number(ttlMs) });
  call.respond(200, { ...JSON_TYPE, etag: `"${revision}"` }, json({ revision }));
}

async function watch(client: Client, call: HttpCall, key: Uint8Array, isPrefix: boolean): Promise<void> {
  // A browser that was cut off says what it has seen.
  const seen = call.header("last-event-id") ?? "";
  const from = call.query.get("revision");
  const fromRevision = /^\d+$/.test(seen) ? Number(seen) + 1 : from === null ? undefined : Number(from);
  let isGone = false;
  let stop = (): void => {};
  call.onGone(() => {
    isGone = true;
    stop();
  });
  if (fromRevision !== undefined) await checkHistory(client, fromRevision);
  if (isGone) return;
  const watched = client.watch(isPrefix ? rangeOf(key) : key, {
    prevKv: call.query.has("prevKv"),
    progressMs: PROGRESS_MS,
    ...(fromRevision === undefined ? {} : { fromRevision }),
  });
  stop = (): void => void watched.close();
  const { revision } = await watched.ready();
  call.begin(200, { "content-type": "text/event-stream", "cache-control": "no-store", "x-revision": String(revision) });
  try {
    call.write(": watching\n\n");
    for await (const batch of watched) {
      if (!call.write(eventsOf(batch))) await call.drained();
    }
  } catch (error) {
    call.write(`event: error\ndata: ${json(errorBody(error))}\n\n`);
  } finally {
    if (!isGone) call.end();
  }
}

/**
 * Rejects with COMPACTED where the watch could not begin: told as the status of the answer, since a browser comes again for ever after a stream that
 * has ended, and never after a 410.
 */
async function checkHistory(client: Client, fromRevision: number): Promise<void> {
  try {
    await client.get(ANY_KEY, { revision: fromRevision, consistency: "eventual" });
  } catch (error) {
    // The next one is still to come.
    if (!EngineError.is(error, "FUTURE_REVISION")) throw error;
  }
}

/** A revision's events; its last bears its number, so that a resumption leaves none out, and repeats none but of a revision that was cut off. */
function eventsOf(batch: WatchBatch): string {
  if (batch.kind !== "events") return `event: ${batch.kind}\nid: ${batch.revision}\ndata: ${json({ revision: batch.revision })}\n\n`;
  const last = batch.more === true ? -1 : batch.events.length - 1;
  return batch.events
    .map((event, i) => {
      const data =
        event.kind === "put"
          ? { ...kvJson(event.kv), created: event.created, ...before(event.prevKv) }
          : { ...keyJson(event.keyBytes), modRevision: batch.revision, cause: event.cause, ...before(event.prevKv) };
      return `event: ${event.kind}\n${i === last ? `id: ${batch.revision}\n` : ""}data: ${json(data)}\n\n`;
    })
    .join("");
}

function before(kv: KeyValue | undefined): object {
  return kv === undefined ? {} : { prevKv: kvJson(kv) };
}

function kvJson(kv: KeyValue): object {
  const { createRevision, modRevision, version, lease, value, keyBytes } = kv;
  const asText = isText(value) ? { value: kv.text() } : { valueBase64: Buffer.from(value).toString("base64") };
  return { ...keyJson(keyBytes), ...asText, createRevision, modRevision, version, ...(lease === undefined ? {} : { lease }) };
}

function keyJson(key: Uint8Array): object {
  return isText(key) ? { key: strictText.decode(key) } : { keyBase64: Buffer.from(key).toString("base64") };
}

function isText(bytes: Uint8Array): boolean {
  try {
    strictText.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Tells an error of the engine. */
export function respondError(call: HttpCall, error: unknown): void {
  const body = errorBody(error);
  call.respond(EngineError.is(error) ? statusOf(error) : 500, JSON_TYPE, json(body));
}

function errorBody(error: unknown): object {
  if (!EngineError.is(error)) return { error: "internal error" };
  return { error: error.message, code: error.code, mayHaveApplied: error.mayHaveApplied };
}

function statusOf(error: EngineError): number {
  switch (error.code) {
    case "INVALID_ARGUMENT":
    case "FUTURE_REVISION":
      return 400;
    case "PERMISSION_DENIED":
      return 403;
    case "NOT_FOUND":
      return 404;
    case "COMPACTED":
      return 410;
    case "OVERLOADED":
      return 429;
    case "NO_SPACE":
      return 507;
    case "TIMEOUT":
      return 504;
    case "UNSUPPORTED":
      return 501;
    case "UNAVAILABLE":
    case "CLOSED":
      return 503;
    default:
      return 500;
  }
}

function json(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
