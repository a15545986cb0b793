/**
 * A response that a handler gives later. It costs less than a promise, which a server notices at a hundred thousand calls a second: one listener, told
 * at once when the response comes, with nothing allocated for the waiting.
 */

/** Who is told. */
export interface LaterListener {
  onResponse(response: unknown): void;
  onError(error: unknown): void;
}

/** To be extended by what waits for the response, which calls succeed() or fail() once. */
export abstract class Later<Response> {
  private listener: LaterListener | undefined = undefined;
  private observer: LaterListener | undefined = undefined;
  private state: "waiting" | "succeeded" | "failed" = "waiting";
  private outcome: unknown = undefined;

  protected succeed(response: Response): void {
    if (this.state !== "waiting") return;
    this.state = "succeeded";
    this.observer?.onResponse(response);
    if (this.listener === undefined) this.outcome = response;
    else this.listener.onResponse(response);
  }

  protected fail(error: unknown): void {
    if (this.state !== "waiting") return;
    this.state = "failed";
    this.observer?.onError(error);
    if (this.listener === undefined) this.outcome = error;
    else this.listener.onError(error);
  }

  /** Tells the listener, now or later. Once. Neither of its functions may throw. */
  listen(listener: LaterListener): void {
    this.listener = listener;
    if (this.state === "succeeded") listener.onResponse(this.outcome);
    else if (this.state === "failed") listener.onError(this.outcome);
  }

  /** Tells one more, before the listener, where it has not come yet. */
  observe(observer: LaterListener): void {
    this.observer = observer;
    if (this.state === "succeeded") observer.onResponse(this.outcome);
    else if (this.state === "failed") observer.onError(this.outcome);
  }

  /** For whom a promise is handier; in the place of listen(). */
  promise(): Promise<Response> {
    return new Promise((resolve, reject) => {
      this.listen({ onResponse: (response) => resolve(response as Response), onError: (error) => reject(error as Error) });
    });
  }
}
