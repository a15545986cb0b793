import assert from "node:assert/strict";
import { test } from "node:test";
import { announced, checkAdvertised, reachable } from "./advertised.ts";

test("the host of a wildcard is that under which other members find this one", () => {
  assert.equal(reachable("0.0.0.0:2379", "10.0.0.1:2380"), "10.0.0.1:2379");
  assert.equal(reachable("[::]:2379", "[fd00::1]:2380"), "[fd00::1]:2379");
  assert.equal(reachable("10.0.0.9:2379", "10.0.0.1:2380"), "10.0.0.9:2379");
  assert.equal(reachable("0.0.0.0:2379", undefined), "0.0.0.0:2379");
});

test("the cluster is not told of wildcards", () => {
  assert.deepEqual(announced(["http://0.0.0.0:1", "http://[::]:2", "http://a:3", "https://[::1]:4"]), ["http://a:3", "https://[::1]:4"]);
});

test("at most 16 URLs of 256 bytes can be advertised", () => {
  const refused = { code: "INVALID_ARGUMENT", details: { argument: "advertise" } };
  const argument = (error: unknown): boolean => {
    assert.equal((error as { code?: unknown }).code, refused.code);
    assert.equal((error as { details: { argument: string } }).details.argument, refused.details.argument);
    return true;
  };
  checkAdvertised(Array.from({ length: 16 }, (_, i) => `http://a:${i}`));
  checkAdvertised([`http://${"x".repeat(249)}`]);
  assert.throws(() => checkAdvertised(Array.from({ length: 17 }, (_, i) => `http://a:${i}`)), argument);
  for (const url of ["a", `http://${"x".repeat(250)}`, "http://a/b c", 7 as unknown as string])
    assert.throws(() => checkAdvertised([url]), argument);
});
