/**
 * Messages as proto3's JSON, the dialect of etcd's gateway: 64-bit integers are strings, bytes are base64, enumerations are names, and what has
 * its default is left out. On the way in, field names may be in snake_case or lowerCamelCase, numbers may be text, enumerations numbers; unknown
 * fields are ignored.
 */
import { jsonNameOf } from "./file-descriptors.ts";
import { MalformedMessage } from "./malformed-message.ts";
import { decodeMessage, NESTING_MAX } from "./message-codec.ts";
import { ENUMS, fieldsOf, fieldTypeOf, NO_ID, type FieldType, type Message, type MessageName } from "./schema/messages.ts";

type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

interface JsonField {
  readonly name: string;
  readonly type: FieldType;
  readonly oneof: string | undefined;
}

const fieldsByName = new Map<string, ReadonlyMap<string, JsonField>>();

function jsonFieldsOf(message: string): ReadonlyMap<string, JsonField> {
  let fields = fieldsByName.get(message);
  if (fields === undefined) {
    const made = new Map<string, JsonField>();
    for (const [name, row] of fieldsOf(message)) {
      const field = { name, type: fieldTypeOf(row), oneof: row[2] };
      made.set(name, field).set(jsonNameOf(name), field);
    }
    fields = made;
    fieldsByName.set(message, fields);
  }
  return fields;
}

/** Digits from which on an integer may be more than a number can hold. */
const LONG_INTEGER_DIGITS = 16;
const ZERO = 0x30;
const NINE = 0x39;

/** Parses JSON, with integers that a number cannot hold as text. Throws MalformedMessage. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(quoteLongIntegers(text));
  } catch {
    throw new MalformedMessage("the body is not JSON");
  }
}

/** Puts long integers in quotes. By hand, since a regular expression runs out of stack on a text of megabytes. */
function quoteLongIntegers(text: string): string {
  let quoted = "";
  let copied = 0;
  let at = 0;
  while (at < text.length) {
    const c = text.charCodeAt(at);
    if (c === 0x22) {
      at = endOfText(text, at);
      continue;
    }
    if (c < ZERO || c > NINE) {
      at++;
      continue;
    }
    let end = at + 1;
    while (end < text.length && text.charCodeAt(end) >= ZERO && text.charCodeAt(end) <= NINE) end++;
    const isWhole = !/[.eE]/.test(text.charAt(end)) && !/[.eE+]/.test(text.charAt(at - 1));
    if (end - at >= LONG_INTEGER_DIGITS && isWhole) {
      const start = text.charAt(at - 1) === "-" ? at - 1 : at;
      quoted += `${text.slice(copied, start)}"${text.slice(start, end)}"`;
      copied = end;
    }
    at = end;
  }
  return copied === 0 ? text : quoted + text.slice(copied);
}

/** Behind the text that begins at `start`, or the end of everything. */
function endOfText(text: string, start: number): number {
  for (let at = start + 1; ;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return text.length;
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes++;
    at = quote + 1;
    if (backslashes % 2 === 0) return at;
  }
}

/** A message from its JSON, as JSON.parse gives it. Throws MalformedMessage, and nothing else. */
export function messageFromJson<Name extends MessageName>(name: Name, json: unknown): Message<Name> {
  // An empty message has all defaults, and so all fields.
  const message = { ...decodeMessage(name, new Uint8Array(0)) } as Record<string, unknown>;
  readInto(name, json, message, 0);
  return message as Message<Name>;
}

/** The JSON of a message. `message` has the fields that its decoder or its maker gave it. */
export function messageToJson(name: MessageName, message: object): Json {
  const json: Record<string, Json> = {};
  const given = message as Readonly<Record<string, unknown>>;
  for (const [field, row] of fieldsOf(name)) {
    const value = given[field];
    if (value === undefined) continue;
    const type = fieldTypeOf(row);
    if (type.label === "repeated") {
      const values = value as readonly unknown[];
      if (values.length > 0) json[field] = values.map((one) => scalarToJson(type, one));
    } else if (type.kind === "message" || type.label === "optional" || row[2] !== undefined || !isDefault(type, value)) {
      json[field] = scalarToJson(type, value);
    }
  }
  return json;
}

