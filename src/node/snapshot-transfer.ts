/**
 * A snapshot on its way to a follower that lacks what the log no longer has (Raft 7). The sender streams it over a link of its own
 * and goes back to what was acknowledged when that stalls, so that a lost link costs little. The receiver builds the new state from the
 * stream, and has it on its disk, as a file or in a store of its own; the new state takes the old one's place once the log names that.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { SnapshotFile, SnapshotWriter, Storage } from "../storage/storage.ts";
import {
  OPEN_ENDED,
  decodeSnapshotAck,
  decodeSnapshotChunk,
  encodeSnapshotAck,
  encodeSnapshotBegin,
  encodeSnapshotChunk,
  type SnapshotAckFrame,
  type SnapshotBeginFrame,
} from "./peer-frames.ts";
import { SNAPSHOT_SLICE_BYTES } from "./snapshot-maker.ts";

/** Bytes on their way and not yet acknowledged. */
const WINDOW_BYTES = 2 << 20;

/** What is sent: a file, or a stream that is made as it goes. */
export interface SentSnapshot extends SnapshotFile {
  /** `bytes` is OPEN_ENDED until the end was read, which reads as nothing. */
  readonly isOpenEnded?: boolean;
  /** What lies before `offset` is not asked for again, unless the receiver begins anew: then read() may reject. */
  onAcked?(offset: number): void;
}

export interface SnapshotSenderOptions {
  readonly to: MemberId;
  readonly term: number;
  readonly transfer: number;
  readonly file: SentSnapshot;
  readonly stallMs: number;
  /** Given up after this long without progress. */
  readonly giveUpMs: number;
  send(lane: "urgent" | "snapshot", frame: readonly Uint8Array[]): boolean;
  onDone(installed: boolean): void;
}

export class SnapshotSender {
  readonly #options: SnapshotSenderOptions;
  #sent = 0;
  #acked = 0;
  #begun = false;
  /** The empty chunk at the end of an open-ended one has left. */
  #endSent = false;
  #reading = false;
  #done = false;
  #progressAt: number;
  #retryAt: number;

  constructor(options: SnapshotSenderOptions, now: number) {
    this.#options = options;
    this.#progressAt = now;
    this.#retryAt = now;
  }

  get transfer(): number {
    return this.#options.transfer;
  }

  /** The entry that the receiver will need the log from. */
  get lastIncludedIndex(): number {
    return this.#options.file.meta.lastIncludedIndex;
  }

