/** What the package exports, by name: whoever adds, renames or takes away a name changes this list and CHANGELOG.md. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import * as usage from "./api-usage.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

interface EntryPoint {
  readonly source: string;
  readonly values: readonly string[];
  readonly types: readonly string[];
}

const ENTRY_POINTS: Readonly<Record<string, EntryPoint>> = {
  "d-engine": {
    source: "src/index.ts",
    values: ["Engine", "EngineError"],
    types: [
      "AnyEngineError",
      "Bytes",
      "CallOptions",
      "Client",
      "Cluster",
      "ClusterId",
      "Comparison",
      "Consistency",
      "DeleteOp",
      "DeleteOptions",
      "DeleteResult",
      "Engine",
      "EngineOptions",
      "EngineState",
      "ErrorCode",
      "ErrorDetails",
      "GetOp",
      "HashResult",
      "Held",
      "HistoryOptions",
      "Key",
      "KeyMeta",
      "KeyRange",
      "KeyValue",
      "LeaderInfo",
      "Lease",
      "LeaseId",
      "LeaseInfo",
      "LeaseOptions",
      "Leases",
      "LogRecord",
      "Maintenance",
      "Match",
      "Member",
      "MemberId",
      "Members",
      "ModuleRef",
      "Op",
      "OpResult",
      "OpResults",
      "PeerOptions",
      "PutOp",
      "PutOptions",
      "PutResult",
      "RangeOp",
      "RangeOptions",
      "RangeResult",
      "ReadOptions",
      "RestoreOptions",
      "RestoreResult",
      "Revision",
      "Scan",
      "Status",
      "Target",
      "TlsOptions",
      "Txn",
      "TxnOp",
      "TxnResult",
      "Value",
      "Watch",
      "WatchBatch",
      "WatchEvent",
      "WatchOptions",
    ],
  },
  "d-engine/raft": {
    source: "src/raft.ts",
    values: ["RaftNode"],
    types: ["Command", "ModuleRef", "OpenStateMachine", "Proposed", "RaftNode", "RaftNodeOptions", "StateMachine"],
  },
  "d-engine/server": {
    source: "src/server/index.ts",
    values: ["serve"],
    types: ["ServeOptions", "Server", "ServerTlsOptions"],
  },
  "d-engine/storage": {
    source: "src/storage/index.ts",
    values: [
      "ENTRY_HEADER_BYTES",
      "createMemoryStorage",
      "decodeEntry",
      "entryPayload",
      "logStoreSuite",
      "openDiskStorage",
      "openMemoryRecordStore",
      "openSegmentRecordStore",
      "recordStoreSuite",
      "sealEntry",
    ],
    types: [
      "DiskStorageOptions",
      "Entry",
      "EntryKind",
      "LogStore",
      "LogWrite",
      "ModuleRef",
      "OpenRecordStore",
      "RecordBatch",
      "RecordRange",
      "RecordStore",
      "RecordStoreCapabilities",
      "Recovered",
      "RecoveredLog",
      "SegmentRecordStoreOptions",
      "SnapshotFile",
      "SnapshotMeta",
      "SnapshotWriter",
      "StateStore",
      "Storage",
      "StoreHeader",
      "SuiteCase",
      "Vote",
    ],
  },
};

/** The names of types that an index exports. An index is written by hand and holds little else. */
function exportedTypes(source: string): readonly string[] {
  const names: string[] = [];
  for (const [, list = ""] of source.matchAll(/^export type \{([^}]*)\}/gm)) {
    for (const name of list.split(","))
      if (name.trim() !== "")
        names.push(
          name
            .trim()
            .split(/\s+as\s+/)
            .at(-1)!,
        );
  }
  for (const [, name = ""] of source.matchAll(/^export (?:type|interface) (\w+)/gm)) names.push(name);
  for (const [, list = ""] of source.matchAll(/^export \{([^}]*)\}/gm)) {
    for (const [, name = ""] of list.matchAll(/\btype (\w+)/g)) names.push(name);
  }
  return names.toSorted();
}

for (const [name, { source, values, types }] of Object.entries(ENTRY_POINTS)) {
  test(`${name} exports these values and no others`, async () => {
    const module = (await import(name)) as object;
    assert.deepEqual(Object.keys(module).toSorted(), values);
  });

  test(`${name} exports these types and no others`, () => {
    assert.deepEqual(exportedTypes(readFileSync(join(root, source), "utf8")), types);
  });
}

test("what must compile and what must not is part of the build", () => {
  for (const [name, call] of Object.entries(usage)) assert.equal(typeof call, "function", name);
  assert.ok(Object.keys(usage).length >= 10);
});

test("the package has these entry points and no others", () => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly exports: Readonly<Record<string, string | Record<string, string>>>;
  };
  assert.deepEqual(Object.keys(manifest.exports), [
    ".",
    "./storage",
    "./raft",
    "./server",
    "./testing",
    "./worker",
    "./disk-worker",
    "./package.json",
  ]);
  for (const entry of ["worker", "disk-worker"]) {
    const target = manifest.exports[`./${entry}`] as Record<string, string>;
    assert.ok(existsSync(join(root, target["default"]!)), entry);
  }
});

test("docs/api.md speaks of every value that can be imported, and of every call of an engine", () => {
  const page = readFileSync(join(root, "docs/api.md"), "utf8");
  const spoken = (name: string): boolean => new RegExp(`\\b${name}\\b`).test(page);
  const missing = Object.values(ENTRY_POINTS).flatMap(({ values }) => values.filter((value) => !spoken(value)));
  for (const [file, declaration] of [
    ["src/client/client.ts", "Client"],
    ["src/client/engine.ts", "Engine"],
  ] as const) {
    const text = readFileSync(join(root, file), "utf8");
    const body = text.slice(text.indexOf(`export interface ${declaration} `));
    const members = [...body.slice(0, body.indexOf("\n}")).matchAll(/^ {2}(?:readonly )?(\w+)(?:[(:])/gm)].map((match) => match[1]!);
    assert.ok(members.length > 5, declaration);
    missing.push(...members.filter((member) => !spoken(member)));
  }
  assert.deepEqual(missing, []);
});

test("docs/api.md has every option that Engine.open takes", () => {
  const page = readFileSync(join(root, "docs/api.md"), "utf8");
  const text = readFileSync(join(root, "src/client/engine-options.ts"), "utf8");
  const body = text.slice(text.indexOf("export interface EngineOptions"));
  const options = [...body.slice(0, body.indexOf("\n}")).matchAll(/^ {2,4}readonly (\w+)\??:/gm)].map((match) => match[1]!);
  assert.ok(options.includes("dataDir") && options.includes("watchersMax"));
  const table = page.slice(page.indexOf("| option | default |"), page.indexOf("`peer`: `listen`"));
  assert.deepEqual(
    options.filter((option) => option !== "limits" && !new RegExp(`^\\| \`(?:limits\\.)?${option}\``, "m").test(table)),
    [],
  );
});
