/** An application that is shipped as a bundle: its engine's threads are started from the bundled workers beside it. */
import { Engine } from "d-engine";

const engine = await Engine.open({ dataDir: "./data", workerUrl: new URL("worker.js", import.meta.url) });
await engine.put("bundled", "yes");
console.log("bundled:", (await engine.get("bundled"))?.text());
await engine.close();
