/**
 * An operator of the simulated cluster: now and then a member serves clients elsewhere, or another one is told to lead. Once everything has
 * healed, every member must tell of every other where its clients are; and a move of leadership that succeeded has been one.
 */
import type { Engine } from "../client/engine.ts";
import { internalsOf } from "../client/engine-internals.ts";
import { EngineError, type ErrorCode } from "../errors.ts";
import { CheckFailure } from "./history.ts";
import type { SimCluster, SimNode } from "./sim-cluster.ts";
import type { SimRandom } from "./sim-random.ts";

const MOVE_TIMEOUT_MS = 3_000;
/** What a move may end with while there are faults. */
const EXPECTED: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["REFUSED", "TIMEOUT", "CLOSED", "UNAVAILABLE", "OVERLOADED"]);

/** One for each simulation. */
export class Operator {
  /** What was done. */
  readonly counts: { announced: number; moved: number; notMoved: number } = { announced: 0, moved: 0, notMoved: 0 };
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #onFinding: (error: unknown) => void;
  readonly #takeBack = new WeakMap<Engine, () => void>();
  #isOver = false;

  constructor(cluster: SimCluster, onFinding: (error: unknown) => void) {
    this.#cluster = cluster;
    this.#random = cluster.random.split("operator");
    this.#onFinding = onFinding;
  }

  /** From now on, so often on average. */
  begin(everyMs: number): void {
    const next = (): void => {
      this.#cluster.scheduler.after(-Math.log(1 - this.#random.fraction()) * everyMs, () => {
        if (this.#isOver) return;
        this.#act();
        next();
      });
    };
    next();
  }

  /** All serve at one last place each, and nothing else is done. Answers whether everyone knows of everyone. */
  end(nodes: readonly SimNode[]): () => boolean {
    this.#isOver = true;
    const urls = new Map(nodes.map((node) => [node.memberId, [`http://${node.name}:2379/last`]]));
    for (const node of nodes) this.#announce(node, urls.get(node.memberId)!);
    return () => nodes.every(({ engine }) => engine !== undefined && knows(engine, urls));
  }

  #act(): void {
    const running = this.#cluster.nodes.filter((node) => node.process?.isRunning === true && node.engine !== undefined);
    if (running.length === 0) return;
    const node = this.#random.pick(running);
    if (this.#random.chance(0.6)) {
      const urls = Array.from({ length: this.#random.below(3) }, () => `http://${node.name}:${this.#random.below(100)}`);
      this.#announce(node, urls);
      return;
    }
    const to = this.#random.chance(0.7) ? this.#random.pick(this.#cluster.nodes).memberId : undefined;
    const { engine } = node;
    node.process?.deliver(() => {
      this.#move(engine!, to).catch(this.#onFinding);
    });
  }

  #announce(node: SimNode, urls: readonly string[]): void {
    const { engine } = node;
    node.process?.deliver(() => {
      const { addresses } = internalsOf(engine!)!;
      const takeBack = addresses.add(urls);
      this.#takeBack.get(engine!)?.();
      this.#takeBack.set(engine!, takeBack);
      this.counts.announced++;
    });
  }

  async #move(engine: Engine, to: string | undefined): Promise<void> {
    const before = engine.leader();
    try {
      await engine.cluster.moveLeader(to, { timeoutMs: MOVE_TIMEOUT_MS });
    } catch (error) {
      if (!EngineError.is(error) || !EXPECTED.has(error.code)) throw error;
      this.counts.notMoved++;
      return;
    }
    this.counts.moved++;
    const after = engine.leader();
    const hasMoved = to === undefined ? after?.term !== before?.term : after?.id === to;
    if (!hasMoved)
      throw new CheckFailure("move of leadership", `to ${to ?? "anyone"} from ${JSON.stringify(before)}: ${JSON.stringify(after)}`);
  }
}

function knows(engine: Engine, urls: ReadonlyMap<string, readonly string[]>): boolean {
  const { members } = internalsOf(engine)!.status.members.value;
  return [...urls].every(([id, wanted]) => members.find((member) => member.id === id)?.clientAddresses.join(" ") === wanted.join(" "));
}
