/** Random messages of any type, made from the table, for fast-check. */
import fc from "fast-check";
import { ENUMS, fieldsOf, fieldTypeOf, MESSAGES, type FieldType, type MessageName } from "../schema/messages.ts";

/** The messages that are served. */
export const SERVED: readonly MessageName[] = (Object.keys(MESSAGES) as MessageName[]).filter((name) => !name.startsWith("google."));

/** A message of that type, with some of its fields. */
export function messageArbitrary(name: string, depth = 0): fc.Arbitrary<Record<string, unknown>> {
  const fields = fieldsOf(name);
  const values = Object.fromEntries(
    fields.map(([field, row]) => {
      const type = fieldTypeOf(row);
      const one = valueArbitrary(type, depth);
      return [field, type.label === "repeated" ? fc.array(one, { maxLength: depth > 1 ? 1 : 3 }) : one];
    }),
  );
  return fc.record(values, { requiredKeys: [] }).map((message) => {
    // Of a oneof, one member.
    const taken = new Set<string>();
    for (const [field, row] of fields) {
      const oneof = row[2];
      if (oneof === undefined || message[field] === undefined) continue;
      if (taken.has(oneof)) delete message[field];
      taken.add(oneof);
    }
    return message;
  });
}

function valueArbitrary(type: FieldType, depth: number): fc.Arbitrary<unknown> {
  if (type.isId) {
    return fc
      .oneof(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.constantFrom(0n, 1n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n))
      .map((id) => id.toString(16).padStart(16, "0"));
  }
  switch (type.kind) {
    case "bytes":
      return fc.uint8Array({ maxLength: 40 });
    case "string":
      return fc.string({ unit: "grapheme", maxLength: 20 });
    case "bool":
      return fc.boolean();
    case "int32":
      return fc.integer();
    case "uint32":
      return fc.nat({ max: 0xffffffff });
    case "int64":
      return fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -3, max: 300 }));
    case "uint64":
      return fc.oneof(fc.maxSafeNat(), fc.nat({ max: 300 }));
    case "enum":
      return fc.constantFrom(...Object.values(ENUMS[type.name]!));
    case "message":
      return depth > 3 ? fc.constant({}) : messageArbitrary(type.name, depth + 1);
  }
}
