/** The level of etcd's API that the services match: clients choose what they ask for by it. */

/** Told by Status and /version. */
export const ETCD_VERSION = "3.6.0";
/** The same without its last part, as cluster versions are told. */
export const ETCD_CLUSTER_VERSION = "3.6";
