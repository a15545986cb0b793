/** The option `store`: where the key-value data lie beside the log. */
import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import { invalidArgument } from "../errors.ts";
import type { NodeOptions } from "../node/node-options.ts";
import type { ModuleRef } from "../storage/records/record-store.ts";
import { checkOptions, describe } from "./arguments.ts";

const KNOWN: ReadonlySet<string> = new Set(["module", "options"]);

/** Throws INVALID_ARGUMENT. A module comes out as what import() takes. */
export function resolveStore(store: "segments" | "memory" | ModuleRef = "segments"): NodeOptions["store"] {
  if (store === "segments" || store === "memory") return store;
  if (typeof store !== "object" || store === null) {
    throw invalidArgument("store", `"segments", "memory" or { module } is wanted, not ${describe(store)}`);
  }
  checkOptions(store, KNOWN, "store");
  const { module, options } = store;
  if (module instanceof URL) return { module: module.href, options };
  if (typeof module !== "string" || module === "" || module.startsWith(".")) {
    throw invalidArgument("store.module", "a file: URL, an absolute path or the name of a package is wanted");
  }
  return { module: isAbsolute(module) ? pathToFileURL(module).href : module, options };
}
