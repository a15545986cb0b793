/**
 * Bundles the application and the engine's two workers with esbuild, side by side, into the directory that is given:
 *
 *   node build.js DIRECTORY && node DIRECTORY/application.js
 *
 * Where workers cannot be shipped, `thread: "inline"` needs none, at the price that a blocked application blocks its node.
 */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const outdir = path.resolve(process.argv[2] ?? "bundled");

await build({
  entryPoints: {
    application: fileURLToPath(new URL("application.js", import.meta.url)),
    worker: fileURLToPath(import.meta.resolve("d-engine/worker")),
    "disk-worker": fileURLToPath(import.meta.resolve("d-engine/disk-worker")),
  },
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  outdir,
});
// The bundle's files are modules, wherever they are put.
await writeFile(path.join(outdir, "package.json"), JSON.stringify({ type: "module" }));
