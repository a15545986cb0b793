/** What is asked of the cluster as a whole, through an embedded engine. */
import { isMemberId } from "../core/raft/configuration-codec.ts";
import { invalidArgument } from "../errors.ts";
import { checkOptions, describe } from "./arguments.ts";
import { CALL_OPTIONS, type CallContext } from "./call-context.ts";
import type { CallOptions, Cluster, MemberId } from "./client.ts";

const KNOWN_CALL: ReadonlySet<string> = new Set(CALL_OPTIONS);

/** One for each engine. */
export class ClusterCalls implements Cluster {
  readonly #context: CallContext;

  constructor(context: CallContext) {
    this.#context = context;
  }

  async moveLeader(to?: MemberId, options: CallOptions = {}): Promise<void> {
    checkOptions(options, KNOWN_CALL, "options");
    if (to !== undefined && !isMemberId(to))
      throw invalidArgument("to", `a member's id is wanted, 16 lower-case hex digits, not ${describe(to)}`);
    const { signal } = options;
    const { call, reply } = this.#context.calls.moveLeader(to, this.#context.timeout(options.timeoutMs, signal));
    // Once it is asked for, another member may take over although nobody waits any more.
    await this.#context.cancellable(signal, call, reply, true);
  }
}
