/** A node that is filled in a process with 300 MB: typed refusals, never a dead thread or process; and room is used again without reopening. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { memoryBounds } from "../client/memory-bounds.ts";

const LIMIT_MB = 300;

interface Told {
  readonly first: number;
  readonly stateWhenFull: string;
  readonly deleted: number;
  readonly second: number;
  readonly refused: number;
  readonly used: number;
  readonly max: number;
  readonly failures: Readonly<Record<string, number>>;
}

test(
  "a node filled in a process of 300 MB refuses by its quota, stays within its memory, and goes on after a deletion",
  { timeout: 180_000 },
  async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), "d-engine-memory-"));
    try {
      // The limit of the heap, of which the young generation takes 48 MB, makes the default quota; what the process takes in all is watched from outside.
      const child = spawn(
        process.execPath,
        [
          `--max-old-space-size=${LIMIT_MB - 48}`,
          fileURLToPath(new URL("filling-process.js", import.meta.url)),
          path.join(directory, "data"),
        ],
        { stdio: ["ignore", "pipe", "inherit"] },
      );
      let said = "";
      child.stdout.on("data", (bytes: Buffer) => (said += String(bytes)));
      let residentMb = 0;
      const watch = setInterval(() => (residentMb = Math.max(residentMb, peakMb(child.pid!))), 50);
      const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
      clearInterval(watch);
      assert.equal(code, 0, said);
      const told = JSON.parse(said) as Told;
      t.diagnostic(`${JSON.stringify(told)}; at most ${residentMb.toFixed(0)} MB resident`);
      assert.deepEqual(told.failures, {}, "nothing but refusals for want of space");
      assert.ok(told.refused >= 6_000);
      assert.equal(told.stateWhenFull, "full");
      assert.ok(told.max <= memoryBounds((LIMIT_MB + 8) * 2 ** 20).dataBytesMax, `the quota is ${told.max}`);
      assert.ok(told.used <= told.max);
      assert.equal(told.deleted, told.first);
      assert.ok(told.second > 0.9 * told.first, `${told.second} of ${told.first} fit again`);
      if (process.platform === "linux") assert.ok(residentMb > 0 && residentMb < LIMIT_MB, `${residentMb} MB`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

/** The most that the process ever had resident; 0 where the system does not say. */
function peakMb(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  } catch {
    return 0; // It has ended, or there is no such place here.
  }
}
