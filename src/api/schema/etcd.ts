/**
 * The messages of etcd's KV, Watch, Lease, Cluster and Maintenance services, field by field: numbers and names are the protocol's, and cannot
 * change. How a row reads: messages.ts.
 */
/** By their full names. */
export const ETCD_MESSAGES = {
  "mvccpb.KeyValue": {
    key: [1, "bytes"],
    create_revision: [2, "int64"],
    mod_revision: [3, "int64"],
    version: [4, "int64"],
    value: [5, "bytes"],
    lease: [6, "int64 id"],
  },
  "mvccpb.Event": {
    type: [1, "enum mvccpb.Event.EventType"],
    kv: [2, "message mvccpb.KeyValue"],
    prev_kv: [3, "message mvccpb.KeyValue"],
  },
  "etcdserverpb.ResponseHeader": {
    cluster_id: [1, "uint64 id"],
    member_id: [2, "uint64 id"],
    revision: [3, "int64"],
    raft_term: [4, "uint64"],
  },
  "etcdserverpb.RangeRequest": {
    key: [1, "bytes"],
    range_end: [2, "bytes"],
    limit: [3, "int64"],
    revision: [4, "int64"],
    sort_order: [5, "enum etcdserverpb.RangeRequest.SortOrder"],
    sort_target: [6, "enum etcdserverpb.RangeRequest.SortTarget"],
    serializable: [7, "bool"],
    keys_only: [8, "bool"],
    count_only: [9, "bool"],
    min_mod_revision: [10, "int64"],
    max_mod_revision: [11, "int64"],
    min_create_revision: [12, "int64"],
    max_create_revision: [13, "int64"],
  },
  "etcdserverpb.RangeResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    kvs: [2, "repeated message mvccpb.KeyValue"],
    more: [3, "bool"],
    count: [4, "int64"],
  },
  "etcdserverpb.PutRequest": {
    key: [1, "bytes"],
    value: [2, "bytes"],
    lease: [3, "int64 id"],
    prev_kv: [4, "bool"],
    ignore_value: [5, "bool"],
    ignore_lease: [6, "bool"],
  },
  "etcdserverpb.PutResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    prev_kv: [2, "message mvccpb.KeyValue"],
  },
  "etcdserverpb.DeleteRangeRequest": {
    key: [1, "bytes"],
    range_end: [2, "bytes"],
    prev_kv: [3, "bool"],
  },
  "etcdserverpb.DeleteRangeResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    deleted: [2, "int64"],
    prev_kvs: [3, "repeated message mvccpb.KeyValue"],
  },
  "etcdserverpb.RequestOp": {
    request_range: [1, "message etcdserverpb.RangeRequest", "request"],
    request_put: [2, "message etcdserverpb.PutRequest", "request"],
    request_delete_range: [3, "message etcdserverpb.DeleteRangeRequest", "request"],
    request_txn: [4, "message etcdserverpb.TxnRequest", "request"],
  },
  "etcdserverpb.ResponseOp": {
    response_range: [1, "message etcdserverpb.RangeResponse", "response"],
    response_put: [2, "message etcdserverpb.PutResponse", "response"],
    response_delete_range: [3, "message etcdserverpb.DeleteRangeResponse", "response"],
    response_txn: [4, "message etcdserverpb.TxnResponse", "response"],
  },
  "etcdserverpb.Compare": {
    result: [1, "enum etcdserverpb.Compare.CompareResult"],
    target: [2, "enum etcdserverpb.Compare.CompareTarget"],
    key: [3, "bytes"],
    version: [4, "int64", "target_union"],
    create_revision: [5, "int64", "target_union"],
    mod_revision: [6, "int64", "target_union"],
    value: [7, "bytes", "target_union"],
    lease: [8, "int64 id", "target_union"],
    range_end: [64, "bytes"],
  },
  "etcdserverpb.TxnRequest": {
    compare: [1, "repeated message etcdserverpb.Compare"],
    success: [2, "repeated message etcdserverpb.RequestOp"],
    failure: [3, "repeated message etcdserverpb.RequestOp"],
  },
  "etcdserverpb.TxnResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    succeeded: [2, "bool"],
    responses: [3, "repeated message etcdserverpb.ResponseOp"],
  },
  "etcdserverpb.CompactionRequest": {
    revision: [1, "int64"],
    physical: [2, "bool"],
  },
  "etcdserverpb.CompactionResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.HashRequest": {},
  "etcdserverpb.HashKVRequest": {
    revision: [1, "int64"],
  },
  "etcdserverpb.HashKVResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    hash: [2, "uint32"],
    compact_revision: [3, "int64"],
    hash_revision: [4, "int64"],
  },
  "etcdserverpb.HashResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    hash: [2, "uint32"],
  },
  "etcdserverpb.SnapshotRequest": {},
  "etcdserverpb.SnapshotResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    remaining_bytes: [2, "uint64"],
    blob: [3, "bytes"],
    version: [4, "string"],
  },
  "etcdserverpb.WatchRequest": {
    create_request: [1, "message etcdserverpb.WatchCreateRequest", "request_union"],
    cancel_request: [2, "message etcdserverpb.WatchCancelRequest", "request_union"],
    progress_request: [3, "message etcdserverpb.WatchProgressRequest", "request_union"],
  },
  "etcdserverpb.WatchCreateRequest": {
    key: [1, "bytes"],
    range_end: [2, "bytes"],
    start_revision: [3, "int64"],
    progress_notify: [4, "bool"],
    filters: [5, "repeated enum etcdserverpb.WatchCreateRequest.FilterType"],
    prev_kv: [6, "bool"],
    watch_id: [7, "int64 id"],
    fragment: [8, "bool"],
  },
  "etcdserverpb.WatchCancelRequest": {
    watch_id: [1, "int64 id"],
  },
  "etcdserverpb.WatchProgressRequest": {},
  "etcdserverpb.WatchResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    watch_id: [2, "int64 id"],
    created: [3, "bool"],
    canceled: [4, "bool"],
    compact_revision: [5, "int64"],
    cancel_reason: [6, "string"],
    fragment: [7, "bool"],
    events: [11, "repeated message mvccpb.Event"],
  },
  "etcdserverpb.LeaseGrantRequest": {
    TTL: [1, "int64"],
    ID: [2, "int64 id"],
  },
  "etcdserverpb.LeaseGrantResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    ID: [2, "int64 id"],
    TTL: [3, "int64"],
    error: [4, "string"],
  },
  "etcdserverpb.LeaseRevokeRequest": {
    ID: [1, "int64 id"],
  },
  "etcdserverpb.LeaseRevokeResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.LeaseCheckpoint": {
    ID: [1, "int64 id"],
    remaining_TTL: [2, "int64"],
  },
  "etcdserverpb.LeaseCheckpointRequest": {
    checkpoints: [1, "repeated message etcdserverpb.LeaseCheckpoint"],
  },
  "etcdserverpb.LeaseCheckpointResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.LeaseKeepAliveRequest": {
    ID: [1, "int64 id"],
  },
  "etcdserverpb.LeaseKeepAliveResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    ID: [2, "int64 id"],
    TTL: [3, "int64"],
  },
  "etcdserverpb.LeaseTimeToLiveRequest": {
    ID: [1, "int64 id"],
    keys: [2, "bool"],
  },
  "etcdserverpb.LeaseTimeToLiveResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    ID: [2, "int64 id"],
    TTL: [3, "int64"],
    grantedTTL: [4, "int64"],
    keys: [5, "repeated bytes"],
  },
  "etcdserverpb.LeaseLeasesRequest": {},
  "etcdserverpb.LeaseStatus": {
    ID: [1, "int64 id"],
  },
  "etcdserverpb.LeaseLeasesResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    leases: [2, "repeated message etcdserverpb.LeaseStatus"],
  },
  "etcdserverpb.Member": {
    ID: [1, "uint64 id"],
    name: [2, "string"],
    peerURLs: [3, "repeated string"],
    clientURLs: [4, "repeated string"],
    isLearner: [5, "bool"],
  },
  "etcdserverpb.MemberAddRequest": {
    peerURLs: [1, "repeated string"],
    isLearner: [2, "bool"],
  },
  "etcdserverpb.MemberAddResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    member: [2, "message etcdserverpb.Member"],
    members: [3, "repeated message etcdserverpb.Member"],
  },
  "etcdserverpb.MemberRemoveRequest": {
    ID: [1, "uint64 id"],
  },
  "etcdserverpb.MemberRemoveResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    members: [2, "repeated message etcdserverpb.Member"],
  },
  "etcdserverpb.MemberUpdateRequest": {
    ID: [1, "uint64 id"],
    peerURLs: [2, "repeated string"],
  },
  "etcdserverpb.MemberUpdateResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    members: [2, "repeated message etcdserverpb.Member"],
  },
  "etcdserverpb.MemberListRequest": {
    linearizable: [1, "bool"],
  },
  "etcdserverpb.MemberListResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    members: [2, "repeated message etcdserverpb.Member"],
  },
  "etcdserverpb.MemberPromoteRequest": {
    ID: [1, "uint64 id"],
  },
  "etcdserverpb.MemberPromoteResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    members: [2, "repeated message etcdserverpb.Member"],
  },
  "etcdserverpb.DefragmentRequest": {},
  "etcdserverpb.DefragmentResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.MoveLeaderRequest": {
    targetID: [1, "uint64 id"],
  },
  "etcdserverpb.MoveLeaderResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AlarmRequest": {
    action: [1, "enum etcdserverpb.AlarmRequest.AlarmAction"],
    memberID: [2, "uint64 id"],
    alarm: [3, "enum etcdserverpb.AlarmType"],
  },
  "etcdserverpb.AlarmMember": {
    memberID: [1, "uint64 id"],
    alarm: [2, "enum etcdserverpb.AlarmType"],
  },
  "etcdserverpb.AlarmResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    alarms: [2, "repeated message etcdserverpb.AlarmMember"],
  },
  "etcdserverpb.DowngradeRequest": {
    action: [1, "enum etcdserverpb.DowngradeRequest.DowngradeAction"],
    version: [2, "string"],
  },
  "etcdserverpb.DowngradeResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    version: [2, "string"],
  },
  "etcdserverpb.DowngradeVersionTestRequest": {
    ver: [1, "string"],
  },
  "etcdserverpb.StatusRequest": {},
  "etcdserverpb.StatusResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    version: [2, "string"],
    dbSize: [3, "int64"],
    leader: [4, "uint64 id"],
    raftIndex: [5, "uint64"],
    raftTerm: [6, "uint64"],
    raftAppliedIndex: [7, "uint64"],
    errors: [8, "repeated string"],
    dbSizeInUse: [9, "int64"],
    isLearner: [10, "bool"],
    storageVersion: [11, "string"],
    dbSizeQuota: [12, "int64"],
    downgradeInfo: [13, "message etcdserverpb.DowngradeInfo"],
  },
  "etcdserverpb.DowngradeInfo": {
    enabled: [1, "bool"],
    targetVersion: [2, "string"],
  },
  "etcdserverpb.RangeStreamResponse": {
    range_response: [1, "message etcdserverpb.RangeResponse"],
  },
} as const;

/** Their enumerations. */
export const ETCD_ENUMS = {
  "mvccpb.Event.EventType": { PUT: 0, DELETE: 1 },
  "etcdserverpb.RangeRequest.SortOrder": { NONE: 0, ASCEND: 1, DESCEND: 2 },
  "etcdserverpb.RangeRequest.SortTarget": { KEY: 0, VERSION: 1, CREATE: 2, MOD: 3, VALUE: 4 },
  "etcdserverpb.Compare.CompareResult": { EQUAL: 0, GREATER: 1, LESS: 2, NOT_EQUAL: 3 },
  "etcdserverpb.Compare.CompareTarget": { VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3, LEASE: 4 },
  "etcdserverpb.WatchCreateRequest.FilterType": { NOPUT: 0, NODELETE: 1 },
  "etcdserverpb.AlarmType": { NONE: 0, NOSPACE: 1, CORRUPT: 2 },
  "etcdserverpb.AlarmRequest.AlarmAction": { GET: 0, ACTIVATE: 1, DEACTIVATE: 2 },
  "etcdserverpb.DowngradeRequest.DowngradeAction": { VALIDATE: 0, ENABLE: 1, CANCEL: 2 },
} as const;
