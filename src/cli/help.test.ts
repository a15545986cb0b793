/** What the program says of itself: docs/cli.md is made of it, and every way to ask for help gives it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ETCD_VERSION } from "../api/versions.ts";
import { helpOf } from "./command-line.ts";
import { commands } from "./commands/index.ts";
import { SETTINGS } from "./config/settings.ts";
import { EXIT } from "./exit.ts";
import { VERSION } from "../version.ts";
import { overview } from "./program.ts";
import { assertGolden } from "./test/golden.ts";
import { run } from "./test/world.ts";

const block = (text: string): string => `\`\`\`text\n${text.trimEnd()}\n\`\`\`\n`;

function page(): string {
  const silent = SETTINGS.filter(({ without }) => without !== undefined);
  const rows = silent.map(({ name, without = "", only }) => {
    const accepted = only === undefined ? "any" : only.map((each) => (each === "" ? "empty" : `\`${each}\``)).join(", ");
    return `| \`${name}\` | ${accepted} | ${without} |\n`;
  });
  return `# The program \`d-engine\`

A test makes this page of what the program says of itself: \`d-engine COMMAND --help\`.

Results go to standard output, all else to standard error. Text is printed as it is, and other bytes as \`0x\` and hex digits; on a terminal
control characters are shown, not carried out. With \`--output json\` each answer is one line of JSON, in which text stays text, and other
bytes are \`{"base64": "..."}\`. Keys on the command line are UTF-8; values may be any bytes, by standard input and \`get --raw\`.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | the answer is no: no such key, comparisons that did not hold, a lease that is gone, a lock not waited for |
| 2 | the command line or the configuration makes no sense |
| 3 | nobody answered, or not in time; nothing was changed |
| 4 | the server, or the lock that was lost, does not allow it |
| 5 | the connection ended before the answer came: it may have been done |

\`lock NAME COMMAND...\` ends with the code of its command. Commands that talk to a server work against etcd too; options that all commands
share may stand before the command, and a command line that begins with one of the server's settings is \`serve\`'s, as etcd's own are.

${block(overview())}
${commands.map(({ spec }) => `## ${spec.name}\n\n${block(helpOf(spec))}`).join("\n")}
## Settings of etcd's without effect

They are accepted, in each of the three places, so that a unit or a Procfile written for etcd starts this server. What is not in the second
column is refused.

| setting | accepted | why it changes nothing |
| --- | --- | --- |
${rows.join("")}`;
}

test("docs/cli.md is what the program says", () => assertGolden("docs/cli.md", page()));

test("each line of help fits, and each command says what it does", () => {
  for (const { spec } of commands) {
    assert.match(spec.summary, /\.$/, spec.name);
    for (const line of helpOf(spec).split("\n")) assert.ok(line.length <= 170, `${spec.name}: ${line}`);
    const names = spec.options.map(({ name }) => name);
    assert.deepEqual(names, [...new Set(names)], `${spec.name}: one option, one line`);
    const shorts = spec.options.flatMap(({ short }) => short ?? []);
    assert.deepEqual(shorts, [...new Set(shorts)], spec.name);
  }
});

test("help comes for --help and -h anywhere, for help COMMAND, and for a word that several commands begin with", async () => {
  const put = helpOf(commands.find(({ spec }) => spec.name === "put")!.spec);
  for (const args of [
    ["put", "--help"],
    ["put", "-h"],
    ["put", "a", "--help"],
    ["help", "put"],
  ])
    assert.deepEqual(await run(args).then(({ code, stdout }) => [code, stdout]), [EXIT.done, put], args.join(" "));
  for (const args of [["--help"], ["-h"], ["help"]]) assert.equal((await run(args)).stdout, overview());
  assert.match((await run(["help", "lease"])).stdout, /usage: d-engine lease grant[\s\S]*usage: d-engine lease revoke/);
  const behind = await run(["lock", "--endpoints", "127.0.0.1:1", "n", "--", "x", "--help"]);
  assert.equal(behind.code, EXIT.unavailable, "what a command to run is told is not for this program");
});

test("without a command, or with one that is none, nothing is printed and the nearest is named", async () => {
  assert.deepEqual(await run([]).then(({ code, stdout }) => [code, stdout]), [EXIT.usage, ""]);
  for (const [args, message] of [
    [["pot"], /no command "pot"; did you mean put\?/],
    [["help", "pot"], /did you mean put\?/],
    [["lease"], /lease wants another word: lease grant, lease revoke/],
    [["lease", "--help"], /lease wants another word/],
    [["lease", "grunt"], /no command lease grunt: lease grant/],
    [["put", "a", "b", "--leese", "1"], /unknown option --leese; did you mean --lease\?\nd-engine put --help tells more/],
    [["put", "a", "b", "-w", "json"], /unknown option -w; here it is --output/],
    [["compaction", "5"], /no command "compaction": here it is compact/],
    [["get"], /KEY is missing; --all means every key/],
  ] as const) {
    const { code, stdout, stderr } = await run(args);
    assert.deepEqual([code, stdout], [EXIT.usage, ""], args.join(" "));
    assert.match(stderr, message);
  }
});

test("the version is the package's, and the level of etcd's API", async () => {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { readonly version: string };
  assert.equal(VERSION, manifest.version);
  const text = `etcd Version: ${ETCD_VERSION}\nd-engine: ${manifest.version}\nNode: ${process.version}\n`;
  assert.equal((await run(["version"])).stdout, text);
  assert.equal((await run(["--version"])).stdout, text);
  assert.deepEqual(JSON.parse((await run(["version", "--output", "json"])).stdout), {
    version: manifest.version,
    etcd: ETCD_VERSION,
    node: process.version,
  });
  const [major = 0, minor = 0] = ETCD_VERSION.split(".").map(Number);
  assert.ok(major > 3 || (major === 3 && minor >= 6));
});
