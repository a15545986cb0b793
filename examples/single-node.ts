/** One durable node in this process: no other process, nothing listens. What was written is there the next time. */
import { Engine } from "d-engine";

const engine = await Engine.open({ dataDir: "./data" });

const starts = Number((await engine.get("starts"))?.text() ?? 0) + 1;
const { revision } = await engine.put("starts", String(starts));
console.log(`started ${starts} times, revision ${revision}`);

await engine.put("session/ann", JSON.stringify({ page: "/" }), { ttlMs: 60_000 });
for (const kv of (await engine.range({ prefix: "session/" }, { limit: 10 })).kvs) console.log(kv.key, kv.json());

await engine.close();
