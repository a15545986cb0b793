/**
 * Virtual time. Everything that happens in a simulation is an event in one queue, ordered by time and then by when it was asked for. An
 * event runs, then every promise that it settled runs its course, and only then the next event begins: so an ordinary asynchronous
 * program replays step by step. JavaScript fixes the order of microtasks; the seed fixes everything else.
 *
 * The microtasks are drained by Node itself, which does so between any two callbacks of setImmediate. That costs a quarter of a
 * microsecond per event, and lets the real event loop run after each batch.
 */

/** A queued event. */
export interface SimEvent {
  readonly time: number;
  /** Takes it out of the queue; nothing once it has run. */
  cancel(): void;
}

class QueuedEvent implements SimEvent {
  readonly time: number;
  readonly sequence: number;
  readonly label: number;
  run: (() => void) | undefined;

  constructor(time: number, sequence: number, label: number, run: () => void) {
    this.time = time;
    this.sequence = sequence;
    this.label = label;
    this.run = run;
  }

  cancel(): void {
    this.run = undefined;
  }
}

/** Events of one instant: more are code that wakes itself for ever. */
const INSTANT_EVENTS_MAX = 50_000;

/** Events per batch of immediates; the real event loop turns in between. */
const BATCH_EVENTS = 64;

export class SimScheduler {
  /** Milliseconds since the simulation began. */
  now = 0;
  /** Events that ran. */
  events = 0;
  /** A hash over the time and label of every event that ran, and of what was noted: equal for equal runs. */
  traceHash = 0x811c9dc5;
  /** Called after each event, when its promises have settled. */
  afterEvent: (() => void) | undefined;
  /** Told of every event and note, for a trace to be read. */
  onTrace: ((text: string) => void) | undefined;
  readonly #heap: QueuedEvent[] = [];
  #sequence = 0;
  #instantEvents = 0;
  #running = false;

  /** Runs `run` at virtual time `time`, or now if that is past. `label` only tells traces apart. */
  at(time: number, run: () => void, label = 0): SimEvent {
    const event = new QueuedEvent(time > this.now ? time : this.now, this.#sequence++, label, run);
    this.#push(event);
    return event;
  }

  after(delayMs: number, run: () => void, label = 0): SimEvent {
    return this.at(this.now + delayMs, run, label);
  }

  /** When the next event is due; undefined if none is. */
  get nextTime(): number | undefined {
    this.#dropCancelled();
    return this.#heap[0]?.time;
  }

  /** Adds what happened to the trace. */
  note(text: string): void {
    for (let at = 0; at < text.length; at++) this.#mix(text.charCodeAt(at));
    this.onTrace?.(`${this.now.toFixed(3).padStart(12)}  ${text}`);
  }

  /**
   * Runs events until `stop()` is true before one of them, or none is left. Rejects with what an event or a check after it threw.
   * Only one run at a time.
   */
  run(stop: () => boolean): Promise<void> {
    if (this.#running) return Promise.reject(new Error("the simulation is running already"));
    this.#running = true;
    return new Promise((resolve, reject) => {
      let over = false;
      let settled = true;
      const turn = (): void => {
        if (over) return;
        try {
          // Whatever the event before this one set going has run out by now.
          if (!settled) {
            settled = true;
            this.afterEvent?.();
          }
          const event = stop() ? undefined : this.#pop();
          if (event === undefined) {
            over = true;
            this.#running = false;
            resolve();
            return;
          }
          settled = false;
          this.#instantEvents = event.time === this.now ? this.#instantEvents + 1 : 0;
          if (this.#instantEvents > INSTANT_EVENTS_MAX)
            throw new Error(`time stands still at ${this.now} ms: something wakes itself for ever`);
          this.now = event.time;
          this.events++;
          this.#mix(Math.floor(event.time * 1000) | 0);
          this.#mix(event.label);
          (event.run as () => void)();
        } catch (error) {
          over = true;
          this.#running = false;
          reject(error as Error);
        }
      };
      const batch = (): void => {
        for (let count = 0; count < BATCH_EVENTS; count++) setImmediate(turn);
        setImmediate(() => {
          if (!over) batch();
        });
      };
      batch();
    });
  }

  /** Runs everything that is due within the next `durationMs`, and leaves the clock there. */
  async advance(durationMs: number): Promise<void> {
    const end = this.now + durationMs;
    await this.run(() => (this.nextTime ?? Number.POSITIVE_INFINITY) > end);
    this.now = end;
  }

  #mix(value: number): void {
    this.traceHash = Math.imul(this.traceHash ^ (value & 0xffff), 0x01000193);
    this.traceHash = Math.imul(this.traceHash ^ (value >>> 16), 0x01000193) >>> 0;
  }

  #dropCancelled(): void {
    while (this.#heap[0] !== undefined && this.#heap[0].run === undefined) this.#removeFirst();
  }

  #pop(): QueuedEvent | undefined {
    this.#dropCancelled();
    return this.#heap.length === 0 ? undefined : this.#removeFirst();
  }

  #push(event: QueuedEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parentAt = (at - 1) >>> 1;
      const parent = heap[parentAt] as QueuedEvent;
      if (!isBefore(event, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  #removeFirst(): QueuedEvent {
    const heap = this.#heap;
    const first = heap[0] as QueuedEvent;
    const last = heap.pop() as QueuedEvent;
    const size = heap.length;
    if (size > 0) {
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= size) break;
        if (child + 1 < size && isBefore(heap[child + 1] as QueuedEvent, heap[child] as QueuedEvent)) child++;
        if (!isBefore(heap[child] as QueuedEvent, last)) break;
        heap[at] = heap[child] as QueuedEvent;
        at = child;
      }
      heap[at] = last;
    }
    return first;
  }
}

function isBefore(one: QueuedEvent, other: QueuedEvent): boolean {
  return one.time < other.time || (one.time === other.time && one.sequence < other.sequence);
}
