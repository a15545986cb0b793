/** Commands and queries of users' state machines, gathered by tick as the key-value calls are (calls.ts), and their answers. */
import { EngineError } from "../errors.ts";
import type { Consistency, FromNode } from "../node/boundary.ts";
import { OPAQUE_ANSWERS_BYTES_MAX, OPAQUE_COMMANDS_MAX, OpaqueAnswers, OpaqueBatch } from "../node/machine/opaque-commands.ts";
import { copyOf, type Calls } from "./calls.ts";
import type { Bytes } from "./client.ts";

/** A batch is closed behind this many bytes, so that one entry does not hold up a link or a disk for long. */
const BATCH_BYTES_MAX = 1 << 20;

/** One call's promise. */
export interface OpaqueWaiter {
  /** `index`: of a command's entry; 0 for a query. The bytes are the caller's own. */
  take(answer: Bytes, index: number): void;
  reject(error: EngineError): void;
}

interface Open {
  readonly batch: OpaqueBatch;
  readonly waiters: OpaqueWaiter[];
  readonly timeoutMs: number;
  /** undefined: commands. */
  readonly consistency: Consistency | undefined;
}

/** One for each node. */
export class OpaqueCalls {
  readonly #calls: Calls;
  #commands: Open | undefined;
  #queries: Open | undefined;

  constructor(calls: Calls) {
    this.#calls = calls;
    calls.gather = () => {
      this.#close(this.#commands);
      this.#commands = undefined;
      this.#close(this.#queries);
      this.#queries = undefined;
    };
  }

  /** The bytes are copied at once. Throws what the call is to be rejected with. */
  propose(command: Uint8Array, timeoutMs: number, waiter: OpaqueWaiter): void {
    this.#calls.admit();
    let open = this.#commands;
    if (open === undefined || !hasRoom(open, timeoutMs)) {
      this.#close(open);
      open = { batch: new OpaqueBatch(), waiters: [], timeoutMs, consistency: undefined };
      this.#commands = open;
    }
    open.batch.add(command);
    open.waiters.push(waiter);
  }

  /** The same for a query. */
  read(query: Uint8Array, consistency: Consistency, timeoutMs: number, waiter: OpaqueWaiter): void {
    this.#calls.admit();
    let open = this.#queries;
    if (open === undefined || open.consistency !== consistency || !hasRoom(open, timeoutMs)) {
      this.#close(open);
      open = { batch: new OpaqueBatch(0), waiters: [], timeoutMs, consistency };
      this.#queries = open;
    }
    open.batch.add(query);
    open.waiters.push(waiter);
  }

  #close(open: Open | undefined): void {
    if (open === undefined) return;
    const { batch, waiters, timeoutMs, consistency } = open;
    const count = waiters.length;
    const bytes = batch.finish();
    this.#calls.sendBatch({
      timeoutMs,
      count,
      isWrite: consistency === undefined,
      message: (call) =>
        consistency === undefined
          ? { kind: "write", call, record: bytes, commands: count, timeoutMs }
          : { kind: "query", call, queries: bytes, count, consistency, minRevision: 0, timeoutMs },
      fail: (error) => {
        for (const waiter of waiters) waiter.reject(count === 1 ? error : copyOf(error));
      },
      succeed: (message) => settle(message, waiters),
    });
  }
}

function hasRoom({ batch, waiters, timeoutMs }: Open, wanted: number): boolean {
  return timeoutMs === wanted && batch.bytes <= BATCH_BYTES_MAX && waiters.length < OPAQUE_COMMANDS_MAX;
}

function settle(message: FromNode, waiters: readonly OpaqueWaiter[]): void {
  const isWrite = message.kind === "written";
  const bytes = isWrite ? message.results : (message as FromNode & { readonly kind: "answers" }).answers;
  const index = isWrite ? OpaqueAnswers.indexOf(bytes) : 0;
  const answers = new OpaqueAnswers(bytes, isWrite ? 8 : 0);
  for (const waiter of waiters) {
    const answer = answers.next();
    if (answer === undefined) waiter.reject(lost());
    else if (answer.outcome === "answer") waiter.take(new Uint8Array(answer.bytes), index);
    else if (answer.outcome === "refused") waiter.reject(refused(answer.bytes));
    else waiter.reject(tooMuch(isWrite));
  }
}

function lost(): EngineError {
  return new EngineError("INTERNAL", "a command of a batch has no answer", { invariant: "every command of a batch has an answer" });
}

function refused(text: Uint8Array): EngineError {
  const reason = `the state machine threw: ${new TextDecoder().decode(text)}`;
  return new EngineError("INVALID_ARGUMENT", `query: ${reason}`, { argument: "query", reason });
}

/** A command was applied, whether or not its answer could be told. */
function tooMuch(isWrite: boolean): EngineError {
  const max = OPAQUE_ANSWERS_BYTES_MAX;
  const message = `the answers of this batch exceed ${max} bytes${isWrite ? ": the command was applied, its answer is left out" : ""}`;
  return new EngineError("OVERLOADED", message, { limit: "answerBytes", max, retryAfterMs: 0 }, { mayHaveApplied: isWrite });
}
