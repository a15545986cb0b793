/** The segment of a record store that docs/formats.md shows: two batches, the second cut into two parts and with the header of a state. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeFileSystem } from "../../host/node-file-system.ts";
import { numberKey } from "../../storage/records/record-index.ts";
import { SegmentStore } from "../../storage/records/segment-store.ts";
import { PartWriter } from "../../storage/records/store-format.ts";

export function storeSegment(): Uint8Array {
  const directory = mkdtempSync(join(tmpdir(), "d-engine-store-format-"));
  try {
    const fileSystem = createNodeFileSystem({ sync: false });
    const store = SegmentStore.begin({ fileSystem, directory, segmentBytes: 4096, random: { uint32: () => 0x0badcafe } });
    const text = (value: string): Uint8Array => new TextEncoder().encode(value);
    const writer = new PartWriter();
    writer.put(numberKey(114, 2, 0), text("two"));
    store.write(writer.take(), true);
    store.sync();
    writer.delete(numberKey(114, 2, 0));
    store.write(writer.take(), false);
    writer.put(text("header"), text("{}"));
    store.write(writer.take(), true);
    const { path } = store.end;
    store.leave();
    return readFileSync(path);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
