/**
 * All messages and enumerations in one table, and the types that follow from it: a message's TypeScript shape is computed from its rows, so
 * that codecs, JSON, reflection and handlers cannot disagree about a field.
 *
 * A field is [number, type, oneof?]. The type is a scalar ("bytes", "string", "bool", "int32", "uint32", "int64", "uint64"), "enum NAME" or
 * "message NAME", with "repeated " or "optional " before it. "int64 id" and "uint64 id" are 64 bits that nobody counts with: strings of 16
 * lower-case hex digits, NO_ID where the field is absent. The other 64-bit integers are numbers.
 */
import { AUTH_ENUMS, AUTH_MESSAGES } from "./auth.ts";
import { D_ENGINE_ENUMS, D_ENGINE_MESSAGES } from "./d-engine.ts";
import { ETCD_ENUMS, ETCD_MESSAGES } from "./etcd.ts";
import { DESCRIPTOR_MESSAGES, GRPC_ENUMS, GRPC_MESSAGES } from "./grpc.ts";
import { RECIPE_MESSAGES } from "./recipes.ts";

type MessageTable = typeof ETCD_MESSAGES &
  typeof AUTH_MESSAGES &
  typeof RECIPE_MESSAGES &
  typeof GRPC_MESSAGES &
  typeof DESCRIPTOR_MESSAGES &
  typeof D_ENGINE_MESSAGES;

/** A message's full name. */
export type MessageName = keyof MessageTable;

type FieldRow = readonly [number: number, type: string, oneof?: string];

type ScalarOf<Type> = Type extends "bytes"
  ? Uint8Array
  : Type extends "string" | `${string} id`
    ? string
    : Type extends "bool"
      ? boolean
      : Type extends `message ${infer Name extends MessageName}`
        ? Message<Name>
        : number;

type ScalarInitOf<Type> = Type extends `message ${infer Name extends MessageName}` ? MessageInit<Name> : ScalarOf<Type>;

type FieldOf<Row> = Row extends readonly [number, `repeated ${infer Type}`]
  ? readonly ScalarOf<Type>[]
  : Row extends readonly [number, `optional ${infer Type}`]
    ? ScalarOf<Type> | undefined
    : Row extends readonly [number, infer Type, string]
      ? ScalarOf<Type> | undefined
      : Row extends readonly [number, `message ${string}`]
        ? ScalarOf<Row[1]> | undefined
        : Row extends readonly [number, infer Type]
          ? ScalarOf<Type>
          : never;

type FieldInitOf<Row> = Row extends readonly [number, `repeated ${infer Type}`]
  ? readonly ScalarInitOf<Type>[]
  : Row extends readonly [number, `optional ${infer Type}`]
    ? ScalarInitOf<Type>
    : Row extends readonly [number, infer Type, ...unknown[]]
      ? ScalarInitOf<Type>
      : never;

/** A message as it is decoded: absent fields have their defaults; absent messages, optional fields and members of a oneof are undefined. */
export type Message<Name extends MessageName> = {
  readonly [Field in keyof MessageTable[Name]]: FieldOf<MessageTable[Name][Field]>;
};

/** A message as it is given to be encoded: what is left out is absent. */
export type MessageInit<Name extends MessageName> = {
  readonly [Field in keyof MessageTable[Name]]?: FieldInitOf<MessageTable[Name][Field]> | undefined;
};

/** All messages by their full names. */
export const MESSAGES: Readonly<Record<string, Readonly<Record<string, FieldRow>>>> = {
  ...ETCD_MESSAGES,
  ...AUTH_MESSAGES,
  ...RECIPE_MESSAGES,
  ...GRPC_MESSAGES,
  ...DESCRIPTOR_MESSAGES,
  ...D_ENGINE_MESSAGES,
};

/** All enumerations by their full names. */
export const ENUMS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  ...ETCD_ENUMS,
  ...AUTH_ENUMS,
  ...GRPC_ENUMS,
  ...D_ENGINE_ENUMS,
};

/** The id that means none. */
export const NO_ID = "0000000000000000";

/** A field's type, taken apart. */
export interface FieldType {
  readonly label: "" | "repeated" | "optional";
  readonly kind: ScalarKind;
  /** Of a message or an enumeration. */
  readonly name: string;
  readonly isId: boolean;
}

export type ScalarKind = "bytes" | "string" | "bool" | "int32" | "uint32" | "int64" | "uint64" | "enum" | "message";

/** Reads the type of a field's row. */
export function fieldTypeOf(row: FieldRow): FieldType {
  const words = row[1].split(" ");
  const label = words[0] === "repeated" || words[0] === "optional" ? (words.shift() as "repeated" | "optional") : "";
  const kind = words[0] as ScalarKind;
  const isId = words[1] === "id";
  return { label, kind, name: isId ? "" : (words[1] ?? ""), isId };
}

/** Every field of a message, in the order of the table. */
export function fieldsOf(message: string): readonly (readonly [name: string, row: FieldRow])[] {
  return Object.entries(MESSAGES[message]!);
}
