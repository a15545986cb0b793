/** What an engine knows of its node and its cluster: state, leader, members; who follows them; and the log that tells of their changes. */
import { AsyncResource } from "node:async_hooks";
import { EngineError, fromWire, type AnyEngineError } from "../errors.ts";
import type { MembersState, NodeStatus } from "../node/boundary.ts";
import { forgetAbort, onAbortOf } from "./abort-listeners.ts";
import { checkOptions } from "./arguments.ts";
import { aborted, CALL_OPTIONS, type CallContext } from "./call-context.ts";
import type { CallOptions, Members } from "./client.ts";
import type { EngineState, LeaderInfo } from "./engine.ts";
import type { LogRecord } from "./engine-options.ts";
import { LatestValue } from "./latest-value.ts";

const KNOWN_CALL: ReadonlySet<string> = new Set(CALL_OPTIONS);

/** One for each engine. */
export class EngineStatus {
  readonly state: LatestValue<EngineState>;
  readonly leader: LatestValue<LeaderInfo | undefined>;
  readonly members: LatestValue<Members>;
  readonly #context: CallContext;
  readonly #opener = new AsyncResource("d-engine");
  #status: NodeStatus;

  constructor(context: CallContext, status: NodeStatus) {
    this.#context = context;
    this.#status = status;
    this.state = new LatestValue(stateOf(status));
    this.leader = new LatestValue(leaderOf(status));
    this.members = new LatestValue<Members>(membersOf(status.members));
  }

  /** As the node told it last. */
  get node(): NodeStatus {
    return this.#status;
  }

  /** Takes the node's word. Answers why it failed, where that is new. */
  onStatus(status: NodeStatus, closing: boolean): EngineError | undefined {
    const before = this.#status;
    this.#status = status;
    let failure: EngineError | undefined;
    if ((!closing || status.state.kind === "closed") && before.state.kind !== status.state.kind) {
      this.state.set(stateOf(status));
      const failed = status.state.kind === "failed";
      this.log(
        failed ? "error" : status.state.kind === "noQuorum" || status.state.kind === "full" ? "warn" : "info",
        `state ${status.state.kind}`,
        {
          ...(status.state.kind === "failed" ? { code: status.state.error.code, reason: status.state.error.message } : {}),
          ...(status.state.kind === "full" ? { reason: status.state.error.message } : {}),
        },
      );
      if (status.state.kind === "failed") failure = fromWire(status.state.error);
    }
    if (before.leader !== status.leader || (status.leader !== undefined && before.term !== status.term)) {
      this.leader.set(leaderOf(status));
      this.log("info", status.leader === undefined ? "no leader" : "leader", {
        term: status.term,
        leader: status.leader ?? "",
        self: status.leader === status.memberId,
      });
    }
    if (before.members.index !== status.members.index) {
      this.members.set(membersOf(status.members));
      const leader = leaderOf(status);
      // The same leader, reached elsewhere.
      if (leader?.clientAddresses.join(" ") !== this.leader.value?.clientAddresses.join(" ")) this.leader.set(leader);
    }
    return failure;
  }

  /** Tells the log function, whose own faults end here. */
  log(level: LogRecord["level"], message: string, fields: LogRecord["fields"]): void {
    const { log } = this.#context.settings;
    if (log === undefined) return;
    try {
      // In the context of whoever opened the engine, not of the call whose answer happened to arrive.
      const result: unknown = this.#opener.runInAsyncScope(log, undefined, { level, message, fields });
      if (result instanceof Promise) result.catch(() => {}); // One that rejects must not end the process either.
    } catch {
      // A logger that throws must not stop the engine.
    }
  }

  isLeader(): boolean {
    const { kind } = this.state.value;
    return this.#status.role === "leader" && (kind === "ready" || kind === "full");
  }

  health(): { readonly live: boolean; readonly ready: boolean; readonly reasons: readonly string[] } {
    const state = this.state.value;
    const ready = state.kind === "ready";
    const live = state.kind !== "failed" && state.kind !== "closed";
    const reasons = ready
      ? []
      : state.kind === "failed"
        ? [`failed: ${state.error.code} ${state.error.message}`]
        : state.kind === "full"
          ? [`full: ${state.error.message}`]
          : state.kind === "starting"
            ? [`starting: ${state.phase}`]
            : [state.kind];
    return { live, ready, reasons };
  }

  async waitReady(options: CallOptions = {}): Promise<LeaderInfo> {
    checkOptions(options, KNOWN_CALL, "options");
    const timeoutMs = this.#context.timeout(options.timeoutMs, options.signal);
    const ended = new AbortController();
    const { clock } = this.#context;
    const timer = timeoutMs === Number.MAX_SAFE_INTEGER ? undefined : clock.setTimer(timeoutMs, () => ended.abort("timeout"));
    const onAbort = (): void => ended.abort("signal");
    if (options.signal !== undefined) onAbortOf(options.signal, onAbort);
    try {
      for await (const state of this.state.follow(ended.signal)) {
        const leader = this.leader.value;
        if ((state.kind === "ready" || state.kind === "full") && leader !== undefined) return leader;
        if (state.kind === "failed")
          throw new EngineError(
            "UNAVAILABLE",
            `this node has failed: ${state.error.message}`,
            { reason: "failed" },
            { cause: state.error },
          );
        if (state.kind === "removed") throw new EngineError("UNAVAILABLE", "this node was removed from the cluster", { reason: "removed" });
        if (state.kind === "closed") break;
      }
      if (options.signal?.aborted === true) throw aborted(options.signal, false);
      if (ended.signal.aborted)
        throw new EngineError("TIMEOUT", `no leader was ready within ${timeoutMs} ms`, { timeoutMs, waitedFor: "leader" });
      throw new EngineError("CLOSED", "the engine is closed", {});
    } finally {
      timer?.cancel();
      if (options.signal !== undefined) forgetAbort(options.signal, onAbort);
    }
  }

  async readMembers(options: CallOptions = {}): Promise<Members> {
    checkOptions(options, KNOWN_CALL, "options");
    const { call, reply } = this.#context.calls.members(this.#context.timeout(options.timeoutMs, options.signal));
    return membersOf(await this.#context.cancellable(options.signal, call, reply));
  }

  /** The node's thread is gone: nobody else will tell. */
  fail(error: EngineError): void {
    this.state.set({ kind: "failed", error: error as AnyEngineError });
  }

  /** Ends all who follow. */
  end(): void {
    if (this.state.value.kind !== "closed") this.state.set({ kind: "closed" });
    this.state.end();
    this.leader.end();
    this.members.end();
  }
}

function leaderOf(status: NodeStatus): LeaderInfo | undefined {
  const { leader, term, members } = status;
  if (leader === undefined) return undefined;
  return { id: leader, term, clientAddresses: members.members.find(({ id }) => id === leader)?.clientAddresses ?? [] };
}

function stateOf(status: NodeStatus): EngineState {
  const { state } = status;
  if (state.kind === "failed") return { kind: "failed", error: fromWire(state.error) as AnyEngineError };
  if (state.kind === "full") return { kind: "full", error: fromWire(state.error) as EngineError<"NO_SPACE"> };
  return state;
}

/** Members as callers see them. */
function membersOf({ members, leader, index }: MembersState): Members {
  return {
    members: members.map(({ id, name, peerAddress, clientAddresses, role, promotable }) => ({
      id,
      name,
      peerAddress,
      clientAddresses,
      role,
      promotable,
    })),
    leader,
    index,
  };
}
