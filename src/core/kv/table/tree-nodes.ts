/**
 * The nodes of the ordered index, by number, in chunks of typed arrays: nothing for the garbage collector to walk, nothing that moves
 * when the tree grows. A slot holds the reference of a key and, so that most comparisons need not go there, the key's first eight bytes.
 * In an inner node the key is the lowest one below the slot's child, always exactly.
 */

export const NODE_SLOTS_LOG2 = 6;
export const NODE_SLOTS: number = 1 << NODE_SLOTS_LOG2;
const CHUNK_LOG2 = 7;
const CHUNK_NODES = 1 << CHUNK_LOG2;
const CHUNK_MASK = CHUNK_NODES - 1;
const CHUNK_SLOTS = CHUNK_NODES * NODE_SLOTS;
/** No node. */
export const NONE = 0xffffffff;

/** The columns of CHUNK_NODES nodes. */
export interface NodeChunk {
  readonly keys: Uint32Array;
  /** The first eight bytes of the key, zeros behind its end, as two big-endian numbers. */
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  /** Of an inner node: the child, and the live keys below it. */
  readonly children: Uint32Array;
  readonly counts: Uint32Array;
  /** Of a leaf: 1 where the key is live, 0 where its newest record is a deletion. */
  readonly live: Uint8Array;
  /** By node. */
  readonly sizes: Uint8Array;
  readonly next: Uint32Array;
  readonly previous: Uint32Array;
}

export class TreeNodes {
  readonly #isLeaf: boolean;
  readonly #chunks: NodeChunk[] = [];
  #nodes = 0;
  /** Freed nodes are chained by `next`. */
  #free = NONE;

  constructor(kind: "leaf" | "inner") {
    this.#isLeaf = kind === "leaf";
  }

  get memoryBytes(): number {
    return this.#chunks.length * (CHUNK_SLOTS * (this.#isLeaf ? 13 : 20) + CHUNK_NODES * 9);
  }

  chunk(node: number): NodeChunk {
    return this.#chunks[node >>> CHUNK_LOG2]!;
  }

  /** The place of the node's first slot in its chunk's columns. */
  base(node: number): number {
    return (node & CHUNK_MASK) << NODE_SLOTS_LOG2;
  }

  size(node: number): number {
    return this.#chunks[node >>> CHUNK_LOG2]!.sizes[node & CHUNK_MASK]!;
  }

  setSize(node: number, size: number): void {
    this.#chunks[node >>> CHUNK_LOG2]!.sizes[node & CHUNK_MASK] = size;
  }

  next(node: number): number {
    return this.#chunks[node >>> CHUNK_LOG2]!.next[node & CHUNK_MASK]!;
  }

  previous(node: number): number {
    return this.#chunks[node >>> CHUNK_LOG2]!.previous[node & CHUNK_MASK]!;
  }

  setNext(node: number, next: number): void {
    this.#chunks[node >>> CHUNK_LOG2]!.next[node & CHUNK_MASK] = next;
  }

  setPrevious(node: number, previous: number): void {
    this.#chunks[node >>> CHUNK_LOG2]!.previous[node & CHUNK_MASK] = previous;
  }

  /** An empty node without neighbours. */
  take(): number {
    let node = this.#free;
    if (node !== NONE) {
      this.#free = this.next(node);
    } else {
      node = this.#nodes++;
      if ((node & CHUNK_MASK) === 0) this.#addChunk();
    }
    this.setSize(node, 0);
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
    const chunk = this.chunk(node);
    return this.sum(node, chunk.sizes[node & CHUNK_MASK]!);
  }

  /** Live keys in the first `slots` slots. */
  sum(node: number, slots: number): number {
    const chunk = this.chunk(node);
    const column = this.#isLeaf ? chunk.live : chunk.counts;
    const base = this.base(node);
    let sum = 0;
    for (let at = base; at < base + slots; at++) sum += column[at]!;
    return sum;
  }

  /** Makes room for a slot at `slot` of a node that is not full. */
  open(node: number, slot: number): void {
    const size = this.size(node);
    const at = this.base(node) + slot;
    this.#shift(this.chunk(node), at + 1, at, size - slot);
    this.setSize(node, size + 1);
  }

  close(node: number, slot: number): void {
    const size = this.size(node);
    const at = this.base(node) + slot;
    this.#shift(this.chunk(node), at, at + 1, size - slot - 1);
    this.setSize(node, size - 1);
  }

  /** Moves the slots from `slot` on to the end of another node, which has room for them. */
  move(from: number, slot: number, to: number): void {
    const slots = this.size(from) - slot;
    const size = this.size(to);
    const source = this.chunk(from);
    const target = this.chunk(to);
    const start = this.base(from) + slot;
    const into = this.base(to) + size;
    for (let i = 0; i < slots; i++) {
      target.keys[into + i] = source.keys[start + i]!;
      target.high[into + i] = source.high[start + i]!;
      target.low[into + i] = source.low[start + i]!;
      if (this.#isLeaf) {
        target.live[into + i] = source.live[start + i]!;
      } else {
        target.children[into + i] = source.children[start + i]!;
        target.counts[into + i] = source.counts[start + i]!;
      }
    }
    this.setSize(from, slot);
    this.setSize(to, size + slots);
  }

  /** Moves slots of a node by one place. A loop, since these are few: five calls of copyWithin take longer. */
  #shift(chunk: NodeChunk, to: number, from: number, slots: number): void {
    const step = to > from ? -1 : 1;
    const first = to > from ? from + slots - 1 : from;
    for (let i = 0, at = first; i < slots; i++, at += step) {
      chunk.keys[at - step] = chunk.keys[at]!;
      chunk.high[at - step] = chunk.high[at]!;
      chunk.low[at - step] = chunk.low[at]!;
      if (this.#isLeaf) {
        chunk.live[at - step] = chunk.live[at]!;
      } else {
        chunk.children[at - step] = chunk.children[at]!;
        chunk.counts[at - step] = chunk.counts[at]!;
      }
    }
  }

  #addChunk(): void {
    const inner = this.#isLeaf ? 0 : CHUNK_SLOTS;
    this.#chunks.push({
      keys: new Uint32Array(CHUNK_SLOTS),
      high: new Uint32Array(CHUNK_SLOTS),
      low: new Uint32Array(CHUNK_SLOTS),
      children: new Uint32Array(inner),
      counts: new Uint32Array(inner),
      live: new Uint8Array(CHUNK_SLOTS - inner),
      sizes: new Uint8Array(CHUNK_NODES),
      next: new Uint32Array(CHUNK_NODES),
      previous: new Uint32Array(CHUNK_NODES),
    });
  }
}
