/** One of two servers, or clusters of servers, that are compared: takes steps, and keeps what its watches are told. */
import { messageToJson } from "../../api/json-codec.ts";
import type { Message, MessageInit } from "../../api/schema/messages.ts";
import { RpcError, type ClientCall } from "../../rpc/index.ts";
import type { Servers } from "./differential-servers.ts";
import { STREAMS, type Step } from "./differential-steps.ts";
import { SENTINEL, Stream, type CreateRequest } from "./differential-watches.ts";
import { bytes, comparable, type WireClient } from "./wire.ts";

const WAIT_MS_MAX = 10_000;
/** An election, with what is tried in vain meanwhile. */
const READY_MS_MAX = 40_000;
const NOBODYS_LEASE = "00000000000000bb";

/** What is known of a side from outside. */
export interface SideOptions {
  /** Each revision must be a response of its own. */
  readonly isStrict: boolean;
  readonly members?: number;
  /** They can be stopped and started. */
  readonly servers?: Pick<Servers, "start" | "stop">;
}

/** A member, and the stream that renews leases with it. */
interface Connection {
  readonly client: WireClient;
  readonly keepAlive: ClientCall<MessageInit<"etcdserverpb.LeaseKeepAliveRequest">, Message<"etcdserverpb.LeaseKeepAliveResponse">>;
  readonly renewed: unknown[];
}

/** One server, or the members of one cluster. */
export class Side {
  readonly #connect: (member: number) => WireClient;
  readonly #options: SideOptions;
  readonly #connections: (Connection | undefined)[];
  readonly #streams: readonly Stream[];
  /** Whether a watch of the past was made that may be on its way still. */
  #isCatchingUp = false;
  /** The last one that was put to see how far the watches are. */
  #sentinelRevision = 0;

  constructor(connect: (member: number) => WireClient, options: SideOptions) {
    const { members = 1, isStrict } = options;
    this.#connect = connect;
    this.#options = options;
    this.#connections = Array.from({ length: members }, () => undefined);
    this.#streams = Array.from({ length: STREAMS }, (_, i) => new Stream(i % members, isStrict));
  }

