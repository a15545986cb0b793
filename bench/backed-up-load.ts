/** A load of writes while backups are read in the same process, one after the other, by the thread that the callers have too. */
import type { Engine } from "d-engine";
import { runLoad, type LoadResult } from "./load.ts";

/** Ends the backup that is under way with the load. */
export async function runBackedUpLoad(
  engine: Engine,
  load: { readonly clients: number; readonly seconds: number },
  put: (client: number, count: number) => Promise<unknown>,
): Promise<LoadResult> {
  const ending = new AbortController();
  let bytes = 0;
  const backUp = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      try {
        for await (const part of engine.maintenance.backup({ signal: ending.signal })) bytes += part.byteLength;
      } catch (error) {
        if (!ending.signal.aborted) throw error;
      }
    }
  };
  const backingUp = backUp();
  const result = await runLoad(load, put);
  ending.abort();
  await backingUp;
  process.stderr.write(`backups: ${Math.round(bytes / result.seconds / 2 ** 20)} MiB/s\n`);
  return result;
}
