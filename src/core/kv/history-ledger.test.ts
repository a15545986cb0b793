import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HistoryLedger } from "./history-ledger.ts";

/** The same by looking at every revision. */
class PlainLedger {
  compacted: number;
  last: number;
  readonly bytes = new Map<number, number>();

  constructor(compactRevision: number) {
    this.compacted = compactRevision;
    this.last = compactRevision;
  }

  get total(): number {
    return this.through(this.last);
  }

  through(through: number): number {
    let total = 0;
    for (const [revision, bytes] of this.bytes) if (revision > this.compacted && revision <= through) total += bytes;
    return total;
  }

  add(revision: number, bytes: number): void {
    this.bytes.set(revision, (this.bytes.get(revision) ?? 0) + bytes);
    this.last = revision;
  }

  freeing(bytes: number): number {
    for (let revision = this.compacted + 1; revision <= this.last; revision++) if (this.through(revision) >= bytes) return revision;
    return this.last > this.compacted ? this.last : 0;
  }

  trim(through: number, { revisionsMax, bytesMax }: { readonly revisionsMax: number; readonly bytesMax: number }): void {
    while (this.compacted < through && (this.last - this.compacted > revisionsMax || this.total > bytesMax)) this.compacted++;
  }
}

test("the account agrees with one that looks at every revision", () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("add" as const),
        after: fc.constantFrom(0, 1, 1, 1, 2, 40, 4_095, 9_000),
        bytes: fc.nat(100),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("compact" as const), back: fc.constantFrom(0, 1, 5, 4_096, 5_000) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant("trim" as const),
        back: fc.constantFrom(0, 1, 3),
        revisionsMax: fc.constantFrom(1, 3, 5_000, 1e9),
        bytesMax: fc.constantFrom(0, 100, 1e9),
      }),
    },
  );
  fc.assert(
    fc.property(fc.constantFrom(0, 1, 4_094, 4_095, 100_000), fc.array(step, { maxLength: 25 }), (from, steps) => {
      const ledger = new HistoryLedger({ revisionsMax: 1e9, bytesMax: 1e9 }, from);
      const plain = new PlainLedger(from);
      for (const one of steps) {
        if (one.do === "add") {
          const revision = Math.max(plain.last, plain.compacted + 1) + one.after;
          ledger.add(revision, one.bytes);
          plain.add(revision, one.bytes);
        } else if (one.do === "compact") {
          const through = Math.max(plain.compacted, plain.last - one.back);
          ledger.compact(through);
          plain.compacted = through;
        } else {
          const through = Math.max(0, plain.last - one.back);
          ledger.limit(one);
          ledger.trim(through);
          plain.trim(through, one);
        }
        assert.equal(ledger.compactRevision, plain.compacted);
        assert.equal(ledger.lastRevision, plain.last);
        assert.equal(ledger.historyBytes, plain.total);
        assert.equal(ledger.bytesThrough(plain.last - 2), plain.through(plain.last - 2));
        for (const bytes of [0, 1, 150]) assert.equal(ledger.revisionFreeing(bytes), plain.freeing(bytes), `freeing ${bytes}`);
      }
    }),
    { numRuns: 150 },
  );
});
