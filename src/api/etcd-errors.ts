/**
 * Errors as etcd's clients know them: by number, and by text to the letter, since they match both. One table of all that we send, and what each
 * error of the engine becomes.
 */
import type { AnyEngineError } from "../errors.ts";
import { EngineError } from "../errors.ts";
import { RpcError, Status } from "../rpc/index.ts";
import { MalformedMessage } from "./malformed-message.ts";

/** Code and text. */
export const ETCD_ERRORS = {
  emptyKey: [3, "etcdserver: key is not provided"],
  keyNotFound: [3, "etcdserver: key not found"],
  valueProvided: [3, "etcdserver: value is provided"],
  leaseProvided: [3, "etcdserver: lease is provided"],
  tooManyOps: [3, "etcdserver: too many operations in txn request"],
  duplicateKey: [3, "etcdserver: duplicate key given in txn request"],
  invalidSortOption: [3, "etcdserver: invalid sort option"],
  requestTooLarge: [3, "etcdserver: request is too large"],
  compacted: [11, "etcdserver: mvcc: required revision has been compacted"],
  futureRevision: [11, "etcdserver: mvcc: required revision is a future revision"],
  noSpace: [8, "etcdserver: mvcc: database space exceeded"],
  tooManyRequests: [8, "etcdserver: too many requests"],
  leaseNotFound: [5, "etcdserver: requested lease not found"],
  leaseExists: [9, "etcdserver: lease already exists"],
  leaseTtlTooLarge: [11, "etcdserver: too large lease TTL"],
  memberNotFound: [5, "etcdserver: member not found"],
  memberExists: [9, "etcdserver: member ID already exist"],
  memberBadUrls: [3, "etcdserver: given member URLs are invalid"],
  unhealthy: [14, "etcdserver: unhealthy cluster"],
  noLeader: [14, "etcdserver: no leader"],
  notLeader: [9, "etcdserver: not leader"],
  badTransferee: [9, "etcdserver: bad leader transferee"],
  stopped: [14, "etcdserver: server stopped"],
  transferTimedOut: [14, "etcdserver: request timed out, leader transfer took too long"],
  timedOut: [14, "etcdserver: request timed out"],
  corrupt: [15, "etcdserver: corrupt cluster"],
  learner: [9, "etcdserver: rpc not supported for learner"],
  cancelled: [1, "etcdserver: request canceled"],
  authNotEnabled: [9, "etcdserver: authentication is not enabled"],
  rootUserMissing: [9, "etcdserver: root user does not exist"],
  userEmpty: [3, "etcdserver: user name is empty"],
  userNotFound: [9, "etcdserver: user name not found"],
  roleEmpty: [3, "etcdserver: role name is empty"],
  roleNotFound: [9, "etcdserver: role name not found"],
  permissionNotGiven: [3, "etcdserver: permission not given"],
  permissionDenied: [7, "etcdserver: permission denied"],
  invalidAuthToken: [16, "etcdserver: invalid auth token"],
  noInflightDowngrade: [9, "etcdserver: no inflight downgrade job"],
  wrongDowngradeVersion: [3, "etcdserver: wrong downgrade target version format"],
  invalidDowngradeVersion: [3, "etcdserver: invalid downgrade target version"],
  // Ours: no etcd refuses to answer for the size of its answer.
  answerTooLarge: [8, "etcdserver: done, but the previous values exceed what one answer may hold"],
  // These reach the wire with UNKNOWN, and clients have learned to live with it.
  recipeLeaseNotFound: [2, "etcdserver: requested lease not found"],
  recipeEmptyKey: [2, "etcdserver: key is not provided"],
  electionNoLeader: [2, "election: no leader"],
  electionNotLeader: [2, "election: not leader"],
  leaderFieldMissing: [2, '"leader" field must be provided'],
  sessionExpired: [2, "mutex: session is expired"],
  unknownMethod: [2, "etcdserver: unknown method"],
  streamSort: [12, "RangeStream does not support custom sort orders"],
  streamFilters: [12, "RangeStream does not support revision filters"],
} as const;

/** A name in the table. */
export type EtcdErrorName = keyof typeof ETCD_ERRORS;

/** An error of the table, to be thrown by a handler. */
export function etcdError(name: EtcdErrorName): RpcError {
  const [code, text] = ETCD_ERRORS[name];
  return new RpcError(code, text);
}

/** What is not served. */
export function unimplemented(what: string): RpcError {
  return new RpcError(Status.UNIMPLEMENTED, `${what} is not supported by this server`);
}

/** Bytes that are no message, as a call is told. */
export function malformedRequest(error: unknown): unknown {
  if (!(error instanceof MalformedMessage)) return error;
  return new RpcError(Status.INTERNAL, `grpc: error unmarshalling request: proto: ${error.message}`);
}

/** What an error of the engine is on the wire. Anything else is passed on as it is: the rpc layer tells UNKNOWN, and reports it. */
export function wireError(error: unknown): unknown {
  return EngineError.is(error) ? rpcErrorOf(error) : error;
}

function rpcErrorOf(error: AnyEngineError): RpcError {
  switch (error.code) {
    case "INVALID_ARGUMENT":
      if (error.details.argument === "key" || error.details.argument === "value") return etcdError("requestTooLarge");
      return new RpcError(Status.INVALID_ARGUMENT, `etcdserver: ${error.message}`);
    case "UNAVAILABLE":
      return etcdError(error.details.reason === "failed" || error.details.reason === "removed" ? "stopped" : "noLeader");
    case "TIMEOUT":
      return etcdError("timedOut");
    case "ABORTED":
      return etcdError("cancelled");
    case "CLOSED":
      return etcdError("stopped");
    case "OVERLOADED":
      // etcd bounds no answer, and so has no text for it.
      if (error.details.limit === "rangeBytes") {
        const text = `etcdserver: the answer exceeds ${error.details.max} bytes: set a limit, or use RangeStream`;
        return new RpcError(Status.RESOURCE_EXHAUSTED, text);
      }
      if (error.details.limit === "answerBytes") return new RpcError(Status.RESOURCE_EXHAUSTED, `etcdserver: ${error.message}`);
      return etcdError("tooManyRequests");
    case "NO_SPACE":
      return etcdError("noSpace");
    case "DISK_FAILED":
    case "CORRUPT":
      return etcdError("corrupt");
    case "COMPACTED":
      return etcdError("compacted");
    case "FUTURE_REVISION":
      return etcdError("futureRevision");
    case "NOT_FOUND":
      if (error.details.what === "lease") return etcdError("leaseNotFound");
      if (error.details.what === "key") return etcdError("keyNotFound");
      return error.details.what === "member" ? etcdError("memberNotFound") : new RpcError(Status.NOT_FOUND, `etcdserver: ${error.message}`);
    case "ALREADY_EXISTS":
      return etcdError(error.details.what === "lease" ? "leaseExists" : "memberExists");
    case "REFUSED":
      return new RpcError(Status.FAILED_PRECONDITION, `etcdserver: ${error.message}`);
    case "UNAUTHENTICATED":
      return etcdError("invalidAuthToken");
    case "PERMISSION_DENIED":
      return etcdError("permissionDenied");
    case "UNSUPPORTED":
      return new RpcError(Status.UNIMPLEMENTED, `etcdserver: ${error.message}`);
    default:
      return new RpcError(Status.INTERNAL, `etcdserver: ${error.message}`);
  }
}
