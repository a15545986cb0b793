/**
 * What a disk server does next: requests of the log first, in their order, appends that wait together as one group; then the others, one
 * at a time; when idle, slices of work that nobody waits for. The same order in the disk thread and inline. Its length is bounded by those who
 * post: each awaits its answer, and appends are gathered before they are posted.
 */
import { isLogRequest } from "./disk-protocol.ts";
import type { AppendRequest, DiskReply, DiskRequest, LogRequest, OtherRequest } from "./disk-protocol.ts";
import type { DiskServer } from "./disk-server.ts";

/** Appends are joined up to this many bytes of records. */
const JOINED_BYTES_MAX = 4 * 1024 * 1024;

export class DiskQueue {
  readonly #server: DiskServer;
  readonly #answer: (reply: DiskReply) => void;
  #log: LogRequest[] = [];
  #others: OtherRequest[] = [];
  #isWaiting = false;
  readonly #onSettled: () => void;

  /** `onSettled` is called when what the server took its time for is answered: the queue may go on. */
  constructor(server: DiskServer, answer: (reply: DiskReply) => void, onSettled: () => void = () => {}) {
    this.#server = server;
    this.#answer = answer;
    this.#onSettled = onSettled;
  }

  /** A request is under way that the server answers later. Those of the log go on meanwhile. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  push(request: DiskRequest): void {
    if (isLogRequest(request)) this.#log.push(request);
    else this.#others.push(request);
  }

  get isEmpty(): boolean {
    return this.#log.length === 0 && this.#others.length === 0;
  }

  /** Does one thing: a group of the log or another request, and a slice of background work if that is urgent. Answers false if none waits. */
  runOne(): boolean {
    const first = this.#log[0];
    if (first !== undefined) {
      if (first.kind === "append") this.#append();
      else {
        this.#log.shift();
        this.#take(this.#server.handle(first));
      }
      this.#background(true);
      return true;
    }
    const other = this.#isWaiting ? undefined : this.#others.shift();
    if (other === undefined) return false;
    this.#take(this.#server.handle(other));
    return true;
  }

  #take(reply: DiskReply | Promise<DiskReply>): void {
    if (!(reply instanceof Promise)) {
      this.#answer(reply);
      return;
    }
    this.#isWaiting = true;
    void reply.then((settled) => {
      this.#isWaiting = false;
      this.#answer(settled);
      this.#onSettled();
    });
  }

  /** One slice of background work. Answers whether there is more. */
  runIdle(): boolean {
    return this.#background(false);
  }

  #background(onlyUrgent: boolean): boolean {
    if (this.#server.failure !== undefined) return false;
    const { full } = this.#server;
    const more = this.#server.background(onlyUrgent);
    // Whoever writes is to know before the next write.
    if (this.#server.full !== full) this.#answer({ id: 0, gauges: this.#server.gauges });
    if (this.#server.failure !== undefined) this.#answer({ id: 0, error: this.#server.failure, fatal: true });
    return more;
  }

  #append(): void {
    const joined: AppendRequest[] = [];
    let bytes = 0;
    for (const request of this.#log) {
      if (request.kind !== "append") break;
      bytes += request.records.byteLength;
      if (joined.length > 0 && bytes > JOINED_BYTES_MAX) break;
      joined.push(request);
    }
    this.#log.splice(0, joined.length);
    for (const reply of this.#server.handleAppends(joined)) this.#answer(reply);
  }
}
