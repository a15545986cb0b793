/**
 * Clients whose history can be judged afterwards. They live in the test's process, so that a killed node takes no record with it: a
 * call begins when it is sent to the node's process and ends when its answer arrives here.
 */
import type { Consistency } from "d-engine";
import { checkLinearizability } from "../testing/linearizability.ts";
import { DataModel, type DataChange, type Operation, type OperationBody } from "../testing/history.ts";
import { OrderFailure, type Performed } from "./orders.ts";
import type { NodeProcess } from "./process-cluster.ts";

const KEYS: readonly string[] = Array.from({ length: 8 }, (_, i) => `key/${i}`);
/** Between two calls of a client, so that the whole history fits in what the engine keeps. */
const PAUSE_MS = 4;

const now = (): number => performance.now();

export class RecordedClients {
  readonly operations: Operation[] = [];
  readonly #seen = new Map<string, string | undefined>();
  #values = 0;
  #stopped = false;
  readonly #running: Promise<void>[] = [];

  /** Clients of these nodes, `each` of them per node, until stop(). A client of a node that is down waits for it. */
  start(nodes: readonly NodeProcess[], each: number): void {
    for (const [i, node] of nodes.entries()) {
      for (let client = 0; client < each; client += 1) this.#running.push(this.#run(`${i}.${client}`, node, i * each + client));
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  get acknowledgedWrites(): number {
    return this.operations.filter(({ outcome, body }) => outcome === "ok" && body.kind !== "get" && body.kind !== "range").length;
  }

  async #run(name: string, node: NodeProcess, offset: number): Promise<void> {
    for (let count = offset; !this.#stopped; count += 1) {
      if (node.isRunning)
        await this.call(name, node, this.#next(count), (["linearizable", "lease", "eventual"] as const)[count % 3] ?? "linearizable");
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  #next(count: number): OperationBody {
    const key = KEYS[(count * 5) % KEYS.length] ?? "";
    switch (count % 10) {
      case 0:
      case 1:
      case 2:
      case 3:
        return { kind: "put", key, value: this.#uniqueValue(), ttlMs: undefined };
      case 4:
        return { kind: "delete", key };
      case 5:
      case 6:
        return { kind: "compareAndSwap", key, expected: this.#seen.get(key), value: this.#uniqueValue() };
      case 7:
        return { kind: "range", prefix: "key/", limit: 0 };
      default:
        return { kind: "get", keys: [key] };
    }
  }

  #uniqueValue(): string {
    this.#values += 1;
    return `v${this.#values}`;
  }

  /** One recorded call. Never rejects: a failure is part of the history. */
  async call(client: string, node: NodeProcess, body: OperationBody, consistency: Consistency): Promise<Operation> {
    const operation: Operation = {
      client,
      node: `${node.memberId}/${node.pid}`,
      call: now(),
      body,
      consistency,
      outcome: "unknown",
      end: Number.POSITIVE_INFINITY,
      revision: undefined,
    };
    this.operations.push(operation);
    try {
      const { revision, ...answer } = await node.ask<Performed>({ kind: "perform", body, consistency });
      operation.end = now();
      operation.outcome = "ok";
      operation.revision = revision;
      Object.assign(body, answer);
      for (const value of answer.values ?? []) this.#seen.set(value.key, value.value);
    } catch (error) {
      if (!(error instanceof OrderFailure)) throw error;
      operation.error = error.message;
      if (!error.mayHaveApplied) {
        operation.outcome = "refused";
        operation.end = now();
      }
    }
    return operation;
  }

  /** Reads the whole history of the data from each node, and judges everything that the clients were told by it. */
  async check(
    nodes: readonly NodeProcess[],
  ): Promise<{ readonly operations: number; readonly unknown: number; readonly revision: number }> {
    let revision = 0;
    const [first] = nodes;
    if (first === undefined) throw new Error("no node to read from");
    const last = await this.call("check", first, { kind: "range", prefix: "key/", limit: 0 }, "linearizable");
    revision = last.revision ?? 0;
    if (revision === 0) throw new Error(`the data could not be read at the end: ${last.error ?? ""}`);
    let expected: string | undefined;
    for (const node of nodes) {
      const changes = await node.ask<readonly DataChange[]>({ kind: "changes", through: revision });
      const text = JSON.stringify(changes);
      expected ??= text;
      if (text !== expected) throw new Error("two members tell different histories");
    }
    const model = new DataModel();
    for (const change of JSON.parse(expected ?? "[]") as readonly DataChange[]) model.apply(change);
    checkLinearizability(this.operations, model);
    return { operations: this.operations.length, unknown: this.operations.filter(({ outcome }) => outcome === "unknown").length, revision };
  }
}
