/** The small codecs of gRPC: timeouts, status messages, metadata, statuses of resets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HeaderBlock, HeaderField, headerNameOf } from "../hpack/header-field.ts";
import { ErrorCode } from "../http2/protocol.ts";
import { Metadata } from "./metadata.ts";
import { isGrpcContentType, requestHeadOf } from "./request-head.ts";
import { errorOfHead, responseHeadOf } from "./response-head.ts";
import { decodeStatusMessage, encodeStatusMessage, errorOfReset, RpcError, Status, statusName, statusOfHttp } from "./status.ts";
import { formatTimeout, parseTimeout } from "./timeout.ts";

function block(...fields: [string, string][]): HeaderBlock {
  const made = new HeaderBlock();
  for (const [name, value] of fields) made.fields.push(new HeaderField(name, value, headerNameOf(name), true));
  return made;
}

test("Timeouts parse with each unit, and nothing else does", () => {
  for (const [text, ms] of [
    ["1H", 3_600_000],
    ["2M", 120_000],
    ["3S", 3000],
    ["4m", 4],
    ["5u", 0.005],
    ["6n", 0.000006],
    ["99999999H", 359_999_996_400_000],
    ["0m", 0],
  ] as const) {
    assert.equal(parseTimeout(text), ms);
  }
  for (const text of ["", "m", "1", "1s", "-1m", "1.5S", "123456789m", " 1m", "1m "]) assert.equal(parseTimeout(text), undefined, text);
});

test("A timeout that is written is never shorter than meant, and at most a little longer", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 1e13, noNaN: true }), (ms) => {
      const parsed = parseTimeout(formatTimeout(ms));
      assert.ok(
        parsed !== undefined && parsed >= ms * (1 - 1e-9) && parsed <= ms * 1.01 + 3_600_000 * (ms > 1e10 ? 1 : 0) + 1,
        `${ms} ${parsed}`,
      );
    }),
  );
  assert.equal(formatTimeout(0), "1n");
  assert.equal(formatTimeout(-5), "1n");
});

test("Status messages survive, whatever they contain, and are header values on the way", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 100 }), (message) => {
      const text = encodeStatusMessage(message);
      assert.match(text, /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/);
      assert.equal(decodeStatusMessage(text), Buffer.from(message, "utf8").toString("utf8"));
    }),
  );
  assert.equal(decodeStatusMessage("100% %zz %4"), "100% %zz %4");
});

test("Metadata keeps names, values and their order, and binary values as bytes", () => {
  const metadata = Metadata.from({ "X-A": ["1", "2"], "b-bin": Uint8Array.of(0, 255, 7) });
  metadata.append("x-a", "3");
  assert.deepEqual(metadata.getAll("X-a"), ["1", "2", "3"]);
  assert.equal(metadata.get("x-none"), undefined);
  assert.deepEqual(metadata.getBinary("b-bin"), Uint8Array.of(0, 255, 7));
  metadata.set("x-a", "4");
  assert.deepEqual(
    [...metadata],
    [
      ["b-bin", Uint8Array.of(0, 255, 7)],
      ["x-a", "4"],
    ],
  );
  metadata.delete("x-a");
  assert.equal(metadata.size, 1);
  assert.equal(Metadata.from(metadata), metadata);
});

test("Metadata refuses what cannot be sent", () => {
  const metadata = new Metadata();
  for (const name of ["", "a b", "ä", "grpc-status", "content-type", ":path", "te"])
    assert.throws(() => metadata.append(name, "x"), TypeError, name);
  for (const value of ["ä", "a\nb", " a", "a "]) assert.throws(() => metadata.append("x-a", value), TypeError, value);
  assert.throws(() => metadata.append("x-bin", "text"), TypeError);
  assert.throws(() => metadata.append("x", Uint8Array.of(1)), TypeError);
  assert.equal(metadata.size, 0);
});

test("Metadata of a block leaves out what the layers below use, and separates joined binary values", () => {
  const metadata = Metadata.ofBlock(
    block([":path", "/"], ["content-type", "x"], ["grpc-timeout", "1S"], ["x-a", "1"], ["x-bin", "AAE, AAEC"], ["user-agent", "me"]),
  );
  assert.deepEqual(
    [...metadata],
    [
      ["x-a", "1"],
      ["x-bin", Uint8Array.of(0, 1)],
      ["x-bin", Uint8Array.of(0, 1, 2)],
      ["user-agent", "me"],
    ],
  );
  assert.equal(metadata.getAllBinary("x-bin").length, 2);
});

test("A content type is gRPC with or without a suffix", () => {
  for (const good of ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"])
    assert.equal(isGrpcContentType(good), true);
  for (const bad of ["application/grpc-web", "application/grpcfoo", "application/json", ""]) assert.equal(isGrpcContentType(bad), false);
});

test("A request's head is read once for its block", () => {
  const made = block(
    [":method", "POST"],
    [":path", "/a/b"],
    ["content-type", "application/grpc"],
    ["grpc-timeout", "x"],
    ["grpc-encoding", "gzip"],
    ["grpc-accept-encoding", "identity, gzip ,x"],
  );
  const head = requestHeadOf(made);
  assert.deepEqual(head, { path: "/a/b", method: "POST", isGrpc: true, timeoutMs: Number.NaN, encoding: "gzip", acceptsGzip: true });
  assert.equal(requestHeadOf(made), head);
  assert.equal(requestHeadOf(block(["grpc-accept-encoding", "xgzip,gzipx"])).acceptsGzip, false);
});

test("A response's head and trailers become a status", () => {
  const failed = block(
    [":status", "200"],
    ["grpc-status", "5"],
    ["grpc-message", "not%20here"],
    ["grpc-status-details-bin", "AQI"],
    ["x-a", "1"],
  );
  const error = errorOfHead(responseHeadOf(failed), failed);
  assert.ok(RpcError.is(error));
  assert.deepEqual([error.code, error.message, [...error.details!], error.metadata?.get("x-a")], [5, "not here", [1, 2], "1"]);
  const fine = block(["grpc-status", "0"]);
  assert.equal(errorOfHead(responseHeadOf(fine), fine), undefined);
  for (const [fields, code] of [
    [[[":status", "404"]], Status.UNIMPLEMENTED],
    [[[":status", "503"]], Status.UNAVAILABLE],
    [[["x-a", "1"]], Status.UNKNOWN],
    [[["grpc-status", "zero"]], Status.UNKNOWN],
    [[["grpc-status", "-0"]], Status.UNKNOWN],
  ] as const) {
    const made = block(...(fields as unknown as [string, string][]));
    assert.equal(errorOfHead(responseHeadOf(made), made)?.code, code);
  }
});

test("HTTP statuses and resets map to the statuses that gRPC names", () => {
  for (const [http, code] of [
    [400, 13],
    [401, 16],
    [403, 7],
    [404, 12],
    [429, 14],
    [502, 14],
    [503, 14],
    [504, 14],
    [500, 2],
  ] as const)
    assert.equal(statusOfHttp(http), code);
  const reset = (code: number, by: "us" | "peer" | "network" = "peer", unprocessed = false): [number, boolean] => {
    const error = errorOfReset({ code, by, unprocessed, reason: "x" });
    return [error.code, error.mayHaveRun];
  };
  assert.deepEqual(reset(ErrorCode.REFUSED_STREAM, "peer", true), [Status.UNAVAILABLE, false]);
  assert.deepEqual(reset(ErrorCode.CANCEL), [Status.CANCELLED, true]);
  assert.deepEqual(reset(ErrorCode.ENHANCE_YOUR_CALM), [Status.RESOURCE_EXHAUSTED, true]);
  assert.deepEqual(reset(ErrorCode.INADEQUATE_SECURITY), [Status.PERMISSION_DENIED, true]);
  assert.deepEqual(reset(ErrorCode.INTERNAL_ERROR), [Status.INTERNAL, true]);
  assert.deepEqual(reset(ErrorCode.CONNECT_ERROR, "network"), [Status.UNAVAILABLE, true]);
  assert.equal(statusName(Status.ABORTED), "ABORTED");
  assert.equal(statusName(99), "status 99");
});
