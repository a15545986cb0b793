/**
 * Makes virtual time pass for code that does not know of it. While somebody waits on the cluster, events run one after the other: time
 * stands still while anything can run and jumps to the next event when nothing can. While nobody waits, it stands still. With "real"
 * time events run when their time has come on the wall clock.
 */
import type { SimScheduler } from "./sim-scheduler.ts";

/** In real time: how long to sleep at most before looking again. */
const NAP_MS_MAX = 20;

export class TimeDriver {
  readonly #scheduler: SimScheduler;
  readonly #isReal: boolean;
  #waiting = 0;
  #isRunning = false;
  #isOver = false;
  /** What the wall clock showed when virtual time began. */
  readonly #begunAt: number;
  /** What ended the simulation: everyone who waits is told. */
  #failure: Error | undefined;
  readonly #onFailure = new Set<(error: Error) => void>();

  constructor(scheduler: SimScheduler, time: "virtual" | "real") {
    this.#scheduler = scheduler;
    this.#isReal = time === "real";
    this.#begunAt = performance.now() - scheduler.now;
    if (this.#isReal) this.#runReal().catch((error: unknown) => this.#fail(error as Error));
  }

  /** Settles as the promise does; meanwhile time passes. `end` is called with a way to reject it before. */
  wait<T>(promise: PromiseLike<T>, end?: (reject: (error: Error) => void) => () => void): Promise<T> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise<T>((resolve, reject) => {
      this.#waiting++;
      let isDone = false;
      const done = (): boolean => {
        if (isDone) return false;
        isDone = true;
        this.#waiting--;
        this.#onFailure.delete(fail);
        forget?.();
        return true;
      };
      const fail = (error: Error): void => {
        if (done()) reject(error);
      };
      const forget = end?.(fail);
      this.#onFailure.add(fail);
      promise.then((value) => {
        if (done()) resolve(value);
      }, fail);
      this.#run();
    });
  }

  /** Waits until it holds, looked at after every event. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      // oxlint-disable-next-line no-await-in-loop -- time goes on event by event
      await this.sleep(1);
    }
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (this.#isReal) this.#scheduler.now = this.#realNow();
    const slept = new Promise<void>((resolve, reject) => {
      const event = this.#scheduler.after(ms, resolve);
      signal?.addEventListener(
        "abort",
        () => {
          event.cancel();
          reject(signal.reason as Error);
        },
        { once: true },
      );
    });
    return signal?.aborted === true ? Promise.reject(signal.reason as Error) : this.wait(slept);
  }

  close(): void {
    this.#isOver = true;
  }

  #run(): void {
    if (this.#isRunning || this.#isReal || this.#isOver) return;
    this.#isRunning = true;
    this.#scheduler
      .run(() => this.#waiting === 0 || this.#isOver)
      .then(
        () => {
          this.#isRunning = false;
          // Somebody began to wait while the last batch was running out; or nothing is left that could ever happen.
          if (this.#waiting > 0 && this.#scheduler.nextTime !== undefined) this.#run();
        },
        (error: unknown) => this.#fail(error as Error),
      );
  }

  #realNow(): number {
    return Math.max(this.#scheduler.now, performance.now() - this.#begunAt);
  }

  async #runReal(): Promise<void> {
    while (!this.#isOver) {
      const now = this.#realNow();
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await this.#scheduler.run(() => this.#isOver || (this.#scheduler.nextTime ?? Number.POSITIVE_INFINITY) > now);
      this.#scheduler.now = this.#realNow();
      const napMs = Math.min(NAP_MS_MAX, (this.#scheduler.nextTime ?? Number.POSITIVE_INFINITY) - this.#scheduler.now);
      // oxlint-disable-next-line no-await-in-loop -- time goes on step by step
      await new Promise<void>((resolve) => void setTimeout(resolve, Math.max(0, napMs)));
    }
  }

  #fail(error: Error): void {
    this.#isRunning = false;
    this.#failure = error;
    for (const fail of [...this.#onFailure]) fail(error);
  }
}
