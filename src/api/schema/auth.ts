/** The messages of the Auth service of etcd. */
/** By their full names. */
export const AUTH_MESSAGES = {
  "authpb.UserAddOptions": {
    no_password: [1, "bool"],
  },
  "authpb.User": {
    name: [1, "bytes"],
    password: [2, "bytes"],
    roles: [3, "repeated string"],
    options: [4, "message authpb.UserAddOptions"],
  },
  "authpb.Permission": {
    permType: [1, "enum authpb.Permission.Type"],
    key: [2, "bytes"],
    range_end: [3, "bytes"],
  },
  "authpb.Role": {
    name: [1, "bytes"],
    keyPermission: [2, "repeated message authpb.Permission"],
  },
  "etcdserverpb.AuthEnableRequest": {},
  "etcdserverpb.AuthDisableRequest": {},
  "etcdserverpb.AuthStatusRequest": {},
  "etcdserverpb.AuthenticateRequest": {
    name: [1, "string"],
    password: [2, "string"],
  },
  "etcdserverpb.AuthUserAddRequest": {
    name: [1, "string"],
    password: [2, "string"],
    options: [3, "message authpb.UserAddOptions"],
    hashedPassword: [4, "string"],
  },
  "etcdserverpb.AuthUserGetRequest": {
    name: [1, "string"],
  },
  "etcdserverpb.AuthUserDeleteRequest": {
    name: [1, "string"],
  },
  "etcdserverpb.AuthUserChangePasswordRequest": {
    name: [1, "string"],
    password: [2, "string"],
    hashedPassword: [3, "string"],
  },
  "etcdserverpb.AuthUserGrantRoleRequest": {
    user: [1, "string"],
    role: [2, "string"],
  },
  "etcdserverpb.AuthUserRevokeRoleRequest": {
    name: [1, "string"],
    role: [2, "string"],
  },
  "etcdserverpb.AuthRoleAddRequest": {
    name: [1, "string"],
  },
  "etcdserverpb.AuthRoleGetRequest": {
    role: [1, "string"],
  },
  "etcdserverpb.AuthUserListRequest": {},
  "etcdserverpb.AuthRoleListRequest": {},
  "etcdserverpb.AuthRoleDeleteRequest": {
    role: [1, "string"],
  },
  "etcdserverpb.AuthRoleGrantPermissionRequest": {
    name: [1, "string"],
    perm: [2, "message authpb.Permission"],
  },
  "etcdserverpb.AuthRoleRevokePermissionRequest": {
    role: [1, "string"],
    key: [2, "bytes"],
    range_end: [3, "bytes"],
  },
  "etcdserverpb.AuthEnableResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthDisableResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthStatusResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    enabled: [2, "bool"],
    authRevision: [3, "uint64"],
  },
  "etcdserverpb.AuthenticateResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    token: [2, "string"],
  },
  "etcdserverpb.AuthUserAddResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthUserGetResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    roles: [2, "repeated string"],
  },
  "etcdserverpb.AuthUserDeleteResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthUserChangePasswordResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthUserGrantRoleResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthUserRevokeRoleResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthRoleAddResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthRoleGetResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    perm: [2, "repeated message authpb.Permission"],
  },
  "etcdserverpb.AuthRoleListResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    roles: [2, "repeated string"],
  },
  "etcdserverpb.AuthUserListResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
    users: [2, "repeated string"],
  },
  "etcdserverpb.AuthRoleDeleteResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthRoleGrantPermissionResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
  "etcdserverpb.AuthRoleRevokePermissionResponse": {
    header: [1, "message etcdserverpb.ResponseHeader"],
  },
} as const;

/** Their enumerations. */
export const AUTH_ENUMS = {
  "authpb.Permission.Type": { READ: 0, WRITE: 1, READWRITE: 2 },
} as const;
