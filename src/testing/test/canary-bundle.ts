/**
 * Builds the simulator with a bug planted in the shipped sources, and loads it. A canary's text must be found exactly once, or building
 * fails: so that a canary cannot go on singing after the code that it changes has moved.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import type { SimulationOptions, SimulationResult } from "../simulation.ts";

/** One text in one file, of src/, and what to put in its place. */
export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export type Simulate = (options: SimulationOptions) => Promise<SimulationResult>;

/** From dist/testing/test, where this runs, as well as from src/testing/test. */
const SOURCES: string = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../../src");

/** The simulator with these edits, or what another source file exports as `simulate`. `close` removes what was built. */
export async function buildSimulator<S = Simulate>(
  edits: readonly Edit[],
  source = "testing/simulation.ts",
): Promise<{ readonly simulate: S; close(): Promise<void> }> {
  const directory = await mkdtemp(path.join(tmpdir(), "d-engine-canary-"));
  const close = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const outfile = path.join(directory, "simulation.mjs");
    const left = new Set(edits);
    await build({
      entryPoints: [path.join(SOURCES, source)],
      outfile,
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node20",
      logLevel: "silent",
      plugins: [
        {
          name: "edits",
          setup: ({ onLoad }) => {
            onLoad({ filter: /\.ts$/ }, async ({ path: file }) => {
              const here = edits.filter((edit) => path.join(SOURCES, edit.file) === file);
              if (here.length === 0) return undefined;
              let contents = await readFile(file, "utf8");
              for (const edit of here) {
                contents = replaceOnce(contents, edit);
                left.delete(edit);
              }
              return { contents, loader: "ts" };
            });
          },
        },
      ],
    });
    for (const edit of left) throw new Error(`${edit.file} is no part of the simulator, or not there`);
    const { simulate } = (await import(pathToFileURL(outfile).href)) as { readonly simulate: S };
    return { simulate, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Throws where the text is not there, or there more than once. */
export function replaceOnce(contents: string, { file, find, replace }: Edit): string {
  const parts = contents.split(find);
  if (parts.length !== 2) throw new Error(`${file} holds ${parts.length - 1} times what the canary looks for: ${find}`);
  return parts.join(replace);
}
