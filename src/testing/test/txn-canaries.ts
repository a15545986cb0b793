/** Planted bugs in transactions, in reads of the past and of what must not be old, and in compaction. */
import { PASTS, STALE, TRANSACTIONS } from "../profiles.ts";
import type { Canary } from "./canaries.ts";

export const TXN_CANARIES: readonly Canary[] = [
  {
    name: "a transaction is applied twice after a failover",
    edits: [
      {
        file: "node/proposals.ts",
        find: "if (batch.term === 0 || batch.term >= term) continue;",
        replace: "if (batch.term === 0) continue;",
      },
      { file: "node/proposals.ts", find: "if (session !== undefined) this.#number(batch, session, now);", replace: "" },
    ],
    profile: TRANSACTIONS,
    seedsMax: 20,
  },
  {
    name: "a transaction that is done in parts is read before its last",
    edits: [
      {
        file: "core/kv/machine.ts",
        find: "    if (!run.isDone) return budget;\n    this.txn = undefined;\n",
        replace:
          "    if (!run.isDone) {\n      this.currentRevision = run.revision;\n      return budget;\n    }\n    this.txn = undefined;\n",
      },
    ],
    profile: TRANSACTIONS,
    seedsMax: 5,
  },
  {
    name: "what a crash leaves holds half of a transaction",
    edits: [
      { file: "storage/records/store-format.ts", find: "PART_BYTES_MAX: number = 256 * 1024;", replace: "PART_BYTES_MAX: number = 100;" },
      {
        file: "node/store-writer.ts",
        find: "await store.write(batch.parts.take(), { last: whole });",
        replace: "await store.write(batch.parts.take(), { last: true });",
      },
    ],
    profile: { ...TRANSACTIONS, faults: { crash: 2, crashLeader: 1, kill: 3, crashAll: 1 } },
    seedsMax: 10,
  },
  {
    name: "an event is lost at a compaction",
    edits: [
      {
        file: "core/kv/machine.ts",
        find: "return this.table.compact(this.freed, Math.max(1, recordsMax));",
        replace: "return this.table.compact(Math.min(this.freed + 1, this.publishedRevision - 1), Math.max(1, recordsMax));",
      },
    ],
    profile: PASTS,
    seedsMax: 10,
  },
  {
    name: "the past is read after its compaction, with what is left of it",
    edits: [
      {
        file: "core/kv/machine.ts",
        find: "if (revision >= this.readableFrom || (pinned && this.pins.holds(revision))) return undefined;",
        replace: "if (revision > 0) return undefined;",
      },
    ],
    profile: PASTS,
    seedsMax: 5,
  },
  {
    name: "history is compacted by age before it is old",
    edits: [
      {
        file: "node/history-keeper.ts",
        find: "if (sample.clockMs <= clockMs - ms) old = sample.revision;",
        replace: "if (sample.clockMs <= clockMs - ms / 4) old = sample.revision;",
      },
    ],
    profile: PASTS,
    seedsMax: 5,
  },
  {
    name: "an answer is as old as the last that a majority gave, however long ago",
    edits: [
      {
        file: "node/reads.ts",
        find: "return now - this.#fresh.at <= stalenessMsMax && this.#options.wallNow() - this.#fresh.wallAt <= stalenessMsMax;",
        replace: "return now - this.#fresh.at <= 4 * stalenessMsMax;",
      },
    ],
    profile: STALE,
    seedsMax: 20,
  },
  {
    name: "a read that is to be young does not wait until this member has applied what it heard of",
    edits: [
      {
        file: "node/reads.ts",
        find: "return stalenessMsMax === undefined ? 0 : this.#fresh.index;",
        replace: "return stalenessMsMax === undefined ? 0 : Math.min(0, this.#fresh.index);",
      },
    ],
    profile: {
      ...STALE,
      network: { lossRate: 0.1, duplicateRate: 0, reorderRate: 0.2, delayMaxMs: 20 },
      transactions: { ...STALE.transactions!, clientsPerNode: 5, thinkMs: 5, pastShare: 0 },
    },
    seedsMax: 20,
  },
  {
    name: "a read does not wait for the revision that it must not be behind",
    edits: [
      {
        file: "node/reads.ts",
        find: "if (applied.index >= index && applied.revision >= read.minRevision) this.#serve(read);",
        replace: "if (applied.index >= index) this.#serve(read);",
      },
    ],
    profile: STALE,
    seedsMax: 5,
  },
  {
    name: "a transaction that only reads is answered from what this member has",
    edits: [
      {
        file: "client/local-transactions.ts",
        find: `{ consistency: "linearizable", minRevision: 0, timeoutMs }`,
        replace: `{ consistency: "eventual", minRevision: 0, timeoutMs }`,
      },
    ],
    profile: TRANSACTIONS,
    seedsMax: 10,
  },
  {
    name: "a comparison of a range looks at its first key alone",
    edits: [
      {
        file: "core/kv/txn-plan.ts",
        find: "return this.holds(compare, ref) ? undefined : false;",
        replace: "return this.holds(compare, ref);",
      },
    ],
    profile: TRANSACTIONS,
    seedsMax: 5,
  },
  {
    name: "a range within a transaction does not see what was written before it",
    edits: [
      {
        file: "core/kv/txn-run.ts",
        find: "const revision = request.revision ?? this.revision;",
        replace: "const revision = request.revision ?? this.ground.revision;",
      },
    ],
    profile: TRANSACTIONS,
    seedsMax: 5,
  },
  {
    name: "a read of what is compacted is told that history begins later than it does",
    edits: [
      {
        file: "core/kv/machine.ts",
        find: `return { refused: "compacted", revision: this.readableFrom };`,
        replace: `return { refused: "compacted", revision: this.currentRevision };`,
      },
    ],
    profile: PASTS,
    seedsMax: 5,
  },
  {
    name: "a read of the past takes what this member has for the present",
    edits: [
      {
        file: "client/local-reads.ts",
        find: "readMany([toKey(key)], revision, read);",
        replace: `readMany([toKey(key)], revision, { ...read, consistency: "eventual" });`,
      },
    ],
    profile: {
      ...STALE,
      transactions: { ...STALE.transactions!, pastShare: 0.9, eventualShare: 0, leaseShare: 0, transferShare: 0.05, txnShare: 0.15 },
    },
    seedsMax: 20,
  },
  {
    name: "a scan goes on as of the present",
    edits: [
      {
        file: "client/local-reads.ts",
        find: "{ revision: behind.first.revision }",
        replace: "{}",
      },
    ],
    profile: { ...TRANSACTIONS, scanPageBytes: 1 },
    seedsMax: 10,
  },
  {
    name: "an update takes the place of what it has not seen",
    edits: [
      {
        file: "client/local-transactions.ts",
        find: `              result: "equal",\n              number: current?.modRevision ?? 0,`,
        replace: `              result: "less",\n              number: (current?.modRevision ?? 0) + 1_000_000,`,
      },
    ],
    profile: TRANSACTIONS,
    seedsMax: 20,
  },
];
