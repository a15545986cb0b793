/** A node with its user's own state machine, and the client in front of it, put together. */
import { types } from "node:util";
import { invalidArgument } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import type { Consistency, FromNode, NodePort } from "../node/boundary.ts";
import { checkOptions, describe, followSignal } from "./arguments.ts";
import { CALL_OPTIONS, CallContext } from "./call-context.ts";
import { Calls } from "./calls.ts";
import type { Bytes, CallOptions, ClusterId, MemberId, Members } from "./client.ts";
import type { EngineState, LeaderInfo } from "./engine.ts";
import type { EngineSettings } from "./engine-options.ts";
import { EngineStatus } from "./engine-status.ts";
import { FrontEnd, openFront, type Front, type Opened } from "./node-front.ts";
import { OpaqueCalls } from "./opaque-calls.ts";
import type { Proposed, RaftNode } from "./raft-node.ts";

const KNOWN_CALL: ReadonlySet<string> = new Set(CALL_OPTIONS);
const KNOWN_READ: ReadonlySet<string> = new Set([...CALL_OPTIONS, "consistency"]);

/** Waits for a node's first word. Rejects as RaftNode.open does. */
export function openLocalRaftNode(port: NodePort, clock: Clock, settings: EngineSettings): Promise<LocalRaftNode> {
  return openFront(port, (opened) => new LocalRaftNode(port, clock, settings, opened));
}

/** See RaftNode for what its methods promise. */
export class LocalRaftNode implements RaftNode, Front {
  readonly name: string;
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  readonly #port: NodePort;
  readonly #context: CallContext;
  readonly #status: EngineStatus;
  readonly #calls: OpaqueCalls;
  readonly #end: FrontEnd;

  constructor(port: NodePort, clock: Clock, settings: EngineSettings, { status }: Opened) {
    this.#port = port;
    this.name = status.name;
    this.memberId = status.memberId;
    this.clusterId = status.clusterId;
    const { pendingCallsMax, requestBytesMax } = settings;
    const calls = new Calls({ clock, pendingCallsMax, requestBytesMax, post: (messages) => port.post(messages) });
    this.#context = new CallContext({ calls, clock, settings });
    this.#calls = new OpaqueCalls(calls);
    this.#status = new EngineStatus(this.#context, status);
    this.#end = new FrontEnd({ port, context: this.#context, status: this.#status, endStreams: () => {} });
  }

  // -------------------------------------------------------------------------------------------------------- from the node

  receive(message: FromNode): void {
    if (message.kind === "status") this.#status.onStatus(message.status, this.#end.isClosing);
    else if (message.kind === "log") this.#status.log(message.level, message.message, message.fields);
    else if (message.kind === "closed") this.#end.onClosed();
    else this.#context.calls.receive(message);
  }

  onGone(reason: string | undefined): void {
    this.#end.onGone(reason);
  }

  // ---------------------------------------------------------------------------------------------------------------- calls

  async propose(command: Uint8Array, options: CallOptions = {}): Promise<Proposed> {
    checkOptions(options, KNOWN_CALL, "options");
    const bytes = this.#checkBytes(command, "command");
    const timeoutMs = this.#context.timeout(options.timeoutMs, options.signal);
    return this.#context.abortable<Proposed>(options.signal, true, (resolve, reject) => {
      this.#calls.propose(bytes, timeoutMs, { take: (answer, index) => resolve({ index, answer }), reject });
    });
  }

  async read(query: Uint8Array, options: CallOptions & { readonly consistency?: Consistency } = {}): Promise<Bytes> {
    const { consistency, timeoutMs } = this.#context.checkRead(options, KNOWN_READ);
    const bytes = this.#checkBytes(query, "query");
    return this.#context.abortable<Bytes>(options.signal, false, (resolve, reject) => {
      this.#calls.read(bytes, consistency, timeoutMs, { take: resolve, reject });
    });
  }

  #checkBytes(bytes: Uint8Array, argument: string): Uint8Array {
    if (!types.isUint8Array(bytes)) throw invalidArgument(argument, `a Uint8Array is wanted, not ${describe(bytes)}`);
    const { requestBytesMax } = this.#context.settings;
    if (bytes.byteLength > requestBytesMax)
      throw invalidArgument(argument, `it has ${bytes.byteLength} bytes, of at most ${requestBytesMax} (limits.requestBytesMax)`);
    return bytes;
  }

  // ----------------------------------------------------------------------------------------------------------- the cluster

  members(options?: CallOptions): Promise<Members> {
    return this.#status.readMembers(options);
  }

  get state(): EngineState {
    return this.#status.state.value;
  }

  stateChanges(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<EngineState> {
    return this.#status.state.follow(followSignal(options));
  }

  waitReady(options?: CallOptions): Promise<LeaderInfo> {
    return this.#status.waitReady(options);
  }

  isLeader(): boolean {
    return this.#status.isLeader();
  }

  leader(): LeaderInfo | undefined {
    return this.#status.leader.value;
  }

  leaderChanges(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<LeaderInfo | undefined> {
    return this.#status.leader.follow(followSignal(options));
  }

  health(): { readonly live: boolean; readonly ready: boolean; readonly reasons: readonly string[] } {
    return this.#status.health();
  }

  ref(): this {
    this.#port.ref();
    return this;
  }

  unref(): this {
    this.#port.unref();
    return this;
  }

  close(): Promise<void> {
    return this.#end.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
