/**
 * A node's state beside its log, in all three directions: kept on its own disk, as snapshots or in a record store, so that the log need not
 * reach back to the beginning; sent to followers that lack what the log no longer has; and taken in from a leader. While one is taken in,
 * nothing is made of the present one.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import type { KvMachine } from "../core/kv/machine.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { Raft } from "../core/raft/raft.ts";
import type { NodeContext } from "./node-context.ts";
import { decodeSnapshotBegin } from "./peer-frames.ts";
import { SnapshotMaker } from "./snapshot-maker.ts";
import { SnapshotReceiver, SnapshotSender, type SentSnapshot, type StateRestoring } from "./snapshot-transfer.ts";
import { StateStream } from "./state-stream.ts";
import { StoreSink } from "./store-sink.ts";
import { StoreWriter } from "./store-writer.ts";
import { usesStore, type StoredSoFar } from "./stored-state.ts";

/** How long the log behind a record store gets: a restart looks at all of it, though it applies only the last of it. */
const STORED_LOG_BYTES = 64 << 20;

export interface SnapshotsOptions {
  readonly context: NodeContext;
  /** A snapshot from the leader is on disk and whole: Raft has been told, and the state is to take the old one's place now. */
  install(restored: StateRestoring, meta: SnapshotMeta): void;
}

export class Snapshots {
  readonly #context: NodeContext;
  readonly #install: (restored: StateRestoring, meta: SnapshotMeta) => void;
  /** One of the two, once Raft has begun. */
  #maker: SnapshotMaker | undefined;
  #writer: StoreWriter | undefined;
  readonly #senders = new Map<MemberId, SnapshotSender>();
  #receiver: SnapshotReceiver<StateRestoring> | undefined;
  #nextTransfer = 1;

  constructor({ context, install }: SnapshotsOptions) {
    this.#context = context;
    this.#install = install;
  }

