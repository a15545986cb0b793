/** One of two servers that are compared: takes steps, and keeps what its watches are told in a form that does not depend on how events were gathered into responses. */
import { messageToJson } from "../../api/json-codec.ts";
import type { Message, MessageInit } from "../../api/schema/messages.ts";
import { RpcError, Status, type ClientCall } from "../../rpc/index.ts";
import { STREAMS, type Step } from "./differential-steps.ts";
import { bytes, comparable, type WireClient } from "./wire.ts";

type WatchResponse = Message<"etcdserverpb.WatchResponse">;
type CreateRequest = MessageInit<"etcdserverpb.WatchCreateRequest">;

/** The key whose event tells that a stream has told everything before it. */
const SENTINEL = bytes("~sentinel");
const SENTINEL_ID = "0000000000007777";
const NO_WATCH = "ffffffffffffffff";
const WAIT_MS_MAX = 10_000;

interface Group {
  readonly kind: "events";
  readonly revision: number;
  readonly events: unknown[];
}

type Told = Group | { readonly kind: "control"; readonly what: unknown };

class Stream {
  readonly call: ClientCall<MessageInit<"etcdserverpb.WatchRequest">, WatchResponse>;
  /** By watch id, in the order of arrival. */
  readonly told = new Map<string, Told[]>();
  /** The order in which watches were answered, and their ids. */
  readonly answers: string[] = [];
  /** Whether the revision in their answers is certain, of those that are not answered yet. */
  readonly asked: boolean[] = [];
  readonly starts = new Map<string, number>();
  cancels = 0;
  progresses = 0;
  sentinel = 0;
  /** What no stream may do, whatever the other server does. */
  readonly faults: string[] = [];
  #open: WatchResponse | undefined;

  constructor(client: WireClient, isStrict: boolean) {
    this.call = client.stream("etcdserverpb.Watch", "Watch");
    this.call.listen({
      onMessage: (response) => this.#onResponse(response, isStrict),
      onEnd: (error) => {
        if (error !== undefined && !(RpcError.is(error) && error.code === Status.CANCELLED))
          this.faults.push(`the stream has ended: ${String(error)}`);
      },
    });
  }

  #onResponse(response: WatchResponse, isStrict: boolean): void {
    const id = response.watch_id;
    const told = this.told.get(id) ?? [];
    this.told.set(id, told);
    const revision = response.header?.revision ?? -1;
    const { created, canceled, compact_revision, cancel_reason } = response;
    if (created) {
      const isCertain = this.asked.shift() ?? true;
      this.answers.push(id);
      told.push({ kind: "control", what: { created, canceled, compact_revision, cancel_reason, ...(isCertain ? { revision } : {}) } });
    } else if (canceled) {
      told.push({ kind: "control", what: { canceled, compact_revision, cancel_reason, revision } });
      this.starts.delete(id);
      this.cancels++;
    } else if (id === NO_WATCH) {
      told.push({ kind: "control", what: { progress: revision } });
      this.progresses++;
    }
    for (const event of response.events) {
      const at = event.kv!.mod_revision;
      if (revision < at) this.faults.push(`a response of revision ${revision} with an event of ${at}`);
      const last = told.at(-1);
      let group: Group;
      if (last?.kind === "events" && last.revision === at) {
        group = last;
        if (isStrict && event === response.events[0] && this.#open?.watch_id !== id)
          this.faults.push(`revision ${at} in two responses to ${id}`);
      } else {
        if (last?.kind === "events" && last.revision > at) this.faults.push(`revision ${at} behind ${last.revision}`);
        group = { kind: "events", revision: at, events: [] };
        told.push(group);
      }
      group.events.push(comparable(messageToJson("mvccpb.Event", event)));
      if (id === SENTINEL_ID) this.sentinel = at;
    }
    this.#open = response.fragment ? response : undefined;
  }
}

/** One server. */
export class Side {
  readonly client: WireClient;
  readonly #streams: Stream[] = [];
  readonly #isStrict: boolean;
  readonly #keepAlive: ClientCall<MessageInit<"etcdserverpb.LeaseKeepAliveRequest">, Message<"etcdserverpb.LeaseKeepAliveResponse">>;
  readonly #renewed: unknown[] = [];
  /** Whether a watch of the past was made that may be on its way still. */
  #isCatchingUp = false;

