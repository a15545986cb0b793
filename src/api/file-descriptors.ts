/** The descriptors of our .proto files, made from the table: what server reflection hands out. */
import { encodeMessage } from "./message-codec.ts";
import { PROTO_FILES, type ProtoFile } from "./schema/files.ts";
import { ENUMS, fieldsOf, fieldTypeOf, MESSAGES, type MessageInit, type ScalarKind } from "./schema/messages.ts";
import { methodRows, SERVICES } from "./schema/services.ts";

type DescriptorInit = MessageInit<"google.protobuf.DescriptorProto">;
type FieldInit = MessageInit<"google.protobuf.FieldDescriptorProto">;
type OneofInit = MessageInit<"google.protobuf.OneofDescriptorProto">;

const LABEL_OPTIONAL = 1;
const LABEL_REPEATED = 3;
const TYPES: Readonly<Record<ScalarKind, number>> = {
  int64: 3,
  uint64: 4,
  int32: 5,
  bool: 8,
  string: 9,
  message: 11,
  bytes: 12,
  uint32: 13,
  enum: 14,
};

/** The descriptor of a file, encoded as a google.protobuf.FileDescriptorProto. */
export function fileDescriptor(file: ProtoFile): Uint8Array {
  const services = Object.keys(SERVICES).filter((service) => parentOf(service) === file.package);
  return encodeMessage("google.protobuf.FileDescriptorProto", {
    name: file.name,
    package: file.package,
    dependency: file.imports,
    message_type: messagesIn(file.package),
    enum_type: enumsIn(file.package),
    service: services.map((service) => ({
      name: lastOf(service),
      method: methodRows()
        .filter(([of]) => of === service)
        .map(([, name, [kind, request, response]]) => ({
          name,
          input_type: `.${request}`,
          output_type: `.${response}`,
          client_streaming: kind === "clientStream" || kind === "bidi",
          server_streaming: kind === "serverStream" || kind === "bidi",
        })),
    })),
    syntax: "proto3",
  });
}

/** Whether a file, by its name, is one of ours; undefined if not. */
export function protoFileNamed(name: string): ProtoFile | undefined {
  return PROTO_FILES.find((file) => file.name === name);
}

/** What proto3's JSON calls a field. */
export function jsonNameOf(field: string): string {
  return field.replaceAll(/_+(.?)/g, (_, letter: string) => letter.toUpperCase());
}

function messagesIn(parent: string): DescriptorInit[] {
  return Object.keys(MESSAGES)
    .filter((name) => parentOf(name) === parent)
    .map((name) => {
      const oneofs: string[] = [];
      for (const [, row] of fieldsOf(name)) if (row[2] !== undefined && !oneofs.includes(row[2])) oneofs.push(row[2]);
      const declared: OneofInit[] = oneofs.map((oneof) => ({ name: oneof }));
      const field = fieldsOf(name).map(([fieldName, row]): FieldInit => {
        const { label, kind, name: of } = fieldTypeOf(row);
        const oneofIndex = row[2] === undefined ? undefined : oneofs.indexOf(row[2]);
        // An optional field is, to those who do not know the word, the only member of a oneof.
        if (label === "optional") declared.push({ name: `_${fieldName}` });
        return {
          name: fieldName,
          number: row[0],
          label: label === "repeated" ? LABEL_REPEATED : LABEL_OPTIONAL,
          type: TYPES[kind],
          type_name: of === "" ? "" : `.${of}`,
          oneof_index: label === "optional" ? declared.length - 1 : oneofIndex,
          json_name: jsonNameOf(fieldName),
          proto3_optional: label === "optional",
        };
      });
      return { name: lastOf(name), field, nested_type: messagesIn(name), enum_type: enumsIn(name), oneof_decl: declared };
    });
}

function enumsIn(parent: string): MessageInit<"google.protobuf.EnumDescriptorProto">[] {
  return Object.keys(ENUMS)
    .filter((name) => parentOf(name) === parent)
    .map((name) => ({ name: lastOf(name), value: Object.entries(ENUMS[name]!).map(([value, number]) => ({ name: value, number })) }));
}

function parentOf(name: string): string {
  return name.slice(0, name.lastIndexOf("."));
}

function lastOf(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}
