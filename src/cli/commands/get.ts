import type { Message, MessageInit } from "../../api/schema/messages.ts";
import type { CommandLine } from "../command-line.ts";
import { isJson, OUTPUT_OPTION, type Command, type World } from "../command.ts";
import { EXIT, usageError } from "../exit.ts";
import { keyRangeOf, RANGE_OPTIONS } from "../key-range.ts";
import { jsonPair, shown } from "../output.ts";
import { pages } from "../pages.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";

const TARGETS = ["key", "version", "create", "modify", "value"];

export const get: Command = {
  spec: {
    name: "get",
    summary: "Shows keys and values. Ends with 1 where there is nothing.",
    words: [
      { name: "key", optional: true },
      { name: "end", optional: true },
    ],
    options: [
      ...RANGE_OPTIONS,
      { name: "limit", kind: "number", help: "At most so many; standard error says if there are more" },
      { name: "sort-by", kind: "text", choices: TARGETS, help: "Default: key" },
      { name: "order", kind: "text", choices: ["ascend", "descend"], help: "Default: ascend" },
      { name: "keys-only", kind: "flag", help: "No values" },
      { name: "count-only", kind: "flag", help: "Only how many there are" },
      { name: "print-value-only", kind: "flag", help: "Values alone, each on a line" },
      { name: "raw", kind: "flag", help: "The bytes of the value alone, and no end of line; for one KEY" },
      { name: "rev", kind: "number", value: "REVISION", help: "As of this revision" },
      { name: "consistency", kind: "text", choices: ["l", "s", "linearizable", "eventual"], help: "Default: linearizable" },
      OUTPUT_OPTION,
      ...REMOTE_OPTIONS,
    ],
  },
  run: async (line, world) => {
    const request = rangeRequestOf(line);
    const json = isJson(line, world);
    const isOne = line.optionalWord("end") === undefined && !["prefix", "from-key", "all"].some((name) => line.flag(name));
    if (line.flag("raw") && (!isOne || json || line.flag("count-only") || line.flag("keys-only")))
      throw usageError("--raw shows the value of one KEY, and nothing else");
    // As text goes out while it comes in; to sort or to count, one answer is wanted.
    const isPaged = !json && !isOne && !line.flag("count-only") && request.sort_order === undefined && request.limit === 0;
    const remote = remoteOf(line, world);
    try {
      if (isPaged) {
        let count = 0;
        for await (const answer of pages(remote, request)) {
          count += answer.kvs.length;
          await printText({ ...answer, more: false }, line, world);
          if (world.signal.aborted) break;
        }
        return count === 0 ? EXIT.no : EXIT.done;
      }
      const answer = await remote.call("etcdserverpb.KV", "Range", request);
      if (json) await world.print(`${JSON.stringify(asJson(answer, line))}\n`);
      else if (line.flag("raw")) await world.print(answer.kvs[0]?.value ?? "");
      else await printText(answer, line, world);
      return answer.count === 0 && !line.flag("count-only") ? EXIT.no : EXIT.done;
    } finally {
      await remote.close();
    }
  },
};

function rangeRequestOf(line: CommandLine): MessageInit<"etcdserverpb.RangeRequest"> {
  const limit = line.number("limit") ?? 0;
  const revision = line.number("rev") ?? 0;
  if (limit < 0) throw usageError("--limit cannot be negative");
  if (revision < 0) throw usageError("--rev cannot be negative");
  const consistency = line.text("consistency");
  const sorts = line.has("sort-by") || line.has("order");
  return {
    ...keyRangeOf(line),
    limit,
    revision,
    ...(sorts ? { sort_order: line.text("order") === "descend" ? 2 : 1, sort_target: TARGETS.indexOf(line.text("sort-by") ?? "key") } : {}),
    keys_only: line.flag("keys-only"),
    count_only: line.flag("count-only"),
    serializable: consistency === "s" || consistency === "eventual",
  };
}

function asJson(answer: Message<"etcdserverpb.RangeResponse">, line: CommandLine): unknown {
  const revision = answer.header?.revision;
  if (line.flag("count-only")) return { count: answer.count, revision };
  return { kvs: answer.kvs.map((kv) => jsonPair(kv, !line.flag("keys-only"))), count: answer.count, more: answer.more, revision };
}

async function printText(answer: Message<"etcdserverpb.RangeResponse">, line: CommandLine, world: World): Promise<void> {
  if (line.flag("count-only")) return world.print(`${answer.count}\n`);
  for (const kv of answer.kvs) {
    const value = `${shown(kv.value)}\n`;
    if (line.flag("print-value-only")) await world.print(value);
    else await world.print(line.flag("keys-only") ? `${shown(kv.key)}\n` : `${shown(kv.key)}\n${value}`);
  }
  if (answer.more) world.say(`${answer.kvs.length} of ${answer.count} are shown`);
}
