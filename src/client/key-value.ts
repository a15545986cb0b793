/** Keys with their values as callers get them: bytes are copied on first access into a buffer of their own, text is decoded on demand. */
import type { UnpackedKv } from "../core/kv/result.ts";
import { invalidArgument } from "../errors.ts";
import type { Bytes, KeyMeta, KeyValue } from "./client.ts";

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

class Meta implements KeyMeta {
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  #key: Uint8Array;
  #text: string | undefined;

  constructor(kv: Pick<UnpackedKv, "key" | "createRevision" | "modRevision" | "version" | "lease">) {
    this.#key = kv.key;
    this.createRevision = kv.createRevision;
    this.modRevision = kv.modRevision;
    this.version = kv.version;
    this.lease = kv.lease;
  }

  get keyBytes(): Bytes {
    const key = own(this.#key);
    this.#key = key;
    return key;
  }

  get key(): string {
    this.#text ??= decodeText(this.#key, "key");
    return this.#text;
  }
}

class WithValue extends Meta implements KeyValue {
  #value: Uint8Array;

  constructor(kv: Omit<UnpackedKv, "next">) {
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

export function createKeyValue(kv: Omit<UnpackedKv, "next">): KeyValue {
  return new WithValue(kv);
}

export function createKeyMeta(kv: Omit<UnpackedKv, "next">): KeyMeta {
  return new Meta(kv);
}
