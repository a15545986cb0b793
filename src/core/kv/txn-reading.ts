/**
 * A transaction that only reads, outside the log: comparisons and operations at one revision, which it pins, in slices, whatever is written
 * meanwhile. Its result is packed as one that went through the log would be.
 */
import { assert } from "../assert.ts";
import type { Pin } from "./pins.ts";
import { ANSWER_BYTES_MAX, type ReadRefused } from "./read.ts";
import { ResultWriter } from "./result.ts";
import type { TxnCommand } from "./txn-command.ts";
import { TxnRun, type TxnGround } from "./txn-run.ts";

/** Made by KvMachine.readTxn(): step() until it answers true, then result(); or cancel(). */
export class TxnReading {
  private readonly results: ResultWriter;
  private readonly run: TxnRun | undefined;
  private readonly pin: Pin | undefined;
  private refused: ReadRefused | undefined;
  private isDone = false;

  /** `ground` lacks where to answer, which is here. `pin` is of its revision, and released at the end. */
  constructor(
    ground: Omit<TxnGround, "answers" | "answersEnd">,
    txn: TxnCommand,
    pin: Pin | undefined,
    answerBytesMax: number = ANSWER_BYTES_MAX,
  ) {
    this.results = new ResultWriter(answerBytesMax);
    this.pin = pin;
    if (pin === undefined) {
      this.refused = { refused: "pins", revision: ground.revision };
      this.run = undefined;
      this.isDone = true;
      return;
    }
    const answers = this.results.beginTxn();
    this.run = new TxnRun({ ...ground, answers, answersEnd: answerBytesMax }, txn);
  }

  /** Looks at up to `recordsMax` comparisons, operations and keys. True when the result is there. */
  step(recordsMax: number): boolean {
    const { run } = this;
    if (this.isDone || run === undefined) return true;
    run.step(Math.max(1, recordsMax));
    if (!run.isDone) return false;
    this.isDone = true;
    this.pin?.release();
    if (run.cut) this.refused = { refused: "tooLarge", revision: run.revision };
    else if (run.refusal !== undefined) {
      this.refused = { refused: run.refusal.code === "future" ? "future" : "compacted", revision: run.refusal.max ?? run.revision };
    } else this.results.endTxn(run.revision, run.succeeded, false);
    return true;
  }

  /** Packed as ResultReader reads it. */
  result(): Uint8Array<ArrayBuffer> | ReadRefused {
    assert(this.isDone, "a transaction is read to its end before its result is taken");
    return this.refused ?? this.results.take();
  }

  /** Gives up before the end. */
  cancel(): void {
    this.run?.cancel();
    this.pin?.release();
    this.isDone = true;
  }
}
