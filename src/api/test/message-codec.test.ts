/** Codecs, JSON and descriptors against a protobuf implementation of others, over random messages; and against random bytes. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createFileRegistry, fromBinary, fromJson, toBinary, toJson, type FileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema, type FileDescriptorSet } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { fileDescriptor } from "../file-descriptors.ts";
import { messageFromJson, messageToJson, parseJson } from "../json-codec.ts";
import { MalformedMessage } from "../malformed-message.ts";
import { decodeMessage, encodeMessage } from "../message-codec.ts";
import { PROTO_FILES } from "../schema/files.ts";
import { type MessageName } from "../schema/messages.ts";
import { messageArbitrary, SERVED } from "./messages.ts";

/** Where the .proto files are: beside the sources. */
const PROTO_DIRECTORY = fileURLToPath(new URL("../../../src/api/proto/", import.meta.url));

function registryOf(): FileRegistry {
  const set: FileDescriptorSet = create(FileDescriptorSetSchema, {
    file: PROTO_FILES.map((file) => fromBinary(FileDescriptorProtoSchema, fileDescriptor(file))),
  });
  return createFileRegistry(set);
}

const registry = registryOf();
const optionsOfJson = { useProtoFieldName: true } as const;

for (const name of SERVED) {
  void test(`${name}: bytes and JSON are those of another implementation`, () => {
    const schema = registry.getMessage(name)!;
    fc.assert(
      fc.property(messageArbitrary(name), (message) => {
        const ours = encodeMessage(name, message as never);
        const theirs = fromBinary(schema, ours);
        const json = messageToJson(name, decodeMessage(name, ours));
        assert.deepEqual(json, toJson(schema, theirs, optionsOfJson));
        assert.deepEqual(messageToJson(name, decodeMessage(name, toBinary(schema, theirs))), json);
        assert.deepEqual(messageToJson(name, message), json);
        for (const useProtoFieldName of [true, false]) {
          const text = JSON.stringify(toJson(schema, theirs, { useProtoFieldName }));
          assert.deepEqual(messageToJson(name, messageFromJson(name, parseJson(text))), json);
        }
        assert.deepEqual(toBinary(schema, fromJson(schema, json as never)), new Uint8Array(toBinary(schema, theirs)));
      }),
      { numRuns: 40 },
    );
  });
}

void test("Bytes that are no message are refused as such, whatever they are", () => {
  const name = fc.constantFrom(...SERVED);
  const mutated = name.chain((of) =>
    fc.tuple(fc.constant(of), messageArbitrary(of), fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }), fc.nat()),
  );
  fc.assert(
    fc.property(mutated, ([of, message, changes, cut]) => {
      const bytes = Uint8Array.from(encodeMessage(of, message as never));
      for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
      onlyRefused(of, bytes.subarray(0, cut % 3 === 0 ? cut % (bytes.length + 1) : bytes.length));
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(name, fc.uint8Array({ maxLength: 60 }), (of, bytes) => onlyRefused(of, bytes)),
    { numRuns: 3_000 },
  );
});

function onlyRefused(name: MessageName, bytes: Uint8Array): void {
  try {
    encodeMessage(name, decodeMessage(name, bytes) as never);
  } catch (error) {
    assert.ok(error instanceof MalformedMessage, String(error));
  }
}

void test("Messages nested without end are refused, not followed", () => {
  let bytes: Uint8Array = new Uint8Array(0);
  for (let i = 0; i < 250; i++) {
    const inner = bytes;
    const request = encodeMessage("etcdserverpb.TxnRequest", {});
    assert.equal(request.length, 0);
    bytes = nested(nested(inner, 4), 2);
  }
  assert.throws(() => decodeMessage("etcdserverpb.TxnRequest", bytes), MalformedMessage);
  let json: unknown = {};
  for (let i = 0; i < 250; i++) json = { success: [{ request_txn: json }] };
  assert.throws(() => messageFromJson("etcdserverpb.TxnRequest", json), MalformedMessage);
});

/** A message with those bytes as its field of that number. */
function nested(bytes: Uint8Array, field: number): Uint8Array {
  const length: number[] = [];
  for (let left = bytes.length; ; left >>>= 7) {
    length.push(left > 0x7f ? (left & 0x7f) | 0x80 : left);
    if (left <= 0x7f) break;
  }
  return Uint8Array.from([field * 8 + 2, ...length, ...bytes]);
}

