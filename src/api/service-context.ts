/** What every service of one server has at hand: the backend, the header that responses begin with, and the checks that come before a call. */
import { CommandError, type CommandBatch, type RefusalCode } from "../core/kv/command.ts";
import type { ResultReader } from "../core/kv/result.ts";
import type { CallContext } from "../rpc/index.ts";
import type { Backend } from "./backend.ts";
import { etcdError, wireError } from "./etcd-errors.ts";
import { ResponseHeads } from "./kv-responses.ts";
import type { MessageInit } from "./schema/messages.ts";
import { WatchFeeds } from "./watch-feeds.ts";

/** One for each server. */
export class ServiceContext {
  readonly backend: Backend;
  readonly heads: ResponseHeads;
  readonly feeds: WatchFeeds;

  /** Where clients reach this member. */
  readonly clientUrls: () => readonly string[];

  /** How often a watch that asks for it is told that nothing happened. */
  readonly watchProgressMs: number;

  constructor(backend: Backend, clientUrls: () => readonly string[], watchProgressMs: number) {
    this.backend = backend;
    this.watchProgressMs = watchProgressMs;
    this.clientUrls = clientUrls;
    this.feeds = new WatchFeeds(backend);
    this.heads = new ResponseHeads(backend.clusterId, backend.memberId, () => backend.term());
  }

  readonly #stopping = new Set<() => void>();
  #isStopped = false;

  /** Runs when the server stops, so that a call that would wait for ever ends. Answers how to forget it. */
  onStop(callback: () => void): () => void {
    this.#stopping.add(callback);
    // Whoever begins to wait now, in a call that was under way, would wait for ever as well.
    if (this.#isStopped) queueMicrotask(() => this.#runOne(callback));
    return () => this.#stopping.delete(callback);
  }

  #runOne(callback: () => void): void {
    if (this.#stopping.delete(callback)) callback();
  }

  /** The server stops: whoever waits is told. */
  stop(): void {
    this.#isStopped = true;
    for (const callback of [...this.#stopping]) this.#runOne(callback);
  }

  /** The header of a response, as a message. Without a revision: as of what this node has applied. */
  header(revision: number = this.backend.revision()): MessageInit<"etcdserverpb.ResponseHeader"> {
    const { backend } = this;
    return { cluster_id: backend.clusterId, member_id: backend.memberId, revision, raft_term: backend.term() };
  }

  /** Refuses what a learner does not serve, and, if the client wants that, what would have to wait for a leader. */
  admit(call: CallContext, isLocal = false): void {
    const { backend } = this;
    if (!isLocal && backend.isLearner()) throw etcdError("learner");
    if (backend.leader() === undefined && call.metadata.get("hasleader") === "true") throw etcdError("noLeader");
  }

  /** One command, and what becomes of its result. Rejects with the error of the wire. */
  write<T>(add: (batch: CommandBatch) => void, take: (reader: ResultReader) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      try {
        this.backend.write(add, {
          take: (reader) => {
            try {
              resolve(take(reader));
            } catch (error) {
              reject(error as Error);
            }
          },
          reject: (error) => reject(wireError(error) as Error),
        });
      } catch (error) {
        reject(packingError(error) as Error);
      }
    });
  }
}

/** What was thrown while a command was packed, as the wire has it. */
export function packingError(error: unknown): unknown {
  return error instanceof CommandError ? refusal(error.refusal.code) : wireError(error);
}

function refusal(code: RefusalCode): Error {
  switch (code) {
    case "txnOps":
    case "txnDepth":
      return etcdError("tooManyOps");
    case "duplicateKey":
      return etcdError("duplicateKey");
    case "ttlMs":
      return etcdError("leaseTtlTooLarge");
    case "leaseId":
      return etcdError("leaseNotFound");
    case "leaseAndTtl":
      return etcdError("leaseProvided");
    default:
      return etcdError("requestTooLarge");
  }
}
