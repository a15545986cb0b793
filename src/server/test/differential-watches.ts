/**
 * A stream of watches on one of two servers that are compared: keeps what they are told in a form that does not depend on how events were gathered into
 * responses, and, when its server has been away, asks again for what is behind it, as clients do.
 */
import { messageToJson } from "../../api/json-codec.ts";
import type { Message, MessageInit } from "../../api/schema/messages.ts";
import { RpcError, Status, type ClientCall } from "../../rpc/index.ts";
import { bytes, comparable, type WireClient } from "./wire.ts";

type WatchResponse = Message<"etcdserverpb.WatchResponse">;
/** What a watch is asked for with. */
export type CreateRequest = MessageInit<"etcdserverpb.WatchCreateRequest">;

/** The key whose event tells that a stream has told everything before it. */
export const SENTINEL: Uint8Array = bytes("~sentinel");
const SENTINEL_ID = "0000000000007777";
/** Of no watch. */
const NO_WATCH = "ffffffffffffffff";

interface Group {
  readonly kind: "events";
  readonly revision: number;
  readonly events: unknown[];
}

/** Events of one revision, or a response without events. */
export type Told = Group | { readonly kind: "control"; readonly what: unknown };

/** A stream, of one member after another start of it too. */
export class Stream {
  /** Of which member. */
  readonly member: number;
  /** By watch id, in the order of arrival. */
  readonly told: Map<string, Told[]> = new Map();
  /** The order in which watches were answered, and their ids. */
  readonly answers: string[] = [];
  /** Those that are there, and what they were asked for with. */
  readonly live: Map<string, CreateRequest> = new Map();
  cancels = 0;
  progresses = 0;
  sentinel = 0;
  /** What no stream may do, whatever the other server does. */
  readonly faults: string[] = [];
  readonly #isStrict: boolean;
  /** Whether the revision in their answers is certain, of those that are not answered yet. */
  #asked: boolean[] = [];
  #call: ClientCall<MessageInit<"etcdserverpb.WatchRequest">, WatchResponse> | undefined;
  #open: WatchResponse | undefined;

  constructor(member: number, isStrict: boolean) {
    this.member = member;
    this.#isStrict = isStrict;
  }

  get isOpen(): boolean {
    return this.#call !== undefined;
  }

  /** Begins, with the sentinel and the watches of before, which go on behind `revision` or behind what they were told last. */
  open(client: WireClient, revision: number): void {
    const call = client.stream("etcdserverpb.Watch", "Watch");
    this.#call = call;
    this.#asked = [];
    this.#open = undefined;
    call.listen({
      onMessage: (response) => {
        if (this.#call === call) this.#onResponse(response);
      },
      onEnd: (error) => {
        if (this.#call === call && error !== undefined && !(RpcError.is(error) && error.code === Status.CANCELLED))
          this.faults.push(`the stream has ended: ${String(error)}`);
      },
    });
    this.create({ key: SENTINEL, watch_id: SENTINEL_ID, filters: [1], start_revision: revision === 0 ? 0 : revision + 1 }, true);
    // The first id is none that can be asked for; it is the first that is given.
    const again = [...this.live].toSorted(([one], [other]) => (one < other ? -1 : 1));
    this.live.clear();
    for (const [id, request] of again) {
      if (id === SENTINEL_ID) continue;
      this.create({ ...request, watch_id: id, start_revision: this.#resumesAt(id, request, revision) }, true);
      this.live.set(id, request);
    }
  }

  /** Some say how far they have come, as those of clients do that are told progress; others only know their last event. */
  #resumesAt(id: string, { start_revision: start = 0 }: CreateRequest, revision: number): number {
    const last = this.told.get(id)?.findLast((one) => one.kind === "events")?.revision;
    const knows = last === undefined || Number.parseInt(id.at(-1)!, 16) % 2 === 0;
    return Math.max(start as number, (knows ? revision : last) + 1);
  }

  /** Its member goes away, or it is done with. */
  close(): void {
    const call = this.#call;
    this.#call = undefined;
    call?.cancel();
  }

  /** `isCertain`: whether both servers answer with the same revision. */
  create(request: CreateRequest, isCertain: boolean): void {
    this.#asked.push(isCertain);
    void this.#call!.send({ create_request: request });
  }

  cancel(watchId: string): void {
    void this.#call!.send({ cancel_request: { watch_id: watchId } });
  }

  requestProgress(): void {
    void this.#call!.send({ progress_request: {} });
  }

  hasFutureWatch(revision: number): boolean {
    return [...this.live.values()].some(({ start_revision: start }) => ((start as number | undefined) ?? 0) > revision);
  }

  #onResponse(response: WatchResponse): void {
    const id = response.watch_id;
    const told = this.told.get(id) ?? [];
    this.told.set(id, told);
    const revision = response.header?.revision ?? -1;
    const { created, canceled, compact_revision, cancel_reason } = response;
    if (created) {
      const isCertain = this.#asked.shift() ?? true;
      this.answers.push(id);
      told.push({ kind: "control", what: { created, canceled, compact_revision, cancel_reason, ...(isCertain ? { revision } : {}) } });
    } else if (canceled) {
      told.push({ kind: "control", what: { canceled, compact_revision, cancel_reason, revision } });
      this.live.delete(id);
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
        if (this.#isStrict && event === response.events[0] && this.#open?.watch_id !== id)
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

  /** The watch with this answer is there. */
  onCreated(id: string, request: CreateRequest): void {
    if (id !== NO_WATCH) this.live.set(id, request);
  }
}
