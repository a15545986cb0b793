/**
 * What a user's own state machine is: the types of `d-engine/raft` that run in the node's thread. What the node does with one, and what it
 * does when one misbehaves: user-state.ts.
 */

/** One command of the log. */
export interface Command {
  /** Of its entry in the log. Commands that were proposed in one moment share an entry, in order. */
  readonly index: number;
  readonly term: number;
  /**
   * The lease clock when the leader proposed it: milliseconds since the cluster was founded in which it had a leader, never going back. The only
   * time that a state machine may use; only differences mean anything.
   */
  readonly proposedAtMs: number;
  /** The machine's to keep. */
  readonly bytes: Uint8Array;
}

/**
 * Deterministic: the same commands give the same answers and the same state on every member, whatever pieces they come in. No clock,
 * randomness, I/O or promise in apply. It begins empty at each opening of its node: what it held is restored, and the commands behind that
 * are applied again.
 */
export interface StateMachine {
  /**
   * Apply in order; as many answers as commands. At most 256 at a time. Throwing stops the node, and every other that applies the command: an
   * invalid command is an answer, not an exception. It holds up the node while it runs: heartbeats too.
   */
  apply(commands: readonly Command[]): readonly Uint8Array[];
  /** Changes nothing. What it throws rejects the call alone, with INVALID_ARGUMENT. */
  read(query: Uint8Array): Uint8Array;
  /**
   * An image of the state as of the call, given in pieces of any length while apply goes on. The first piece is asked for at once, within the
   * same turn; whatever the later ones need must have been copied, or be immutable, by then. A piece is read before the next is asked for.
   */
  snapshot(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /**
   * Replaces the whole state by what a snapshot held; the pieces are cut elsewhere than they were given. Nothing is applied and nothing read until
   * it resolves; it must read the pieces to their end. Rejecting stops the node.
   */
  restore(pieces: AsyncIterable<Uint8Array>): Promise<void>;
  /** The node is closed. */
  close?(): void | Promise<void>;
}

/** What opens a machine: a module's default export, or, with thread "inline", a function. `dataDir` is the node's; "memory:" if it has none. */
export type OpenStateMachine<Options = unknown> = (
  options: Options,
  context: { readonly dataDir: string },
) => StateMachine | Promise<StateMachine>;
