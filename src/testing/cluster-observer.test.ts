import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeMessage } from "../transport/message-codec.ts";
import { APPEND_ENTRIES_TYPE } from "./cluster-observer.ts";

test("the messages that the observer passes over are the appends", () => {
  const message = {
    kind: "AppendEntries",
    from: "a",
    to: "b",
    term: 1,
    prevLogIndex: 1,
    prevLogTerm: 1,
    commitIndex: 1,
    entries: [],
  } as const;
  assert.equal(encodeMessage(message)[0]?.[0], APPEND_ENTRIES_TYPE);
});
