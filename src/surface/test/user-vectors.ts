/** The examples of docs/formats.md that concern users' state machines, as the shipped code encodes them. */
import { ByteWriter } from "../../core/kv/bytes.ts";
import { OpaqueBatch, writeAnswer } from "../../node/machine/opaque-commands.ts";
import { UserSnapshotSource } from "../../node/machine/user-snapshot.ts";

const utf8 = new TextEncoder();

function commands(): Uint8Array {
  const batch = new OpaqueBatch(0);
  for (const text of ["one", "", "two"]) batch.add(utf8.encode(text));
  return batch.finish();
}

function answers(): Uint8Array {
  const sink = new ByteWriter();
  sink.f64(8);
  writeAnswer(sink, "answer", utf8.encode("ONE"));
  writeAnswer(sink, "answer", new Uint8Array(0));
  writeAnswer(sink, "refused", utf8.encode("no"));
  return sink.take();
}

const stream = await new UserSnapshotSource([utf8.encode("sta"), utf8.encode("te")], () => 0).read(64);

/** By their names in docs/formats.md. */
export const userVectors: readonly (readonly [string, Uint8Array])[] = [
  ["user commands", commands()],
  ["user answers", answers()],
  ["user snapshot stream", stream ?? new Uint8Array(0)],
];
