/** A counter that many may raise at once: read, change, write if nobody else did, else again. No raise is lost. */
import { Engine } from "d-engine";

const engine = await Engine.open({ dataDir: "./data" });

async function raise(key: string): Promise<number> {
  for (;;) {
    const current = await engine.get(key);
    const next = Number(current?.text() ?? 0) + 1;
    if (await engine.compareAndSwap(key, current?.value, String(next))) return next;
  }
}

const before = Number((await engine.get("visits"))?.text() ?? 0);
await Promise.all(Array.from({ length: 20 }, () => raise("visits")));
console.log("raised by", Number((await engine.get("visits"))?.text()) - before);

await engine.close();
