import { isJson, OUTPUT_OPTION, type Command } from "../command.ts";
import { EXIT } from "../exit.ts";
import { keyRangeOf, RANGE_OPTIONS } from "../key-range.ts";
import { jsonPair, shown } from "../output.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";

export const del: Command = {
  spec: {
    name: "del",
    summary: "Deletes keys and says how many. Ends with 1 where there was none.",
    words: [
      { name: "key", optional: true },
      { name: "end", optional: true },
    ],
    options: [...RANGE_OPTIONS, { name: "prev-kv", kind: "flag", help: "Shows what is deleted" }, OUTPUT_OPTION, ...REMOTE_OPTIONS],
  },
  run: async (line, world) => {
    const range = keyRangeOf(line);
    const remote = remoteOf(line, world);
    try {
      const answer = await remote.call("etcdserverpb.KV", "DeleteRange", { ...range, prev_kv: line.flag("prev-kv") });
      if (isJson(line, world)) {
        const prevKvs = line.flag("prev-kv") ? { prevKvs: answer.prev_kvs.map((kv) => jsonPair(kv, true)) } : {};
        await world.print(`${JSON.stringify({ deleted: answer.deleted, revision: answer.header?.revision, ...prevKvs })}\n`);
      } else {
        await world.print(`${answer.deleted}\n`);
        for (const kv of answer.prev_kvs) await world.print(`${shown(kv.key)}\n${shown(kv.value)}\n`);
      }
      return answer.deleted === 0 ? EXIT.no : EXIT.done;
    } finally {
      await remote.close();
    }
  },
};
