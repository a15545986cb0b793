/** The services, each method with its kind, its messages, and the paths of etcd's JSON gateway that reach it. */
import type { MethodKind } from "../../rpc/index.ts";

/** By their full names; a method is its kind, its request, its response, and its paths. */
export const SERVICES = {
  "etcdserverpb.KV": {
    Range: ["unary", "etcdserverpb.RangeRequest", "etcdserverpb.RangeResponse", "/v3/kv/range"],
    RangeStream: ["serverStream", "etcdserverpb.RangeRequest", "etcdserverpb.RangeStreamResponse"],
    Put: ["unary", "etcdserverpb.PutRequest", "etcdserverpb.PutResponse", "/v3/kv/put"],
    DeleteRange: ["unary", "etcdserverpb.DeleteRangeRequest", "etcdserverpb.DeleteRangeResponse", "/v3/kv/deleterange"],
    Txn: ["unary", "etcdserverpb.TxnRequest", "etcdserverpb.TxnResponse", "/v3/kv/txn"],
    Compact: ["unary", "etcdserverpb.CompactionRequest", "etcdserverpb.CompactionResponse", "/v3/kv/compaction"],
  },
  "etcdserverpb.Watch": {
    Watch: ["bidi", "etcdserverpb.WatchRequest", "etcdserverpb.WatchResponse", "/v3/watch"],
  },
  "etcdserverpb.Lease": {
    LeaseGrant: ["unary", "etcdserverpb.LeaseGrantRequest", "etcdserverpb.LeaseGrantResponse", "/v3/lease/grant"],
    LeaseRevoke: [
      "unary",
      "etcdserverpb.LeaseRevokeRequest",
      "etcdserverpb.LeaseRevokeResponse",
      "/v3/lease/revoke",
      "/v3/kv/lease/revoke",
    ],
    LeaseKeepAlive: ["bidi", "etcdserverpb.LeaseKeepAliveRequest", "etcdserverpb.LeaseKeepAliveResponse", "/v3/lease/keepalive"],
    LeaseTimeToLive: [
      "unary",
      "etcdserverpb.LeaseTimeToLiveRequest",
      "etcdserverpb.LeaseTimeToLiveResponse",
      "/v3/lease/timetolive",
      "/v3/kv/lease/timetolive",
    ],
    LeaseLeases: [
      "unary",
      "etcdserverpb.LeaseLeasesRequest",
      "etcdserverpb.LeaseLeasesResponse",
      "/v3/lease/leases",
      "/v3/kv/lease/leases",
    ],
  },
  "etcdserverpb.Cluster": {
    MemberAdd: ["unary", "etcdserverpb.MemberAddRequest", "etcdserverpb.MemberAddResponse", "/v3/cluster/member/add"],
    MemberRemove: ["unary", "etcdserverpb.MemberRemoveRequest", "etcdserverpb.MemberRemoveResponse", "/v3/cluster/member/remove"],
    MemberUpdate: ["unary", "etcdserverpb.MemberUpdateRequest", "etcdserverpb.MemberUpdateResponse", "/v3/cluster/member/update"],
    MemberList: ["unary", "etcdserverpb.MemberListRequest", "etcdserverpb.MemberListResponse", "/v3/cluster/member/list"],
    MemberPromote: ["unary", "etcdserverpb.MemberPromoteRequest", "etcdserverpb.MemberPromoteResponse", "/v3/cluster/member/promote"],
  },
  "etcdserverpb.Maintenance": {
    Alarm: ["unary", "etcdserverpb.AlarmRequest", "etcdserverpb.AlarmResponse", "/v3/maintenance/alarm"],
    Status: ["unary", "etcdserverpb.StatusRequest", "etcdserverpb.StatusResponse", "/v3/maintenance/status"],
    Defragment: ["unary", "etcdserverpb.DefragmentRequest", "etcdserverpb.DefragmentResponse", "/v3/maintenance/defragment"],
    Hash: ["unary", "etcdserverpb.HashRequest", "etcdserverpb.HashResponse", "/v3/maintenance/hash"],
    HashKV: ["unary", "etcdserverpb.HashKVRequest", "etcdserverpb.HashKVResponse", "/v3/maintenance/hashkv"],
    Snapshot: ["serverStream", "etcdserverpb.SnapshotRequest", "etcdserverpb.SnapshotResponse", "/v3/maintenance/snapshot"],
    MoveLeader: ["unary", "etcdserverpb.MoveLeaderRequest", "etcdserverpb.MoveLeaderResponse", "/v3/maintenance/transfer-leadership"],
    Downgrade: ["unary", "etcdserverpb.DowngradeRequest", "etcdserverpb.DowngradeResponse", "/v3/maintenance/downgrade"],
  },
  "etcdserverpb.Auth": {
    AuthEnable: ["unary", "etcdserverpb.AuthEnableRequest", "etcdserverpb.AuthEnableResponse", "/v3/auth/enable"],
    AuthDisable: ["unary", "etcdserverpb.AuthDisableRequest", "etcdserverpb.AuthDisableResponse", "/v3/auth/disable"],
    AuthStatus: ["unary", "etcdserverpb.AuthStatusRequest", "etcdserverpb.AuthStatusResponse", "/v3/auth/status"],
    Authenticate: ["unary", "etcdserverpb.AuthenticateRequest", "etcdserverpb.AuthenticateResponse", "/v3/auth/authenticate"],
    UserAdd: ["unary", "etcdserverpb.AuthUserAddRequest", "etcdserverpb.AuthUserAddResponse", "/v3/auth/user/add"],
    UserGet: ["unary", "etcdserverpb.AuthUserGetRequest", "etcdserverpb.AuthUserGetResponse", "/v3/auth/user/get"],
    UserList: ["unary", "etcdserverpb.AuthUserListRequest", "etcdserverpb.AuthUserListResponse", "/v3/auth/user/list"],
    UserDelete: ["unary", "etcdserverpb.AuthUserDeleteRequest", "etcdserverpb.AuthUserDeleteResponse", "/v3/auth/user/delete"],
    UserChangePassword: [
      "unary",
      "etcdserverpb.AuthUserChangePasswordRequest",
      "etcdserverpb.AuthUserChangePasswordResponse",
      "/v3/auth/user/changepw",
    ],
    UserGrantRole: ["unary", "etcdserverpb.AuthUserGrantRoleRequest", "etcdserverpb.AuthUserGrantRoleResponse", "/v3/auth/user/grant"],
    UserRevokeRole: ["unary", "etcdserverpb.AuthUserRevokeRoleRequest", "etcdserverpb.AuthUserRevokeRoleResponse", "/v3/auth/user/revoke"],
    RoleAdd: ["unary", "etcdserverpb.AuthRoleAddRequest", "etcdserverpb.AuthRoleAddResponse", "/v3/auth/role/add"],
    RoleGet: ["unary", "etcdserverpb.AuthRoleGetRequest", "etcdserverpb.AuthRoleGetResponse", "/v3/auth/role/get"],
    RoleList: ["unary", "etcdserverpb.AuthRoleListRequest", "etcdserverpb.AuthRoleListResponse", "/v3/auth/role/list"],
    RoleDelete: ["unary", "etcdserverpb.AuthRoleDeleteRequest", "etcdserverpb.AuthRoleDeleteResponse", "/v3/auth/role/delete"],
    RoleGrantPermission: [
      "unary",
      "etcdserverpb.AuthRoleGrantPermissionRequest",
      "etcdserverpb.AuthRoleGrantPermissionResponse",
      "/v3/auth/role/grant",
    ],
    RoleRevokePermission: [
      "unary",
      "etcdserverpb.AuthRoleRevokePermissionRequest",
      "etcdserverpb.AuthRoleRevokePermissionResponse",
      "/v3/auth/role/revoke",
    ],
  },
  "v3electionpb.Election": {
    Campaign: ["unary", "v3electionpb.CampaignRequest", "v3electionpb.CampaignResponse", "/v3/election/campaign"],
    Proclaim: ["unary", "v3electionpb.ProclaimRequest", "v3electionpb.ProclaimResponse", "/v3/election/proclaim"],
    Leader: ["unary", "v3electionpb.LeaderRequest", "v3electionpb.LeaderResponse", "/v3/election/leader"],
    Observe: ["serverStream", "v3electionpb.LeaderRequest", "v3electionpb.LeaderResponse", "/v3/election/observe"],
    Resign: ["unary", "v3electionpb.ResignRequest", "v3electionpb.ResignResponse", "/v3/election/resign"],
  },
  "v3lockpb.Lock": {
    Lock: ["unary", "v3lockpb.LockRequest", "v3lockpb.LockResponse", "/v3/lock/lock"],
    Unlock: ["unary", "v3lockpb.UnlockRequest", "v3lockpb.UnlockResponse", "/v3/lock/unlock"],
  },
  "grpc.health.v1.Health": {
    Check: ["unary", "grpc.health.v1.HealthCheckRequest", "grpc.health.v1.HealthCheckResponse"],
    Watch: ["serverStream", "grpc.health.v1.HealthCheckRequest", "grpc.health.v1.HealthCheckResponse"],
  },
  "grpc.reflection.v1.ServerReflection": {
    ServerReflectionInfo: ["bidi", "grpc.reflection.v1.ServerReflectionRequest", "grpc.reflection.v1.ServerReflectionResponse"],
  },
  "d_engine.client.RaftClientService": {
    HandleClientWrite: ["unary", "d_engine.client.ClientWriteRequest", "d_engine.client.ClientResponse"],
    HandleClientRead: ["unary", "d_engine.client.ClientReadRequest", "d_engine.client.ClientResponse"],
    HandleClientScan: ["unary", "d_engine.client.ScanRequest", "d_engine.client.ScanResponse"],
    Watch: ["serverStream", "d_engine.client.WatchRequest", "d_engine.client.WatchResponse"],
    WatchMembership: ["serverStream", "d_engine.client.WatchMembershipRequest", "d_engine.client.MembershipSnapshot"],
  },
  "d_engine.server.cluster.ClusterManagementService": {
    GetClusterMetadata: ["unary", "d_engine.server.cluster.MetadataRequest", "d_engine.server.cluster.ClusterMembership"],
  },
} as const;

/** A service by its full name. */
export type ServiceName = keyof typeof SERVICES;

/** A method as the table has it, where its types do not matter. */
export type MethodRow = readonly [kind: MethodKind, request: string, response: string, ...paths: readonly string[]];

/** All methods, flat. */
export function methodRows(): readonly (readonly [service: string, name: string, row: MethodRow])[] {
  return Object.entries(SERVICES).flatMap(([service, methods]) =>
    Object.entries(methods as Readonly<Record<string, MethodRow>>).map(([name, row]) => [service, name, row] as const),
  );
}
