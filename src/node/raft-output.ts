/**
 * What Raft asks its node to do: messages that may leave at once, log writes side by side with them, and what promises something about this
 * disk once they are on it (core/raft/ready.ts states the order).
 */
import type { Message } from "../core/raft/message.ts";
import type { Raft } from "../core/raft/raft.ts";
import type { Ready, Vote } from "../core/raft/ready.ts";
import { asEngineError } from "../errors.ts";
import { encodeMessage } from "../transport/message-codec.ts";
import type { NodeContext } from "./node-context.ts";
import type { Reads } from "./reads.ts";
import type { Snapshots } from "./snapshots.ts";

const URGENT: ReadonlySet<Message["kind"]> = new Set<Message["kind"]>([
  "RequestVote",
  "RequestVoteReply",
  "Heartbeat",
  "HeartbeatReply",
  "ReadIndex",
  "ReadIndexReply",
  "TimeoutNow",
  "AppendEntriesReply",
]);

/** A log write that is on disk. */
interface Persisted {
  readonly vote: Vote | undefined;
  readonly last: { readonly index: number; readonly term: number } | undefined;
  readonly messages: readonly Message[];
}

export class RaftOutput {
  readonly #context: NodeContext;
  readonly #reads: Reads;
  readonly #snapshots: Snapshots;
  #persisted: Persisted[] = [];
  #persisting = 0;
  /** When each log write that is under way was handed over, oldest first: as many as the storage gathers. */
  #began: number[] = [];
  #heldMessages: Message[] = [];

  constructor({ context, reads, snapshots }: { readonly context: NodeContext; readonly reads: Reads; readonly snapshots: Snapshots }) {
    this.#context = context;
    this.#reads = reads;
    this.#snapshots = snapshots;
  }

  /** Since when the disk has owed the oldest write that it has not answered; infinity if it owes none. */
  get writingSince(): number {
    return this.#began[0] ?? Number.POSITIVE_INFINITY;
  }

  /** Tells Raft which log writes have come to lie on disk since the last turn, and sends what waited for them. */
  settle(raft: Raft): void {
    for (const { vote, last, messages } of this.#persisted.splice(0)) {
      if (vote !== undefined) raft.onVotePersisted(vote);
      if (last !== undefined) raft.onPersisted(last);
      for (const message of messages) this.#send(message);
    }
  }

  drain(raft: Raft, now: number): void {
    const { state, storage } = this.#context;
    while (raft.hasReady()) {
      const ready = raft.takeReady();
      // Before anything leaves: an answer elsewhere may rest on it, and a lease read here must not fall behind that.
      state.onRaftMoved(raft);
      for (const message of ready.messages) this.#send(message);
      // To wake the disk's thread takes long: the others begin before it.
      if (ready.messages.length > 0 && ready.entries.length > 0) this.#context.transport?.flush();
      this.#persist(ready, now);
      for (const readState of ready.readStates) this.#reads.onReadState(readState, now);
      for (const { to, from, through, bytesMax } of ready.logReads) {
        storage.read({ from, through, bytesMax }).then(
          (entries) => this.#context.later(() => this.#context.raft?.onLogRead(to, from, entries)),
          () => this.#context.later(() => this.#context.raft?.onLogRead(to, from, [])),
        );
      }
      for (const { to } of ready.snapshotSends) this.#snapshots.send(to, raft, now);
    }
  }

  #persist(ready: Ready, now: number): void {
    const { vote, entries, messagesAfterPersist } = ready;
    if (vote === undefined && entries.length === 0) {
      if (this.#persisting === 0) for (const message of messagesAfterPersist) this.#send(message);
      else this.#heldMessages.push(...messagesAfterPersist);
      return;
    }
    // What was held for the writes before this one may as well wait for this one: it is on disk no sooner than they are.
    const messages = [...this.#heldMessages, ...messagesAfterPersist];
    this.#heldMessages = [];
    const last = entries.at(-1);
    this.#persisting++;
    this.#began.push(now);
    this.#context.storage.append({ vote, entries }).then(
      () => {
        this.#persisting--;
        this.#began.shift();
        this.#persisted.push({ vote, last: last === undefined ? undefined : { index: last.index, term: last.term }, messages });
        if (this.#persisting === 0 && this.#heldMessages.length > 0) {
          this.#persisted.push({ vote: undefined, last: undefined, messages: this.#heldMessages });
          this.#heldMessages = [];
        }
        this.#context.wake();
      },
      // What Raft believes to be on its way to the disk is not: this node can promise nothing any more.
      (error: unknown) => this.#context.fail(asEngineError(error)),
    );
  }

  #send(message: Message): void {
    this.#context.transport?.send(message.to, URGENT.has(message.kind) ? "urgent" : "bulk", encodeMessage(message));
  }
}
