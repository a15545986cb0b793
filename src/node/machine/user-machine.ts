/**
 * A user's state machine behind a fence: every call of it goes through here, and whatever it throws or answers comes out as what its node
 * understands. It decides nothing; what follows from a fault is the state's affair (user-state.ts).
 */
import { EngineError } from "../../errors.ts";
import type { Clock } from "../../host/clock.ts";
import type { SnapshotFile } from "../../storage/storage.ts";
import type { StateHost } from "../replicated-state.ts";
import { SNAPSHOT_SLICE_BYTES } from "../snapshot-maker.ts";
import type { Command, StateMachine } from "./state-machine.ts";
import { UserSnapshotReader, UserSnapshotSource } from "./user-snapshot.ts";

/** Calls that take longer are told of, once in a while. */
const SLOW_MS = 100;
const SLOW_TOLD_EVERY_MS = 10_000;

export class UserMachine {
  /** For messages. */
  readonly name: string;
  /** Where faults are told beside the errors; the node's, once there is one. */
  log: StateHost["log"] = () => {};
  readonly #machine: StateMachine;
  readonly #clock: Clock;
  #slowToldAt = Number.NEGATIVE_INFINITY;
  #closing = false;

  constructor({ machine, name, clock }: { readonly machine: StateMachine; readonly name: string; readonly clock: Clock }) {
    this.#machine = machine;
    this.name = name;
    this.#clock = clock;
  }

  /** Throws INTERNAL, with the machine and the entry in its invariant, where the machine throws, or does not answer each command with bytes. */
  apply(commands: readonly Command[], index: number): readonly Uint8Array[] {
    const began = this.#clock.now();
    let answers: unknown;
    try {
      answers = this.#machine.apply(commands);
    } catch (cause) {
      throw this.#broken(`threw while it applied entry ${index}`, `applies entry ${index} without throwing`, cause);
    }
    this.#noteSlow("apply", began);
    const wanted = `answers each command of entry ${index} with bytes`;
    if (!Array.isArray(answers)) throw this.#broken(`gave no array of answers to entry ${index}: apply() must not be async`, wanted);
    if (answers.length !== commands.length)
      throw this.#broken(`gave ${answers.length} answers to ${commands.length} commands of entry ${index}`, wanted);
    for (const answer of answers as readonly unknown[]) {
      if (!(answer instanceof Uint8Array)) throw this.#broken(`gave an answer to entry ${index} that is not a Uint8Array`, wanted);
    }
    return answers as readonly Uint8Array[];
  }

  /** Throws whatever the machine throws, and where it answers no bytes. */
  read(query: Uint8Array): Uint8Array {
    const began = this.#clock.now();
    try {
      const answer: unknown = this.#machine.read(query);
      if (!(answer instanceof Uint8Array)) throw new TypeError("read() gave no Uint8Array");
      return answer;
    } finally {
      this.#noteSlow("read", began);
    }
  }

  /** Throws whatever the machine throws. */
  snapshot(): UserSnapshotSource {
    const began = this.#clock.now();
    try {
      return new UserSnapshotSource(this.#machine.snapshot(), () => this.#clock.now());
    } finally {
      this.#noteSlow("snapshot", began);
    }
  }

  /** Hands the machine a snapshot's pieces, and lets go of the file. Rejects with CORRUPT, or with INTERNAL where the machine does not take it. */
  async restore(file: SnapshotFile): Promise<void> {
    const place = `the snapshot at ${file.meta.lastIncludedIndex}`;
    const stream = { fault: undefined as unknown, isWhole: false };
    try {
      await this.#machine.restore(this.#pieces(file, stream));
    } catch (cause) {
      if (stream.fault === undefined) throw this.#broken(`does not restore ${place}`, `restores ${place}`, cause);
    } finally {
      file.release();
    }
    if (stream.fault !== undefined) throw stream.fault as Error;
    if (!stream.isWhole) throw this.#broken(`has not read ${place} to its end`, `reads ${place} to its end`);
  }

  async *#pieces(file: SnapshotFile, stream: { fault: unknown; isWhole: boolean }): AsyncGenerator<Uint8Array, void> {
    const reader = new UserSnapshotReader();
    const path = `snapshot at ${file.meta.lastIncludedIndex}`;
    const corrupt = (offset: number, found: string): EngineError =>
      new EngineError("CORRUPT", `${path}: ${found}`, { path, offset, expected: "a snapshot of a user's state machine", found });
    let piece: Uint8Array | undefined;
    let offset = 0;
    for (;;) {
      try {
        // oxlint-disable-next-line no-await-in-loop -- a piece at a time
        const bytes = await this.#read(file, offset);
        if (bytes === undefined) break;
        const told = reader.write(bytes);
        if (typeof told === "string") throw corrupt(offset, told);
        offset += bytes.byteLength;
        piece = new Uint8Array(told);
      } catch (error) {
        stream.fault = error;
        throw error;
      }
      if (piece.byteLength > 0) yield piece;
    }
    const wrong = reader.finish();
    if (wrong === undefined) stream.isWhole = true;
    else throw (stream.fault = corrupt(file.bytes, wrong));
  }

  /** undefined at the end. */
  async #read(file: SnapshotFile, offset: number): Promise<Uint8Array | undefined> {
    if (this.#closing) throw new EngineError("CLOSED", "the node is closed", {});
    return offset >= file.bytes ? undefined : file.read(offset, SNAPSHOT_SLICE_BYTES);
  }

  /** What is being restored ends at its next piece. */
  endRestoring(): void {
    this.#closing = true;
  }

  async close(): Promise<void> {
    await this.#machine.close?.();
  }

  #noteSlow(call: string, began: number): void {
    const now = this.#clock.now();
    if (now - began < SLOW_MS || now - this.#slowToldAt < SLOW_TOLD_EVERY_MS) return;
    this.#slowToldAt = now;
    this.log("warn", "the state machine holds up its node", { machine: this.name, call, ms: Math.round(now - began) });
  }

  #broken(what: string, invariant: string, ...thrown: readonly unknown[]): EngineError {
    const [cause] = thrown;
    if (cause instanceof Error) this.log("error", "the state machine threw", { machine: this.name, stack: String(cause.stack) });
    const reason = thrown.length === 0 ? "" : `: ${describe(cause)}`;
    return new EngineError(
      "INTERNAL",
      `the state machine ${this.name} ${what}${reason}`,
      { invariant: `the state machine ${this.name} ${invariant}` },
      thrown.length === 0 ? {} : { cause },
    );
  }
}

/** What was thrown, whatever it is: its own conversion to text may throw too. */
export function describe(error: unknown): string {
  try {
    return String(error);
  } catch {
    return "something that has no text";
  }
}
