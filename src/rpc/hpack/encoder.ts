/**
 * Encoding of header blocks (RFC 7541). One encoder serves one connection. A field enters the dynamic table the second time that its
 * name is sent with the same value, or at once if the caller says that it will come again; what differs from call to call
 * (`grpc-timeout`, `grpc-message`, binary metadata) never does, and credentials are sent so that no hop may store them (section 7.1.3).
 * Fields that a caller sends again and again are kept as bytes, see `HeaderTemplate`.
 */
import { headerFieldBytes } from "./header-field.ts";
import { huffmanEncode, huffmanEncodedBytes } from "./huffman.ts";
import { staticIndexOf, staticNameIndexOf, STATIC_TABLE_LENGTH } from "./static-table.ts";

/** We never use more of the peer's table than this, whatever it offers. */
const TABLE_BYTES_MAX = 4096;
/** A longer field is not worth its place in the table. */
const INDEXED_FIELD_BYTES_MAX = 512;
/** Names whose last value is remembered, to see repetitions. */
const RECENT_NAMES_MAX = 64;

const SECRET: ReadonlySet<string> = new Set(["authorization", "proxy-authorization", "cookie", "set-cookie", "token"]);
const NEVER_REPEATS: ReadonlySet<string> = new Set(["grpc-timeout", "grpc-message", "content-length", "traceparent", "tracestate"]);

/** Fields that one connection sends again and again, with their bytes once these only name table entries. */
export interface HeaderTemplate {
  /** Names and values in turn. */
  readonly fields: readonly string[];
  /** `bytes` is right as long as this is the encoder's version. */
  version: number;
  bytes: Uint8Array;
}

/** A template for one connection. `fields`: names and values in turn. */
export function createHeaderTemplate(fields: readonly string[]): HeaderTemplate {
  return { fields, version: -1, bytes: new Uint8Array(0) };
}

/** The most bytes that the fields, names and values in turn, can take in a block. */
export function encodedBytesMax(fields: readonly string[]): number {
  let bytes = 0;
  // Each field has two lengths or indexes of up to five bytes each.
  for (let i = 0; i < fields.length; i++) bytes += fields[i]!.length + 10;
  return bytes;
}

