/** What the benchmark's main process asks of a member, of the engine or of a floor, over the channel that fork() gives them. */
import type { LoadResult } from "./load.ts";

/** txn: compares one key, and puts it. */
export type Operation = "put" | "txn" | "linearizable" | "lease" | "eventual";

/** Watches in the process of the callers: each of one key, which the load writes or never does. */
export interface Watchers {
  readonly count: number;
  readonly of: "the key" | "other keys";
}

export type Request =
  | {
      readonly kind: "load";
      readonly operation: Operation;
      readonly clients: number;
      readonly seconds: number;
      readonly keys: number;
      readonly watchers?: Watchers;
      /** One backup after the other is read, and thrown away, for as long as the load lasts. */
      readonly backups?: boolean;
    }
  /** Writes every key once. */
  | { readonly kind: "fill"; readonly keys: number }
  /** User and system time of the process so far, in microseconds. */
  | { readonly kind: "cpu" }
  | { readonly kind: "memory" }
  /** How long a member that is alone took from the beginning of its opening to its first linearizable read. */
  | { readonly kind: "firstRead" }
  /** Resolves when the member knows a leader; tells who. */
  | { readonly kind: "leader" }
  /** Writes until one write succeeds; tells when, on the clock that the processes of a machine share. */
  | { readonly kind: "firstWrite" }
  | { readonly kind: "stop" };

export interface Leader {
  readonly isLeader: boolean;
}

export type Answer =
  | LoadResult
  | Leader
  | { readonly atMs: number }
  | { readonly cpuUs: number }
  | { readonly rssBytes: number }
  | { readonly firstReadMs: number }
  | Record<never, never>;

export interface Envelope<T> {
  readonly id: number;
  readonly body: T;
  readonly error?: string;
}

/** Answers requests until told to stop. Run once, in a member's process. */
export function serveRequests(answer: (request: Request) => Promise<Answer>): void {
  process.on("disconnect", () => process.exit(0));
  process.on("message", (message) => {
    const { id, body } = message as Envelope<Request>;
    void (async () => {
      try {
        const result = await answer(body);
        process.send?.({ id, body: result } satisfies Envelope<Answer>);
      } catch (error) {
        process.send?.({ id, body: {}, error: String(error instanceof Error ? error.stack : error) } satisfies Envelope<Answer>);
      }
      if (body.kind === "stop") process.disconnect();
    })();
  });
}

export function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

export const VALUE_BYTES = 256;
