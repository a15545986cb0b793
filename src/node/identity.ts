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
  const { memberId, name, clusterId, incarnation, bootstrap, phase, founding } = value;
  return { memberId, name, clusterId, incarnation, bootstrap, phase, founding };
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

/** The cluster's id follows from its founding list, so that members find out before anything else whether they mean the same cluster. */
export function bootstrapClusterId(bootstrap: Readonly<Record<string, string>>): string {
  const lines = Object.entries(bootstrap).map(([name, address]) => `${name}=${address}`);
  return hashId(`cluster\n${lines.sort().join("\n")}`);
}

export function bootstrapMemberId(clusterId: string, name: string): string {
  return hashId(`member\n${clusterId}\n${name}`);
}

export function newIdentity(
  options: { readonly name: string; readonly bootstrap: Readonly<Record<string, string>> | undefined },
  random: Random,
): Identity {
  const { name, bootstrap } = options;
  const clusterId = bootstrap === undefined ? randomId(random) : bootstrapClusterId(bootstrap);
  const memberId = bootstrap === undefined ? randomId(random) : bootstrapMemberId(clusterId, name);
  return { memberId, name, clusterId, incarnation: randomId(random), bootstrap, phase: "founding", founding: undefined };
}

/** The directory's identity against what the caller now says. A name may be given again or left out; it may not change. */
export function checkIdentity(
  identity: Identity,
  options: { readonly name: string | undefined; readonly bootstrap: Readonly<Record<string, string>> | undefined },
): void {
  if (options.name !== undefined && options.name !== identity.name) {
    throw new EngineError(
      "INCOMPATIBLE",
      `the data directory belongs to the member ${identity.name}, not to ${options.name}: open it under its own name, or give ${options.name} a directory of its own`,
      { what: "member name", found: identity.name, supported: options.name },
    );
  }
  if (options.bootstrap !== undefined) {
    const asked = bootstrapClusterId(options.bootstrap);
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
