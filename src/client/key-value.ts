/** Keys with their values as callers get them: bytes are copied on first access into a buffer of their own, text is decoded on demand. */
import { invalidArgument } from "../errors.ts";
import type { Bytes, KeyMeta, KeyValue } from "./client.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function decodeText(bytes: Uint8Array, what: string): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw invalidArgument(what, "not UTF-8; read it as bytes");
  }
}

function own(bytes: Uint8Array): Bytes {
  // A view of an answer would keep all of it alive, and its buffer is not the caller's to transfer.
  return bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer ? (bytes as Bytes) : new Uint8Array(bytes);
}

/** What a key value is made of. `key` may be the text that the caller asked with: most never look at its bytes. */
export interface KeyValueParts {
  readonly key: Uint8Array | string;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
}

/** One class, without private names, since a read makes one of these and little else. */
class StoredKeyValue implements KeyValue {
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  private storedKey: Uint8Array | string;
  private storedValue: Uint8Array;

  constructor(key: Uint8Array | string, kv: Omit<KeyValueParts, "key">) {
    this.createRevision = kv.createRevision;
    this.modRevision = kv.modRevision;
    this.version = kv.version;
    this.lease = kv.lease;
    this.storedKey = key;
    this.storedValue = kv.value;
  }

  get keyBytes(): Bytes {
    const key = this.storedKey;
    return new Uint8Array(typeof key === "string" ? encoder.encode(key) : key);
  }

  get key(): string {
    if (typeof this.storedKey !== "string") this.storedKey = decodeText(this.storedKey, "key");
    return this.storedKey;
  }

  get value(): Bytes {
    const value = own(this.storedValue);
    this.storedValue = value;
    return value;
  }

  text(): string {
    return decodeText(this.storedValue, "value");
  }

  json(): unknown {
    const text = this.text();
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw invalidArgument("value", `not JSON: ${String(cause)}`);
    }
  }
}

class StoredKeyMeta implements KeyMeta {
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  private storedKey: Uint8Array | string;

  constructor(kv: KeyValueParts) {
    this.createRevision = kv.createRevision;
    this.modRevision = kv.modRevision;
    this.version = kv.version;
    this.lease = kv.lease;
    this.storedKey = kv.key;
  }

  get keyBytes(): Bytes {
    const key = this.storedKey;
    return new Uint8Array(typeof key === "string" ? encoder.encode(key) : key);
  }

  get key(): string {
    if (typeof this.storedKey !== "string") this.storedKey = decodeText(this.storedKey, "key");
    return this.storedKey;
  }
}

export function createKeyValue(kv: KeyValueParts): KeyValue {
  return new StoredKeyValue(kv.key, kv);
}

/** The same for a record that lies without its key. */
export function createKeyValueOf(key: Uint8Array | string, kv: Omit<KeyValueParts, "key">): KeyValue {
  return new StoredKeyValue(key, kv);
}

export function createKeyMeta(kv: KeyValueParts): KeyMeta {
  return new StoredKeyMeta(kv);
}
