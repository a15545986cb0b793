/**
 * The package as others get it: packed, installed without scripts, imported, bundled, and started in an application that has agents
 * and loaders of its own.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build, type BuildOptions } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Opens an engine with `options`, writes, reads from its own directory, closes, says "works". */
const application = (options: string): string => `
import { Engine } from "d-engine";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

async function main() {
  const dataDir = mkdtempSync(join(tmpdir(), "d-engine-application-"));
  try {
    const engine = await Engine.open({ dataDir, ...(${options}) });
    await engine.put("a", "1");
    const first = await engine.get("a");
    await engine.close();
    const again = await Engine.open({ dataDir, ...(${options}) });
    const second = await again.get("a");
    await again.close();
    if (first.text() !== "1" || second.text() !== "1") throw new Error("the value is another");
    console.log("works");
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}
main();
`;

let directory = "";

function run(
  command: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    ...options,
    env: { ...process.env, ...options.env },
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(
    status,
    0,
    `${command} ${args.join(" ")} ended with ${status}\n${stdout}\n${stderr}\n${error === undefined ? "" : String(error)}`,
  );
  return stdout;
}

const runNode = (file: string, env?: Readonly<Record<string, string>>): string =>
  run(process.execPath, [file], { cwd: directory, ...(env === undefined ? {} : { env }) });

before(() => {
  directory = mkdtempSync(path.join(tmpdir(), "d-engine-package-"));
  run("npm", ["pack", "--ignore-scripts", "--pack-destination", directory], { cwd: root });
  const tarball = readdirSync(directory).find((name) => name.endsWith(".tgz")) ?? "";
  writeFileSync(
    path.join(directory, "package.json"),
    JSON.stringify({ name: "application", private: true, type: "module", dependencies: { "d-engine": `file:${tarball}` } }),
  );
  run("npm", ["install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund", "--offline"], { cwd: directory });
  run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--offline"], { cwd: directory });
});

after(() => rmSync(directory, { recursive: true, force: true }));

test("npm ci --ignore-scripts gives a working engine, and nothing else is installed", () => {
  writeFileSync(path.join(directory, "application.js"), application("{}"));
  assert.equal(runNode("application.js"), "works\n");
  assert.deepEqual(
    readdirSync(path.join(directory, "node_modules")).filter((name) => !name.startsWith(".")),
    ["d-engine"],
  );
});

test("what is published is the library, its types and its documents: no tests, no native code, no install script", () => {
  const installed = path.join(directory, "node_modules/d-engine");
  const files = readdirSync(installed, { recursive: true, encoding: "utf8" });
  assert.deepEqual(
    files.filter((file) => /\.test\.|surface|\.node$|binding\.gyp|tsbuildinfo/.test(file)),
    [],
  );
  for (const wanted of ["LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "dist/index.js", "dist/index.d.ts", "docs/errors.md"])
    assert.ok(files.includes(wanted), `${wanted} is there`);
  const manifest = JSON.parse(readFileSync(path.join(installed, "package.json"), "utf8")) as {
    readonly dependencies?: object;
    readonly scripts?: Readonly<Record<string, string>>;
  };
  assert.deepEqual(Object.keys(manifest.dependencies ?? {}), []);
  assert.deepEqual(
    Object.keys(manifest.scripts ?? {}).filter((name) => /^(pre|post)?(install|prepare)/.test(name)),
    [],
  );
});

async function bundle(name: string, options: string, settings: BuildOptions & { readonly format: "esm" | "cjs" }): Promise<string> {
  const source = path.join(directory, `${name}.src.js`);
  writeFileSync(source, application(options));
  const outfile = path.join(directory, name, settings.format === "esm" ? "application.mjs" : "application.cjs");
  await build({
    entryPoints: [source],
    bundle: true,
    platform: "node",
    target: "node20",
    outfile,
    logLevel: "error",
    logOverride: { "empty-import-meta": "silent" },
    ...settings,
  });
  return outfile;
}

test("an application bundled by esbuild starts inline, as a module and as CommonJS", async () => {
  for (const format of ["esm", "cjs"] as const) {
    assert.equal(runNode(await bundle(`inline-${format}`, `{ thread: "inline" }`, { format })), "works\n");
  }
});

test("an application bundled by esbuild starts its threads where workerUrl says, and beside itself without it", async () => {
  const workers = path.join(directory, "workers");
  mkdirSync(workers);
  const bundleWorkers = (outdir: string): Promise<unknown> =>
    build({
      entryPoints: ["worker", "disk-worker"].map((name) => ({ in: `d-engine/${name}`, out: name })),
      absWorkingDir: directory,
      bundle: true,
      platform: "node",
      target: "node20",
      format: "esm",
      outdir,
      logLevel: "error",
    });
  await bundleWorkers(workers);
  const moved = await bundle("moved", `{ workerUrl: new URL("../workers/worker.js", import.meta.url) }`, { format: "esm" });
  assert.equal(runNode(moved), "works\n");
  const beside = await bundle("beside", "{}", { format: "esm" });
  await bundleWorkers(path.dirname(beside));
  assert.equal(runNode(beside), "works\n");
});

test("the engine's threads load none of the application's agents and loaders", () => {
  const loaded = path.join(directory, "loaded.txt");
  writeFileSync(
    path.join(directory, "agent.mjs"),
    `import { appendFileSync } from "node:fs"; import { threadId } from "node:worker_threads"; appendFileSync(${JSON.stringify(loaded)}, threadId + "\\n");`,
  );
  const agent = `--import=${path.join(directory, "agent.mjs")}`;
  assert.equal(runNode("application.js", { NODE_OPTIONS: agent }), "works\n");
  assert.equal(readFileSync(loaded, "utf8"), "0\n", "by NODE_OPTIONS: only the main thread");
  rmSync(loaded);
  assert.equal(run(process.execPath, [agent, "application.js"], { cwd: directory }), "works\n");
  assert.equal(readFileSync(loaded, "utf8"), "0\n", "by an argument: only the main thread");
});
