import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HpackDecoder, tableEntriesMax } from "./decoder.ts";
import { createHeaderTemplate, encodedBytesMax, HpackEncoder, writeInteger } from "./encoder.ts";
import { isHeaderNameValid, isHeaderValueValid, type HeaderBlock } from "./header-field.ts";
import { huffmanDecode, huffmanDecodedBytesMax, huffmanEncode, huffmanEncodedBytes } from "./huffman.ts";

function pairs(block: HeaderBlock | undefined): [string, string][] {
  assert.ok(block !== undefined);
  return block.fields.map((field) => [field.name, field.value]);
}

function decodeHex(decoder: HpackDecoder, hex: string): HeaderBlock | undefined {
  const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
  return decoder.decode(bytes, 0, bytes.length);
}

function newDecoder(tableBytesMax = 4096): HpackDecoder {
  return new HpackDecoder({ tableBytesMax, listBytesMax: 65_536 });
}

function encode(encoder: HpackEncoder, fields: readonly [string, string][], repeats = false): Buffer {
  const flat = fields.flat();
  const target = Buffer.alloc(encodedBytesMax(flat) + 12);
  let at = encoder.begin(target, 0);
  for (const [name, value] of fields) at = encoder.field(name, value, repeats, target, at);
  return target.subarray(0, at);
}

test("The RFC's examples of single representations decode (RFC 7541 C.2)", () => {
  const decoder = newDecoder();
  assert.deepEqual(pairs(decodeHex(decoder, "400a637573746f6d2d6b65790d637573746f6d2d686561646572")), [["custom-key", "custom-header"]]);
  assert.equal(decoder.tableBytes, 55);
  assert.deepEqual(pairs(decodeHex(newDecoder(), "040c2f73616d706c652f70617468")), [[":path", "/sample/path"]]);
  assert.deepEqual(pairs(decodeHex(newDecoder(), "100870617373776f726406736563726574")), [["password", "secret"]]);
  assert.deepEqual(pairs(decodeHex(newDecoder(), "82")), [[":method", "GET"]]);
});

const REQUESTS: readonly [string, string][][] = [
  [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ],
  [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
    ["cache-control", "no-cache"],
  ],
  [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ],
];

