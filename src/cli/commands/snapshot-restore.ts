/** What is done with a backup's file, without a server: looking at it, and making a data directory of it. */
import { createReadStream, type ReadStream } from "node:fs";
import { isJson, OUTPUT_OPTION, type Command } from "../command.ts";
import { bootstrapOf } from "../config/node-config.ts";
import { EXIT, ExitError, usageError } from "../exit.ts";
import { size, table } from "../output.ts";

const READ_BYTES = 1 << 20;

/** Rejects with ExitError where the file cannot be read. */
async function withFile<T>(file: string, use: (from: ReadStream) => Promise<T>): Promise<T> {
  const from = createReadStream(file, { highWaterMark: READ_BYTES });
  try {
    return await use(from);
  } catch (error) {
    const { syscall, code } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new ExitError(EXIT.usage, `${file} cannot be read: ${code ?? String(error)}`, { cause: error });
  } finally {
    from.destroy();
  }
}

export const snapshotStatus: Command = {
  spec: {
    name: "snapshot status",
    summary: "Reads the backup in FILE to its end, verifies it, and shows what is in it.",
    words: [{ name: "file" }],
    options: [OUTPUT_OPTION],
  },
  run: async (line, world) => {
    // Loaded only here, so that other commands begin sooner.
    const { inspectBackup } = await import("../../client/restore.ts");
    const found = await withFile(line.word("file"), (from) => inspectBackup(from, world.signal));
    const { bytes, digest, keys } = found;
    const { clusterId, revision } = found.description;
    if (isJson(line, world)) await world.print(`${JSON.stringify({ revision, keys, bytes, clusterId, digest, verified: true })}\n`);
    else {
      const rows = [
        ["revision", String(revision)],
        ["keys", String(keys)],
        ["size", size(bytes)],
        ["cluster", clusterId],
        ["verified", "yes"],
      ];
      await world.print(table(rows));
    }
    return EXIT.done;
  },
};

export const snapshotRestore: Command = {
  spec: {
    name: "snapshot restore",
    summary: "Makes a new data directory from the backup in FILE, for serve to begin a new cluster with.",
    words: [{ name: "file" }],
    options: [
      { name: "data-dir", kind: "text", value: "DIRECTORY", help: "Where to; must be empty, or not there yet" },
      { name: "name", kind: "text", help: "This member's. Default: default" },
      {
        name: "initial-cluster",
        kind: "text",
        value: "NAME=URL,...",
        help: "All members of the new cluster, this one among them. Default: it alone",
      },
      {
        name: "bump-revision",
        kind: "number",
        value: "COUNT",
        help: "Raises the revision by so much, and drops the history before it. Default: 0",
      },
      { name: "mark-compacted", kind: "flag", help: "Said by --bump-revision already", hidden: true },
      { name: "initial-advertise-peer-urls", kind: "text", help: "Said by --initial-cluster already", hidden: true },
      { name: "initial-cluster-token", kind: "text", help: "A cluster's identity is random", hidden: true },
      OUTPUT_OPTION,
    ],
    notes: [
      "Members of a cluster each restore the same file with the same --initial-cluster, and are then started with it: the cluster begins",
      "when all are up. Leases have their whole time again. With --bump-revision, clients that saw more than the backup holds are told so.",
    ],
  },
  run: async (line, world) => {
    const dataDir = line.text("data-dir");
    if (dataDir === undefined) throw usageError("--data-dir is missing");
    const name = line.text("name") ?? "default";
    const bootstrap = bootstrapOf(line.text("initial-cluster"), name);
    const { Engine } = await import("../../index.ts");
    const restored = await withFile(line.word("file"), (from) =>
      Engine.restore({
        from,
        dataDir,
        name,
        ...(bootstrap === undefined ? {} : { bootstrap }),
        bumpRevision: line.number("bump-revision") ?? 0,
        signal: world.signal,
      }),
    );
    await world.print(
      isJson(line, world)
        ? `${JSON.stringify({ dataDir, ...restored })}\n`
        : `${restored.keys} keys at revision ${restored.revision} restored in ${dataDir}\n`,
    );
    return EXIT.done;
  },
};
