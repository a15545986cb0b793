import { encode, isJson, OUTPUT_OPTION, readStdin, type Command } from "../command.ts";
import { EXIT, usageError } from "../exit.ts";
import { jsonPair, shown } from "../output.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";

export const put: Command = {
  spec: {
    name: "put",
    summary: "Sets a key. Without VALUE, or with -, the value is read from standard input.",
    words: [{ name: "key" }, { name: "value", optional: true }],
    options: [
      { name: "lease", kind: "text", value: "ID", help: "The key goes when this lease goes" },
      { name: "prev-kv", kind: "flag", help: "Shows the pair as it was before" },
      { name: "ignore-value", kind: "flag", help: "Keeps the value that it has" },
      { name: "ignore-lease", kind: "flag", help: "Keeps the lease that it has" },
      OUTPUT_OPTION,
      ...REMOTE_OPTIONS,
    ],
  },
  run: async (line, world) => {
    const key = encode(line.word("key"));
    const word = line.optionalWord("value");
    const ignoresValue = line.flag("ignore-value");
    if (ignoresValue && word !== undefined) throw usageError("--ignore-value takes no VALUE");
    const value = ignoresValue ? new Uint8Array(0) : word === undefined || word === "-" ? await readStdin(world) : encode(word);
    const lease = line.text("lease");
    const remote = remoteOf(line, world);
    try {
      const answer = await remote.call("etcdserverpb.KV", "Put", {
        key,
        value,
        ...(lease === undefined ? {} : { lease: leaseId(lease) }),
        prev_kv: line.flag("prev-kv"),
        ignore_value: ignoresValue,
        ignore_lease: line.flag("ignore-lease"),
      });
      const before = answer.prev_kv;
      const revision = answer.header?.revision;
      if (isJson(line, world))
        await world.print(`${JSON.stringify({ revision, ...(before === undefined ? {} : { prevKv: jsonPair(before, true) }) })}\n`);
      else
        await world.print(
          before === undefined ? `revision ${revision}\n` : `revision ${revision}\n${shown(before.key)}\n${shown(before.value)}\n`,
        );
      return EXIT.done;
    } finally {
      await remote.close();
    }
  },
};

/** As etcdctl prints them: 1 to 16 hex digits. */
export function leaseId(text: string): string {
  if (!/^[0-9a-f]{1,16}$/.test(text)) throw usageError(`a lease's ID is 1 to 16 lower-case hex digits, not ${JSON.stringify(text)}`);
  return text.padStart(16, "0");
}
