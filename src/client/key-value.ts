/** Keys with their values as callers get them: bytes are copied on first access into a buffer of their own, text is decoded on demand. */
import { inspect, type InspectOptionsStylized } from "node:util";
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

/** What is shown of bytes: text where they are text, else base64 under another name, so that neither is taken for the other. */
export function shownBytes(name: "key" | "value", bytes: Uint8Array | string): Record<string, string> {
  if (typeof bytes === "string") return { [name]: bytes };
  try {
    return { [name]: decoder.decode(bytes) };
  } catch {
    return { [`${name}Base64`]: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64") };
  }
}

function shown(kv: Omit<KeyMeta, "key" | "keyBytes">, bytes: Record<string, string>): Record<string, unknown> {
  const { createRevision, modRevision, version, lease } = kv;
  return { ...bytes, createRevision, modRevision, version, ...(lease === undefined ? {} : { lease }) };
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

  /** For JSON.stringify: bytes that are no text stand as `keyBase64` and `valueBase64`. */
  toJSON(): Record<string, unknown> {
    return shown(this, { ...shownBytes("key", this.storedKey), ...shownBytes("value", this.storedValue) });
  }

  [inspect.custom](_depth: number, options: InspectOptionsStylized): string {
    return `KeyValue ${inspect(this.toJSON(), options)}`;
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

  toJSON(): Record<string, unknown> {
    return shown(this, shownBytes("key", this.storedKey));
  }

  [inspect.custom](_depth: number, options: InspectOptionsStylized): string {
    return `KeyMeta ${inspect(this.toJSON(), options)}`;
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
