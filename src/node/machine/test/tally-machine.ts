/**
 * A state machine for tests: it keeps the texts that it was told, in order, and says how many they are. It can be told to misbehave, by its
 * options or by a command.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Command, OpenStateMachine, StateMachine } from "../state-machine.ts";

export interface TallyOptions {
  /** What restore() does instead of restoring. */
  readonly restore?: "throws" | "stops early";
  /** What snapshot() does instead of giving an image. */
  readonly snapshot?: "throws" | "throws later" | "gives text";
  /** Whether snapshot() gives its pieces one promise at a time. */
  readonly isAsync?: boolean;
  /** How long restore() takes before it asks for a piece. */
  readonly restoreMs?: number;
}

export interface TallyAnswer {
  readonly count: number;
  readonly index: number;
  readonly term: number;
  readonly atMs: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class TallyMachine implements StateMachine {
  texts: string[] = [];
  closed = 0;
  restored = 0;
  readonly #options: TallyOptions;

  constructor(options: TallyOptions = {}) {
    this.#options = options;
  }

  apply(commands: readonly Command[]): readonly Uint8Array[] {
    const answers = commands.map(({ bytes, index, term, proposedAtMs }) => {
      const text = decoder.decode(bytes);
      if (text === "throw") throw new Error("told to throw");
      if (text.startsWith("spin ")) spin(Number(text.slice(5)));
      this.texts.push(text);
      bytes.fill(0); // What a machine does to its commands is nobody else's affair.
      const answer: TallyAnswer = { count: this.texts.length, index, term, atMs: proposedAtMs };
      return encoder.encode(JSON.stringify(answer));
    });
    const last = this.texts.at(-1);
    if (last === "answer too little") return answers.slice(1);
    if (last === "answer text") return ["text" as unknown as Uint8Array];
    if (last === "answer later") return Promise.resolve(answers) as unknown as readonly Uint8Array[];
    return answers;
  }

  read(query: Uint8Array): Uint8Array {
    const text = decoder.decode(query);
    if (text === "throw") throw new Error("no such query");
    if (text === "text") return "text" as unknown as Uint8Array;
    if (text === "count") return encoder.encode(String(this.texts.length));
    return encoder.encode(JSON.stringify(this.texts));
  }

  snapshot(): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
    if (this.#options.snapshot === "throws") throw new Error("no image");
    if (this.#options.snapshot === "gives text") return ["text"] as unknown as Iterable<Uint8Array>;
    const texts = this.texts.slice();
    return this.#options.isAsync === true ? piecesLater(texts) : pieces(texts, this.#options.snapshot === "throws later");
  }

  async restore(given: AsyncIterable<Uint8Array>): Promise<void> {
    const { restore, restoreMs } = this.#options;
    if (restoreMs !== undefined) await sleep(restoreMs);
    if (restore === "throws") throw new Error("will not restore");
    this.texts = [];
    let held = "";
    const text = new TextDecoder();
    for await (const piece of given) {
      held += text.decode(piece, { stream: true });
      const lines = held.split("\n");
      held = lines.pop() ?? "";
      for (const line of lines) this.texts.push(JSON.parse(line) as string);
      if (restore === "stops early") return;
    }
    this.restored++;
  }

  close(): void {
    this.closed++;
  }
}

function* pieces(texts: readonly string[], throwsLater: boolean): Generator<Uint8Array> {
  for (const [at, text] of texts.entries()) {
    if (throwsLater && at > texts.length / 2) throw new Error("no more of the image");
    yield encoder.encode(`${JSON.stringify(text)}\n`);
  }
}

async function* piecesLater(texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces(texts, false)) yield await Promise.resolve(piece);
}

function spin(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

const open: OpenStateMachine<TallyOptions | undefined> = (options) => new TallyMachine(options);
export default open;