for (const [name, blocks] of [
  [
    "without Huffman (RFC 7541 C.3)",
    [
      "828684410f7777772e6578616d706c652e636f6d",
      "828684be58086e6f2d6361636865",
      "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ],
  ],
  [
    "with Huffman (RFC 7541 C.4)",
    ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"],
  ],
] as const) {
  test(`The RFC's requests ${name} decode`, () => {
    const decoder = newDecoder();
    assert.deepEqual(
      blocks.map((hex) => pairs(decodeHex(decoder, hex))),
      REQUESTS,
    );
    assert.equal(decoder.tableBytes, 164);
    assert.equal(decoder.tableLength, 3);
  });
}

const RESPONSES: readonly [string, string][][] = [
  [
    [":status", "302"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
    ["location", "https://www.example.com"],
  ],
  [
    [":status", "307"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
    ["location", "https://www.example.com"],
  ],
  [
    [":status", "200"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:22 GMT"],
    ["location", "https://www.example.com"],
    ["content-encoding", "gzip"],
    ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"],
  ],
];

for (const [name, blocks] of [
  [
    "without Huffman (RFC 7541 C.5)",
    [
      "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
      "4803333037c1c0bf",
      "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ],
  ],
  [
    "with Huffman (RFC 7541 C.6)",
    [
      "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
      "4883640effc1c0bf",
      "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ],
  ],
] as const) {
  test(`The RFC's responses ${name} decode, with evictions from a table of 256 bytes`, () => {
    const decoder = newDecoder(256);
    assert.deepEqual(
      blocks.map((hex) => pairs(decodeHex(decoder, hex))),
      RESPONSES,
    );
    assert.equal(decoder.tableBytes, 215);
    assert.equal(decoder.tableLength, 3);
  });
}

for (const [name, hex, error] of [
  ["index 0", "80", /index 0/],
  ["an index beyond the table", "be", /beyond the table/],
  ["a name index beyond the table", "7e0161", /beyond the table/],
  ["an integer that is cut off", "ff", /cut off/],
  ["an integer of too many bytes", "ffffffffffff7f", /too large/],
  ["a string that is longer than the block", "00056162", /cut off/],
  ["a name without a value", "000161", /cut off/],
  ["a Huffman string that contains EOS", "0084ffffffff0161", /Huffman/],
  ["Huffman padding of zeros", "0081180161", /Huffman/],
  ["Huffman padding of eight bits", "0082 1fff 0161", /Huffman/],
  ["a table size update above the limit", "3fe21f", /above the limit/],
  ["a table size update behind a field", "8220", /after a field/],
] as const) {
  test(`The decoder refuses ${name}`, () => {
    const decoder = newDecoder();
    assert.equal(decodeHex(decoder, hex), undefined);
    assert.match(decoder.error, error);
  });
}

test("A header list beyond the limit is marked and its excess dropped, while the table goes on", () => {
  const decoder = new HpackDecoder({ tableBytesMax: 4096, listBytesMax: 100 });
  const block = decodeHex(decoder, `4001610162${"be".repeat(50)}`);
  assert.equal(block?.oversized, true);
  assert.equal(block.fields.length, 2);
  assert.equal(block.listBytes, 51 * 34);
  assert.deepEqual(pairs(decodeHex(decoder, "be")), [["a", "b"]]);
});

test("A repeated block is the same object until the table changes", () => {
  const decoder = newDecoder();
  decodeHex(decoder, "4001610162");
  const first = decodeHex(decoder, "be82");
  assert.equal(decodeHex(decoder, "be82"), first);
  decodeHex(decoder, "4001630164");
  assert.deepEqual(pairs(decodeHex(decoder, "be82")), [
    ["c", "d"],
    [":method", "GET"],
  ]);
});

test("An entry larger than the table empties it", () => {
  const decoder = newDecoder(64);
  decodeHex(decoder, "4001610162");
  assert.equal(decoder.tableLength, 1);
  decodeHex(decoder, `40 01 61 3f ${"62".repeat(63)}`);
  assert.equal(decoder.tableLength, 0);
  assert.equal(decoder.tableBytes, 0);
});

test("Huffman strings decode to what was coded, and take as many bytes as predicted", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const text = Buffer.from(bytes).toString("latin1");
      const target = Buffer.alloc(bytes.length * 4 + 4);
      const length = huffmanEncode(text, target, 0);
      assert.equal(length, huffmanEncodedBytes(text));
      const decoded = Buffer.alloc(huffmanDecodedBytesMax(length));
      const count = huffmanDecode(target, 0, length, decoded);
      assert.deepEqual([...decoded.subarray(0, count)], [...bytes]);
    }),
  );
});

test("Integers decode to what was written, for each prefix", () => {
  // Checked through the string length, whose prefix has seven bits, and through table size updates with five.
  const target = Buffer.alloc(8);
  assert.equal(writeInteger(target, 0, 0, 5, 1337), 3);
  assert.deepEqual([...target.subarray(0, 3)], [0x1f, 0x9a, 0x0a]);
  assert.equal(writeInteger(target, 0, 0, 5, 10), 1);
  assert.equal(target[0], 10);
  assert.equal(writeInteger(target, 0, 0, 8, 42), 1);
  assert.equal(target[0], 42);
});

/** HPACK decoding written as plainly as can be: the oracle. It knows raw and Huffman strings through tables built bit by bit. */
const name = fc.oneof(
  fc.constantFrom("content-type", "grpc-timeout", "user-agent", "authorization", "x-a", "x-b", "trace-bin", ":path", "te"),
  fc.string({ unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz0123456789-_."), minLength: 1, maxLength: 20 }),
);
const value = fc.oneof(
  fc.constantFrom("application/grpc", "trailers", "", "1", "x".repeat(600)),
  fc.string({ unit: fc.constantFrom(...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i))), maxLength: 60 }),
);

test("Whatever the encoder writes, the decoder reads, over many blocks, table sizes and evictions", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          fields: fc.array(fc.tuple(name, value), { maxLength: 12 }),
          repeats: fc.boolean(),
          resize: fc.option(fc.constantFrom(0, 64, 200, 1000, 4096, 100_000), { nil: undefined }),
        }),
        { maxLength: 30 },
      ),
      (blocks) => {
        const encoder = new HpackEncoder();
        const decoder = newDecoder();
        for (const block of blocks) {
          if (block.resize !== undefined) encoder.setTableBytesMax(block.resize);
          const bytes = encode(encoder, block.fields as [string, string][], block.repeats);
          const decoded = decoder.decode(bytes, 0, bytes.length);
          assert.deepEqual(pairs(decoded), block.fields, decoder.error);
          assert.equal(decoder.tableBytes, encoder.tableBytes);
          assert.equal(decoder.tableLength, encoder.tableLength);
          assert.ok(encoder.tableLength <= tableEntriesMax(4096));
        }
      },
    ),
  );
});

