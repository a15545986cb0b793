import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { openDiskStorage } from "../disk-storage.ts";
import { meta } from "../test/fixture.ts";
import { numberKey } from "./record-index.ts";
import { PartWriter, readRecords } from "./store-format.ts";

const root = mkdtempSync(path.join(os.tmpdir(), "d-engine-reading-"));
after(() => rmSync(root, { recursive: true, force: true }));

const TAG = 1;
const RECORDS = 3_000;
/** Longer than a page. */
const LARGE = 700;

function valueOf(n: number): Uint8Array {
  return new Uint8Array(n === LARGE ? 600_000 : n % 1_000).fill(n);
}

for (const thread of ["worker", "inline"] as const) {
  test(`pages that are handed back are filled again, and each record is read as it was written, ${thread}`, async () => {
    const storage = await openDiskStorage({ directory: path.join(root, thread), unsafeNoFsync: true, thread });
    await storage.found(meta());
    const store = await storage.createStore();
    const parts = new PartWriter();
    for (let n = 0; n < RECORDS; n++) {
      if (parts.isFull) await store.write(parts.take(), { last: false });
      parts.put(numberKey(TAG, n, 0), valueOf(n));
    }
    await store.write(parts.take(), { last: true, header: { meta: meta(), preambleBytes: 0 } });

    const next = store.read({ start: numberKey(TAG, 0, 0), end: numberKey(TAG + 1, 0, 0) });
    const buffers = new Set<ArrayBufferLike>();
    let pages = 0;
    let read = 0;
    for (let page = await next(); page !== undefined; page = await next(page)) {
      const bytes = Buffer.from(page.buffer, page.byteOffset, page.byteLength);
      const problem = readRecords(page, {
        put: (keyAt, keyBytes, _at, end) => {
          assert.ok(bytes.subarray(keyAt, keyAt + keyBytes).equals(numberKey(TAG, read, 0)));
          assert.ok(bytes.subarray(keyAt + keyBytes, end).equals(valueOf(read)));
          read++;
        },
        delete: () => assert.fail("nothing was deleted"),
      });
      assert.equal(problem, undefined);
      buffers.add(page.buffer);
      pages++;
    }
    assert.equal(read, RECORDS);
    // One that is read, one that is being filled, and for each what it grows to.
    if (thread === "inline") assert.ok(buffers.size <= 4 && pages > buffers.size + 2, `${buffers.size} buffers for ${pages} pages`);
    await storage.close();
  });
}