/** Encodes the header blocks of one connection. */
export class HpackEncoder {
  /** Changes with each change of the table. */
  version = 0;
  #capacity = TABLE_BYTES_MAX;
  #bytes = 0;
  /** Keys (`name LF value`) of the entries in insertion order; the entry with the number n is at n - #evicted. */
  #entries: string[] = [];
  #evicted = 0;
  /** Number (since the beginning) of each entry by its key, and of the newest entry by its name. */
  readonly #numbers = new Map<string, number>();
  readonly #nameNumbers = new Map<string, number>();
  readonly #recent = new Map<string, string>();
  /** Size updates owed to the peer at the next block: the lowest since the last block, and the current one (RFC 7541 section 4.2). */
  #updateLowest = -1;
  #updateOwed = false;

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setTableBytesMax(bytes: number): void {
    const capacity = Math.min(bytes, TABLE_BYTES_MAX);
    if (capacity === this.#capacity) return;
    this.#capacity = capacity;
    this.#evict(capacity);
    this.#updateLowest = this.#updateLowest < 0 ? capacity : Math.min(this.#updateLowest, capacity);
    this.#updateOwed = true;
    this.version++;
  }

  /** Entries in the dynamic table. */
  get tableLength(): number {
    return this.#entries.length;
  }

  /** Bytes in the dynamic table. */
  get tableBytes(): number {
    return this.#bytes;
  }

  /** Writes what must come before the first field of a block. At most 12 bytes. Returns the place behind it. */
  begin(target: Uint8Array, at: number): number {
    if (!this.#updateOwed) return at;
    this.#updateOwed = false;
    if (this.#updateLowest < this.#capacity) at = writeInteger(target, at, 0x20, 5, this.#updateLowest);
    this.#updateLowest = -1;
    this.version++;
    return writeInteger(target, at, 0x20, 5, this.#capacity);
  }

  /** Writes one field; `repeats`: it will come again, index it at once. The name is in lower case, both are latin1 and valid. Returns the place behind it. */
  field(name: string, value: string, repeats: boolean, target: Uint8Array, at: number): number {
    const staticIndex = staticIndexOf(name, value);
    if (staticIndex !== 0) return writeInteger(target, at, 0x80, 7, staticIndex);
    if (SECRET.has(name)) return this.#literal(0x10, 4, name, value, target, at);
    if (NEVER_REPEATS.has(name) || name.endsWith("-bin")) return this.#literal(0, 4, name, value, target, at);
    const key = `${name}\n${value}`;
    const number = this.#numbers.get(key);
    if (number !== undefined) return writeInteger(target, at, 0x80, 7, this.#indexOf(number));
    const bytes = headerFieldBytes(name, value);
    if (bytes > INDEXED_FIELD_BYTES_MAX || bytes > this.#capacity || !(repeats || this.#seenBefore(name, value))) {
      return this.#literal(0, 4, name, value, target, at);
    }
    at = this.#literal(0x40, 6, name, value, target, at);
    this.#insert(name, key, bytes);
    return at;
  }

  /** Writes the fields of a template. Returns the place behind it. */
  template(template: HeaderTemplate, target: Uint8Array, at: number): number {
    const { bytes, fields } = template;
    if (template.version === this.version) {
      for (let i = 0; i < bytes.length; i++) target[at + i] = bytes[i]!;
      return at + bytes.length;
    }
    const start = at;
    const { version } = this;
    for (let i = 0; i < fields.length; i += 2) at = this.field(fields[i]!, fields[i + 1]!, true, target, at);
    if (version === this.version) {
      // Nothing was inserted, so the same bytes will do until something is.
      template.bytes = Uint8Array.prototype.slice.call(target, start, at);
      template.version = version;
    }
    return at;
  }

  #seenBefore(name: string, value: string): boolean {
    if (this.#recent.get(name) === value) return true;
    if (this.#recent.size >= RECENT_NAMES_MAX) this.#recent.clear();
    this.#recent.set(name, value);
    return false;
  }

  #indexOf(number: number): number {
    return STATIC_TABLE_LENGTH + this.#evicted + this.#entries.length - number;
  }

  #literal(pattern: number, prefixBits: number, name: string, value: string, target: Uint8Array, at: number): number {
    let index = staticNameIndexOf(name);
    if (index === 0) {
      const number = this.#nameNumbers.get(name);
      if (number !== undefined) index = this.#indexOf(number);
    }
    at = writeInteger(target, at, pattern, prefixBits, index);
    if (index === 0) at = writeString(target, at, name);
    return writeString(target, at, value);
  }

  #insert(name: string, key: string, bytes: number): void {
    this.#evict(this.#capacity - bytes);
    const number = this.#evicted + this.#entries.length;
    this.#entries.push(key);
    this.#numbers.set(key, number);
    this.#nameNumbers.set(name, number);
    this.#bytes += bytes;
    this.version++;
  }

  #evict(bytesMax: number): void {
    while (this.#bytes > bytesMax) {
      // At most 128 entries: shifting is cheap.
      const key = this.#entries.shift()!;
      const number = this.#evicted++;
      const name = key.slice(0, key.indexOf("\n"));
      this.#numbers.delete(key);
      if (this.#nameNumbers.get(name) === number) this.#nameNumbers.delete(name);
      this.#bytes -= key.length - 1 + 32;
    }
  }
}

/** Writes an integer with a prefix of so many bits under the pattern (RFC 7541 section 5.1) and returns the place behind it. */
export function writeInteger(target: Uint8Array, at: number, pattern: number, prefixBits: number, value: number): number {
  const mask = (1 << prefixBits) - 1;
  if (value < mask) {
    target[at] = pattern | value;
    return at + 1;
  }
  target[at++] = pattern | mask;
  value -= mask;
  while (value >= 0x80) {
    target[at++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  target[at] = value;
  return at + 1;
}

/** Writes a string, Huffman coded if that is shorter. */
function writeString(target: Uint8Array, at: number, text: string): number {
  const length = text.length;
  const coded = huffmanEncodedBytes(text);
  if (coded < length) {
    at = writeInteger(target, at, 0x80, 7, coded);
    return huffmanEncode(text, target, at);
  }
  at = writeInteger(target, at, 0, 7, length);
  for (let i = 0; i < length; i++) target[at + i] = text.charCodeAt(i);
  return at + length;
}
