/**
 * Where the front ends of an embedded engine say that clients reach it, all of them together, told to its node, which sees to it that the whole
 * cluster knows. When the last front end closes nothing is taken back: a member that is down is still to be found there when it comes up.
 */
import { CLIENT_ADDRESSES_MAX, isClientAddress } from "../node/cluster-frames.ts";
import type { Calls } from "./calls.ts";

export { CLIENT_ADDRESS_BYTES_MAX, CLIENT_ADDRESSES_MAX, isClientAddress } from "../node/cluster-frames.ts";

/** One for each engine. */
export class ClientAddresses {
  readonly #calls: Calls;
  /** One for each front end that is open. */
  readonly #lists = new Set<readonly string[]>();

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Of a front end that has opened: those that can be told, and of all together the first 16. Answers how to take them back. */
  add(addresses: readonly string[]): () => void {
    const list = addresses.filter(isClientAddress);
    this.#lists.add(list);
    this.#tell();
    return () => {
      if (this.#lists.delete(list) && this.#lists.size > 0) this.#tell();
    };
  }

  #tell(): void {
    const clientAddresses = [...new Set([...this.#lists].flat())].slice(0, CLIENT_ADDRESSES_MAX);
    this.#calls.tell({ kind: "announce", clientAddresses });
  }
}
