import assert from "node:assert/strict";
import { test } from "node:test";
import { helpOf, nearest, parseCommandLine, type CommandSpec } from "./command-line.ts";
import { EXIT, ExitError } from "./exit.ts";

const SPEC: CommandSpec = {
  name: "thing do",
  summary: "Does the thing.",
  words: [{ name: "key" }, { name: "end", optional: true }],
  options: [
    { name: "prefix", short: "p", kind: "flag", help: "All" },
    { name: "limit", short: "l", kind: "number", help: "At most" },
    { name: "order", kind: "text", choices: ["up", "down"], help: "Which way" },
    { name: "tag", kind: "list", help: "Any number of times" },
    { name: "secret", kind: "flag", help: "Unseen", hidden: true },
  ],
};
const RUN: CommandSpec = {
  name: "run",
  summary: "Runs.",
  words: [{ name: "name" }, { name: "command", optional: true, rest: true }],
  options: [{ name: "ttl", kind: "number", help: "Seconds" }],
};

const refused = (args: readonly string[], message: RegExp, spec: CommandSpec = SPEC): void =>
  assert.throws(
    () => parseCommandLine(spec, args),
    (error: unknown) => {
      assert.ok(error instanceof ExitError && error.code === EXIT.usage, String(error));
      assert.match(error.message, message);
      return true;
    },
  );

test("options may stand before, between and behind the words, with = or a blank, short or long, with one dash or two", () => {
  for (const args of [
    ["--limit", "5", "a", "-p", "b"],
    ["a", "--limit=5", "b", "--prefix"],
    ["-l5", "a", "b", "-prefix=true"],
    ["-l", "5", "a", "b", "-prefix"],
  ]) {
    const line = parseCommandLine(SPEC, args);
    assert.deepEqual([line.word("key"), line.word("end"), line.number("limit"), line.flag("prefix")], ["a", "b", 5, true], args.join(" "));
  }
});

test("a flag may be given as false, which is given and not set", () => {
  const line = parseCommandLine(SPEC, ["a", "--prefix=false"]);
  assert.deepEqual([line.flag("prefix"), line.has("prefix"), line.has("limit")], [false, true, false]);
  assert.equal(parseCommandLine(SPEC, ["a", "--prefix=T"]).flag("prefix"), true);
  refused(["a", "--prefix=maybe"], /--prefix takes no value/);
});

test("a list is gathered; of anything else the last one counts", () => {
  const line = parseCommandLine(SPEC, ["a", "--tag", "x", "--tag=y", "--order", "up", "--order", "down"]);
  assert.deepEqual([line.list("tag"), line.text("order")], [["x", "y"], "down"]);
});

test("behind -- and for - everything is a word; numbers below zero are no options", () => {
  const line = parseCommandLine(SPEC, ["--", "--prefix", "-l"]);
  assert.deepEqual([line.word("key"), line.word("end"), line.flag("prefix")], ["--prefix", "-l", false]);
  assert.equal(parseCommandLine(SPEC, ["-"]).word("key"), "-");
  assert.equal(parseCommandLine(SPEC, ["-5"]).word("key"), "-5");
});

test("what is one of a few is taken in capitals, too", () => {
  assert.equal(parseCommandLine(SPEC, ["a", "--order", "DOWN"]).text("order"), "down");
});

test("what makes no sense is refused, naming what is near", () => {
  refused(["a", "--prefx"], /unknown option --prefx; did you mean --prefix\?/);
  refused(["a", "--secrt"], /unknown option --secrt; words that begin with - go behind --$/);
  refused(["a", "-x"], /unknown option -x/);
  refused(["a", "--limit"], /--limit wants a value/);
  refused(["a", "--limit", "ten"], /--limit wants a whole number, not "ten"/);
  refused(["a", "--limit", "99999999999999999999"], /too large/);
  refused(["a", "--order", "left"], /--order is one of up, down, not "left"/);
  refused([], /KEY is missing/);
  refused(["a", "b", "c"], /"c" is one word too many/);
  refused(["a\uFFFD"], /is not UTF-8/);
});

test("a command to run keeps its own options, with or without --", () => {
  const line = parseCommandLine(RUN, ["--ttl", "3", "n", "ls", "-l", "--ttl", "x"]);
  assert.deepEqual([line.number("ttl"), line.word("name"), line.rest], [3, "n", ["ls", "-l", "--ttl", "x"]]);
  assert.deepEqual(parseCommandLine(RUN, ["n", "--ttl", "3", "--", "ls", "--", "-l"]).rest, ["ls", "--", "-l"]);
  assert.deepEqual(parseCommandLine(RUN, ["n"]).rest, []);
  refused(["--", "ls"], /NAME is missing/, RUN);
});

test("the nearest name is near, or there is none", () => {
  const known = ["put", "prefix", "print-value-only"];
  assert.equal(nearest("pot", known), "put");
  assert.equal(nearest("prefxi", known), "prefix");
  assert.equal(nearest("print-value", known), "print-value-only");
  assert.equal(nearest("print-va", known), undefined);
  assert.equal(nearest("print-valu-olny", known), "print-value-only");
  assert.equal(nearest("zzzzzz", known), undefined);
});

test("the help has every option that is not hidden, in columns", () => {
  assert.equal(
    helpOf(SPEC),
    `usage: d-engine thing do KEY [END] [OPTIONS]

Does the thing.

  -p, --prefix         All
  -l, --limit NUMBER   At most
      --order up|down  Which way
      --tag LIST       Any number of times
`,
  );
});
