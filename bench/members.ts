/** Member processes as the main process sees them: started, asked, killed. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { LoadResult } from "./load.ts";
import type { Answer, Envelope, Leader, Operation, Request, Watchers } from "./work.ts";

export interface Measured extends LoadResult {
  readonly perSecond: number;
  /** Of all members, callers included, per operation. */
  readonly cpuPerOperationUs: number;
}

export class MemberProcess {
  readonly process: ChildProcess;
  readonly #waiting = new Map<number, { readonly resolve: (answer: Answer) => void; readonly reject: (error: Error) => void }>();
  #lastId = 0;

  constructor(file: string, args: readonly string[]) {
    this.process = fork(fileURLToPath(new URL(file, import.meta.url)), args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.process.on("message", (message) => {
      const { id, body, error } = message as Envelope<Answer>;
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(body);
      else waiting?.reject(new Error(error));
    });
    this.process.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the member's process has ended"));
      this.#waiting.clear();
    });
  }

  async ask<T extends Answer>(body: Request): Promise<T> {
    const id = (this.#lastId += 1);
    const answer = new Promise<Answer>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.process.send({ id, body } satisfies Envelope<Request>, (error) => {
      if (error !== null) this.#waiting.get(id)?.reject(error);
    });
    return (await answer) as T;
  }

  /** kill -9. Resolves when the process is gone. */
  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await gone;
  }

  async stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, "exit");
    await this.ask({ kind: "stop" }).catch(() => this.process.kill("SIGKILL"));
    await gone;
  }
}

/** The one that leads. Asks all until one says so. */
export async function leaderOf(members: readonly MemberProcess[]): Promise<MemberProcess> {
  for (;;) {
    for (const member of members) if ((await member.ask<Leader>({ kind: "leader" })).isLeader) return member;
  }
}

/** One load, from callers in the leader's process, and what it cost all the processes together. */
export async function measure(
  members: readonly MemberProcess[],
  load: {
    readonly operation: Operation;
    readonly clients: number;
    readonly seconds: number;
    readonly keys: number;
    readonly watchers?: Watchers;
    readonly backups?: boolean;
    readonly perSecond?: number;
  },
): Promise<Measured> {
  const leader = await leaderOf(members);
  const others = members.filter((member) => member !== leader);
  const total = async (): Promise<number> => {
    const answers = await Promise.all(others.map((member) => member.ask<{ readonly cpuUs: number }>({ kind: "cpu" })));
    return answers.reduce((sum, { cpuUs }) => sum + cpuUs, 0);
  };
  const before = await total();
  const result = await leader.ask<LoadResult>({ kind: "load", ...load });
  const cpu = (await total()) - before + result.cpuUs;
  return { ...result, perSecond: result.operations / result.seconds, cpuPerOperationUs: cpu / result.operations };
}
