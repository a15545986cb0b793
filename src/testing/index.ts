/** `d-engine/testing`: a cluster in one thread, with virtual time and faults, for users' own tests. */
export { createTestCluster } from "./test-cluster.ts";
export type { LinkFault, TestCluster, TestClusterOptions } from "./test-cluster.ts";