void test("Unknown fields of every wire type are ignored", () => {
  const unknown = [
    [0xa0, 0x06, 0x96, 0x01], // a varint
    [0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8], // 64 bits
    [0xa2, 0x06, 3, 0xff, 0xff, 0xff], // bytes
    [0xa3, 0x06, 0x0a, 1, 7, 0xa4, 0x06], // a group with a field in it
    [0xa5, 0x06, 1, 2, 3, 4], // 32 bits
  ].flat();
  const bytes = Uint8Array.from([...unknown, 0x0a, 1, 0x61, ...unknown, 0x10, 5, ...unknown]);
  assert.deepEqual({ ...decodeMessage("v3lockpb.LockRequest", bytes) }, { name: Uint8Array.of(0x61), lease: "0000000000000005" });
});

void test("Integers beyond 2^53 are taken as 2^53 - 1, and ids keep all of their bits", () => {
  const most = encodeMessage("etcdserverpb.LeaseGrantRequest", { ID: "7fffffffffffffff" });
  // Field 1 with the bytes of field 2.
  const large = Uint8Array.from([0x08, ...most.subarray(1)]);
  assert.equal(decodeMessage("etcdserverpb.LeaseGrantRequest", large).TTL, Number.MAX_SAFE_INTEGER);
  const least = Uint8Array.from([0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
  assert.equal(decodeMessage("etcdserverpb.LeaseGrantRequest", least).TTL, Number.MIN_SAFE_INTEGER);
  assert.equal(decodeMessage("etcdserverpb.LeaseGrantRequest", most).ID, "7fffffffffffffff");
  const json = parseJson('{"ID": 9223372036854775807, "TTL": "60", "note": "a \\"quoted\\" 12345678901234567890"}');
  assert.deepEqual({ ...messageFromJson("etcdserverpb.LeaseGrantRequest", json) }, { TTL: 60, ID: "7fffffffffffffff" });
});

interface Definition {
  readonly fileDescriptorProtos?: readonly Uint8Array[];
}

void test("The .proto files say what the table says", () => {
  // A parser of .proto files that @grpc/grpc-js brings along.
  const require = createRequire(createRequire(import.meta.url).resolve("@grpc/grpc-js"));
  const loader = require("@grpc/proto-loader") as {
    loadSync(files: readonly string[], options: object): Readonly<Record<string, Definition>>;
  };
  const definitions = loader.loadSync(
    PROTO_FILES.map(({ name }) => name),
    { includeDirs: [PROTO_DIRECTORY], keepCase: true },
  );
  const parsed = new Map<string, unknown>();
  for (const { fileDescriptorProtos } of Object.values(definitions)) {
    for (const bytes of fileDescriptorProtos ?? []) {
      const file = decodeMessage("google.protobuf.FileDescriptorProto", bytes);
      parsed.set(file.package, comparable(file));
    }
  }
  for (const file of PROTO_FILES) {
    const ours = comparable(decodeMessage("google.protobuf.FileDescriptorProto", fileDescriptor(file)));
    assert.deepEqual(parsed.get(file.package), ours, file.name);
  }
});

/** What of a descriptor a parser must agree with. Files may have other names, and types may be named from where they are used. */
function comparable(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => comparable(item)) as { name?: string }[];
    return items.sort((a, b) => ((a.name ?? "") < (b.name ?? "") ? -1 : 1));
  }
  if (key.endsWith("_type") && typeof value === "string") return value.slice(value.lastIndexOf(".") + 1);
  if (key === "type_name") return (value as string).slice((value as string).lastIndexOf(".") + 1);
  if (typeof value !== "object" || value === null) return value;
  const left = new Set([
    "json_name",
    "proto3_optional",
    "dependency",
    "oneof_index",
    "oneof_decl",
    ...("package" in value ? ["name"] : []),
  ]);
  const entries = Object.entries(value).filter(([name]) => !left.has(name));
  return Object.fromEntries(entries.map(([name, inner]) => [name, comparable(inner, name)]));
}