  /** Opens the streams, each with its sentinel. */
  async start(): Promise<void> {
    this.#connections.forEach((_, member) => this.#open(member));
    await this.#ready();
    for (const stream of this.#streams) stream.open(this.#connections[stream.member]!.client, 0);
    await until(() => this.#streams.every(({ answers }) => answers.length === 1));
  }

  #open(member: number): void {
    const client = this.#connect(member);
    const renewed: unknown[] = [];
    const keepAlive = client.stream("etcdserverpb.Lease", "LeaseKeepAlive");
    keepAlive.listen({
      onMessage: (response) => renewed.push(comparable(messageToJson("etcdserverpb.LeaseKeepAliveResponse", response))),
      onEnd: (error) => renewed.push(`ended: ${String(error)}`),
    });
    this.#connections[member] = { client, keepAlive, renewed };
  }

  close(): void {
    for (const stream of this.#streams) stream.close();
    for (const connection of this.#connections) connection?.keepAlive.cancel();
  }

  /** The one that is asked, or the next one that is there. */
  #connection(member: number = 0): Connection {
    for (let i = 0; i < this.#connections.length; i++) {
      const found = this.#connections[(member + i) % this.#connections.length];
      if (found !== undefined) return found;
    }
    throw new Error("nobody is there");
  }

  /** Takes a step and says how it ended. Its revisions are numbers. */
  async take(step: Step): Promise<unknown> {
    switch (step.kind) {
      case "call":
      case "recipe":
        if (isLocal(step)) await this.#level();
        return this.#connection(step.member).client.outcome(step.service, step.method, step.request);
      case "keepAlive": {
        await this.#level();
        const { keepAlive, renewed } = this.#connection(step.member);
        const before = renewed.length;
        void keepAlive.send({ ID: step.ID });
        await until(() => renewed.length > before);
        return renewed.at(-1);
      }
      case "watch":
        return this.#watch(this.#streams[step.stream]!, step.creates as readonly CreateRequest[], step.settled);
      case "cancel": {
        const stream = this.#streams[step.stream]!;
        const before = stream.cancels;
        const isAnswered = stream.live.has(step.watchId);
        stream.cancel(step.watchId);
        // The answer to an unknown one does not come: what comes behind it is waited for instead.
        if (isAnswered) await until(() => stream.cancels > before);
        return undefined;
      }
      case "progress": {
        const stream = this.#streams[step.stream]!;
        const before = stream.progresses;
        stream.requestProgress();
        await until(() => stream.progresses > before);
        return undefined;
      }
      case "stop":
        await this.#stop(step.member, step.signal);
        return undefined;
      case "start":
        await this.#start(step.member);
        return undefined;
      default:
        await this.#moveLeader(step.member);
        return undefined;
    }
  }

  async #watch(stream: Stream, creates: readonly CreateRequest[], settled: boolean): Promise<unknown> {
    const before = stream.answers.length;
    for (const create of creates) {
      if ((create.start_revision ?? 0) > 0) this.#isCatchingUp = true;
      stream.create(create, settled);
    }
    await until(() => stream.answers.length === before + creates.length);
    const ids = stream.answers.slice(before);
    ids.forEach((id, i) => {
      // It may have been cancelled already.
      const isOver = (stream.told.get(id)?.at(-1) as { what?: { canceled?: boolean } } | undefined)?.what?.canceled === true;
      if (!isOver) stream.onCreated(id, creates[i]!);
    });
    return ids;
  }

  /** Whether the step, now, concerns somebody who is away, or who is not. */
  isVain(step: Step): boolean {
    switch (step.kind) {
      case "watch":
      case "cancel":
      case "progress":
        return !this.#streams[step.stream]!.isOpen;
      case "stop":
        // The others must be a majority.
        return this.#connections.length > 1 && this.#connections.some((connection) => connection === undefined);
      case "start":
        return this.#connections[step.member] !== undefined;
      case "moveLeader":
        return this.#connections[step.member] === undefined;
      default:
        return false;
    }
  }

  async #stop(member: number, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    for (const stream of this.#streams) if (stream.member === member) stream.close();
    this.#connections[member]!.keepAlive.cancel();
    await this.#options.servers!.stop(member, signal);
    await this.#connections[member]!.client.rpc.close();
    this.#connections[member] = undefined;
    // One alone is back at once.
    if (this.#connections.length === 1) await this.#start(member);
    else await this.#ready();
  }

  async #start(member: number): Promise<void> {
    await this.#options.servers!.start(member);
    this.#open(member);
    await this.#ready();
    const back = this.#streams.filter((stream) => stream.member === member);
    const awaited = back.map((stream) => stream.answers.length + stream.live.size + 1);
    this.#isCatchingUp = true;
    for (const stream of back) stream.open(this.#connections[member]!.client, this.#sentinelRevision);
    await until(() => back.every(({ answers }, i) => answers.length === awaited[i]));
  }

  async #moveLeader(member: number): Promise<void> {
    const { members } = await this.#connection().client.call("etcdserverpb.Cluster", "MemberList", { linearizable: true });
    const target = members.find(({ name }) => name === `n${member + 1}`)!.ID;
    const endMs = performance.now() + READY_MS_MAX;
    for (;;) {
      const outcomes: string[] = [];
      // Who does not lead says so.
      for (const connection of this.#connections) {
        if (connection === undefined) continue;
        // oxlint-disable-next-line no-await-in-loop -- one after another
        const outcome = await connection.client.outcome("etcdserverpb.Maintenance", "MoveLeader", { targetID: target });
        outcomes.push(typeof outcome === "string" ? outcome : "");
        if (typeof outcome !== "object") continue;
        // oxlint-disable-next-line no-await-in-loop -- the last thing
        await this.#ready();
        return;
      }
      if (performance.now() > endMs) throw new Error(`leadership does not move: ${outcomes.join("; ")}`);
    }
  }

