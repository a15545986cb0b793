// Installs and compiles, each only where there is something to do.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** What is compiled: where the sources of a project lie, and where its output. */
const outputs = [
  { sources: "src", output: "dist" },
  { sources: "examples", output: "examples/dist" },
  { sources: "bench", output: "bench/dist" },
];

const say = (text) => process.stderr.write(`${text}\n`);

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

/** npm keeps what it installed in a lock file of its own. Packages for other platforms are optional, so only a wrong version counts there. */
function isInstalled() {
  const wanted = readJson(path.join(root, "package-lock.json"))?.packages;
  const present = readJson(path.join(root, "node_modules/.package-lock.json"))?.packages;
  if (wanted === undefined || present === undefined) return false;
  for (const [place, { version, optional }] of Object.entries(wanted)) {
    if (place === "") continue;
    if (present[place] === undefined ? !optional : present[place].version !== version) return false;
  }
  return Object.keys(present).every((place) => wanted[place] !== undefined);
}

export function install() {
  if (isInstalled()) return;
  say("installing the development dependencies of package-lock.json (npm ci --ignore-scripts)");
  const npm = process.env.npm_execpath;
  const [command, args] = npm === undefined ? ["npm", []] : [process.execPath, [npm]];
  const { status } = spawnSync(command, [...args, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
    shell: npm === undefined && process.platform === "win32",
  });
  if (status !== 0) {
    say("npm ci failed; without network, put its cache in place and try again");
    process.exit(1);
  }
}

function* filesUnder(directory) {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const full = path.join(directory, entry.name);
    if (entry.isDirectory()) yield* filesUnder(full);
    else yield full;
  }
}

/**
 * A test whose source is gone must not run, and a module whose source is gone must not be found. Where output is missing, the compiler's
 * notes on what it has done go too, or it would not do it again.
 */
function removeStale() {
  for (const { sources, output } of outputs) {
    const isMissing = [...filesUnder(path.join(root, sources))].some((file) => {
      const relative = path.relative(path.join(root, sources), file);
      if (!file.endsWith(".ts") || file.endsWith(".d.ts") || relative.startsWith("dist")) return false;
      return !existsSync(path.join(root, output, `${relative.slice(0, -3)}.js`));
    });
    if (isMissing) {
      for (const file of filesUnder(path.join(root, output))) if (file.endsWith(".tsbuildinfo")) rmSync(file, { force: true });
    }
    for (const file of filesUnder(path.join(root, output))) {
      const relative = path.relative(path.join(root, output), file);
      const stem = /^(.*?)(?:\.d\.ts|\.js)(?:\.map)?$/.exec(relative)?.[1];
      if (stem !== undefined && !existsSync(path.join(root, sources, `${stem}.ts`))) rmSync(file, { force: true });
    }
  }
}

/** The projects that there are to compile. */
export const projects = ["tsconfig.json", "examples/tsconfig.json", "bench/tsconfig.json"];

/** true if everything compiled. The compiler's own words go to standard error. */
export function build() {
  removeStale();
  const started = performance.now();
  const { status, stdout } = spawnSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-b", ...projects], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 << 20,
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) process.stderr.write(stdout);
  say(`${status === 0 ? "compiled" : "does not compile"} (tsc -b, ${((performance.now() - started) / 1000).toFixed(1)} s)`);
  return status === 0;
}

/** The compiled tests, those that run real processes apart: they kill and measure, so that they must be alone. */
export function testFiles(filters) {
  const files = [...filesUnder(path.join(root, "dist"))]
    .filter((file) => file.endsWith(".test.js"))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .toSorted((a, b) => (a < b ? -1 : 1));
  return {
    ordinary: files.filter((file) => !file.endsWith(".process.test.js")),
    process: files.filter((file) => file.endsWith(".process.test.js")),
  };
}

/** Runs a program with this terminal and hands on the signals that ask it to stop; resolves with its exit code. */
export function runNode(file, args) {
  const child = spawn(process.execPath, [file, ...args], { cwd: root, stdio: "inherit" });
  // A terminal sends its own to every process of the group: handed on, it would be the second.
  process.on("SIGINT", () => process.stdin.isTTY || child.kill("SIGINT"));
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => {
    child.on("error", (error) => {
      say(String(error));
      resolve(1);
    });
    child.on("exit", (code, signal) => resolve(code ?? (signal === null ? 1 : 130)));
  });
}
