// Which folder may import which. The arrows of ARCHITECTURE.md, checked: an import that goes up or across is an error.
// Cycles between files are the linter's.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { root } from "./prepare.mjs";

const source = path.join(root, "src");

/** What each layer may import, itself always included. Longer paths go first where one lies in another. */
const layers = new Map([
  ["core/raft", ["core"]],
  ["core/kv", ["core"]],
  ["core", ["core/raft"]],
  ["host", ["core", "errors.ts"]],
  ["storage", ["core", "core/raft", "host", "errors.ts"]],
  ["transport", ["core", "core/raft", "host", "errors.ts"]],
  ["node", ["core", "core/raft", "core/kv", "host", "storage", "transport", "errors.ts"]],
  ["client", ["core", "core/raft", "core/kv", "host", "storage", "transport", "node", "errors.ts", "version.ts"]],
  ["rpc", ["errors.ts"]],
  ["api", ["core", "core/kv", "host", "rpc", "client", "errors.ts", "storage/backup-format.ts"]],
  ["server", ["api", "rpc", "client", "errors.ts", "transport/address.ts"]],
  ["cli", ["server", "api", "rpc", "client", "errors.ts", "index.ts", "version.ts", "transport/address.ts"]],
  ["testing", ["core", "core/raft", "core/kv", "host", "storage", "transport", "node", "client", "errors.ts", "index.ts"]],
  ["surface", ["testing", "client", "errors.ts", "index.ts"]],
  ["errors.ts", []],
  ["version.ts", []],
  ["raft.ts", ["client", "node", "storage"]],
  ["index.ts", ["core", "core/raft", "core/kv", "host", "storage", "transport", "node", "client", "errors.ts"]],
]);

/** core/ below is core's own files: raft and kv are layers of their own. */
const layerOf = (file) => [...layers.keys()].find((layer) => file === layer || file.startsWith(`${layer}/`));

const importPattern =
  /^\s*(?:import|export)\s[^;'"]*?from\s*["']([^"']+)["']|^\s*import\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm;

function* sources(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const full = path.join(directory, entry.name);
    if (entry.isDirectory()) yield* sources(full);
    else if (entry.name.endsWith(".ts")) yield path.relative(source, full).split(path.sep).join("/");
  }
}

const isTest = (file) => file.endsWith(".test.ts") || file.includes("/test/");

function imports(file) {
  const text = readFileSync(path.join(source, file), "utf8");
  const found = [];
  for (const match of text.matchAll(importPattern)) {
    const name = match[1] ?? match[2] ?? match[3];
    const line = text.slice(0, match.index).split("\n").length;
    if (name.startsWith(".")) found.push({ target: path.posix.normalize(path.posix.join(path.posix.dirname(file), name)), line });
  }
  return found;
}

const problems = [];
for (const file of sources(source)) {
  const from = layerOf(file);
  if (from === undefined) {
    problems.push(`src/${file}: no layer in scripts/check-layers.mjs holds this file`);
    continue;
  }
  for (const { target, line } of imports(file)) {
    const to = layerOf(target);
    if (to === from) {
      if (!isTest(file) && isTest(target)) problems.push(`src/${file}:${line}: imports ${target}, which is of the tests`);
      continue;
    }
    // A test may use the layers above it, the simulator first of all; raft and kv stay strangers even in their tests.
    if (isTest(file) && !(from.startsWith("core/") && to?.startsWith("core/") && to !== "core")) continue;
    if (to === undefined || !layers.get(from).some((allowed) => allowed === to || allowed === target)) {
      problems.push(`src/${file}:${line}: ${from} may not import ${target}`);
    }
  }
}

for (const problem of problems) process.stdout.write(`${problem}\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