test("A template's bytes are kept once they only name table entries, and written anew when the table changes", () => {
  const encoder = new HpackEncoder();
  const decoder = newDecoder();
  const template = createHeaderTemplate([":status", "200", "content-type", "application/grpc"]);
  const target = Buffer.alloc(256);
  const write = (): Buffer => target.subarray(0, encoder.template(template, target, encoder.begin(target, 0)));
  const lengths: number[] = [];
  for (let i = 0; i < 3; i++) {
    const bytes = write();
    lengths.push(bytes.length);
    assert.deepEqual(pairs(decoder.decode(bytes, 0, bytes.length)), [
      [":status", "200"],
      ["content-type", "application/grpc"],
    ]);
  }
  assert.ok(lengths[0]! > 2);
  assert.deepEqual(lengths.slice(1), [2, 2]);
  for (let i = 0; i < 70; i++) {
    const bytes = encode(encoder, [[`x-${i}`, "y".repeat(60)]], true);
    decoder.decode(bytes, 0, bytes.length);
  }
  const bytes = write();
  assert.deepEqual(pairs(decoder.decode(bytes, 0, bytes.length)), [
    [":status", "200"],
    ["content-type", "application/grpc"],
  ]);
});

test("Credentials are never indexed, and what differs from call to call never enters the table", () => {
  const encoder = new HpackEncoder();
  for (let i = 0; i < 3; i++)
    encode(
      encoder,
      [
        ["authorization", "secret"],
        ["grpc-timeout", "1S"],
        ["trace-bin", "AA"],
      ],
      true,
    );
  assert.equal(encoder.tableLength, 0);
  assert.equal(encode(encoder, [["authorization", "secret"]])[0]! & 0xf0, 0x10);
});

test("Any bytes end in a block or in an error, and never hold more than the table allows", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), (blocks) => {
      const decoder = newDecoder(256);
      for (const bytes of blocks) {
        const block = decoder.decode(Buffer.from(bytes), 0, bytes.length);
        assert.ok(decoder.tableBytes <= 256 && decoder.tableLength <= 8);
        if (block === undefined) {
          assert.notEqual(decoder.error, "");
          return;
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("Names and values with forbidden characters are recognised", () => {
  for (const good of ["a", "x-y_z.0", ":path"]) assert.equal(isHeaderNameValid(good), true, good);
  for (const bad of ["", ":", "A", "a b", "a:b", "a\u0000", "\u007f", "a\u0080"]) assert.equal(isHeaderNameValid(bad), false, bad);
  for (const good of ["", "a b", "\u00ff", "a\tb"]) assert.equal(isHeaderValueValid(good), true, good);
  for (const bad of [" a", "a ", "\ta", "a\u0000", "a\r\nb", "\n"]) assert.equal(isHeaderValueValid(bad), false, bad);
});
