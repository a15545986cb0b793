/** The public entry `d-engine/storage`: the log's interface, its implementations, and the suite that any implementation has to pass. */
export { ENTRY_HEADER_BYTES, decodeEntry, entryPayload, sealEntry } from "../core/raft/entry.ts";
export type { Entry, EntryKind } from "../core/raft/entry.ts";
export type { SnapshotMeta } from "../core/raft/message.ts";
export type { RecoveredLog, Vote } from "../core/raft/ready.ts";
export { openDiskStorage } from "./disk-storage.ts";
export type { DiskStorageOptions } from "./disk-storage.ts";
export { logStoreSuite } from "./log-store-suite.ts";
export type { SuiteCase } from "./log-store-suite.ts";
export { createMemoryStorage } from "./memory-storage.ts";
export type { LogStore, LogWrite, Recovered, SnapshotFile, SnapshotWriter, Storage } from "./storage.ts";