  /** Called once a turn; answers when to call again at the latest. */
  poll(now: number): number {
    if (this.#done) return Number.POSITIVE_INFINITY;
    const { stallMs, giveUpMs, file } = this.#options;
    if (now - this.#progressAt > giveUpMs) {
      this.stop(false);
      return Number.POSITIVE_INFINITY;
    }
    if (now >= this.#retryAt) {
      this.#retryAt = now + stallMs;
      this.#sent = this.#acked;
      this.#endSent = false;
      const { term, transfer } = this.#options;
      const bytes = file.isOpenEnded === true ? OPEN_ENDED : file.bytes;
      this.#begun = this.#options.send("snapshot", encodeSnapshotBegin({ term, transfer, bytes, meta: file.meta }));
    }
    if (this.#begun) this.#pump();
    return this.#retryAt;
  }

  #pump(): void {
    const { file, transfer } = this.#options;
    if (this.#reading || this.#sent - this.#acked >= WINDOW_BYTES) return;
    if (this.#sent >= file.bytes) {
      if (file.isOpenEnded !== true || this.#endSent) return;
      this.#endSent = this.#options.send("snapshot", encodeSnapshotChunk({ transfer, offset: this.#sent, bytes: new Uint8Array(0) }));
      return;
    }
    this.#reading = true;
    const offset = this.#sent;
    file.read(offset, SNAPSHOT_SLICE_BYTES).then(
      (bytes) => {
        this.#reading = false;
        if (this.#done || offset !== this.#sent) return;
        if (bytes.byteLength === 0) this.#pump();
        else if (this.#options.send("snapshot", encodeSnapshotChunk({ transfer, offset, bytes }))) {
          this.#sent += bytes.byteLength;
          this.#pump();
        }
      },
      () => {
        this.#reading = false;
        this.stop(false);
      },
    );
  }

  onAck(frame: Uint8Array, now: number): void {
    const ack = decodeSnapshotAck(frame);
    if (ack === undefined || ack.transfer !== this.#options.transfer || this.#done) return;
    if (ack.outcome === "installed" || ack.outcome === "refused") return this.stop(ack.outcome === "installed");
    if (ack.outcome === "installing") {
      this.#progressAt = now;
      this.#retryAt = now + this.#options.stallMs;
    }
    // The receiver was opened anew and has nothing of it any more.
    if (ack.received === 0 && this.#acked > 0) {
      this.#sent = this.#acked = 0;
      this.#endSent = false;
    }
    if (ack.received > this.#acked) {
      this.#acked = ack.received;
      this.#sent = Math.max(this.#sent, this.#acked);
      this.#options.file.onAcked?.(this.#acked);
      this.#progressAt = now;
      this.#retryAt = now + this.#options.stallMs;
    }
    this.#pump();
  }

  stop(installed: boolean): void {
    if (this.#done) return;
    this.#done = true;
    this.#options.file.release();
    this.#options.onDone(installed);
  }
}

/** A new state being built from a stream. */
export interface StateRestoring {
  /** A text says what is wrong with the bytes. */
  write(bytes: Uint8Array): string | undefined;
  /** All is written. */
  finish(meta: SnapshotMeta): string | undefined;
}

/** Where a state that was received is kept, if not as a file. */
export interface SnapshotSink<Restoring extends StateRestoring> extends SnapshotWriter {
  /** All was received and restored: puts it where commit() can name it. `onProgress` hears of each slice. */
  prepare(restoring: Restoring, onProgress: () => void): Promise<void>;
}

export interface SnapshotReceiverOptions<Restoring extends StateRestoring> {
  readonly from: MemberId;
  readonly begin: SnapshotBeginFrame;
  readonly storage: Storage;
  /** Default: a file of the storage's. */
  readonly sink?: SnapshotSink<Restoring>;
  readonly restoring: Restoring;
  ack(frame: readonly Uint8Array[]): void;
  /** All is there and verified; whether the log must go too, asked just before it is named. undefined: no longer wanted. */
  onComplete(): { readonly resetLog: boolean } | undefined;
  onInstalled(meta: SnapshotMeta, resetLog: boolean, restoring: Restoring): void;
  onGivenUp(reason: string): void;
}

/** Takes in one transfer. Chunks out of place are answered with where it stands. */
export class SnapshotReceiver<Restoring extends StateRestoring> {
  readonly #options: SnapshotReceiverOptions<Restoring>;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #writer: SnapshotWriter | undefined;
  /** The offset that the next chunk must have; what lies between it and #received is queued. */
  #expected = 0;
  #received = 0;
  #total: number;
  #busy = false;
  #done = false;
  /** True from the moment in which the log is told until it has answered: nothing may be appended meanwhile. */
  installing = false;

  constructor(options: SnapshotReceiverOptions<Restoring>) {
    this.#options = options;
    this.#total = options.begin.bytes;
    (options.sink === undefined ? options.storage.createSnapshot(options.begin.meta) : Promise.resolve(options.sink)).then(
      (writer) => {
        if (this.#done) {
          this.#abandon(writer);
          return;
        }
        this.#writer = writer;
        this.#acknowledge("receiving");
        this.#goOn(writer);
      },
      (error: unknown) => this.giveUp(String(error)),
    );
  }

  get from(): MemberId {
    return this.#options.from;
  }

  get transfer(): number {
    return this.#options.begin.transfer;
  }

  get meta(): SnapshotMeta {
    return this.#options.begin.meta;
  }

  /** The sender began again: tell it where we are. */
  onBeginAgain(): void {
    if (!this.#done && this.#writer !== undefined) this.#acknowledge("receiving");
  }

  onChunk(frame: Uint8Array): void {
    const chunk = decodeSnapshotChunk(frame);
    if (chunk === undefined || chunk.transfer !== this.transfer || this.#done) return;
    if (chunk.offset !== this.#expected || this.#queuedBytes > WINDOW_BYTES) return;
    if (chunk.bytes.byteLength === 0) {
      if (this.#total !== OPEN_ENDED) return;
      this.#total = chunk.offset;
    } else {
      this.#expected += chunk.bytes.byteLength;
      if (this.#expected > this.#total) return this.giveUp("the stream is longer than it said");
      this.#queue.push(chunk.bytes);
      this.#queuedBytes += chunk.bytes.byteLength;
    }
    // What comes before the file is there waits for it.
    if (this.#writer !== undefined) this.#goOn(this.#writer);
  }

  #goOn(writer: SnapshotWriter): void {
    if (!this.#busy) this.#drain(writer).catch((error: unknown) => this.giveUp(String(error)));
  }

  async #drain(writer: SnapshotWriter): Promise<void> {
    const { begin, restoring } = this.#options;
    this.#busy = true;
    for (;;) {
      const bytes = this.#queue.shift();
      if (bytes === undefined) break;
      const wrong = restoring.write(bytes);
      if (wrong !== undefined) return this.giveUp(wrong);
      await writer.write(bytes);
      if (this.#done) return;
      this.#queuedBytes -= bytes.byteLength;
      this.#received += bytes.byteLength;
      this.#acknowledge("receiving");
    }
    if (this.#received < this.#total) {
      this.#busy = false;
      return;
    }
    const wrong = restoring.finish(begin.meta);
    if (wrong !== undefined) return this.giveUp(wrong);
    await this.#options.sink?.prepare(restoring, () => this.#acknowledge("installing"));
    if (this.#done) return;
    const wanted = this.#options.onComplete();
    if (wanted === undefined) return this.giveUp("the log has passed it");
    this.installing = true;
    await writer.commit(wanted);
    if (this.#done) return;
    this.installing = false;
    this.#done = true;
    this.#options.onInstalled(begin.meta, wanted.resetLog, restoring);
    this.#acknowledge("installed");
  }

  giveUp(reason: string): void {
    if (this.#done) return;
    this.#done = true;
    this.installing = false;
    this.#acknowledge("refused");
    if (this.#writer !== undefined) this.#abandon(this.#writer);
    this.#options.onGivenUp(reason);
  }

  #abandon(writer: SnapshotWriter): void {
    writer.abandon().catch(() => {}); // A temporary file that could not be removed now is removed at the next opening.
  }

  #acknowledge(outcome: SnapshotAckFrame["outcome"]): void {
    this.#options.ack(encodeSnapshotAck({ transfer: this.transfer, received: this.#received, outcome }));
  }
}