  /** `isStrict`: each revision must be a response of its own. */
  constructor(client: WireClient, isStrict: boolean) {
    this.client = client;
    this.#isStrict = isStrict;
    this.#keepAlive = client.stream("etcdserverpb.Lease", "LeaseKeepAlive");
    this.#keepAlive.listen({
      onMessage: (response) => this.#renewed.push(comparable(messageToJson("etcdserverpb.LeaseKeepAliveResponse", response))),
      onEnd: (error) => this.#renewed.push(`ended: ${String(error)}`),
    });
  }

  /** Opens the streams, each with its sentinel. */
  async start(): Promise<void> {
    for (let i = 0; i < STREAMS; i++) {
      const stream = new Stream(this.client, this.#isStrict);
      this.#streams.push(stream);
      stream.asked.push(true);
      void stream.call.send({ create_request: { key: SENTINEL, watch_id: SENTINEL_ID, filters: [1] } });
    }
    await until(() => this.#streams.every(({ answers }) => answers.length === 1));
  }

  close(): void {
    this.#keepAlive.cancel();
    for (const { call } of this.#streams) call.cancel();
  }

  /** Takes a step and says how it ended. Its revisions are numbers. */
  async take(step: Step): Promise<unknown> {
    switch (step.kind) {
      case "call":
      case "recipe":
        return this.client.outcome(step.service, step.method, step.request);
      case "keepAlive": {
        const before = this.#renewed.length;
        void this.#keepAlive.send({ ID: step.ID });
        await until(() => this.#renewed.length > before);
        return this.#renewed.at(-1);
      }
      case "watch":
        return this.#watch(this.#streams[step.stream]!, step.creates as readonly CreateRequest[], step.settled);
      case "cancel": {
        const stream = this.#streams[step.stream]!;
        const isKnown = stream.told.has(step.watchId);
        const before = stream.cancels;
        void stream.call.send({ cancel_request: { watch_id: step.watchId } });
        // The answer to an unknown one does not come: what comes behind it is waited for instead.
        if (isKnown && stream.starts.has(step.watchId)) await until(() => stream.cancels > before);
        return undefined;
      }
      default: {
        const stream = this.#streams[step.stream]!;
        const before = stream.progresses;
        void stream.call.send({ progress_request: {} });
        await until(() => stream.progresses > before);
        return undefined;
      }
    }
  }

  async #watch(stream: Stream, creates: readonly CreateRequest[], settled: boolean): Promise<unknown> {
    const before = stream.answers.length;
    for (const create of creates) {
      if ((create.start_revision ?? 0) > 0) this.#isCatchingUp = true;
      stream.asked.push(settled);
      void stream.call.send({ create_request: create });
    }
    await until(() => stream.answers.length === before + creates.length);
    const ids = stream.answers.slice(before);
    ids.forEach((id, i) => id !== NO_WATCH && stream.starts.set(id, creates[i]!.start_revision ?? 0));
    return ids;
  }

  hasFutureWatch(stream: number, revision: number): boolean {
    return [...this.#streams[stream]!.starts.values()].some((start) => start > revision);
  }

  /** Resolves when every stream has told the sentinel's event of this revision, and those that began in the past are no longer behind. */
  async toldUpTo(revision: number): Promise<void> {
    await until(() => this.#streams.every(({ sentinel }) => sentinel >= revision));
    if (!this.#isCatchingUp) return;
    this.#isCatchingUp = false;
    // etcd looks after all that are behind together, now and then: when one that was made later has been told, the earlier ones have.
    const barrier = this.client.stream("etcdserverpb.Watch", "Watch");
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

  /** What the watches were told. Deletions at these revisions are left out: etcd 3.4 loses them when it compacts there. */
  told(compacted: ReadonlySet<number>): ReadonlyMap<string, readonly unknown[]> {
    const all = new Map<string, readonly unknown[]>();
    this.#streams.forEach((stream, i) => {
      for (const [id, told] of stream.told) {
        const kept = told.flatMap((one): unknown[] => {
          if (one.kind === "control" || !compacted.has(one.revision)) return [one];
          const events = one.events.filter((event) => (event as { type?: string }).type !== "DELETE");
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
    const { header } = await this.client.call("etcdserverpb.KV", "Put", { key: SENTINEL, value: bytes("x") });
    return header!.revision;
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
