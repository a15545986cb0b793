import { encode, isJson, OUTPUT_OPTION, type Command } from "../command.ts";
import { EXIT, usageError } from "../exit.ts";
import { prefixEnd } from "../key-range.ts";
import { asText, shown, table, type KeyValueMessage } from "../output.ts";
import { pages } from "../pages.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";

const OPTIONS = [OUTPUT_OPTION, ...REMOTE_OPTIONS];
/** Keys that a tree or a list of locks shows at most. */
const KEYS_MAX = 100_000;
const LEVELS_MAX = 100;

interface Branch {
  readonly branches: Map<string, Branch>;
  keys: number;
}

export const tree: Command = {
  spec: {
    name: "tree",
    summary: "Shows the keys as a tree, cut at each /.",
    words: [{ name: "prefix", optional: true }],
    options: [{ name: "depth", kind: "number", help: "Shows so many levels; deeper ones as a count" }, ...OPTIONS],
  },
  run: async (line, world) => {
    const prefix = encode(line.optionalWord("prefix") ?? "");
    const interval =
      prefix.length === 0 ? { key: Uint8Array.of(0), range_end: Uint8Array.of(0) } : { key: prefix, range_end: prefixEnd(prefix) };
    const depth = line.number("depth") ?? Number.POSITIVE_INFINITY;
    if (depth < 1) throw usageError("--depth is at least 1");
    const remote = remoteOf(line, world);
    const root: Branch = { branches: new Map(), keys: 0 };
    try {
      for await (const { kvs, count } of pages(remote, { ...interval, keys_only: true })) {
        for (const { key } of kvs.slice(0, KEYS_MAX - root.keys)) grow(root, shown(key));
        if (root.keys < KEYS_MAX) continue;
        if (count > kvs.length) world.say(`only the first ${KEYS_MAX} keys are shown`);
        break;
      }
    } finally {
      await remote.close();
    }
    if (isJson(line, world)) await world.print(`${JSON.stringify(asObject(root))}\n`);
    else for (const each of drawn(root, "", depth)) await world.print(`${each}\n`);
    return root.keys === 0 ? EXIT.no : EXIT.done;
  },
};

/** A level for each part of the key, and none deeper than a few thousand: a key of slashes alone must not cost the stack. */
function grow(root: Branch, key: string): void {
  const parts = key.split(/(?<=\/)/);
  let branch = root;
  for (const part of [...parts.slice(0, LEVELS_MAX), ...(parts.length > LEVELS_MAX ? [parts.slice(LEVELS_MAX).join("")] : [])]) {
    branch.keys += 1;
    let next = branch.branches.get(part);
    if (next === undefined) branch.branches.set(part, (next = { branches: new Map(), keys: 0 }));
    branch = next;
  }
  branch.keys += 1;
}

function* drawn(branch: Branch, indent: string, depth: number): Generator<string> {
  const entries = [...branch.branches];
  for (const [i, [name, inner]] of entries.entries()) {
    const isLast = i === entries.length - 1;
    const isCut = depth <= 1 && inner.branches.size > 0;
    yield `${indent}${isLast ? "└─ " : "├─ "}${name}${isCut ? ` (${inner.keys} keys)` : ""}`;
    if (!isCut) yield* drawn(inner, `${indent}${isLast ? "   " : "│  "}`, depth - 1);
  }
}

const asObject = (branch: Branch): Record<string, unknown> =>
  Object.fromEntries([...branch.branches].map(([name, inner]) => [name, asObject(inner)]));

async function* keysOf(answers: ReturnType<typeof pages>): AsyncGenerator<KeyValueMessage> {
  for await (const { kvs } of answers) yield* kvs;
}

export const locks: Command = {
  spec: {
    name: "locks",
    summary: "Shows locks and elections: who holds each, and how many wait. They are keys NAME/LEASE that carry that lease.",
    words: [{ name: "prefix", optional: true }],
    options: OPTIONS,
  },
  run: async (line, world) => {
    const prefix = encode(line.optionalWord("prefix") ?? "");
    const interval =
      prefix.length === 0 ? { key: Uint8Array.of(0), range_end: Uint8Array.of(0) } : { key: prefix, range_end: prefixEnd(prefix) };
    const byName = new Map<string, KeyValueMessage[]>();
    const remote = remoteOf(line, world);
    let left = KEYS_MAX;
    try {
      for await (const kv of keysOf(pages(remote, interval))) {
        if (left-- <= 0) {
          world.say(`only the first ${KEYS_MAX} keys were looked at; PREFIX narrows it down`);
          break;
        }
        const [, name, lease] = /^(.*)\/([0-9a-f]{1,16})$/s.exec(asText(kv.key) ?? "") ?? [];
        if (name === undefined || lease === undefined || kv.lease !== lease.padStart(16, "0")) continue;
        const holders = byName.get(name);
        if (holders === undefined) byName.set(name, [kv]);
        else holders.push(kv);
      }
    } finally {
      await remote.close();
    }
    const found = [...byName].map(([name, kvs]) => {
      const [holder, ...waiting] = kvs.toSorted((left, right) => left.create_revision - right.create_revision);
      return {
        name,
        lease: holder?.lease ?? "",
        token: holder?.create_revision ?? 0,
        value: shown(holder?.value ?? new Uint8Array(0)),
        waiting: waiting.length,
      };
    });
    if (isJson(line, world)) await world.print(`${JSON.stringify(found)}\n`);
    else if (found.length > 0)
      await world.print(
        table([
          ["name", "held by lease", "token", "waiting", "value"],
          ...found.map(({ name, lease, token, waiting, value }) => [name, lease, String(token), String(waiting), value]),
        ]),
      );
    return found.length === 0 ? EXIT.no : EXIT.done;
  },
};
