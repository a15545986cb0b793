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

interface Packed {
  readonly name: string;
  readonly version: string;
  readonly filename: string;
}

/** Packs directories; with them a stranger's `npm ci` needs neither a registry nor a cache of one. */
function pack(places: readonly string[]): readonly Packed[] {
  return JSON.parse(
    run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", directory, ...places], { cwd: root }),
  ) as Packed[];
}

type Lock = Readonly<Record<string, { readonly dev?: boolean; readonly dependencies?: object }>>;

/** Of the repository's lock file, what comes along with the package. */
const { packages: locked } = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")) as { readonly packages: Lock };
const runtime = Object.keys(locked).filter((place) => place !== "" && locked[place]?.dev !== true);

before(() => {
  directory = mkdtempSync(path.join(tmpdir(), "d-engine-package-"));
  const [own, ...others] = [...pack(["."]), ...pack(runtime.map((place) => `./${place}`))];
  assert.ok(own !== undefined && others.length === runtime.length);
  const manifest = {
    name: "application",
    version: "1.0.0",
    private: true,
    type: "module",
    dependencies: { "d-engine": `file:${own.filename}` },
  };
  writeFileSync(path.join(directory, "package.json"), JSON.stringify(manifest));
  const { dependencies, bin } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as Readonly<Record<string, object>>;
  const packages = {
    "": manifest,
    "node_modules/d-engine": { version: own.version, resolved: `file:${own.filename}`, dependencies, bin },
    ...Object.fromEntries(
      others.map(({ name, version, filename }) => [
        `node_modules/${name}`,
        { version, resolved: `file:${filename}`, dependencies: locked[`node_modules/${name}`]?.dependencies ?? {} },
      ]),
    ),
  };
  writeFileSync(
    path.join(directory, "package-lock.json"),
    JSON.stringify({ name: "application", version: "1.0.0", lockfileVersion: 3, requires: true, packages }),
  );
  run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--offline"], { cwd: directory });
});

after(() => rmSync(directory, { recursive: true, force: true }));

test("npm ci --ignore-scripts gives a working engine, and what the server and the program need", () => {
  writeFileSync(path.join(directory, "application.js"), application("{}"));
  assert.equal(runNode("application.js"), "works\n");
  const installed = Object.keys(
    (JSON.parse(readFileSync(path.join(directory, "node_modules/.package-lock.json"), "utf8")) as { packages: Lock }).packages,
  );
  assert.deepEqual(installed.toSorted(), ["node_modules/d-engine", ...runtime].toSorted());
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
  assert.deepEqual(Object.keys(manifest.dependencies ?? {}), ["pino", "prom-client", "smol-toml", "yaml"]);
  assert.deepEqual(
    Object.keys(manifest.scripts ?? {}).filter((name) => /^(pre|post)?(install|prepare)/.test(name)),
    [],
  );
});

test("the engine loads nothing but itself", () => {
  const seen = path.join(directory, "seen.txt");
  const hooks = `import { appendFileSync } from "node:fs"; export async function load(url, context, next) { if (url.includes("/node_modules/")) appendFileSync(${JSON.stringify(seen)}, url + "\\n"); return next(url, context); }`;
  writeFileSync(path.join(directory, "hooks.mjs"), hooks);
  writeFileSync(path.join(directory, "register.mjs"), `import { register } from "node:module"; register("./hooks.mjs", import.meta.url);`);
  run(process.execPath, ["--import", path.join(directory, "register.mjs"), "application.js"], { cwd: directory });
  const names = readFileSync(seen, "utf8")
    .trim()
    .split("\n")
    .map((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1]);
  assert.deepEqual([...new Set(names)], ["d-engine"]);
});

test("the program is installed, can be run, and finds what it needs", () => {
  const program = path.join(directory, "node_modules/.bin/d-engine");
  assert.match(run(program, ["--version"], { cwd: directory }), /^etcd Version: 3\.\d+\.\d+\nd-engine: \d/);
  // The configuration's libraries, too.
  writeFileSync(path.join(directory, "d-engine.toml"), 'name = "n1"\n');
  assert.match(run(program, ["config", "print", "--config-file", "d-engine.toml"], { cwd: directory }), /^name: n1 # d-engine.toml$/m);
  assert.match(run("npx", ["--offline", "d-engine", "config", "check"], { cwd: directory }), /^ok$/m);
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
