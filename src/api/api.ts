/** All services over one backend, as methods that a gRPC server or a JSON gateway can call. */
import type { Backend } from "./backend.ts";
import { servedMethods, type ServedMethod } from "./handlers.ts";
import { ServiceContext } from "./service-context.ts";
import { authDisabledService } from "./services/auth-disabled.ts";
import { clusterService } from "./services/cluster.ts";
import { electionService } from "./services/election.ts";
import { healthService } from "./services/health.ts";
import { kvService } from "./services/kv.ts";
import { leaseService } from "./services/lease.ts";
import { lockService } from "./services/lock.ts";
import { maintenanceService } from "./services/maintenance.ts";
import { clusterManagementService, raftClientService } from "./services/raft-client.ts";
import { reflectionService } from "./services/reflection.ts";
import { watchService } from "./services/watch.ts";

/** All services of one server. */
export interface Api {
  readonly methods: readonly ServedMethod[];
  /** Ends the calls that wait for something to happen, and may do so for ever: watches, locks, health. Clients turn to another member. */
  stop(): void;
}

/** Etcd's. */
const WATCH_PROGRESS_MS = 600_000;

/**
 * What is served, by what name. `clientUrls`: where clients reach this member, as MemberList tells them. `watchProgressMs`: how often a watch that asks
 * for it is told that nothing happened; default ten minutes.
 */
export function createApi(
  backend: Backend,
  clientUrls: () => readonly string[] = (): readonly string[] => [],
  watchProgressMs: number = WATCH_PROGRESS_MS,
): Api {
  const context = new ServiceContext(backend, clientUrls, watchProgressMs);
  const methods = [
    ...servedMethods("etcdserverpb.KV", kvService(context)),
    ...servedMethods("etcdserverpb.Watch", watchService(context)),
    ...servedMethods("etcdserverpb.Lease", leaseService(context)),
    ...servedMethods("etcdserverpb.Cluster", clusterService(context)),
    ...servedMethods("etcdserverpb.Maintenance", maintenanceService(context)),
    ...servedMethods("etcdserverpb.Auth", authDisabledService(context)),
    ...servedMethods("v3lockpb.Lock", lockService(context)),
    ...servedMethods("v3electionpb.Election", electionService(context)),
    ...servedMethods("grpc.health.v1.Health", healthService(context)),
    ...servedMethods("grpc.reflection.v1.ServerReflection", reflectionService()),
    // The same messages under the name that older tools ask for.
    ...servedMethods("grpc.reflection.v1.ServerReflection", reflectionService(), "grpc.reflection.v1alpha.ServerReflection"),
    ...servedMethods("d_engine.client.RaftClientService", raftClientService(context)),
    ...servedMethods("d_engine.server.cluster.ClusterManagementService", clusterManagementService(context)),
  ];
  return { methods, stop: () => context.stop() };
}