  /** Waits until every member that is there reads and knows of leases, without a change of the data. */
  async #ready(): Promise<void> {
    const endMs = performance.now() + READY_MS_MAX;
    for (const connection of this.#connections) {
      if (connection === undefined) continue;
      for (;;) {
        // oxlint-disable-next-line no-await-in-loop -- looked at again and again
        const found = await readiness(connection.client);
        if (found === "") break;
        if (performance.now() > endMs) throw new Error(`it is not ready: ${found}`);
      }
    }
  }

  /** All members have applied all that was answered: what they read by themselves is the same. */
  async #level(): Promise<void> {
    if (this.#connections.length === 1) return;
    const request = { key: SENTINEL, count_only: true };
    await Promise.all(this.#connections.map((connection) => connection?.client.call("etcdserverpb.KV", "Range", request)));
  }

  hasFutureWatch(stream: number, revision: number): boolean {
    return this.#streams[stream]!.hasFutureWatch(revision);
  }

  /** Resolves when every stream has told the sentinel's event of this revision, and those that began in the past are no longer behind. */
  async toldUpTo(revision: number): Promise<void> {
    const open = this.#streams.filter(({ isOpen }) => isOpen);
    await until(() => open.every(({ sentinel }) => sentinel >= revision));
    if (!this.#isCatchingUp) return;
    this.#isCatchingUp = false;
    // etcd looks after all that are behind together, now and then: when one that was made later has been told, the earlier ones have.
    const members = new Set(open.map(({ member }) => member));
    await Promise.all(Array.from(members, (member) => this.#barrier(this.#connections[member]!.client, revision)));
  }

  async #barrier(client: WireClient, revision: number): Promise<void> {
    const barrier = client.stream("etcdserverpb.Watch", "Watch");
    let isTold = false;
    barrier.listen({
      onMessage: ({ events }) => {
        if (events.length > 0) isTold = true;
      },
      onEnd: () => {},
    });
    void barrier.send({ create_request: { key: SENTINEL, start_revision: revision } });
    await until(() => isTold);
    barrier.cancel();
  }

  /**
   * What the watches were told. Deletions at these revisions are left out, since etcd 3.4 loses them when it compacts there, and so is what was before:
   * this server tells it of the first revision that is kept, and etcd only if it told the event before it compacted.
   */
  told(compacted: ReadonlySet<number>): ReadonlyMap<string, readonly unknown[]> {
    const all = new Map<string, readonly unknown[]>();
    this.#streams.forEach((stream, i) => {
      for (const [id, told] of stream.told) {
        const kept = told.flatMap((one): unknown[] => {
          if (one.kind === "control" || !compacted.has(one.revision)) return [one];
          const puts = one.events.filter((event) => (event as { type?: string }).type !== "DELETE");
          const events = puts.map((event) => ({ ...(event as object), prev_kv: undefined }));
          return events.length === 0 ? [] : [{ ...one, events }];
        });
        all.set(`stream ${i}, watch ${id}`, kept);
      }
    });
    return all;
  }

  /** What no server may do. */
  faults(): readonly string[] {
    return this.#streams.flatMap(({ faults }) => faults);
  }

  /** Puts the key that ends what the streams have to tell; its revision. */
  async putSentinel(): Promise<number> {
    const { header } = await this.#connection().client.call("etcdserverpb.KV", "Put", { key: SENTINEL, value: bytes("x") });
    this.#sentinelRevision = header!.revision;
    return this.#sentinelRevision;
  }

  /** Of all members that are there, as of this revision. */
  async hashes(revision: number): Promise<readonly string[]> {
    await this.#level();
    const there = this.#connections.filter((connection) => connection !== undefined);
    const all = there.map(({ client }) => client.call("etcdserverpb.Maintenance", "HashKV", { revision }));
    return (await Promise.all(all)).map(({ hash, compact_revision }) => `${hash} from ${compact_revision} on`);
  }
}

/** Whether a member may answer it of itself. */
function isLocal(step: Step & { readonly kind: "call" | "recipe" }): boolean {
  return step.service === "etcdserverpb.Lease" || JSON.stringify(step.request).includes('"serializable":true');
}

/** Why a member cannot do its work; empty if it can. */
async function readiness(client: WireClient): Promise<string> {
  try {
    await client.call("etcdserverpb.KV", "Range", { key: SENTINEL, count_only: true }, { timeoutMs: 5_000 });
    const lease = await client.outcome("etcdserverpb.Lease", "LeaseTimeToLive", { ID: NOBODYS_LEASE });
    return typeof lease === "object" || String(lease).startsWith("5 ") ? "" : String(lease);
  } catch (error) {
    if (!RpcError.is(error)) throw error;
    return error.message;
  }
}

/** Resolves when it holds, looked at in every turn of the event loop. */
export async function until(holds: () => boolean, waitMsMax: number = WAIT_MS_MAX): Promise<void> {
  const endMs = performance.now() + waitMsMax;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`it did not come true: ${String(holds)}`);
    // oxlint-disable-next-line no-await-in-loop -- looked at again and again
    await new Promise((resolve) => setImmediate(resolve));
  }
}
