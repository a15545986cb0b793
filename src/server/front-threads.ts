/**
 * The front ends of a server that have threads of their own, as the first one sees them: it starts them, renews their certificates, ends them, and
 * starts one anew whose thread has ended by itself. They listen on the same ports, and the system deals connections to all.
 */
import { existsSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type { TlsOptions } from "node:tls";
import { createEngineHandle, type EngineHandle } from "../client/attached-engine.ts";
import type { Engine } from "../client/engine.ts";
import { EngineError, fromWire, type WireError } from "../errors.ts";
import type { Place } from "./places.ts";
import type { ResolvedServeOptions } from "./serve-options.ts";

/** What a thread is started with. */
export interface FrontWorkerStart {
  readonly handle: EngineHandle;
  readonly options: ResolvedServeOptions;
  readonly places: readonly Place[];
  readonly clientUrls: readonly string[];
  readonly frontEnd: number;
  readonly frontEnds: number;
  readonly counts: SharedArrayBuffer;
}

/** What a thread is told. */
export type FrontOrder = { readonly kind: "renew"; readonly tls: TlsOptions } | { readonly kind: "close"; readonly graceMs: number };

/** What a thread says, once. */
export type FrontReport = { readonly kind: "listening" } | { readonly kind: "failed"; readonly error: WireError };

/** One that ended by itself is started again so much later. */
const RESTART_MS = 1_000;
/** Beyond the time of grace a thread has this long to end, then it is ended. */
const END_MS = 2_000;
const TIMER_MS_MAX: number = 2 ** 31 - 1;

export interface FrontThreadsOptions {
  readonly engine: Engine;
  readonly options: ResolvedServeOptions;
  /** With their ports. Those in the file system are the first front end's alone. */
  readonly places: readonly Place[];
  readonly clientUrls: readonly string[];
  /** With the first one, which has no thread here. */
  readonly frontEnds: number;
  readonly counts: SharedArrayBuffer;
  /** A thread has ended by itself, and will be started again. */
  readonly onLost: (reason: string) => void;
  /** What runs in a thread. Default: front-worker.js of this package. */
  readonly entry?: URL;
}

const ENTRY: URL = new URL("./front-worker.js", import.meta.url);

/** False in a bundle, which leaves the entry of the threads behind. */
export function hasFrontEntry(): boolean {
  return existsSync(ENTRY);
}

/** All of one server. */
export class FrontThreads {
  readonly #options: FrontThreadsOptions;
  readonly #workers = new Map<number, Worker>();
  readonly #restarts = new Set<NodeJS.Timeout>();
  #tls: TlsOptions | undefined;
  #isClosing = false;

  constructor(options: FrontThreadsOptions) {
    this.#options = options;
    this.#tls = options.options.tls;
  }

  /** Resolves when all listen; rejects with what the first of them failed with, and then none is left. */
  async open(): Promise<void> {
    const starting: Promise<void>[] = [];
    for (let frontEnd = 1; frontEnd < this.#options.frontEnds; frontEnd++) starting.push(this.#start(frontEnd));
    const failed = (await Promise.allSettled(starting)).find((each) => each.status === "rejected");
    if (failed === undefined) return;
    await this.close(0);
    throw failed.reason;
  }

  #start(frontEnd: number): Promise<void> {
    const { engine, options, places, clientUrls, frontEnds, counts } = this.#options;
    const handle = createEngineHandle(engine);
    const start: FrontWorkerStart = {
      handle,
      options: { ...options, tls: this.#tls },
      places: places.filter(({ kind }) => kind === "tcp"),
      clientUrls,
      frontEnd,
      frontEnds,
      counts,
    };
    const worker = new Worker(this.#options.entry ?? ENTRY, {
      workerData: start,
      transferList: [handle.port],
      execArgv: [],
      env: {},
      name: `d-engine front end ${frontEnd}`,
    });
    this.#workers.set(frontEnd, worker);
    return new Promise((resolve, reject) => {
      let isListening = false;
      let reason = "without a reason";
      worker.once("message", (report: FrontReport) => {
        isListening = report.kind === "listening";
        if (report.kind === "failed") reject(fromWire(report.error));
        else resolve();
      });
      worker.once("error", (error) => {
        reason = String(error);
      });
      worker.once("exit", () => {
        this.#workers.delete(frontEnd);
        reject(
          new EngineError("INTERNAL", `a front end ended while it was opened: ${reason}`, {
            invariant: "a front end outlives its opening",
          }),
        );
        if (isListening && !this.#isClosing) this.#restart(frontEnd, reason);
      });
    });
  }

  #restart(frontEnd: number, reason: string): void {
    this.#options.onLost(reason);
    const timer = setTimeout(() => {
      this.#restarts.delete(timer);
      try {
        this.#start(frontEnd).catch((error: unknown) => {
          if (!this.#isClosing) this.#restart(frontEnd, String(error));
        });
      } catch {
        // The engine has ended, and whoever closed it will close this.
      }
    }, RESTART_MS);
    timer.unref();
    this.#restarts.add(timer);
  }

  /** New connections are shown these certificates, which have been tried. */
  renew(tls: TlsOptions): void {
    this.#tls = tls;
    this.#tell({ kind: "renew", tls });
  }

  /** As a front end closes. Settles always. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    for (const timer of this.#restarts) clearTimeout(timer);
    const ended = [...this.#workers.values()].map((worker) => endOf(worker, Math.min(graceMs + END_MS, TIMER_MS_MAX)));
    this.#tell({ kind: "close", graceMs });
    await Promise.all(ended);
  }

  #tell(order: FrontOrder): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- to a thread, not to a window
    for (const worker of this.#workers.values()) worker.postMessage(order);
  }
}

async function endOf(worker: Worker, withinMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, withinMs);
  });
  await Promise.race([exited, late]);
  clearTimeout(timer);
  await worker.terminate();
}
