/**
 * What a node tells watches, on its way to their readers. One delivery may go to thousands of watches: its bytes are unpacked once, when the
 * first of them is read, and each reader then gets objects of its own.
 */
import { inspect, type InspectOptionsStylized } from "node:util";
import { decodeWatchEvent, type UnpackedEvent } from "../core/kv/watch-event.ts";
import { decodeKv, type UnpackedKv } from "../core/kv/packed-kv.ts";
import type { EngineError, WireError } from "../errors.ts";
import type { FromNode } from "../node/boundary.ts";
import type { Bytes, KeyValue, Revision, WatchBatch, WatchEvent } from "./client.ts";
import { createKeyValueOf, decodeText, shownBytes } from "./key-value.ts";

type Watched = FromNode & { readonly kind: "watched" };

/** What one delivery costs the credit of each of its watches, beside its bytes. */
const DELIVERY_BYTES = 64;

/** Who is told. Calls come in the order in which the node sent them. */
export interface WatchSink {
  onRegistered(revision: Revision): void;
  onRefused(error: WireError): void;
  onDelivery(delivery: WatchDelivery): void;
  end(error: EngineError): void;
}

export class WatchDelivery {
  readonly watched: Watched;
  /** What each of its watches has paid, and is given back when it is read. */
  readonly creditBytes: number;
  #events: readonly UnpackedEvent[] | undefined;
  #keys: readonly (Uint8Array | string)[] | undefined;

  constructor(watched: Watched) {
    this.watched = watched;
    this.creditBytes = watched.bytes.byteLength + DELIVERY_BYTES;
  }

  /** Of "events": views, shared by all that ask. */
  get events(): readonly UnpackedEvent[] {
    this.#events ??= unpackEvents(this.watched);
    return this.#events;
  }

  /** Of "reset": views. */
  kvs(): UnpackedKv[] {
    const { bytes, count } = this.watched;
    const kvs: UnpackedKv[] = [];
    for (let i = 0, offset = 0; i < count; i++) {
      const kv = decodeKv(bytes, offset);
      offset = kv.next;
      kvs.push(kv);
    }
    return kvs;
  }

  /** A batch of the reader's own. Not of a reset, which may have many parts. */
  batch(): WatchBatch {
    const { what, revision, more } = this.watched;
    if (what === "progress") return { kind: "progress", revision };
    const unpacked = this.events;
    const keys = this.#textKeys(unpacked);
    // A list that grows by one takes room for many, and most revisions have one event.
    const events = [eventOf(unpacked[0]!, keys[0]!)];
    for (let i = 1; i < unpacked.length; i++) events.push(eventOf(unpacked[i]!, keys[i]!));
    return more ? { kind: "events", revision, events, more } : { kind: "events", revision, events };
  }

  /** Where many read, each key becomes text once. */
  #textKeys(events: readonly UnpackedEvent[]): readonly (Uint8Array | string)[] {
    const isShared = this.watched.watches.length > 1;
    this.#keys ??= events.map(({ kv }) => (isShared ? textOrBytes(kv.key) : kv.key));
    return this.#keys;
  }
}

function eventOf({ kind, kv, created, cause, prevKv }: UnpackedEvent, key: Uint8Array | string): WatchEvent {
  const before = prevKv === undefined ? undefined : createKeyValueOf(key, prevKv);
  return kind === "put" ? { kind, kv: createKeyValueOf(key, kv), created, prevKv: before } : new Deletion(key, cause, before);
}

function unpackEvents({ bytes, count }: Watched): readonly UnpackedEvent[] {
  const events: UnpackedEvent[] = [];
  for (let i = 0, offset = 0; i < count; i++) {
    const event = decodeWatchEvent(bytes, offset);
    offset = event.next;
    events.push(event);
  }
  return events;
}

class Deletion {
  readonly kind = "delete";
  readonly cause: "request" | "expiry" | "revocation" | undefined;
  readonly prevKv: KeyValue | undefined;
  #key: Uint8Array | string;

  constructor(key: Uint8Array | string, cause: "request" | "expiry" | "revocation" | undefined, prevKv: KeyValue | undefined) {
    this.#key = key;
    this.cause = cause;
    this.prevKv = prevKv;
  }

  get keyBytes(): Bytes {
    return bytesOfKey(this.#key);
  }

  get key(): string {
    if (typeof this.#key !== "string") this.#key = decodeText(this.#key, "key");
    return this.#key;
  }

  /** For JSON.stringify: a key that is no text stands as `keyBase64`. */
  toJSON(): Record<string, unknown> {
    const { kind, cause, prevKv } = this;
    return { kind, ...shownBytes("key", this.#key), cause, ...(prevKv === undefined ? {} : { prevKv }) };
  }

  [inspect.custom](_depth: number, options: InspectOptionsStylized): string {
    return inspect(this.toJSON(), options);
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function bytesOfKey(key: Uint8Array | string): Bytes {
  return new Uint8Array(typeof key === "string" ? encoder.encode(key) : key);
}

function textOrBytes(bytes: Uint8Array): Uint8Array | string {
  try {
    return decoder.decode(bytes);
  } catch {
    return bytes;
  }
}