  /** Raft has begun, on a log that begins behind `baseIndex`. */
  start(raft: Raft, baseIndex: number): void {
    const { state, storage, options, environment, wake } = this.#context;
    const { kv, nodeMachine } = state;
    if (kv !== undefined && usesStore(options)) {
      this.#writer = this.#createWriter(kv, nodeMachine?.stored);
      return;
    }
    this.#maker = new SnapshotMaker({
      storage,
      logBytesMin: options.snapshotLogBytesMin,
      now: () => environment.clock.now(),
      begin: () => {
        const { appliedIndex } = state;
        if (appliedIndex <= baseIndex || raft.persistedIndex < appliedIndex || this.#receiver !== undefined) return undefined;
        const meta = this.#meta();
        const source = meta === undefined ? undefined : state.snapshot();
        return meta === undefined || source === undefined ? undefined : { meta, source };
      },
      isPersisted: (index) => raft.persistedIndex >= index,
      discardable: (index) => this.#discardable(index),
      onDiscarded: () => this.#onDiscarded(),
      pause: this.#pause,
      onDone: wake,
    });
  }

  #createWriter(kv: KvMachine, stored: StoredSoFar | undefined): StoreWriter {
    const { storage, options, wake, fail } = this.#context;
    return new StoreWriter({
      storage,
      kv,
      stored,
      logBytesMin: Math.min(options.snapshotLogBytesMin, STORED_LOG_BYTES),
      meta: () => this.#meta(),
      isPersisted: (index) => (this.#context.raft?.persistedIndex ?? 0) >= index,
      onNamed: async ({ lastIncludedIndex }) => {
        await storage.discard(this.#discardable(lastIncludedIndex));
        this.#onDiscarded();
      },
      pause: this.#pause,
      onDone: wake,
      onFailed: fail,
    });
  }

  readonly #pause = (): Promise<void> => new Promise((resolve) => this.#context.environment.clock.defer(resolve));

  /** Of the entry that was applied last; undefined: its term is not known any more. */
  #meta(): SnapshotMeta | undefined {
    const { state, raft } = this.#context;
    const { appliedIndex, clockMs } = state;
    const lastIncludedTerm = raft?.termAt(appliedIndex);
    if (raft === undefined || lastIncludedTerm === undefined) return undefined;
    const configuration = raft.configurationAt(appliedIndex);
    return { lastIncludedIndex: appliedIndex, lastIncludedTerm, configuration, clockMs };
  }

  /** Entries that a follower still lacks, or will once it has what is being sent to it, are kept; but for no more than as much log again. */
  #discardable(index: number): number {
    const { raft, storage, options } = this.#context;
    if (raft === undefined) return 0;
    const limit = this.#writer === undefined ? options.snapshotLogBytesMin : Math.min(options.snapshotLogBytesMin, STORED_LOG_BYTES);
    if (storage.logBytes > 2 * limit) return index;
    const lacking =
      raft.role === "leader"
        ? raft
            .progress()
            .filter(({ active, state }) => active && state !== "snapshot")
            .map(({ matchIndex }) => matchIndex)
        : [];
    return Math.min(index, ...lacking, ...[...this.#senders.values()].map(({ lastIncludedIndex }) => lastIncludedIndex));
  }

  #onDiscarded(): void {
    const { storage, later } = this.#context;
    // The disk may be ahead: the log of a snapshot that is being installed begins behind what is committed here.
    later(() => {
      const { raft } = this.#context;
      raft?.onDiscarded(Math.min(storage.firstIndex - 1, raft.commitIndex));
    });
  }

  stop(): void {
    this.#maker?.stop();
    this.#writer?.stop();
    this.stopSending();
    this.#receiver?.giveUp("the node stops");
  }

  // ------------------------------------------------------------------------------------------------------------- making

  /** Once a turn, between two entries. */
  poll(): void {
    this.#dropReceiver();
    this.#maker?.poll();
    if (this.#receiver === undefined) this.#writer?.poll();
  }

  /** Room is being made on a full disk, and was given up by the log for that. */
  get isFreeing(): boolean {
    return this.#writer?.isFreeing === true;
  }

  /** The disk is full: files go that the state does not need any more, if that is much. */
  freeDisk(): void {
    const { storage, state } = this.#context;
    if (this.#writer === undefined || this.#receiver !== undefined || this.#writer.free()) return;
    // What followers lacked when the log was named they may have now.
    storage.discard(this.#discardable(state.appliedIndex)).then(
      () => this.#onDiscarded(),
      () => {}, // Storage reports its own failure.
    );
  }

  // ------------------------------------------------------------------------------------------------------------ sending

  get isSending(): boolean {
    return this.#senders.size > 0;
  }

  stopSending(): void {
    for (const sender of this.#senders.values()) sender.stop(false);
  }

  send(to: MemberId, raft: Raft, now: number): void {
    if (this.#senders.has(to)) return;
    const { options, send, later } = this.#context;
    const file = this.#sent(raft);
    if (file === undefined) {
      raft.onSnapshotSent(to, undefined);
      return;
    }
    const { electionTimeoutMs } = options;
    const sender = new SnapshotSender(
      {
        to,
        term: raft.term,
        transfer: this.#nextTransfer++,
        file,
        stallMs: electionTimeoutMs,
        giveUpMs: electionTimeoutMs * 10,
        send: (lane, frame) => send(to, lane, frame),
        onDone: (installed) => {
          this.#senders.delete(to);
          later(() => this.#context.raft?.onSnapshotSent(to, installed ? { lastIncludedIndex: file.meta.lastIncludedIndex } : undefined));
        },
      },
      now,
    );
    this.#senders.set(to, sender);
  }

  /** What to send; undefined: nothing now, and Raft asks again. */
  #sent(raft: Raft): SentSnapshot | undefined {
    const { state, storage } = this.#context;
    const { kv } = state;
    if (kv !== undefined) {
      const meta = kv.applying ? undefined : this.#meta();
      return meta === undefined ? undefined : new StateStream({ meta, source: kv.snapshot(), pause: this.#pause });
    }
    const file = storage.openSnapshot();
    if (file !== undefined && file.meta.lastIncludedIndex >= raft.firstIndex - 1) return file;
    // None yet that reaches into the log: make one.
    file?.release();
    this.#maker?.want();
    return undefined;
  }

  onAck(from: MemberId, frame: Uint8Array, now: number): void {
    this.#senders.get(from)?.onAck(frame, now);
  }

  /** Goes on with what is being sent. Answers when to call again at the latest. */
  pump(now: number): number {
    let at = Number.POSITIVE_INFINITY;
    for (const sender of this.#senders.values()) at = Math.min(at, sender.poll(now));
    return at;
  }

  // ---------------------------------------------------------------------------------------------------------- receiving

  onBegin(from: MemberId, frame: Uint8Array, raft: Raft): void {
    const begin = decodeSnapshotBegin(frame);
    if (begin === undefined) return;
    const { identity, state, storage, send, later } = this.#context;
    raft.step({ kind: "InstallSnapshot", from, to: identity.memberId, term: begin.term, snapshot: begin.meta });
    const wanted =
      raft.pendingSnapshot?.lastIncludedIndex === begin.meta.lastIncludedIndex && raft.leader === from && raft.term === begin.term;
    const current = this.#receiver;
    if (current !== undefined && current.from === from && current.transfer === begin.transfer) return current.onBeginAgain();
    // It comes again: nothing is begun that finds no room.
    if (current?.installing === true || !wanted || !state.isReady || storage.full) return;
    current?.giveUp("another transfer began");
    const sink = this.#createSink(begin.meta);
    const receiver: SnapshotReceiver<StateRestoring> = new SnapshotReceiver({
      from,
      begin,
      storage,
      ...(sink === undefined ? {} : { sink }),
      restoring: state.beginRestoring(begin.meta),
      ack: (answer) => send(from, "urgent", answer),
      onComplete: () => (this.#maker?.running === true ? undefined : this.#context.raft?.beginSnapshotInstall(begin.meta)),
      onInstalled: (meta, resetLog, restoring) => {
        // Between two turns, and both at once: were the commit index to rise first, a turn between would apply to the old state what the
        // new one does not hold yet, and the state would go back.
        later(() => {
          if (this.#receiver === receiver) this.#receiver = undefined;
          this.#context.raft!.onSnapshotInstalled(meta, resetLog);
          this.#install(restoring, meta);
          if (sink !== undefined) this.#goOnIn(sink);
        });
      },
      onGivenUp: () => {
        this.#context.raft?.abandonSnapshotInstall();
        if (this.#receiver === receiver) this.#receiver = undefined;
      },
    });
    this.#receiver = receiver;
  }

  #createSink(meta: SnapshotMeta): StoreSink | undefined {
    const writer = this.#writer;
    if (writer === undefined) return undefined;
    return new StoreSink({ storage: this.#context.storage, meta, settled: () => writer.settled(), pause: this.#pause });
  }

  /** The log names another store, and the state is the one in it. */
  #goOnIn(sink: StoreSink): void {
    this.#writer?.stop();
    this.#writer = this.#createWriter(this.#context.state.kv!, sink.stored);
  }

  onChunk(from: MemberId, frame: Uint8Array): void {
    if (this.#receiver?.from === from) this.#receiver.onChunk(frame);
  }

  /** A transfer that the log has passed, or whose sender was forgotten, ends here: while one lasts, this node makes no snapshot of its own. */
  #dropReceiver(): void {
    const receiver = this.#receiver;
    if (receiver === undefined || receiver.installing) return;
    if (this.#context.raft?.pendingSnapshot?.lastIncludedIndex !== receiver.meta.lastIncludedIndex) receiver.giveUp("no longer wanted");
  }
}
