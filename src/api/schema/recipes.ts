/** The messages of the Lock and Election services of etcd. */
/** By their full names. */
export const RECIPE_MESSAGES = {
  "v3lockpb.LockRequest": {
    name: [1, "bytes"],
    lease: [2, "int64 id"],
  },
  "v3lockpb.LockResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    key: [2, "bytes"],
  },
  "v3lockpb.UnlockRequest": {
    key: [1, "bytes"],
  },
  "v3lockpb.UnlockResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "v3electionpb.CampaignRequest": {
    name: [1, "bytes"],
    lease: [2, "int64 id"],
    value: [3, "bytes"],
  },
  "v3electionpb.CampaignResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    leader: [2, "message v3electionpb.LeaderKey"],
  },
  "v3electionpb.LeaderKey": {
    name: [1, "bytes"],
    key: [2, "bytes"],
    rev: [3, "int64"],
    lease: [4, "int64 id"],
  },
  "v3electionpb.LeaderRequest": {
    name: [1, "bytes"],
  },
  "v3electionpb.LeaderResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    kv: [2, "message mvccpb.KeyValue"],
  },
  "v3electionpb.ResignRequest": {
    leader: [1, "message v3electionpb.LeaderKey"],
  },
  "v3electionpb.ResignResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "v3electionpb.ProclaimRequest": {
    leader: [1, "message v3electionpb.LeaderKey"],
    value: [2, "bytes"],
  },
  "v3electionpb.ProclaimResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
} as const;
