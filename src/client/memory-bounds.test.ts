import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryBounds } from "./memory-bounds.ts";

const MIB = 2 ** 20;

test("the default quota is a quarter of what the process may use, and at most 2 GiB", () => {
  assert.deepEqual(memoryBounds(300 * MIB), { dataBytesMax: 75 * MIB, logMemoryBytesMax: 18.75 * MIB, pendingBytesMax: 37.5 * MIB });
  assert.deepEqual(memoryBounds(64 * 1024 * MIB), { dataBytesMax: 2048 * MIB, logMemoryBytesMax: 64 * MIB, pendingBytesMax: 256 * MIB });
  assert.deepEqual(memoryBounds(16 * MIB), { dataBytesMax: 4 * MIB, logMemoryBytesMax: 4 * MIB, pendingBytesMax: 24 * MIB });
});
