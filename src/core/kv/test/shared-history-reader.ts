/** The reader's thread: asks for keys at random until it has so many answers, and checks each against the history. */
import assert from "node:assert/strict";
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import { SharedTableReader } from "../shared-reader.ts";
import type { SharedHit, SharedTableGrowth, SharedTableHandle } from "../shared-reader.ts";
import { createRevisionOf, HISTORY_KEYS, historyKey, isDeletion, newestOf, valueBytesOf, versionOf } from "./shared-history.ts";

export interface ReaderInput {
  readonly handle: SharedTableHandle;
  readonly growths: MessagePort;
  readonly answers: number;
  /** Word 0 becomes 1 when the reader is through. */
  readonly stop: SharedArrayBuffer;
}

export interface ReaderReport {
  readonly hits: number;
  readonly misses: number;
  readonly retries: number;
  readonly failure: string | undefined;
}

function check(key: number, before: number, after: number, answer: SharedHit | undefined): void {
  const oldest = newestOf(key, before);
  if (answer === undefined) {
    for (let revision = oldest; revision <= after; revision += HISTORY_KEYS) {
      if (revision <= 0 || isDeletion(revision)) return;
    }
    assert.fail(`key ${key} is missing between revisions ${before} and ${after}`);
  }
  const { modRevision, createRevision, version, value } = answer;
  assert.ok(modRevision >= oldest && modRevision <= after, `revision ${modRevision} of key ${key}, published ${before} to ${after}`);
  assert.equal(modRevision % HISTORY_KEYS, key, "the record is the key's");
  assert.ok(!isDeletion(modRevision));
  assert.equal(createRevision, createRevisionOf(modRevision));
  assert.equal(version, versionOf(modRevision));
  assert.equal(value.length, valueBytesOf(modRevision));
  for (let i = 0; i < value.length; i++) {
    if (value[i] !== (modRevision & 0xff)) assert.fail(`byte ${i} of revision ${modRevision} is torn`);
  }
}

function read(input: ReaderInput): ReaderReport {
  const reader = new SharedTableReader(input.handle);
  const keys = Array.from({ length: HISTORY_KEYS }, (_, i) => historyKey(i));
  let hits = 0;
  let misses = 0;
  let retries = 0;
  let random = 1;
  try {
    while (hits + misses < input.answers) {
      random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
      const key = (random >>> 8) % HISTORY_KEYS;
      const before = reader.published();
      const answer = reader.get(keys[key]!);
      const after = reader.published();
      if (answer === "retry") {
        retries++;
        for (let told = receiveMessageOnPort(input.growths); told !== undefined; told = receiveMessageOnPort(input.growths)) {
          reader.add(told.message as SharedTableGrowth);
        }
        continue;
      }
      check(key, before, after, answer);
      if (answer === undefined) misses++;
      else hits++;
    }
    return { hits, misses, retries, failure: undefined };
  } catch (error) {
    return { hits, misses, retries, failure: String(error) };
  } finally {
    Atomics.store(new Int32Array(input.stop), 0, 1);
    input.growths.close();
  }
}

const port = parentPort;
port?.postMessage(read(workerData as ReaderInput));
