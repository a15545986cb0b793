/**
 * A bank as a state machine: accounts that money moves between. Each transfer is one command, so that it happens whole or not at all, and no two
 * of them can spend the same money. Runs in the node's thread, alike on every member.
 */
import type { Command, OpenStateMachine, StateMachine } from "d-engine/raft";

export type Order =
  | { readonly kind: "deposit"; readonly to: string; readonly amount: number }
  | { readonly kind: "transfer"; readonly from: string; readonly to: string; readonly amount: number };

/** What an order was answered: an order that cannot be carried out is an answer too. */
export type Receipt = { readonly done: true; readonly balance: number } | { readonly done: false; readonly reason: string };

export class Bank implements StateMachine {
  #accounts = new Map<string, number>();

  apply(commands: readonly Command[]): readonly Uint8Array[] {
    return commands.map(({ bytes }) => encode(this.#carryOut(decode(bytes) as Order)));
  }

  #carryOut(order: Order): Receipt {
    if (!Number.isSafeInteger(order.amount) || order.amount <= 0) return { done: false, reason: "no amount" };
    if (order.kind === "transfer") {
      const left = (this.#accounts.get(order.from) ?? 0) - order.amount;
      if (left < 0) return { done: false, reason: `${order.from} has too little` };
      this.#accounts.set(order.from, left);
    }
    const balance = (this.#accounts.get(order.to) ?? 0) + order.amount;
    this.#accounts.set(order.to, balance);
    return { done: true, balance };
  }

  /** The query is an account's name; no name asks for all of them together. */
  read(query: Uint8Array): Uint8Array {
    const name = decode(query) as string;
    if (name !== "") return encode(this.#accounts.get(name) ?? 0);
    return encode([...this.#accounts.values()].reduce((sum, balance) => sum + balance, 0));
  }

  /** Copied before the first piece: later ones are asked for while orders go on being applied. */
  *snapshot(): Generator<Uint8Array> {
    const accounts = [...this.#accounts];
    for (const account of accounts) yield encode(account, "\n");
  }

  async restore(pieces: AsyncIterable<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const piece of pieces) text += decoder.decode(piece, { stream: true });
    const lines = text.split("\n").slice(0, -1);
    this.#accounts = new Map(lines.map((line) => JSON.parse(line) as [string, number]));
  }
}

export function encode(value: unknown, end = ""): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value) + end);
}

export function decode(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(bytes));
}

const open: OpenStateMachine = () => new Bank();
export default open;
