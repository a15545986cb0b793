/**
 * Codecs of all messages, made from the table (schema/messages.ts): one decoder and one encoder that walk over a message's fields. Unknown fields
 * are skipped; unknown enumeration values stay numbers, so that who reads them can refuse them. Views of bytes fields are views of what was
 * decoded. The hottest messages have codecs of their own (kv-codec.ts, watch-codec.ts), held against these by a test.
 */
import { MalformedMessage } from "./malformed-message.ts";
import { ProtoReader, WIRE_BYTES, WIRE_VARINT } from "./proto-reader.ts";
import { ProtoWriter } from "./proto-writer.ts";
import { fieldsOf, fieldTypeOf, NO_ID, type Message, type MessageInit, type MessageName, type ScalarKind } from "./schema/messages.ts";

/** Messages within messages: more deeply nested ones are refused. */
export const NESTING_MAX = 100;

type Shape = Record<string, unknown>;

interface Field {
  readonly name: string;
  readonly number: number;
  readonly kind: ScalarKind;
  readonly isId: boolean;
  readonly repeated: boolean;
  /** It is undefined where it is absent, and written even if it has its default. */
  readonly explicit: boolean;
  readonly oneof: string | undefined;
  /** Other members of its oneof. */
  readonly rivals: readonly string[];
  readonly wire: number;
  readonly defaultValue: unknown;
  readonly of: string;
}

interface Plan {
  readonly name: string;
  readonly fields: readonly Field[];
  /** Sparse: by field number. */
  readonly byNumber: readonly (Field | undefined)[];
}

const EMPTY = new Uint8Array(0);
const plans = new Map<string, Plan>();

function planOf(name: string): Plan {
  let plan = plans.get(name);
  if (plan === undefined) {
    const rows = fieldsOf(name);
    const fields = rows.map(([field, row]): Field => {
      const { label, kind, name: of, isId } = fieldTypeOf(row);
      const oneof = row[2];
      return {
        name: field,
        number: row[0],
        kind,
        isId,
        repeated: label === "repeated",
        explicit: label === "optional" || oneof !== undefined || kind === "message",
        oneof,
        rivals: oneof === undefined ? [] : rows.filter(([other, { 2: its }]) => its === oneof && other !== field).map(([other]) => other),
        wire: kind === "bytes" || kind === "string" || kind === "message" ? WIRE_BYTES : WIRE_VARINT,
        defaultValue: defaultOf(kind, isId),
        of,
      };
    });
    fields.sort((a, b) => a.number - b.number);
    const byNumber: (Field | undefined)[] = [];
    for (const field of fields) byNumber[field.number] = field;
    plan = { name, fields, byNumber };
    plans.set(name, plan);
  }
  return plan;
}

function defaultOf(kind: ScalarKind, isId: boolean): unknown {
  if (isId) return NO_ID;
  switch (kind) {
    case "bytes":
      return EMPTY;
    case "string":
      return "";
    case "bool":
      return false;
    case "message":
      return undefined;
    default:
      return 0;
  }
}

/** Decodes a message. Throws MalformedMessage, and nothing else. */
export function decodeMessage<Name extends MessageName>(name: Name, bytes: Uint8Array): Message<Name> {
  return decode(planOf(name), new ProtoReader(bytes), undefined, 0) as Message<Name>;
}

/** Encodes a message. What it is given must fit its type: it is ours. */
export function encodeMessage<Name extends MessageName>(name: Name, message: MessageInit<Name>): Uint8Array {
  const writer = new ProtoWriter();
  encode(planOf(name), message as Shape, writer);
  return writer.finish();
}

