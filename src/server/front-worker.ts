/** The entry of a front end's own thread: an engine that is attached to the node of the process, and the front end over it. */
import type { TlsOptions } from "node:tls";
import { parentPort, workerData } from "node:worker_threads";
import { attachEngine } from "../client/attached-engine.ts";
import type { Engine } from "../client/engine.ts";
import { asEngineError, toWire } from "../errors.ts";
import { FrontEnd } from "./front-end.ts";
import type { FrontOrder, FrontReport, FrontWorkerStart } from "./front-threads.ts";

const port = parentPort;
if (port !== null) {
  const report = (said: FrontReport): void => port.postMessage(said);
  run(workerData as FrontWorkerStart).then(
    ({ engine, front }) => {
      port.on("message", (order: FrontOrder) => {
        if (order.kind === "renew") return renew(front, order.tls);
        const end = (): void => port.close();
        front
          .close(order.graceMs)
          .then(() => engine.close())
          .then(end, end);
      });
      report({ kind: "listening" });
    },
    (error: unknown) => {
      report({ kind: "failed", error: toWire(asEngineError(error)) });
      port.close();
    },
  );
}

async function run(start: FrontWorkerStart): Promise<{ readonly engine: Engine; readonly front: FrontEnd }> {
  const { options, places, clientUrls } = start;
  const engine = await attachEngine(start.handle);
  const front = new FrontEnd(engine, options, start, () => clientUrls);
  try {
    await Promise.all(places.map((place) => front.open(place, true)));
  } catch (error) {
    await front.close(0);
    await engine.close();
    throw error;
  }
  return { engine, front };
}

function renew(front: FrontEnd, tls: TlsOptions): void {
  try {
    front.renew(tls);
  } catch {
    // The first front end has tried them: what it could not show, none shows.
  }
}
