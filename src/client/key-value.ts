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

class Meta implements KeyMeta {
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  #key: Uint8Array | string;

  constructor(kv: KeyValueParts) {
    this.#key = kv.key;
    this.createRevision = kv.createRevision;
    this.modRevision = kv.modRevision;
    this.version = kv.version;
    this.lease = kv.lease;
  }

  get keyBytes(): Bytes {
    const key = this.#key;
    return new Uint8Array(typeof key === "string" ? encoder.encode(key) : key);
  }

  get key(): string {
    if (typeof this.#key !== "string") this.#key = decodeText(this.#key, "key");
    return this.#key;
  }
}

class WithValue extends Meta implements KeyValue {
  #value: Uint8Array;

  constructor(kv: KeyValueParts) {
    super(kv);
    this.#value = kv.value;
  }

  get value(): Bytes {
    const value = own(this.#value);
    this.#value = value;
    return value;
  }

  text(): string {
    return decodeText(this.#value, "value");
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

export function createKeyValue(kv: KeyValueParts): KeyValue {
  return new WithValue(kv);
}

export function createKeyMeta(kv: KeyValueParts): KeyMeta {
  return new Meta(kv);
}
