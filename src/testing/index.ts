/** `d-engine/testing`: for users' own tests, a cluster in one thread with virtual time and faults, and the suite that a record store has to pass. */
export { createTestCluster } from "./test-cluster.ts";
export { recordStoreSuite } from "../storage/records/record-store-suite.ts";
export type { SuiteCase } from "../storage/log-store-suite.ts";
export type { RecordStoreCapabilities } from "../storage/records/record-store-suite.ts";
export type { LinkFault, TestCluster, TestClusterOptions } from "./test-cluster.ts";