function decode(plan: Plan, reader: ProtoReader, into: Shape | undefined, depth: number): Shape {
  if (depth > NESTING_MAX) throw new MalformedMessage("messages nested too deeply");
  const message = into ?? emptyOf(plan);
  while (reader.at < reader.end) {
    const tag = reader.tag();
    const field = plan.byNumber[tag >>> 3];
    if (field === undefined) {
      reader.skip(tag);
      continue;
    }
    const wire = tag & 7;
    if (wire !== field.wire) {
      if (field.repeated && wire === WIRE_BYTES) {
        decodePacked(field, reader, message);
        continue;
      }
      throw new MalformedMessage(`wrong wire type ${wire} for field ${field.name}`);
    }
    if (field.oneof !== undefined) for (const rival of field.rivals) message[rival] = undefined;
    if (field.kind === "message") {
      const length = reader.length();
      const inner = new ProtoReader(reader.bytes, reader.at, reader.at + length);
      reader.at += length;
      // A message that comes twice is one whose parts are merged.
      const before = field.repeated ? undefined : (message[field.name] as Shape | undefined);
      const value = decode(planOf(field.of), inner, before, depth + 1);
      if (field.repeated) (message[field.name] as unknown[]).push(value);
      else message[field.name] = value;
    } else {
      const value = decodeScalar(field, reader);
      if (field.repeated) (message[field.name] as unknown[]).push(value);
      else message[field.name] = value;
    }
  }
  return message;
}

function decodePacked(field: Field, reader: ProtoReader, message: Shape): void {
  const length = reader.length();
  const packed = new ProtoReader(reader.bytes, reader.at, reader.at + length);
  reader.at += length;
  const values = message[field.name] as unknown[];
  while (packed.at < packed.end) values.push(decodeScalar(field, packed));
}

function decodeScalar(field: Field, reader: ProtoReader): unknown {
  if (field.isId) return reader.id();
  switch (field.kind) {
    case "bytes":
      return reader.view();
    case "string":
      return reader.text();
    case "bool":
      return reader.bool();
    case "uint32":
      return reader.uint32();
    case "int64":
      return reader.int64();
    case "uint64":
      return reader.uint64();
    default:
      return reader.int32();
  }
}

/** A message of defaults, with all of its fields, so that all messages of a type have one shape. */
function emptyOf(plan: Plan): Shape {
  const message: Shape = {};
  for (const { name, repeated, explicit, defaultValue } of plan.fields) message[name] = repeated ? [] : explicit ? undefined : defaultValue;
  return message;
}

function encode(plan: Plan, message: Shape, writer: ProtoWriter): void {
  const { fields } = plan;
  for (let i = fields.length - 1; i >= 0; i--) {
    const field = fields[i]!;
    const value = message[field.name];
    if (value === undefined) continue;
    if (field.repeated) encodeRepeated(field, value as readonly unknown[], writer);
    else if (field.explicit || !isDefault(field, value)) encodeField(field, value, writer);
  }
}

function isDefault(field: Field, value: unknown): boolean {
  return value === field.defaultValue || (field.kind === "bytes" && (value as Uint8Array).length === 0);
}

function encodeRepeated(field: Field, values: readonly unknown[], writer: ProtoWriter): void {
  if (values.length === 0) return;
  if (field.wire === WIRE_BYTES) {
    for (let i = values.length - 1; i >= 0; i--) encodeField(field, values[i], writer);
    return;
  }
  const before = writer.length;
  for (let i = values.length - 1; i >= 0; i--) encodeScalar(field, values[i], writer);
  writer.varint(writer.length - before);
  writer.varint(field.number * 8 + WIRE_BYTES);
}

function encodeField(field: Field, value: unknown, writer: ProtoWriter): void {
  const before = writer.length;
  if (field.kind === "message") encode(planOf(field.of), value as Shape, writer);
  else encodeScalar(field, value, writer);
  if (field.wire === WIRE_BYTES) writer.varint(writer.length - before);
  writer.varint(field.number * 8 + field.wire);
}

function encodeScalar(field: Field, value: unknown, writer: ProtoWriter): void {
  if (field.isId) return writer.id(value as string);
  switch (field.kind) {
    case "bytes":
      return writer.bytes(value as Uint8Array);
    case "string":
      return writer.text(value as string);
    case "bool":
      return writer.varint(value === true ? 1 : 0);
    default:
      return writer.int64(value as number);
  }
}
