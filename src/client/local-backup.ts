/**
 * A backup as its reader sees it: pieces are asked of the node two ahead of the reader, and packed (storage/backup-writer.ts) in this thread, so that
 * the node's does no more than read its state. Whoever leaves it, by a signal, a time limit or in the middle of the loop, lets go of the node's hold.
 */
import { EngineError } from "../errors.ts";
import { BackupWriter } from "../storage/backup-writer.ts";
import { forgetAbort, onAbortOf } from "./abort-listeners.ts";
import { aborted, type CallContext } from "./call-context.ts";
import type { Asked } from "./calls.ts";
import type { Bytes } from "./client.ts";

/** Asked for and not yet read: so that the node is not waited for, and no more is held. */
const PIECES_AHEAD = 2;
/** The node has so long for one piece, where the whole has longer. */
const PIECE_TIMEOUT_MS = 30_000;

export interface LocalBackupOptions {
  readonly context: CallContext;
  readonly clusterId: string;
  readonly signal: AbortSignal | undefined;
  /** For the whole, in milliseconds. */
  readonly timeoutMs: number;
}

/** Begins at once. May be iterated once. */
export class LocalBackup implements AsyncIterable<Bytes> {
  readonly #options: LocalBackupOptions;
  readonly #endsAt: number;
  readonly #first: Asked<"backup">;
  /** Asked for, in order. */
  readonly #ahead: Asked<"backup">[] = [];
  #iterated = false;
  #ended = false;
  readonly #onAbort = (): void => {
    this.#end();
    this.#stop(aborted(this.#options.signal!, false));
  };
  /** Rejects once the signal aborts, whatever the node does. */
  readonly #stopped: Promise<never>;
  #stop: (error: EngineError) => void = () => {};

  /** Throws what the node is not even asked for. */
  constructor(options: LocalBackupOptions) {
    const { context, signal, timeoutMs } = options;
    this.#options = options;
    this.#endsAt = context.clock.now() + timeoutMs;
    this.#stopped = new Promise((_, reject) => {
      this.#stop = reject;
    });
    this.#stopped.catch(() => {}); // Told to whoever iterates.
    this.#first = context.calls.backup(0, this.#pieceTimeoutMs());
    this.#first.reply.catch(() => this.#end()); // The same.
    if (signal !== undefined) onAbortOf(signal, this.#onAbort);
  }

  [Symbol.asyncIterator](): AsyncIterator<Bytes> {
    if (this.#iterated)
      throw new EngineError("INVALID_ARGUMENT", "a backup may be iterated once", { argument: "backup", reason: "already iterated" });
    this.#iterated = true;
    return this.#pieces();
  }

  async *#pieces(): AsyncGenerator<Bytes, void> {
    const { clusterId } = this.#options;
    const writer = new BackupWriter();
    try {
      const { description } = await this.#heard(this.#first.reply);
      for (let i = 0; i < PIECES_AHEAD; i++) this.#ask();
      yield writer.begin({ clusterId, ...description! });
      for (;;) {
        const { bytes, last } = await this.#heard(this.#ahead[0]!.reply);
        this.#ahead.shift();
        if (last) break;
        this.#ask();
        if (bytes.byteLength > 0) yield writer.slice(bytes);
      }
      yield writer.end();
    } finally {
      this.#end();
    }
  }

  #ask(): void {
    const { calls } = this.#options.context;
    const asked = calls.backup(this.#first.call, this.#pieceTimeoutMs());
    asked.reply.catch(() => {}); // Told when it is its turn.
    this.#ahead.push(asked);
  }

  /** The answer, unless the backup is over first. */
  async #heard<T>(reply: Promise<T>): Promise<T> {
    const { timeoutMs, context } = this.#options;
    try {
      const answer = await Promise.race([this.#stopped, reply]);
      if (context.clock.now() < this.#endsAt) return answer;
    } catch (error) {
      if (context.clock.now() < this.#endsAt || !EngineError.is(error, "TIMEOUT")) throw error;
    }
    throw new EngineError("TIMEOUT", `the backup took more than ${timeoutMs} ms`, { timeoutMs, waitedFor: "queue" });
  }

  #pieceTimeoutMs(): number {
    return Math.max(1, Math.min(PIECE_TIMEOUT_MS, this.#endsAt - this.#options.context.clock.now()));
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const { context, signal } = this.#options;
    if (signal !== undefined) forgetAbort(signal, this.#onAbort);
    for (const { call } of this.#ahead) context.calls.cancel(call);
    context.calls.cancel(this.#first.call);
    context.calls.tell({ kind: "endBackup", backup: this.#first.call });
  }
}
