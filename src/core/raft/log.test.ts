import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Entry } from "./entry.ts";
import { RaftLog } from "./log.ts";
import { commandEntry, configurationOfLetters } from "./test/cluster.ts";

const BASE = { lastIncludedIndex: 3, lastIncludedTerm: 2, clockMs: 0, configuration: configurationOfLetters({ voters: "A" }) };

function emptyLog(): RaftLog {
  const { lastIncludedIndex: index, lastIncludedTerm: term } = BASE;
  return new RaftLog({
    vote: { term, votedFor: undefined },
    base: BASE,
    firstIndex: index + 1,
    lastIndex: index,
    terms: [{ index, term }],
    configurationEntries: [],
    tail: [],
  });
}

/** A log that is an array and remembers everything. */
class ArrayLog {
  entries: Entry[] = [];
  firstIndex: number = BASE.lastIncludedIndex + 1;
  persistedIndex: number = BASE.lastIncludedIndex;
  commitIndex: number = BASE.lastIncludedIndex;
  /** What the disk will hold after each write that is under way. */
  writes: (readonly Entry[])[] = [];
  disk: readonly Entry[] = [];

  get lastIndex(): number {
    return BASE.lastIncludedIndex + this.entries.length;
  }

  entryAt(index: number): Entry | undefined {
    return this.entries[index - BASE.lastIncludedIndex - 1];
  }

  termAt(index: number): number | undefined {
    if (index < this.firstIndex - 1 || index > this.lastIndex) return undefined;
    return index === BASE.lastIncludedIndex ? BASE.lastIncludedTerm : this.entryAt(index)?.term;
  }
}

const operations = fc.array(
  fc.record({
    kind: fc.constantFrom("append", "append", "append", "replace", "take", "persist", "commit", "release", "discard"),
    size: fc.nat({ max: 3 }),
    place: fc.nat({ max: 1_000 }),
  }),
  { minLength: 1, maxLength: 80 },
);

test("the log answers like an array, and calls persisted only what the disk holds", () => {
  const property = fc.property(operations, (list) => {
    const log = emptyLog();
    const model = new ArrayLog();
    let term = BASE.lastIncludedTerm;
    let number = 0;
    const append = (count: number): void => {
      for (let i = 0; i < count; i++) {
        const entry = commandEntry({ index: log.lastIndex + 1, term }, `${++number}`);
        log.append(entry);
        model.entries.push(entry);
      }
    };
    const settle = (): void => log.settle(Math.min(model.commitIndex, log.persistedIndex));
    for (const { kind, size, place } of list) {
      if (kind === "append") {
        append(1 + size);
      } else if (kind === "replace") {
        const from = model.commitIndex + 1 + (place % Math.max(1, model.lastIndex - model.commitIndex));
        if (from > model.lastIndex) continue;
        // Of an old term now and then: what is replaced may come back under its old number.
        term += size > 1 ? 1 : 0;
        term = Math.max(term, model.termAt(from - 1) ?? term);
        log.truncate(from);
        model.entries.length = from - BASE.lastIncludedIndex - 1;
        model.persistedIndex = Math.min(model.persistedIndex, from - 1);
        append(1 + size);
      } else if (kind === "take") {
        const taken = log.takeUnsaved();
        if (taken.length === 0) continue;
        assert.deepEqual(taken, model.entries.slice((taken[0] as Entry).index - BASE.lastIncludedIndex - 1));
        model.writes.push([...model.entries]);
      } else if (kind === "persist") {
        const written = model.writes.shift();
        if (written === undefined) continue;
        model.disk = written;
        const last = written[written.length - 1] as Entry;
        log.onPersisted({ index: last.index, term: last.term });
        settle();
      } else if (kind === "commit") {
        model.commitIndex = Math.min(model.lastIndex, model.commitIndex + size);
        settle();
      } else if (kind === "release") {
        log.release(model.commitIndex, place);
      } else {
        const through = Math.min(model.commitIndex, log.persistedIndex, log.firstIndex - 1 + size);
        log.discard(through);
        model.firstIndex = Math.max(model.firstIndex, through + 1);
      }
      assert.equal(log.lastIndex, model.lastIndex);
      assert.equal(log.firstIndex, model.firstIndex);
      for (let index = BASE.lastIncludedIndex - 1; index <= model.lastIndex + 1; index++) {
        assert.equal(log.termAt(index), model.termAt(index), `the term of ${index}`);
        const entry = log.entryAt(index);
        if (entry !== undefined) assert.equal(entry, model.entryAt(index));
        if (index > log.persistedIndex && index <= model.lastIndex) assert.ok(entry !== undefined, `${index} is not on disk, so in memory`);
        if (index > BASE.lastIncludedIndex && index <= log.persistedIndex) {
          // Also after every write that is under way: none of them takes it away again.
          for (const disk of [model.disk, ...model.writes]) {
            assert.equal(disk[index - BASE.lastIncludedIndex - 1], model.entryAt(index), `${index} is called persisted`);
          }
        }
      }
      const from = model.firstIndex + (place % (model.lastIndex - model.firstIndex + 2));
      const slice = log.slice(from, model.lastIndex, 100);
      assert.deepEqual(slice, model.entries.slice(from - BASE.lastIncludedIndex - 1, from - BASE.lastIncludedIndex - 1 + slice.length));
      if (from >= log.memoryFirst && from <= model.lastIndex) assert.ok(slice.length > 0);
      const hint = log.lastWithTermAtMost(from, term - 1);
      if (hint >= model.firstIndex - 1) {
        assert.ok((log.termAt(hint) as number) <= term - 1);
        for (let index = hint + 1; index <= Math.min(from, model.lastIndex); index++) assert.ok((log.termAt(index) as number) > term - 1);
      }
    }
    assert.equal(log.memoryBytes >= 0, true);
  });
  fc.assert(property, { numRuns: 500 });
});

test("memory is let go of only above the bound, oldest first, and never what is not settled", () => {
  const log = emptyLog();
  for (let i = 0; i < 10; i++) log.append(commandEntry({ index: 4 + i, term: 2 }, "x".repeat(68)));
  assert.deepEqual([log.memoryBytes, log.unsettledBytes], [1_000, 1_000]);
  log.release(13, 0);
  assert.equal(log.memoryFirst, 4, "nothing is on disk");
  log.takeUnsaved();
  log.onPersisted({ index: 13, term: 2 });
  log.settle(8);
  assert.equal(log.unsettledBytes, 500);
  log.release(7, 850);
  assert.deepEqual([log.memoryFirst, log.memoryBytes], [6, 800]);
  log.release(7, 0);
  assert.equal(log.memoryFirst, 8, "7 is the last that was applied");
  assert.deepEqual(log.slice(7, 13, 1_000), []);
  assert.deepEqual(
    log.slice(8, 13, 250).map(({ index }) => index),
    [8, 9],
  );
  assert.deepEqual(
    log.slice(8, 13, 1).map(({ index }) => index),
    [8],
    "never none",
  );
});
