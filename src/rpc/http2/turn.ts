/**
 * The end of a turn of the event loop: all connections that have something to write do so, once each. What many calls produced in the
 * turn so leaves in one system call per connection.
 */
import { MemoryBudget } from "./memory-budget.ts";
import { ChunkPool } from "./output.ts";

/** What is flushed at the end of a turn. */
export interface Flushable {
  flush(): void;
}

/** Shared by the connections of one server or client. */
export class Turn {
  readonly pool: ChunkPool = new ChunkPool();
  /** Data that waits in all streams of all connections. */
  readonly sendMemory: MemoryBudget;
  #waiting: Flushable[] = [];
  #spare: Flushable[] = [];
  readonly #run: () => void = () => this.#flushAll();

  constructor(sendMemoryBytesMax: number) {
    this.sendMemory = new MemoryBudget(sendMemoryBytesMax);
  }

  /** The caller sees to it that a connection is added once until it is flushed. */
  add(connection: Flushable): void {
    if (this.#waiting.push(connection) === 1) setImmediate(this.#run);
  }

  #flushAll(): void {
    const waiting = this.#waiting;
    this.#waiting = this.#spare;
    this.#spare = waiting;
    for (let i = 0; i < waiting.length; i++) waiting[i]!.flush();
    waiting.length = 0;
  }
}
