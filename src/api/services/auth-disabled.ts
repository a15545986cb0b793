/** The Auth service of a server without authentication: it says so, and holds no users and no roles. */
import { etcdError, unimplemented } from "../etcd-errors.ts";
import type { ServiceHandlers } from "../handlers.ts";
import type { ServiceContext } from "../service-context.ts";

/** The handlers. */
export function authDisabledService(context: ServiceContext): ServiceHandlers<"etcdserverpb.Auth"> {
  return {
    // As with an etcd to which no user was added.
    AuthEnable: () => {
      throw etcdError("rootUserMissing");
    },
    AuthDisable: () => ({ header: context.header() }),
    AuthStatus: () => ({ header: context.header(), enabled: false, authRevision: 1 }),
    Authenticate: () => {
      throw etcdError("authNotEnabled");
    },
    UserAdd: () => refuse("UserAdd"),
    UserGet: () => {
      throw etcdError("userNotFound");
    },
    UserList: () => ({ header: context.header() }),
    UserDelete: () => {
      throw etcdError("userNotFound");
    },
    UserChangePassword: () => {
      throw etcdError("userNotFound");
    },
    UserGrantRole: () => {
      throw etcdError("userNotFound");
    },
    UserRevokeRole: () => {
      throw etcdError("userNotFound");
    },
    RoleAdd: () => refuse("RoleAdd"),
    RoleGet: () => {
      throw etcdError("roleNotFound");
    },
    RoleList: () => ({ header: context.header() }),
    RoleDelete: () => {
      throw etcdError("roleNotFound");
    },
    RoleGrantPermission: () => {
      throw etcdError("roleNotFound");
    },
    RoleRevokePermission: () => {
      throw etcdError("roleNotFound");
    },
  };
}

function refuse(what: string): never {
  throw unimplemented(what);
}
