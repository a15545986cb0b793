/**
 * Who this member is and where its log stands, from what the disk says. The order in which a member comes to be keeps the two apart from a
 * loss: the identity is there first, as pending; then the log; then the identity says active. So an active member without a log, and a
 * log without an identity, have lost something that others may count on, and are refused.
 */
import type { RecoveredLog } from "../core/raft/ready.ts";
import { EngineError } from "../errors.ts";
import type { Random } from "../host/random.ts";
import type { Storage } from "../storage/storage.ts";
import { foundingMeta, isSameFounding } from "./founding.ts";
import { checkIdentity, decodeIdentity, encodeIdentity, newIdentity, type Identity } from "./identity.ts";
import type { NodeOptions } from "./node-options.ts";

/** `log` is undefined while the cluster is being founded. Rejects with CORRUPT or INCOMPATIBLE. */
export async function recoverMember(
  storage: Storage,
  options: NodeOptions,
  random: Random,
): Promise<{ readonly identity: Identity; readonly log: RecoveredLog | undefined }> {
  const { identity: bytes, log } = storage.recovered;
  if (bytes === undefined && log !== undefined) throw lost("identity", "a log is there, and no identity file");
  const identity = bytes === undefined ? await beginIdentity(storage, options, random) : decodeIdentity(bytes);
  const state = stateKind(options);
  checkIdentity(identity, { name: options.name === "" ? undefined : options.name, bootstrap: options.bootstrap, state });
  if (identity.phase === "active") {
    if (log === undefined) throw lost("log", "the member has taken part, and its log is gone");
    return { identity, log };
  }
  // Nobody votes or takes anything in before it is active.
  if (log !== undefined && (log.lastIndex !== log.base.lastIncludedIndex || log.vote.votedFor !== undefined))
    throw lost("identity", "the member has taken part, and its identity is of before that");
  // The identity is there before what it begins with: without that it would begin with nothing.
  if (identity.restored !== undefined && log === undefined) throw unfinishedRestore();
  // Founded by this node alone: there is nobody to wait for.
  if (identity.phase === "pending" && identity.founding!.configuration.members.length === 1) {
    const founded = await foundLog(storage, identity);
    const active: Identity = { ...identity, phase: "active" };
    await storage.saveIdentity(encodeIdentity(active));
    return { identity: active, log: founded };
  }
  return { identity, log: undefined };
}

async function beginIdentity(storage: Storage, options: NodeOptions, random: Random): Promise<Identity> {
  const { bootstrap, peer, defaultName } = options;
  const name = options.name === "" ? defaultName : options.name;
  let identity = newIdentity({ name, bootstrap, state: stateKind(options) }, random);
  if (bootstrap === undefined || Object.keys(bootstrap).length === 1) {
    const { memberId, incarnation } = identity;
    const peerAddress = bootstrap?.[name] ?? peer?.advertise ?? "";
    const founding = foundingMeta([{ id: memberId, name, peerAddress, clientAddresses: [], incarnation, promotable: false }]);
    identity = { ...identity, phase: "pending", founding };
  }
  await storage.saveIdentity(encodeIdentity(identity));
  return identity;
}

/**
 * Begins the log of a new member with the founding configuration; what was begun before a crash is there already. It may have been begun with an
 * earlier founding, though, whose place another took while this member was not active yet:
 *
 *   1. The founder A has begun its log with A1, B1, C1, and loses power before its identity says active.
 *   2. B is wiped. A, up again, hears of B2, and all accept A1, B2, C1.
 *
 * A log with B1 in it would refuse B, and count a vote that is lost. The log of a restored backup is there too, and has no configuration until now.
 */
export async function foundLog(storage: Storage, identity: Identity): Promise<RecoveredLog> {
  const { log } = storage.recovered;
  const base = identity.founding!;
  if (log !== undefined && isSameFounding(log.base, base)) return log;
  await storage.found(base);
  return {
    vote: { term: base.lastIncludedTerm, votedFor: undefined },
    base,
    firstIndex: base.lastIncludedIndex + 1,
    lastIndex: base.lastIncludedIndex,
    terms: [{ index: base.lastIncludedIndex, term: base.lastIncludedTerm }],
    configurationEntries: [],
    tail: [],
  };
}

function unfinishedRestore(): EngineError {
  const found = "a restore that was not finished, or has lost its log";
  return new EngineError("CORRUPT", `the data directory holds ${found}: remove it and restore the backup again`, {
    path: "log",
    offset: 0,
    expected: "the log of a restored backup",
    found,
  });
}

function stateKind(options: NodeOptions): "user" | undefined {
  return options.stateMachine === undefined ? undefined : "user";
}

function lost(what: string, found: string): EngineError {
  return new EngineError(
    "CORRUPT",
    `the data directory is not whole: ${found}. Votes of a member that has forgotten could undo acknowledged writes: put the directory back as it was, or replace the member`,
    { path: what, offset: 0, expected: "identity and log of one member", found },
  );
}
