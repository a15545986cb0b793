/** The watches of this node's callers: the hub finds their events; this adds periodic progress, and tells the callers. */
import type { KvMachine } from "../core/kv/machine.ts";
import type { FromNode, ToNode } from "./boundary.ts";

const PUMP_RECORDS = 2_000;
/** What one output costs of a watch's credit, beside its bytes. */
const OUTPUT_BYTES = 64;
/** Progress is asked for this much late at most, so that thousands of watches cost a few looks. */
const PROGRESS_STEP_MS = 20;

interface Progress {
  readonly intervalMs: number;
  /** When something was last told. */
  at: number;
  /** What is left of its credit, by the hub's reckoning. Progress comes without credit, so that a reader who stays away would pile it up. */
  creditBytes: number;
}

export class Watching {
  readonly #post: (message: FromNode) => void;
  readonly #progress = new Map<number, Progress>();
  #machine: KvMachine;
  #progressAt = Number.POSITIVE_INFINITY;

  constructor(machine: KvMachine, post: (message: FromNode) => void) {
    this.#machine = machine;
    this.#post = post;
  }

  get count(): number {
    return this.#progress.size;
  }

  add(message: ToNode & { readonly kind: "watch" }, now: number): void {
    const { watch: id, interval, fromRevision, initial, prevKv, only, onGap, progressMs, creditBytes } = message;
    const intervalMs = progressMs === 0 ? Number.POSITIVE_INFINITY : progressMs;
    this.#progress.set(id, { intervalMs, at: now, creditBytes });
    const { revision } = this.#machine.watches.add({ id, interval, fromRevision, initial, prevKv, only, onGap });
    this.#machine.watches.credit(id, creditBytes);
    this.#post({ kind: "watching", watch: id, revision });
    this.#progressAt = Math.min(this.#progressAt, now + intervalMs);
  }

  remove(id: number): void {
    this.#progress.delete(id);
    this.#machine.watches.remove(id);
  }

  credit(id: number, bytes: number): void {
    const state = this.#progress.get(id);
    if (state === undefined) return;
    state.creditBytes += bytes;
    this.#machine.watches.credit(id, bytes);
  }

  requestProgress(id: number): void {
    this.#machine.watches.requestProgress(id);
  }

  replace(machine: KvMachine): void {
    this.#machine.watches.rebase(machine);
    this.#machine = machine;
  }

  /** Hands on what is there. True if there may be more at once. */
  pump(now: number): boolean {
    if (this.#progress.size === 0) return false;
    if (now >= this.#progressAt) this.#askProgress(now);
    const outputs = this.#machine.watches.pump(PUMP_RECORDS);
    for (const output of outputs) {
      const state = this.#progress.get(output.id);
      if (state !== undefined) {
        state.at = now;
        state.creditBytes -= output.bytes.byteLength + OUTPUT_BYTES;
      }
      if (output.kind === "ended") this.#progress.delete(output.id);
      this.#post({
        kind: "watched",
        watch: output.id,
        what: output.kind,
        revision: output.revision,
        bytes: output.bytes,
        count: output.count,
        reason: output.reason,
        compactRevision: output.compactRevision ?? 0,
        more: output.more,
      });
    }
    return this.#machine.watches.behind;
  }

  #askProgress(now: number): void {
    let next = Number.POSITIVE_INFINITY;
    for (const [id, state] of this.#progress) {
      if (state.at + state.intervalMs <= now) {
        if (state.creditBytes > 0) this.#machine.watches.requestProgress(id);
        state.at = now;
      }
      next = Math.min(next, state.at + state.intervalMs);
    }
    this.#progressAt = Math.max(next, now + PROGRESS_STEP_MS);
  }

  /** When pump() must be called next at the latest. */
  get deadline(): number {
    return this.#progress.size === 0 ? Number.POSITIVE_INFINITY : this.#progressAt;
  }
}
