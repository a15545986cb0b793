/** Files that a test holds against what the program says. D_ENGINE_WRITE_GOLDEN=1 writes them anew, for a person to read the difference. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** `file` is a path from the root of the repository. */
export function assertGolden(file: string, text: string): void {
  const full = path.join(ROOT, file);
  if (process.env["D_ENGINE_WRITE_GOLDEN"] === "1") writeFileSync(full, text);
  assert.equal(text, readFileSync(full, "utf8"), `${file} is out of date: D_ENGINE_WRITE_GOLDEN=1 writes it anew`);
}
