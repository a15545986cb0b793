/** Options of a range as its caller gave them, checked, as the node wants them. */
import type { RangeRequest } from "../core/kv/read.ts";
import type { KeyInterval } from "../core/kv/table.ts";
import { checkChoice, checkFlag, checkNumber } from "./arguments.ts";
import type { RangeOptions } from "./client.ts";

/** Throws INVALID_ARGUMENT. `revision` is checked before. */
export function rangeRequest(interval: KeyInterval, options: RangeOptions, countOnly: boolean): RangeRequest {
  const { limit, order, sortBy, keysOnly, revision, minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = options;
  checkNumber(limit, "limit", { min: 0 });
  checkFlag(keysOnly, "keysOnly");
  checkChoice(order, "order", ["ascending", "descending"]);
  checkChoice(sortBy, "sortBy", ["key", "version", "createRevision", "modRevision", "value"]);
  for (const [argument, value] of Object.entries({ minModRevision, maxModRevision, minCreateRevision, maxCreateRevision }))
    checkNumber(value, argument, { min: 0 });
  return {
    interval,
    limit: limit ?? 0,
    order: order ?? "ascending",
    sortBy: sortBy ?? "key",
    keysOnly: keysOnly ?? false,
    countOnly,
    revision,
    minModRevision,
    maxModRevision,
    minCreateRevision,
    maxCreateRevision,
  };
}
