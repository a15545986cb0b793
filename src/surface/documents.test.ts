/** What the documents say in code compiles and runs, and every error code has its heading. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import type { ErrorCode } from "d-engine";

const root = fileURLToPath(new URL("../..", import.meta.url));

interface Block {
  readonly document: string;
  readonly line: number;
  readonly code: string;
  /** Not marked "no-run". */
  readonly runs: boolean;
}

const documents: readonly string[] = [
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...readdirSync(path.join(root, "docs")).map((name) => `docs/${name}`),
].filter((name) => name.endsWith(".md"));

function blocksOf(document: string): readonly Block[] {
  const text = readFileSync(path.join(root, document), "utf8");
  return [...text.matchAll(/^```ts([^\n]*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    document,
    line: text.slice(0, match.index).split("\n").length,
    code: match[2] ?? "",
    runs: !(match[1] ?? "").includes("no-run"),
  }));
}

const blocks = documents.flatMap(blocksOf);

/** A directory in which "d-engine" is this package. */
function withPackage(body: (directory: string) => void): void {
  const directory = mkdtempSync(path.join(tmpdir(), "d-engine-documents-"));
  try {
    mkdirSync(path.join(directory, "node_modules"));
    symlinkSync(root, path.join(directory, "node_modules/d-engine"), "junction");
    if (existsSync(path.join(root, "node_modules/@types")))
      symlinkSync(path.join(root, "node_modules/@types"), path.join(directory, "node_modules/@types"), "junction");
    writeFileSync(path.join(directory, "package.json"), JSON.stringify({ type: "module" }));
    body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test("the README has code to run", () => {
  assert.ok(blocks.some(({ document, runs }) => document === "README.md" && runs));
});

test("every block of TypeScript in the documents compiles", () => {
  withPackage((directory) => {
    for (const [i, { document, line, code }] of blocks.entries()) {
      const imports = code.includes("import ") ? "" : 'import { Engine } from "d-engine"; ';
      writeFileSync(path.join(directory, `block-${i}.ts`), `// ${document}:${line}\n${imports}${code}`);
    }
    writeFileSync(
      path.join(directory, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "es2023",
          module: "nodenext",
          strict: true,
          noEmit: true,
          skipLibCheck: true,
          types: ["node"],
          lib: ["es2023", "esnext.disposable"],
        },
      }),
    );
    const { status, stdout } = spawnSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", directory], {
      encoding: "utf8",
    });
    const where = blocks.map(({ document, line }, i) => `block-${i}.ts is ${document}:${line}`).join("\n");
    assert.equal(status, 0, `${stdout}\n${where}`);
  });
});

for (const { document, line, code } of blocks.filter(({ runs }) => runs)) {
  test(`the code at ${document}:${line} runs`, { timeout: 60_000 }, () => {
    withPackage((directory) => {
      writeFileSync(path.join(directory, "block.js"), transformSync(code, { loader: "ts", format: "esm", target: "node20" }).code);
      const { status, stdout, stderr } = spawnSync(process.execPath, ["block.js"], { cwd: directory, encoding: "utf8", timeout: 30_000 });
      assert.equal(status, 0, `${stdout}\n${stderr}`);
    });
  });
}

test("docs/errors.md has one heading for each code, and none for anything else", () => {
  // The compiler keeps this complete: a code that is missing or too many is an error here.
  const codes: Readonly<Record<ErrorCode, true>> = {
    INVALID_ARGUMENT: true,
    UNAVAILABLE: true,
    TIMEOUT: true,
    ABORTED: true,
    CLOSED: true,
    OVERLOADED: true,
    NO_SPACE: true,
    DISK_FAILED: true,
    CORRUPT: true,
    COMPACTED: true,
    FUTURE_REVISION: true,
    NOT_FOUND: true,
    ALREADY_EXISTS: true,
    REFUSED: true,
    LOST: true,
    UNAUTHENTICATED: true,
    PERMISSION_DENIED: true,
    IN_USE: true,
    INCOMPATIBLE: true,
    UNSUPPORTED: true,
    INTERNAL: true,
  };
  const text = readFileSync(path.join(root, "docs/errors.md"), "utf8");
  const headings = [...text.matchAll(/^## (.+)$/gm)].map((match) => match[1] ?? "");
  assert.deepEqual(headings.toSorted(), Object.keys(codes).toSorted());
  for (const section of text.split(/^## /m).slice(1)) {
    assert.match(section, /^`details: /m, section.slice(0, 30));
    assert.match(section, /mayHaveApplied/, section.slice(0, 30));
    assert.match(section, /\*What to do:\*/, section.slice(0, 30));
  }
});

test("links between the documents lead somewhere", () => {
  const broken: string[] = [];
  for (const document of documents) {
    const text = readFileSync(path.join(root, document), "utf8");
    for (const [, target = ""] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      if (!existsSync(path.join(root, path.dirname(document), target))) broken.push(`${document}: ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});