function isDefault(type: FieldType, value: unknown): boolean {
  if (type.isId) return value === NO_ID;
  if (type.kind === "bytes") return (value as Uint8Array).length === 0;
  return value === "" || value === false || value === 0;
}

function scalarToJson(type: FieldType, value: unknown): Json {
  if (type.isId) {
    const id = BigInt(`0x${value as string}`);
    return (type.kind === "int64" ? BigInt.asIntN(64, id) : id).toString();
  }
  switch (type.kind) {
    case "bytes": {
      const bytes = value as Uint8Array;
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
    }
    case "message":
      return messageToJson(type.name as MessageName, value as object);
    case "int64":
    case "uint64":
      return String(value);
    case "enum":
      return Object.entries(ENUMS[type.name]!).find(([, number]) => number === value)?.[0] ?? (value as number);
    default:
      return value as Json;
  }
}

function readInto(name: string, json: unknown, message: Record<string, unknown>, depth: number): void {
  if (depth > NESTING_MAX) throw new MalformedMessage("messages nested too deeply");
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new MalformedMessage("an object is wanted");
  const fields = jsonFieldsOf(name);
  for (const [key, value] of Object.entries(json)) {
    const field = fields.get(key);
    if (field === undefined || value === null) continue;
    const { type } = field;
    if (type.label === "repeated") {
      if (!Array.isArray(value)) throw new MalformedMessage(`${key}: an array is wanted`);
      message[field.name] = value.map((one) => scalarFromJson(key, type, one, depth));
    } else {
      if (field.oneof !== undefined) for (const other of fields.values()) if (other.oneof === field.oneof) message[other.name] = undefined;
      message[field.name] = scalarFromJson(key, type, value, depth);
    }
  }
}

function scalarFromJson(key: string, type: FieldType, json: unknown, depth: number): unknown {
  switch (type.kind) {
    case "message": {
      const message = { ...decodeMessage(type.name as MessageName, new Uint8Array(0)) } as Record<string, unknown>;
      readInto(type.name, json, message, depth + 1);
      return message;
    }
    case "bytes":
      if (typeof json !== "string" || !isBase64(json)) throw new MalformedMessage(`${key}: base64 is wanted`);
      return new Uint8Array(Buffer.from(json, "base64"));
    case "string":
      if (typeof json !== "string") throw new MalformedMessage(`${key}: text is wanted`);
      return json;
    case "bool":
      if (typeof json !== "boolean") throw new MalformedMessage(`${key}: true or false is wanted`);
      return json;
    case "enum": {
      if (typeof json === "number" && Number.isInteger(json)) return json | 0;
      const values = ENUMS[type.name]!;
      const number = typeof json === "string" && Object.hasOwn(values, json) ? values[json] : undefined;
      if (number === undefined) throw new MalformedMessage(`${key}: not a value of ${type.name}`);
      return number;
    }
    default:
      return integerFromJson(key, type, json);
  }
}

/** Of either alphabet, with its padding or without. */
function isBase64(text: string): boolean {
  const rest = text.length % 4;
  return rest !== 1 && (rest === 0 ? /^[A-Za-z0-9+/_-]*={0,2}$/ : /^[A-Za-z0-9+/_-]*$/).test(text);
}

function integerFromJson(key: string, type: FieldType, json: unknown): number | string {
  const isText = typeof json === "string" && /^-?\d{1,20}$/.test(json);
  if (!isText && !(typeof json === "number" && Number.isInteger(json))) throw new MalformedMessage(`${key}: an integer is wanted`);
  const value = BigInt(json as string | number);
  const signed = type.kind === "int64" || type.kind === "int32";
  const bits = type.kind.endsWith("64") ? 64 : 32;
  if ((signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)) !== value) throw new MalformedMessage(`${key}: out of range`);
  if (type.isId) return BigInt.asUintN(64, value).toString(16).padStart(16, "0");
  const number = Number(value);
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(number, Number.MAX_SAFE_INTEGER));
}
