/**
 * What every client of a node of this process does at the two ends of its life: waits for the node's first word, closes it in a bounded time, and
 * says what is left to say when its thread is gone.
 */
import { EngineError, fromWire } from "../errors.ts";
import type { FromNode, NodePort } from "../node/boundary.ts";
import type { CallContext } from "./call-context.ts";
import type { EngineSettings } from "./engine-options.ts";
import type { EngineStatus } from "./engine-status.ts";

/** Of closeTimeoutMs: what is kept for ending a thread that has not ended by itself. */
const TERMINATE_MS_MAX = 250;

/** A node's first word. */
export type Opened = FromNode & { readonly kind: "opened" };

/** What a client takes from its node. */
export interface Front {
  receive(message: FromNode): void;
  onGone(reason: string | undefined): void;
}

/** Waits for a node's first word, and makes its client. What it says of its opening meanwhile goes to `log`. Rejects as Engine.open does. */
export function openFront<T extends Front>(port: NodePort, create: (opened: Opened) => T, log?: EngineSettings["log"]): Promise<T> {
  return new Promise((resolve, reject) => {
    let front: T | undefined;
    let failed = false;
    port.onMessages((messages) => {
      for (const message of messages) {
        if (front !== undefined) front.receive(message);
        else if (message.kind === "opened") {
          front = create(message);
          resolve(front);
        } else if (message.kind === "log") {
          const { level, message: text, fields } = message;
          try {
            log?.({ level, message: text, fields });
          } catch {
            // A logger that throws must not stop the engine.
          }
        } else if (message.kind === "openFailed") {
          failed = true;
          const error = fromWire(message.error);
          port.terminate().then(
            () => reject(error),
            () => reject(error),
          );
        }
      }
    });
    port.onGone((reason) => {
      if (front !== undefined) front.onGone(reason);
      else if (!failed)
        reject(
          new EngineError("INTERNAL", `the node's thread ended while it was opening: ${reason ?? "without a reason"}`, {
            invariant: "a node's thread outlives its opening",
          }),
        );
    });
  });
}

export interface FrontEndOptions {
  readonly port: NodePort;
  readonly context: CallContext;
  readonly status: EngineStatus;
  /** Nothing may begin any more; what calls are under way still leave. */
  beginClosing?(): void;
  /** Ends what is not a call. */
  endStreams(error: EngineError): void;
}

/** The end of a client, and of its node. */
export class FrontEnd {
  readonly #options: FrontEndOptions;
  #closing: Promise<void> | undefined;
  #onClosed: (() => void) | undefined;
  #gone = false;

  constructor(options: FrontEndOptions) {
    this.#options = options;
    const { name, memberId: member, clusterId: cluster, durable, listening } = options.status.node;
    options.status.log("info", "opened", { name, member, cluster, durable, ...(listening === undefined ? {} : { listening }) });
  }

  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  /** The node says that it has ended. */
  onClosed(): void {
    if (this.#closing === undefined) {
      // Another thread has closed the engine that this one is attached to.
      this.#gone = true;
      this.close().catch(() => {}); // It does not reject.
    } else this.#onClosed?.();
  }

  /** The node's thread is gone. */
  onGone(reason: string | undefined): void {
    const { context, status, endStreams } = this.#options;
    this.#gone = true;
    context.ended = true;
    this.#onClosed?.();
    if (this.#closing !== undefined) return;
    const error = new EngineError("INTERNAL", `the node's thread ended: ${reason ?? "without a reason"}`, {
      invariant: "a node's thread ends when it is closed",
    });
    status.log("error", "the node's thread ended", { reason: reason ?? "" });
    status.fail(error);
    context.calls.end(
      (mayHaveApplied) => new EngineError("UNAVAILABLE", error.message, { reason: "failed" }, { mayHaveApplied, cause: error }),
    );
    endStreams(new EngineError("CLOSED", error.message, {}, { cause: error }));
  }

  /** Settles within closeTimeoutMs, whatever the node does. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { port, context, status, endStreams } = this.#options;
    const { calls, clock, settings } = context;
    context.ended = true;
    // What this tick still holds leaves before the end does.
    calls.flush();
    calls.refuse(new EngineError("CLOSED", "the engine is closed", {}));
    this.#options.beginClosing?.();
    port.ref();
    const { closeTimeoutMs } = settings;
    const closeBy = clock.now() + closeTimeoutMs;
    const waitMs = closeTimeoutMs - Math.min(TERMINATE_MS_MAX, closeTimeoutMs / 4);
    if (!this.#gone) {
      await new Promise<void>((resolve) => {
        const timer = clock.setTimer(waitMs, resolve);
        this.#onClosed = () => {
          timer.cancel();
          resolve();
        };
        port.post([{ kind: "close", timeoutMs: waitMs }]);
      });
    }
    calls.end(
      (mayHaveApplied) =>
        new EngineError(
          "CLOSED",
          mayHaveApplied ? "closed while the write was under way: it may have been applied" : "the engine is closed",
          {},
          { mayHaveApplied },
        ),
    );
    endStreams(new EngineError("CLOSED", "the engine is closed", {}));
    status.end();
    // A disk that hangs in the operating system hangs the threads that wait for it, and whoever waits for those.
    const terminated = port.terminate();
    await new Promise<void>((resolve) => {
      const timer = clock.setTimer(Math.max(0, closeBy - clock.now()), resolve);
      const end = (): void => {
        timer.cancel();
        resolve();
      };
      terminated.then(end, end);
    });
    status.log("info", "closed", {});
  }
}
