/** The public entry `d-engine/storage`: the interfaces of the log and the record store, their implementations, and the suites that any has to pass. */
export { ENTRY_HEADER_BYTES, decodeEntry, entryPayload, sealEntry } from "../core/raft/entry.ts";
export type { Entry, EntryKind } from "../core/raft/entry.ts";
export type { SnapshotMeta } from "../core/raft/message.ts";
export type { RecoveredLog, Vote } from "../core/raft/ready.ts";
export { openDiskStorage } from "./disk-storage.ts";
export type { DiskStorageOptions } from "./disk-storage.ts";
export { logStoreSuite } from "./log-store-suite.ts";
export type { SuiteCase } from "./log-store-suite.ts";
export { createMemoryStorage } from "./memory-storage.ts";
export { openMemoryRecordStore } from "./records/memory-store.ts";
export { recordStoreSuite } from "./records/record-store-suite.ts";
export type { RecordStoreCapabilities } from "./records/record-store-suite.ts";
export type { ModuleRef, OpenRecordStore, RecordBatch, RecordRange, RecordStore } from "./records/record-store.ts";
export { openSegmentRecordStore } from "./records/segment-record-store.ts";
export type { SegmentRecordStoreOptions } from "./records/segment-record-store.ts";
export type { LogStore, LogWrite, Recovered, SnapshotFile, SnapshotWriter, StateStore, Storage, StoreHeader } from "./storage.ts";
