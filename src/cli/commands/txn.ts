import type { Message, MessageInit } from "../../api/schema/messages.ts";
import { encode, isJson, OUTPUT_OPTION, readStdin, type Command } from "../command.ts";
import { EXIT, usageError } from "../exit.ts";
import { prefixEnd } from "../key-range.ts";
import { asText, jsonPair, shown } from "../output.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";
import { leaseId } from "./put.ts";

const LINES_MAX = 10_000;

export const txn: Command = {
  spec: {
    name: "txn",
    summary: "Runs a transaction that it reads from standard input. Ends with 1 where the comparisons did not hold.",
    words: [],
    options: [OUTPUT_OPTION, ...REMOTE_OPTIONS],
    notes: [
      "Three groups of lines, set apart by empty lines: comparisons, what to do if all hold, what to do if not.",
      '  value("a") = "1"       also ver(), create(), mod(), lease(), and < > !=',
      "  put a 2                words in quotes may hold blanks, \\n, \\t, and bytes as \\xff",
      "  get a                  get a b: from a to before b; get --prefix a",
      "  del a",
    ],
  },
  run: async (line, world) => {
    const text = asText(await readStdin(world));
    if (text === undefined) throw usageError("standard input is not UTF-8; other bytes are written \\xHH in quotes");
    const request = parseTxn(text);
    const remote = remoteOf(line, world);
    try {
      const answer = await remote.call("etcdserverpb.KV", "Txn", request);
      if (isJson(line, world))
        await world.print(
          `${JSON.stringify({ succeeded: answer.succeeded, revision: answer.header?.revision, results: answer.responses.map(resultJson) })}\n`,
        );
      else await world.print(`${answer.succeeded ? "SUCCESS" : "FAILURE"}\n${answer.responses.map(resultText).join("")}`);
      return answer.succeeded ? EXIT.done : EXIT.no;
    } finally {
      await remote.close();
    }
  },
};

/** Throws ExitError (usage), naming the line. */
export function parseTxn(text: string): MessageInit<"etcdserverpb.TxnRequest"> {
  const lines = text.split(/\r?\n/);
  if (lines.length > LINES_MAX) throw usageError(`a transaction has at most ${LINES_MAX} lines`);
  const groups: { readonly number: number; readonly text: string }[][] = [[]];
  for (const [i, each] of lines.entries()) {
    const trimmed = each.trim();
    if (trimmed !== "") groups.at(-1)?.push({ number: i + 1, text: trimmed });
    else if (groups.length < 3 && i < lines.length - 1) groups.push([]);
  }
  const [compare = [], success = [], failure = []] = groups;
  return { compare: compare.map(parseCompare), success: success.map(parseOperation), failure: failure.map(parseOperation) };
}

interface Line {
  readonly number: number;
  readonly text: string;
}

const TARGETS: Readonly<Record<string, number>> = { ver: 0, version: 0, c: 1, create: 1, m: 2, mod: 2, val: 3, value: 3, lease: 4 };
const RESULTS: Readonly<Record<string, number>> = { "=": 0, ">": 1, "<": 2, "!=": 3 };

function parseCompare({ number, text }: Line): MessageInit<"etcdserverpb.Compare"> {
  const found = /^([a-z]+)\(\s*("(?:[^"\\]|\\.)*"|[^)]*?)\s*\)\s*(!=|=|<|>)\s*(.+)$/.exec(text);
  const [, name = "", key = "", operator = "", value = ""] = found ?? [];
  const target = TARGETS[name];
  if (found === null || target === undefined)
    throw usageError(`line ${number}: ${JSON.stringify(text)} is no comparison such as value("a") = "1"`);
  const keyWord = oneWord({ number, text: key }, "the key");
  const valueWord = oneWord({ number, text: value }, "what it is compared with");
  if (keyWord.bytes.length === 0) throw usageError(`line ${number}: the key is missing`);
  const base = { key: keyWord.bytes, target, result: RESULTS[operator] ?? 0 };
  if (target === 3) return { ...base, value: valueWord.bytes };
  const valueText = asText(valueWord.bytes) ?? "";
  if (target === 4) return { ...base, lease: leaseId(valueText) };
  const count = /^\d+$/.test(valueText) ? Number(valueText) : Number.NaN;
  if (!Number.isSafeInteger(count))
    throw usageError(`line ${number}: ${name}() is compared with a whole number, not ${JSON.stringify(valueText)}`);
  return target === 0 ? { ...base, version: count } : target === 1 ? { ...base, create_revision: count } : { ...base, mod_revision: count };
}

