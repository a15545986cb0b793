/** A load of writes while watches are open beside its callers. It lasts until each watch has been told all that is its own. */
import type { Engine, Watch } from "d-engine";
import { runLoad, type LoadResult } from "./load.ts";
import type { Watchers } from "./work.ts";

/** Opens the watches, writes, waits for the last event, and closes them. */
export async function runWatchedLoad(
  engine: Engine,
  load: { readonly clients: number; readonly seconds: number },
  { count, of }: Watchers,
  put: (client: number, count: number) => Promise<unknown>,
): Promise<LoadResult> {
  let told = 0;
  let onTold = (): void => {};
  const follow = async (watch: Watch): Promise<void> => {
    for await (const batch of watch) {
      if (batch.kind !== "events") continue;
      told += batch.events.length;
      onTold();
    }
  };
  const watches = Array.from({ length: count }, (_, i) => engine.watch(of === "the key" ? "00000000" : `other/${i}`));
  const following = Promise.all(watches.map(follow));
  await Promise.all(watches.map((watch) => watch.ready()));
  const started = performance.now();
  const result = await runLoad(load, put);
  const wanted = of === "the key" ? result.operations * count : 0;
  await new Promise<void>((resolve) => {
    onTold = () => {
      if (told >= wanted) resolve();
    };
    onTold();
  });
  const seconds = (performance.now() - started) / 1000;
  await Promise.all(watches.map((watch) => watch.close()));
  await following;
  return { ...result, seconds };
}
