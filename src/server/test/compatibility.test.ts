/**
 * The matrix in docs/compatibility.md is what a comparison with a real etcd finds, row by row. Without an etcd, that what it calls served is served.
 * UPDATE_COMPATIBILITY=1 writes it anew.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { ROWS, type Row } from "./compatibility-rows.ts";
import { methodRows } from "../../api/schema/services.ts";
import { isInstalled, startEtcd, startServed, WireClient } from "./wire.ts";

const DOCUMENT = new URL("../../../docs/compatibility.md", import.meta.url);
const BEGIN = "<!-- matrix: written by src/server/test/compatibility.test.ts -->\n";
const END = "<!-- end of matrix -->";
/** What is written holds for this one. */
const HAS_ETCD = isInstalled("etcd") && spawnSync("etcd", ["--version"], { encoding: "utf8" }).stdout.includes("etcd Version: 3.4.");

/** What the matrix says of a row. */
async function verdict(row: Row, ours: WireClient, theirs: WireClient | undefined): Promise<string> {
  const asked = theirs !== undefined && row.notAsked === undefined ? row.ask(theirs) : undefined;
  const [actual, expected] = await Promise.all([row.ask(ours), asked]);
  const refusal = typeof actual === "string" ? actual : Array.isArray(actual) ? String(actual.at(-1)) : "";
  const told = row.differs === undefined || row.differs === "" ? "" : `: ${row.differs}`;
  if (refusal.startsWith("12 ") && told === "") return "UNIMPLEMENTED";
  if (asked === undefined) return row.notAsked === undefined && row.differs === undefined ? "the same" : `differs${told}`;
  if (isDeepStrictEqual(actual, expected)) return "the same";
  assert.ok(row.differs !== undefined, `${row.method}, ${row.option}: ${JSON.stringify(actual)}, and etcd ${JSON.stringify(expected)}`);
  return `differs${told}`;
}

void test("The matrix of docs/compatibility.md is what a comparison with etcd finds", { timeout: 60_000 }, async (context) => {
  const theirs = HAS_ETCD ? new WireClient(context, await startEtcd(context)) : undefined;
  const { client: ours } = await startServed(context);
  /** By RPC, in the order of the table of services. */
  const found = new Map<string, string[]>(methodRows().map(([service, name]) => [`${service}.${name}`, []]));
  const failures: string[] = [];
  for (const row of ROWS) {
    try {
      // oxlint-disable-next-line no-await-in-loop -- each counts on those before
      const said = await verdict(row, ours, theirs);
      if (!row.option.startsWith("for ")) found.get(`${row.service}.${row.method}`)!.push(`${row.option} | ${said}`);
    } catch (error) {
      failures.push(String((error as Error).message));
    }
  }
  assert.deepEqual(failures, []);
  const unasked = [...found].filter(([name, rows]) => rows.length === 0 && /^etcdserverpb|^v3|^grpc\.health/.test(name));
  assert.deepEqual(unasked, [], "every RPC of etcd's is asked");
  const lines = [...found].flatMap(([name, rows]) =>
    rows.map((one, i) => `| ${i === 0 ? name.replace(/^.*\.(?=.*\.)/, "") : ""} | ${one} |`),
  );
  const matrix = `${BEGIN}\n| RPC | asked | compared with etcd 3.4.23 |\n| --- | --- | --- |\n${lines.join("\n")}\n\n${END}`;
  const document = readFileSync(DOCUMENT, "utf8");
  const written = document.slice(document.indexOf(BEGIN), document.indexOf(END) + END.length);
  if (process.env["UPDATE_COMPATIBILITY"] === "1")
    writeFileSync(
      DOCUMENT,
      document.replace(written, () => matrix),
    );
  else if (HAS_ETCD) assert.equal(written, matrix);
  else assert.deepEqual(unimplemented(written), unimplemented(matrix));
  if (!HAS_ETCD) context.diagnostic("there is no etcd 3.4 on this machine: only what is served was looked at");
});

function unimplemented(matrix: string): string[] {
  return matrix.split("\n").filter((line) => line.endsWith("| UNIMPLEMENTED |"));
}
