/**
 * The nodes of the ordered index, by number, in chunks of 128: nothing for the garbage collector to walk, nothing that moves when the tree
 * grows. The words of a node lie together, since a search that comes to it uses most of them, and asking memory for a page is what costs.
 *
 * A slot holds the reference of a key and, so that most comparisons need not go there, eight bytes of it: those behind the beginning that
 * all keys of the node share. In an inner node the key is the lowest one below the slot's child, always exactly.
 *
 *   word 0  slots in use             then, NODE_SLOTS words each:  HIGH and LOW   eight bytes of the key, zeros behind its end
 *        1  bytes that the keys                                    KEYS           the key's reference
 *           share, or fewer                                        COUNTS         1 or 0: live or not; inner: live keys below the child
 *        2  next leaf, free node                                   CHILDREN       inner: the child
 *        3  leaf before
 */

export const NODE_SLOTS = 64;
/** No node. */
export const NONE = 0xffffffff;

const SIZE = 0;
const SHARED = 1;
const NEXT = 2;
const PREVIOUS = 3;
const HEADER_WORDS = 4;
/** Where a node's columns begin, from its first word. */
export const HIGH: number = HEADER_WORDS;
export const LOW: number = HIGH + NODE_SLOTS;
export const KEYS: number = LOW + NODE_SLOTS;
export const COUNTS: number = KEYS + NODE_SLOTS;
export const CHILDREN: number = COUNTS + NODE_SLOTS;

const CHUNK_LOG2 = 7;
const CHUNK_NODES = 1 << CHUNK_LOG2;
const CHUNK_MASK = CHUNK_NODES - 1;

export class TreeNodes {
  readonly #columns: number;
  readonly #nodeWords: number;
  readonly #chunks: Uint32Array[] = [];
  #nodes = 0;
  /** Freed nodes are chained by NEXT. */
  #free = NONE;

  constructor(kind: "leaf" | "inner") {
    this.#columns = kind === "leaf" ? 4 : 5;
    this.#nodeWords = HEADER_WORDS + this.#columns * NODE_SLOTS;
  }

  get memoryBytes(): number {
    return this.#chunks.length * CHUNK_NODES * this.#nodeWords * 4;
  }

  /** The words that the node's lie among, from base() on. */
  words(node: number): Uint32Array {
    return this.#chunks[node >>> CHUNK_LOG2]!;
  }

  base(node: number): number {
    return (node & CHUNK_MASK) * this.#nodeWords;
  }

  size(node: number): number {
    return this.words(node)[this.base(node) + SIZE]!;
  }

  setSize(node: number, size: number): void {
    this.words(node)[this.base(node) + SIZE] = size;
  }

  shared(node: number): number {
    return this.words(node)[this.base(node) + SHARED]!;
  }

  setShared(node: number, bytes: number): void {
    this.words(node)[this.base(node) + SHARED] = bytes;
  }

  next(node: number): number {
    return this.words(node)[this.base(node) + NEXT]!;
  }

  setNext(node: number, next: number): void {
    this.words(node)[this.base(node) + NEXT] = next;
  }

  previous(node: number): number {
    return this.words(node)[this.base(node) + PREVIOUS]!;
  }

  setPrevious(node: number, previous: number): void {
    this.words(node)[this.base(node) + PREVIOUS] = previous;
  }

  key(node: number, slot: number): number {
    return this.words(node)[this.base(node) + KEYS + slot]!;
  }

  child(node: number, slot: number): number {
    return this.words(node)[this.base(node) + CHILDREN + slot]!;
  }

  count(node: number, slot: number): number {
    return this.words(node)[this.base(node) + COUNTS + slot]!;
  }

  setCount(node: number, slot: number, count: number): void {
    this.words(node)[this.base(node) + COUNTS + slot] = count;
  }

  /** An empty node without neighbours. */
  take(): number {
    let node = this.#free;
    if (node !== NONE) {
      this.#free = this.next(node);
    } else {
      node = this.#nodes++;
      if ((node & CHUNK_MASK) === 0) this.#chunks.push(new Uint32Array(CHUNK_NODES * this.#nodeWords));
    }
    this.setSize(node, 0);
    this.setShared(node, 0);
    this.setNext(node, NONE);
    this.setPrevious(node, NONE);
    return node;
  }

  give(node: number): void {
    this.setNext(node, this.#free);
    this.#free = node;
  }

  /** Live keys in the node and below. */
  total(node: number): number {
    return this.sum(node, this.size(node));
  }

  /** Live keys in the first `slots` slots, and below them. */
  sum(node: number, slots: number): number {
    const words = this.words(node);
    const from = this.base(node) + COUNTS;
    let sum = 0;
    for (let at = from; at < from + slots; at++) sum += words[at]!;
    return sum;
  }

  /** Makes room for a slot at `slot` of a node that is not full. */
  open(node: number, slot: number): void {
    const words = this.words(node);
    const size = this.size(node);
    let column = this.base(node) + HIGH;
    // Loops, since the moves are short: as many calls of copyWithin take longer.
    for (let i = 0; i < this.#columns; i++, column += NODE_SLOTS) {
      for (let at = column + size; at > column + slot; at--) words[at] = words[at - 1]!;
    }
    this.setSize(node, size + 1);
  }

  close(node: number, slot: number): void {
    const words = this.words(node);
    const size = this.size(node) - 1;
    let column = this.base(node) + HIGH;
    for (let i = 0; i < this.#columns; i++, column += NODE_SLOTS) {
      for (let at = column + slot; at < column + size; at++) words[at] = words[at + 1]!;
    }
    this.setSize(node, size);
  }

  /** Moves the slots from `slot` on to the end of another node, which has room for them. What its keys share is for the caller to settle. */
  move(from: number, slot: number, to: number): void {
    const slots = this.size(from) - slot;
    const size = this.size(to);
    const source = this.words(from);
    const target = this.words(to);
    let start = this.base(from) + HIGH + slot;
    let into = this.base(to) + HIGH + size;
    for (let i = 0; i < this.#columns; i++, start += NODE_SLOTS, into += NODE_SLOTS) {
      for (let at = 0; at < slots; at++) target[into + at] = source[start + at]!;
    }
    this.setSize(from, slot);
    this.setSize(to, size + slots);
  }
}
