/** Whether a data directory belongs to a member already, and to which: what its identity file says, before the engine is opened. */
import { createNodeFileSystem } from "../host/node-file-system.ts";
import { decodeIdentity, type Identity } from "../node/identity.ts";
import { loadIdentity } from "../storage/identity-file.ts";

/** undefined: it is new, or it cannot be read, which opening it will say. */
export function foundedMember(dataDir: string): Identity | undefined {
  if (dataDir === "" || dataDir === "memory:") return undefined;
  try {
    const bytes = loadIdentity(createNodeFileSystem({ sync: true }), dataDir);
    return bytes === undefined ? undefined : decodeIdentity(bytes);
  } catch {
    return undefined;
  }
}
