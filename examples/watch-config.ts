/** A local copy of the configuration that follows the cluster's: first what is there, then every change, with no gap between. */
import { Engine, type Watch } from "d-engine";

const engine = await Engine.open({ dataDir: "./data" });
await engine.put("config/log-level", "info");
await engine.put("config/limit", "100");

const config = new Map<string, string>();
/** As of which revision the copy is. */
let revision = 0;

/** Ends when the watch is closed. `onGap: "reset"`: whoever falls behind the history gets everything again, told that it is a new start. */
async function follow(watch: Watch): Promise<void> {
  for await (const batch of watch) {
    if (batch.kind === "reset") {
      config.clear();
      for (const kv of batch.kvs) config.set(kv.key, kv.text());
    } else if (batch.kind === "events") {
      for (const event of batch.events) {
        if (event.kind === "put") config.set(event.kv.key, event.kv.text());
        else config.delete(event.key);
      }
    }
    revision = batch.revision;
    console.log(`revision ${revision}:`, Object.fromEntries(config));
    if (config.get("config/log-level") === "debug" && !config.has("config/limit")) return;
  }
}

const following = follow(engine.watch({ prefix: "config/" }, { initial: true, onGap: "reset" }));

await engine.put("config/log-level", "debug");
await engine.delete("config/limit");
await following;
await engine.close();
