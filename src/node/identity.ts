/**
 * Who a data directory is: kept in its identity file from the first opening on, so that nothing needs to be configured twice and a
 * directory never answers under another name.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import { EngineError } from "../errors.ts";
import { randomId, type Random } from "../host/random.ts";

export interface Identity {
  readonly memberId: string;
  readonly name: string;
  readonly clusterId: string;
  /** Random, made with the directory. */
  readonly incarnation: string;
  /** The founding list; undefined for a cluster that began with this node alone. */
  readonly bootstrap: Readonly<Record<string, string>> | undefined;
  /**
   * founding: knows of no configuration yet. pending: has the founding configuration on disk, but not that all others have.
   * active: takes part.
   */
  readonly phase: "founding" | "pending" | "active";
  /** The founding configuration, once it is known. */
  readonly founding: SnapshotMeta | undefined;
  /** The founder's count of its proposals when it made that one. */
  readonly foundingRound?: number | undefined;
  /** What the log is of: a user's own state machine, or, if undefined, the key-value data. */
  readonly state?: "user" | undefined;
  /** The backup that the cluster begins with; undefined for one that began with nothing. */
  readonly restored?: RestoredBackup | undefined;
}

/** A backup as all members know it that begin with it. */
export interface RestoredBackup {
  /** Of its bytes, and of what was changed of them. */
  readonly digest: string;
  /** Where the log begins: at the last entry that the backup holds, so that what is named by entries is not named twice. */
  readonly index: number;
  /** The lease clock goes on from here. */
  readonly clockMs: number;
}

const IDENTITY_VERSION = 1;
const utf8 = { encoder: new TextEncoder(), decoder: new TextDecoder("utf-8", { fatal: true }) };

export function encodeIdentity(identity: Identity): Uint8Array {
  return utf8.encoder.encode(JSON.stringify({ version: IDENTITY_VERSION, ...identity }));
}

/** The bytes come from a checksummed file of ours; what does not fit is of another version. */
export function decodeIdentity(bytes: Uint8Array): Identity {
  const value = JSON.parse(utf8.decoder.decode(bytes)) as Identity & { readonly version: number };
  if (value.version !== IDENTITY_VERSION) {
    throw new EngineError("INCOMPATIBLE", `the data directory has format ${value.version}, this program reads ${IDENTITY_VERSION}`, {
      what: "identity format",
      found: String(value.version),
      supported: String(IDENTITY_VERSION),
    });
  }
  const { memberId, name, clusterId, incarnation, bootstrap, phase, founding, foundingRound, state, restored } = value;
  const identity = { memberId, name, clusterId, incarnation, bootstrap, phase, founding };
  return {
    ...identity,
    ...(foundingRound === undefined ? {} : { foundingRound }),
    ...(state === undefined ? {} : { state }),
    ...(restored === undefined ? {} : { restored }),
  };
}

/** 64 bits of FNV-1a as 16 hex digits: names become ids that every member computes alike. */
export function hashId(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of utf8.encoder.encode(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  // A final avalanche, since FNV leaves near names with near ids.
  hash = BigInt.asUintN(64, (hash ^ (hash >> 33n)) * 0xff51afd7ed558ccdn);
  hash ^= hash >> 33n;
  const hex = (hash === 0n ? 1n : hash).toString(16);
  return hex.padStart(16, "0");
}

/**
 * The cluster's id follows from its founding list, from what it replicates and from the backup that it begins with, so that members find out before
 * anything else whether they mean the same cluster.
 */
export function bootstrapClusterId(
  bootstrap: Readonly<Record<string, string>>,
  { state, restored }: { readonly state?: "user" | undefined; readonly restored?: RestoredBackup | undefined } = {},
): string {
  const lines = Object.entries(bootstrap).map(([name, address]) => `${name}=${address}`);
  const kind = state === "user" ? "state machine" : restored === undefined ? "cluster" : `restored ${restored.digest}`;
  return hashId(`${kind}\n${lines.sort().join("\n")}`);
}

export function bootstrapMemberId(clusterId: string, name: string): string {
  return hashId(`member\n${clusterId}\n${name}`);
}

export function newIdentity(
  options: {
    readonly name: string;
    readonly bootstrap: Readonly<Record<string, string>> | undefined;
    readonly state?: "user" | undefined;
    readonly restored?: RestoredBackup | undefined;
  },
  random: Random,
): Identity {
  const { name, bootstrap, state, restored } = options;
  const clusterId = bootstrap === undefined ? randomId(random) : bootstrapClusterId(bootstrap, { state, restored });
  const memberId = bootstrap === undefined ? randomId(random) : bootstrapMemberId(clusterId, name);
  const kind = { ...(state === undefined ? {} : { state }), ...(restored === undefined ? {} : { restored }) };
  return { memberId, name, clusterId, incarnation: randomId(random), bootstrap, phase: "founding", founding: undefined, ...kind };
}

/** The directory's identity against what the caller now says. A name may be given again or left out; it may not change. */
export function checkIdentity(
  identity: Identity,
  options: {
    readonly name: string | undefined;
    readonly bootstrap: Readonly<Record<string, string>> | undefined;
    readonly state?: "user" | undefined;
  },
): void {
  if (options.state !== identity.state) {
    const kinds = { user: "a state machine of your own (d-engine/raft)", data: "key-value data (Engine.open)" };
    const found = kinds[identity.state ?? "data"];
    throw new EngineError("INCOMPATIBLE", `the data directory holds the log of ${found}: open it as that, or choose another directory`, {
      what: "state machine",
      found,
      supported: kinds[options.state ?? "data"],
    });
  }
  if (options.name !== undefined && options.name !== identity.name) {
    throw new EngineError(
      "INCOMPATIBLE",
      `the data directory belongs to the member ${identity.name}, not to ${options.name}: open it under its own name, or give ${options.name} a directory of its own`,
      { what: "member name", found: identity.name, supported: options.name },
    );
  }
  if (options.bootstrap !== undefined) {
    const asked = bootstrapClusterId(options.bootstrap, { state: options.state, restored: identity.restored });
    if (identity.bootstrap !== undefined && asked !== identity.clusterId) {
      throw new EngineError(
        "INCOMPATIBLE",
        "the data directory belongs to another cluster: its founding list differs from `bootstrap`; open it with its own list or with none, or choose another directory",
        { what: "cluster", found: identity.clusterId, supported: asked },
      );
    }
    if (identity.bootstrap === undefined) {
      throw new EngineError("INCOMPATIBLE", "the data directory holds a cluster of one; a `bootstrap` list cannot change who is in it", {
        what: "cluster",
        found: identity.clusterId,
        supported: asked,
      });
    }
  }
}
