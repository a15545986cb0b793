import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import { isJson, OUTPUT_OPTION, type Command } from "../command.ts";
import { EXIT, ExitError } from "../exit.ts";
import { size } from "../output.ts";
import { REMOTE_OPTIONS, remoteOf } from "../remote.ts";

const TOLD_EVERY_MS = 1_000;

export const snapshotSave: Command = {
  spec: {
    name: "snapshot save",
    summary: "Writes everything at one revision to FILE, which appears only when it is whole and on disk.",
    words: [{ name: "file" }],
    options: [OUTPUT_OPTION, ...REMOTE_OPTIONS],
  },
  run: async (line, world) => {
    const file = line.word("file");
    const partial = `${file}.partial`;
    const remote = remoteOf(line, world);
    let bytes = 0;
    let toldAt = performance.now();
    let descriptor: number;
    try {
      descriptor = openSync(partial, "w", 0o600);
    } catch (error) {
      await remote.close();
      throw new ExitError(EXIT.usage, `${partial} cannot be written: ${(error as NodeJS.ErrnoException).code ?? String(error)}`, {
        cause: error,
      });
    }
    try {
      for await (const { blob, remaining_bytes: left } of remote.stream(
        "etcdserverpb.Maintenance",
        "Snapshot",
        {},
        { signal: world.signal },
      )) {
        for (let at = 0; at < blob.length;) at += writeSync(descriptor, blob, at);
        bytes += blob.length;
        if (world.isTerminal.stderr && left > 0 && performance.now() - toldAt > TOLD_EVERY_MS) {
          toldAt = performance.now();
          world.say(`${size(bytes)} of ${size(bytes + left)}`);
        }
      }
      fsyncSync(descriptor);
      renameSync(partial, file);
      syncDirectory(path.dirname(file));
    } catch (error) {
      rmSync(partial, { force: true });
      throw error;
    } finally {
      closeSync(descriptor);
      await remote.close();
    }
    await world.print(isJson(line, world) ? `${JSON.stringify({ file, bytes })}\n` : `${size(bytes)} saved at ${file}\n`);
    return EXIT.done;
  },
};

/** The name, too, is there after a power loss. Where directories cannot be opened (Windows) that is the system's own doing. */
function syncDirectory(directory: string): void {
  try {
    const descriptor = openSync(directory, "r");
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    // See above.
  }
}
