/** docs/guarantees.md names the tests that prove it: each exists, and each promise has some. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(join(root, "docs/guarantees.md"), "utf8");

interface Proof {
  readonly file: string;
  readonly name: string | undefined;
}

const proofsOf = (text: string): readonly Proof[] =>
  [...text.matchAll(/^\* `(src\/[^`]+)`(?:: (.+))?$/gm)].map((match) => ({ file: match[1]!, name: match[2] }));

/** A name stands in its file as a text of its own, or as the part of a template before what varies. */
function holds(source: string, name: string): boolean {
  return [`"${name.replaceAll('"', '\\"')}"`, `\`${name}\``, `\`${name} \${`].some((text) => source.includes(text));
}

/** What is wrong with the proofs of a page. */
function problems(text: string): readonly string[] {
  const found: string[] = [];
  for (const { file, name } of proofsOf(text)) {
    if (!existsSync(join(root, file))) found.push(`${file} does not exist`);
    else if (name !== undefined && !holds(readFileSync(join(root, file), "utf8"), name)) found.push(`${file} has no test "${name}"`);
  }
  return found;
}

test("every test that the guarantees name exists", () => {
  assert.deepEqual(problems(page), []);
  assert.ok(proofsOf(page).length > 50);
});

test("every promise names tests", () => {
  for (const section of page.split(/^## /m).slice(1)) {
    const title = section.slice(0, section.indexOf("\n"));
    if (/^\d/.test(title))
      assert.ok(
        proofsOf(section).some(({ name }) => name !== undefined),
        title,
      );
  }
});

test("a line that begins like a proof is one", () => {
  const lines = page.split("\n").filter((line) => /^\s*[*-] ?`?src\//.test(line) || line.startsWith("* `"));
  assert.equal(lines.length, proofsOf(page).length);
});

test("a file or a test that is not there is found out", () => {
  const text = "* `src/nowhere.test.ts`: nothing\n* `src/surface/guarantees.test.ts`: a name that nobody gave\n";
  assert.equal(problems(text).length, 2);
});