function parseOperation(line: Line): MessageInit<"etcdserverpb.RequestOp"> {
  const [first, ...all] = words(line);
  const verb = first === undefined ? "" : (asText(first.bytes) ?? "");
  if (verb !== "put" && verb !== "get" && verb !== "del")
    throw usageError(`line ${line.number}: ${JSON.stringify(verb)} is none of put, get, del`);
  const options = all.filter(({ bytes, isQuoted }) => !isQuoted && asText(bytes)?.startsWith("--") === true);
  const unknown = options.map(({ bytes }) => asText(bytes) ?? "").find((option) => option !== "--prefix" || verb === "put");
  if (unknown !== undefined) throw usageError(`line ${line.number}: ${verb} has no option ${unknown}; quotes make it a word`);
  const isPrefix = options.length > 0;
  const rest = all.filter((word) => !options.includes(word)).map(({ bytes }) => bytes);
  const [key, second] = rest;
  if (key === undefined || key.length === 0) throw usageError(`line ${line.number}: the key is missing`);
  if (rest.length > (isPrefix ? 1 : 2)) throw usageError(`line ${line.number}: there is a word too many`);
  if (verb === "put") {
    if (second === undefined) throw usageError(`line ${line.number}: put wants a key and a value`);
    return { request_put: { key, value: second } };
  }
  const interval = { key, range_end: isPrefix ? prefixEnd(key) : (second ?? new Uint8Array(0)) };
  return verb === "get" ? { request_range: interval } : { request_delete_range: interval };
}

interface Word {
  readonly bytes: Uint8Array;
  readonly isQuoted: boolean;
}

function oneWord(line: Line, what: string): Word {
  const [word, more] = words(line);
  if (word === undefined) throw usageError(`line ${line.number}: ${what} is missing`);
  if (more !== undefined) throw usageError(`line ${line.number}: ${what} is more than one word; quotes hold them together`);
  return word;
}

/** Blanks separate; quotes hold together, with \n, \t, \", \\ and \xHH, a byte, within. */
function words({ number, text }: Line): Word[] {
  const found: Word[] = [];
  let at = 0;
  while (at < text.length) {
    const blank = /^\s+/.exec(text.slice(at));
    if (blank !== null) at += blank[0].length;
    if (at >= text.length) break;
    const quoted = /^"((?:[^"\\]|\\.)*)"/.exec(text.slice(at));
    const plain = /^[^\s"]+/.exec(text.slice(at));
    const match = quoted ?? plain;
    if (match === null) throw usageError(`line ${number}: a quote is not closed`);
    found.push(quoted === null ? { bytes: encode(match[0]), isQuoted: false } : { bytes: unescaped(quoted[1] ?? ""), isQuoted: true });
    at += match[0].length;
  }
  return found;
}

function unescaped(text: string): Uint8Array {
  const parts = [...text.matchAll(/\\(x[0-9a-fA-F]{2}|.)|[^\\]+/gs)].map(([all, code]) => {
    if (code === undefined) return encode(all);
    if (code.length === 3) return Uint8Array.of(Number.parseInt(code.slice(1), 16));
    return encode(code === "n" ? "\n" : code === "t" ? "\t" : code);
  });
  return Buffer.concat(parts);
}

function resultJson(response: Message<"etcdserverpb.ResponseOp">): unknown {
  const { response_put: put, response_range: range, response_delete_range: deleted } = response;
  if (put !== undefined) return { put: true };
  if (range !== undefined) return { kvs: range.kvs.map((kv) => jsonPair(kv, true)), count: range.count };
  return { deleted: deleted?.deleted ?? 0 };
}

function resultText(response: Message<"etcdserverpb.ResponseOp">): string {
  const { response_range: range, response_delete_range: deleted } = response;
  if (range !== undefined) return `\n${range.kvs.map((kv) => `${shown(kv.key)}\n${shown(kv.value)}\n`).join("")}`;
  return deleted === undefined ? "\nOK\n" : `\n${deleted.deleted}\n`;
}
