/** KEY [END] and the options beside them, as the interval that etcd's messages want. */
import type { CommandLine, OptionSpec } from "./command-line.ts";
import { encode } from "./command.ts";
import { usageError } from "./exit.ts";

export const RANGE_OPTIONS: readonly OptionSpec[] = [
  { name: "prefix", short: "p", kind: "flag", help: "All keys that begin with KEY" },
  { name: "from-key", kind: "flag", help: "KEY and all behind it" },
  { name: "all", kind: "flag", help: "Every key; takes no KEY" },
];

const ZERO = Uint8Array.of(0);

export interface KeyRangeFields {
  readonly key: Uint8Array;
  readonly range_end: Uint8Array;
}

/** Throws ExitError (usage). */
export function keyRangeOf(line: CommandLine): KeyRangeFields {
  const key = line.optionalWord("key");
  const end = line.optionalWord("end");
  const chosen = ["prefix", "from-key", "all"].filter((name) => line.flag(name));
  if (chosen.length > 1) throw usageError(`--${chosen.join(" and --")} exclude each other`);
  if (line.flag("all")) {
    if (key !== undefined) throw usageError("--all takes no KEY");
    return { key: ZERO, range_end: ZERO };
  }
  if (key === undefined) throw usageError("KEY is missing; --all means every key");
  if (end !== undefined && chosen.length > 0) throw usageError(`--${chosen[0] ?? ""} takes no END`);
  const bytes = encode(key);
  if (line.flag("prefix")) {
    if (bytes.length === 0) throw usageError("an empty prefix is every key: say --all");
    return { key: bytes, range_end: prefixEnd(bytes) };
  }
  if (line.flag("from-key")) return { key: bytes.length === 0 ? ZERO : bytes, range_end: ZERO };
  if (bytes.length === 0) throw usageError("an empty KEY does not exist");
  return { key: bytes, range_end: end === undefined ? new Uint8Array(0) : encode(end) };
}

/** The first key behind all that begin with the prefix; one zero byte where there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let i = prefix.length - 1; i >= 0; i -= 1) {
    const byte = prefix[i] ?? 0;
    if (byte < 255) {
      const end = prefix.slice(0, i + 1);
      end[i] = byte + 1;
      return end;
    }
  }
  return ZERO;
}
