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
      /** Not as many as so many clients can make, but so many each second. */
      readonly perSecond?: number;
    }
  /** Writes every key once. */
  | { readonly kind: "fill"; readonly keys: number }
  /** User and system time of the process so far, in microseconds. */
  | { readonly kind: "cpu" }
  | { readonly kind: "memory" }
  /** How long the node's thread was held up since it was asked last: of a member whose mode is timed. */
  | { readonly kind: "stalls" }
  /** Deletes all keys with one command. */
  | { readonly kind: "deleteAll" }
  /** How long a member that is alone took from the beginning of its opening to its first linearizable read. */
  | { readonly kind: "firstRead" }
  /** Resolves when the member knows a leader; tells who. */
  | { readonly kind: "leader" }
  /** Writes until one write succeeds; tells when, on the clock that the processes of a machine share. */
  | { readonly kind: "firstWrite" }
  | { readonly kind: "stop" };

export interface Leader {
  readonly isLeader: boolean;
  readonly term: number;
}

/** What the memory of the stalls is called between threads. */
export const STALLS = "stalls";

/** How long the node's thread did not come to its event loop. */
export interface Stalls {
  /** Less the time that the thread waited for a processor, but with what it waited for others, as collections do for their helpers. */
  readonly longestMs: number;
  /** The most that it used of a processor meanwhile. */
  readonly longestOfProcessorMs: number;
  /** For a processor, in all. */
  readonly waitsMs: number;
}

export interface Deleted {
  readonly deleted: number;
  readonly ms: number;
}

/** Logical and resident bytes. */
export interface Memory {
  readonly rssBytes: number;
  readonly dataBytes: number;
}

export type Answer =
  | LoadResult
  | Leader
  | { readonly atMs: number }
  | { readonly cpuUs: number }
  | Memory
  | Stalls
  | Deleted
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
