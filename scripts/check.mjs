// The static checks, one after the other; each prints what it found only if it failed. The last line is "N passed, N failed".
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { projects, root } from "./prepare.mjs";

/** The program that a development dependency brings. */
const tool = (packagePath) => [process.execPath, path.join(root, "node_modules", packagePath)];

function run([command, ...args], options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 64 << 20, ...options });
  return { passed: status === 0, output: `${stdout ?? ""}${stderr ?? ""}${error === undefined ? "" : String(error)}` };
}

/** Packs what would be published and has two programs judge it: whether its entries can be resolved, and whether the types tell the truth. */
function checkPackage() {
  const directory = mkdtempSync(path.join(os.tmpdir(), "d-engine-package-"));
  try {
    const packed = run(["npm", "pack", "--ignore-scripts", "--pack-destination", directory], { shell: process.platform === "win32" });
    const tarball = readdirSync(directory).find((name) => name.endsWith(".tgz"));
    if (!packed.passed || tarball === undefined) return packed;
    const file = path.join(directory, tarball);
    const results = [
      run([...tool("publint/src/cli.js"), "--strict", file]),
      run([...tool("@arethetypeswrong/cli/dist/index.js"), "--profile", "esm-only", file]),
    ];
    return { passed: results.every(({ passed }) => passed), output: results.map(({ output }) => output).join("\n") };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const checks = {
  types: () => run([...tool("typescript/bin/tsc"), "-b", ...projects]),
  lint: () => run([...tool("oxlint/bin/oxlint"), "--type-aware", "--deny-warnings"]),
  layers: () => run([process.execPath, path.join(root, "scripts/check-layers.mjs")]),
  format: () => run([...tool("oxfmt/bin/oxfmt"), "--check"]),
  "dead code": () => run([...tool("knip/bin/knip.js")]),
  package: checkPackage,
};

export function check(names) {
  for (const name of names) {
    if (!Object.keys(checks).some((each) => each.includes(name)))
      process.stdout.write(`there is no check ${name}; there are ${Object.keys(checks).join(", ")}\n`);
  }
  let passed = 0;
  let failed = 0;
  for (const [name, carryOut] of Object.entries(checks)) {
    if (names.length > 0 && !names.some((each) => name.includes(each))) continue;
    const started = performance.now();
    const result = carryOut();
    const took = `(${((performance.now() - started) / 1000).toFixed(1)} s)`;
    if (result.passed) {
      passed += 1;
      process.stdout.write(`ok   ${name} ${took}\n`);
    } else {
      failed += 1;
      process.stdout.write(`${result.output.trimEnd()}\nFAIL ${name} ${took}\n`);
    }
  }
  if (passed + failed === 0) failed += 1;
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}
