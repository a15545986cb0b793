/**
 * Custom metadata of a call: header fields that the layers below do not use themselves. Names are lower case; values are printable ASCII, or
 * bytes if the name ends in `-bin`. A name may have several values, and their order is kept.
 */
import { HeaderName, type HeaderBlock } from "../hpack/header-field.ts";

const NAME = /^[0-9a-z_.-]+$/;
// Printable ASCII, with no blank at either end.
const VALUE = /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/;
const RESERVED: ReadonlySet<string> = new Set([
  "content-type",
  "te",
  "user-agent",
  "host",
  "content-length",
  "connection",
  "transfer-encoding",
  "upgrade",
  "keep-alive",
  "proxy-connection",
]);

/** What metadata can be made from. */
export type MetadataInit = Metadata | Readonly<Record<string, string | Uint8Array | readonly (string | Uint8Array)[]>>;

/** Names and values that travel with a call. */
export class Metadata {
  /** Names and values as on the wire, in turn. */
  readonly #fields: string[] = [];

  /** Metadata with the given names and values. Throws TypeError if one of them cannot be sent. */
  static from(init: MetadataInit): Metadata {
    if (init instanceof Metadata) return init;
    const metadata = new Metadata();
    for (const [name, values] of Object.entries(init)) {
      if (typeof values === "string" || values instanceof Uint8Array) metadata.append(name, values);
      else for (const value of values) metadata.append(name, value);
    }
    return metadata;
  }

  /** The metadata in a received block. Values of a binary name that were joined by commas are separated. */
  static ofBlock(block: HeaderBlock): Metadata {
    const metadata = new Metadata();
    for (const field of block.fields) {
      if (field.kind !== HeaderName.other && field.kind !== HeaderName.userAgent) continue;
      if (!field.name.endsWith("-bin")) {
        metadata.#fields.push(field.name, field.value);
      } else {
        for (const part of field.value.split(",")) metadata.#fields.push(field.name, part.trim());
      }
    }
    return metadata;
  }

  /** Adds a value. Throws TypeError if it cannot be sent. */
  append(name: string, value: string | Uint8Array): void {
    const lower = name.toLowerCase();
    if (!NAME.test(lower) || lower.startsWith("grpc-") || RESERVED.has(lower))
      throw new TypeError(`not a name for metadata: ${JSON.stringify(name)}`);
    if (lower.endsWith("-bin") !== (typeof value !== "string")) {
      throw new TypeError(`${lower}: values are bytes if and only if the name ends in -bin`);
    }
    if (typeof value === "string") {
      if (!VALUE.test(value)) throw new TypeError(`${lower}: the value is not printable ASCII without blanks at its ends`);
      this.#fields.push(lower, value);
    } else {
      this.#fields.push(lower, encodeBinaryValue(value));
    }
  }

  /** Replaces all values of the name by this one. */
  set(name: string, value: string | Uint8Array): void {
    const added = new Metadata();
    added.append(name, value);
    this.delete(name);
    this.append(name, value);
  }

  /** Removes all values of the name. */
  delete(name: string): void {
    const lower = name.toLowerCase();
    for (let i = this.#fields.length - 2; i >= 0; i -= 2) if (this.#fields[i] === lower) this.#fields.splice(i, 2);
  }

  /** The first value of the name as text; undefined if there is none. A binary value is in base64. */
  get(name: string): string | undefined {
    const lower = name.toLowerCase();
    for (let i = 0; i < this.#fields.length; i += 2) if (this.#fields[i] === lower) return this.#fields[i + 1];
    return undefined;
  }

  /** All values of the name as text. */
  getAll(name: string): string[] {
    const lower = name.toLowerCase();
    const values: string[] = [];
    for (let i = 0; i < this.#fields.length; i += 2) if (this.#fields[i] === lower) values.push(this.#fields[i + 1]!);
    return values;
  }

  /** The first value of a binary name; undefined if there is none. */
  getBinary(name: string): Uint8Array | undefined {
    const text = this.get(name);
    return text === undefined ? undefined : decodeBinaryValue(text);
  }

  /** All values of a binary name. */
  getAllBinary(name: string): Uint8Array[] {
    return this.getAll(name).map(decodeBinaryValue);
  }

  /** Number of values. */
  get size(): number {
    return this.#fields.length / 2;
  }

  /** Names and values in turn, as on the wire. Not to be changed. */
  get fields(): readonly string[] {
    return this.#fields;
  }

  /** Names and values; binary values as bytes. */
  *[Symbol.iterator](): Generator<[string, string | Uint8Array], void, undefined> {
    for (let i = 0; i < this.#fields.length; i += 2) {
      const name = this.#fields[i]!;
      const text = this.#fields[i + 1]!;
      yield [name, name.endsWith("-bin") ? decodeBinaryValue(text) : text];
    }
  }
}

/** A binary header value: base64 without padding. */
export function encodeBinaryValue(value: Uint8Array): string {
  const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
  return text.endsWith("==") ? text.slice(0, -2) : text.endsWith("=") ? text.slice(0, -1) : text;
}

/** Decodes a binary header value, with or without padding. Copied into memory of its own. */
export function decodeBinaryValue(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}
