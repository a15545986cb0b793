/**
 * The keys in order: a B+tree (Bayer and McCreight; Comer, "The Ubiquitous B-Tree", 1979) whose inner nodes also count the live keys below
 * each child, so that a count costs two descents. It holds every key that has a record, the deleted ones too until they are compacted. A
 * key's slot names the key, not its newest record: overwriting a key does not come here. Only the writer's thread uses it.
 *
 * A node that empties goes; one that is a quarter full joins a neighbour if both fit into three quarters of a node.
 */
import { assert } from "../../assert.ts";
import { KEY_BYTES, KEY_HEADER_BYTES, SLAB_UNITS_LOG2, SLAB_UNITS_MASK } from "./layout.ts";
import type { Slabs } from "./slabs.ts";
import { NODE_SLOTS, NONE, TreeNodes } from "./tree-nodes.ts";
import type { NodeChunk } from "./tree-nodes.ts";

const JOIN_BELOW = NODE_SLOTS / 4;
const JOINED_MAX = (NODE_SLOTS * 3) / 4;
/** A tree of 2^26 keys in nodes of two slots would not be higher. */
const HEIGHT_MAX = 27;

export class KeyOrder {
  readonly leaves: TreeNodes = new TreeNodes("leaf");
  readonly inner: TreeNodes = new TreeNodes("inner");
  /** Raised whenever a key comes or goes: what a cursor remembers of its place no longer holds. */
  generation = 0;
  /** Inner nodes between the root and a leaf. */
  height = 0;
  /** A leaf where height is 0; NONE without keys. */
  root: number = NONE;

  readonly #slabs: Slabs;
  /** The last descent, by level: the inner node and the slot taken. Level 0 lies above the leaves. */
  readonly #path: Uint32Array = new Uint32Array(HEIGHT_MAX);
  readonly #taken: Uint8Array = new Uint8Array(HEIGHT_MAX);
  /** The key that is looked for. */
  #bytes: Uint8Array = new Uint8Array(0);
  #from = 0;
  #length = 0;
  #high = 0;
  #low = 0;

  constructor(slabs: Slabs) {
    this.#slabs = slabs;
  }

  get memoryBytes(): number {
    return this.leaves.memoryBytes + this.inner.memoryBytes;
  }

  /** Live keys. */
  get total(): number {
    if (this.root === NONE) return 0;
    return this.height === 0 ? this.leaves.total(this.root) : this.inner.total(this.root);
  }

  /** Adds a key that is not there, as a live one. */
  insert(ref: number): void {
    this.generation++;
    this.#seekRef(ref);
    if (this.root === NONE) {
      this.root = this.leaves.take();
      this.height = 0;
    }
    let node = this.root;
    let isLast = true;
    for (let level = this.height - 1; level >= 0; level--) {
      let slot = this.#lowerBound(this.inner, node, true) - 1;
      if (slot < 0) {
        slot = 0;
        this.#setKey(this.inner, node, 0, ref);
      }
      isLast &&= slot === this.inner.size(node) - 1;
      this.#path[level] = node;
      this.#taken[level] = slot;
      const at = this.inner.base(node) + slot;
      node = this.inner.chunk(node).children[at]!;
    }

    let right = this.#insertIntoLeaf(node, ref);
    for (let level = 0; level < this.height; level++) {
      const above = this.#path[level]!;
      const slot = this.#taken[level]!;
      const chunk = this.inner.chunk(above);
      const at = this.inner.base(above) + slot;
      const below = level === 0 ? this.leaves : this.inner;
      if (right === NONE) {
        chunk.counts[at]!++;
      } else {
        chunk.counts[at] = below.total(chunk.children[at]!);
        right = this.#insertChild(above, slot + 1, below, right, isLast);
      }
    }
    if (right !== NONE) this.#growRoot(right);
  }

  /** Removes a key that is there and not live. */
  remove(ref: number): void {
    this.generation++;
    this.#seekRef(ref);
    const leaf = this.#descend();
    const slot = this.#lowerBound(this.leaves, leaf, false);
    const at = this.leaves.base(leaf) + slot;
    assert(slot < this.leaves.size(leaf) && this.leaves.chunk(leaf).keys[at] === ref, "a key that is removed is in the order");
    assert(this.leaves.chunk(leaf).live[at] === 0, "a key that is removed is not live");
    this.leaves.close(leaf, slot);

    let below = this.leaves;
    let child = leaf;
    for (let level = 0; level < this.height; level++) {
      const above = this.#path[level]!;
      this.#settleChild(above, this.#taken[level]!, below, child);
      below = this.inner;
      child = above;
    }
    while (this.height > 0 && this.inner.size(this.root) === 1) {
      const only = this.inner.chunk(this.root).children[this.inner.base(this.root)]!;
      this.inner.give(this.root);
      this.root = only;
      this.height--;
    }
    if (this.height === 0 && this.leaves.size(this.root) === 0) {
      this.leaves.give(this.root);
      this.root = NONE;
    }
  }

  /** Says whether a key that is there counts. Changes no cursor's place. */
  setLive(ref: number, live: boolean): void {
    this.#seekRef(ref);
    const leaf = this.#descend();
    const at = this.leaves.base(leaf) + this.#lowerBound(this.leaves, leaf, false);
    const chunk = this.leaves.chunk(leaf);
    assert(chunk.keys[at] === ref && chunk.live[at] === (live ? 0 : 1), "a key's counting changes");
    chunk.live[at] = live ? 1 : 0;
    for (let level = 0; level < this.height; level++) {
      const above = this.#path[level]!;
      this.inner.chunk(above).counts[this.inner.base(above) + this.#taken[level]!]! += live ? 1 : -1;
    }
  }

  /** How many live keys are lower than this one. */
  rank(key: Uint8Array): number {
    if (this.root === NONE) return 0;
    this.#seek(key, 0, key.length);
    let rank = 0;
    let node = this.root;
    for (let level = this.height - 1; level >= 0; level--) {
      const slot = this.#lowerBound(this.inner, node, true) - 1;
      if (slot < 0) return rank;
      rank += this.inner.sum(node, slot);
      node = this.inner.chunk(node).children[this.inner.base(node) + slot]!;
    }
    return rank + this.leaves.sum(node, this.#lowerBound(this.leaves, node, false));
  }

  /** The leaf where the key is or would be; NONE without keys. */
  findLeaf(key: Uint8Array, length: number): number {
    if (this.root === NONE) return NONE;
    this.#seek(key, 0, length);
    return this.#descend();
  }

  /** How many keys of the leaf are lower than this one, or, with `orEqual`, not higher. */
  slotsBelow(leaf: number, key: Uint8Array, length: number, orEqual: boolean): number {
    this.#seek(key, 0, length);
    return this.#lowerBound(this.leaves, leaf, orEqual);
  }

  /** The leaf at this end of the order; NONE without keys. */
  outermostLeaf(end: "first" | "last"): number {
    let node = this.root;
    if (node === NONE) return NONE;
    for (let level = this.height - 1; level >= 0; level--) {
      const slot = end === "first" ? 0 : this.inner.size(node) - 1;
      node = this.inner.chunk(node).children[this.inner.base(node) + slot]!;
    }
    return node;
  }

  #seekRef(ref: number): void {
    const slab = ref >>> SLAB_UNITS_LOG2;
    const at = (ref & SLAB_UNITS_MASK) << 1;
    this.#seek(this.#slabs.bytes[slab]!, at * 4 + KEY_HEADER_BYTES, this.#slabs.words[slab]![at + KEY_BYTES]!);
  }

  #seek(bytes: Uint8Array, from: number, length: number): void {
    this.#bytes = bytes;
    this.#from = from;
    this.#length = length;
    this.#high = prefix(bytes, from, length);
    this.#low = prefix(bytes, from + 4, length - 4);
  }

  /** The leaf where the sought key is or would be; the way there in #path and #taken. */
  #descend(): number {
    let node = this.root;
    for (let level = this.height - 1; level >= 0; level--) {
      const slot = Math.max(0, this.#lowerBound(this.inner, node, true) - 1);
      this.#path[level] = node;
      this.#taken[level] = slot;
      node = this.inner.chunk(node).children[this.inner.base(node) + slot]!;
    }
    return node;
  }

  /** How many keys of the node are lower than the sought one, or, with `orEqual`, not higher. */
  #lowerBound(nodes: TreeNodes, node: number, orEqual: boolean): number {
    const chunk = nodes.chunk(node);
    const base = nodes.base(node);
    let low = base;
    let high = base + nodes.size(node);
    while (low < high) {
      const middle = (low + high) >>> 1;
      const compared = this.#compare(chunk, middle);
      if (compared > 0 || (orEqual && compared === 0)) low = middle + 1;
      else high = middle;
    }
    return low - base;
  }

  /** Positive where the sought key is higher than the slot's. */
  #compare(chunk: NodeChunk, at: number): number {
    const high = chunk.high[at]!;
    if (high !== this.#high) return this.#high > high ? 1 : -1;
    const low = chunk.low[at]!;
    if (low !== this.#low) return this.#low > low ? 1 : -1;
    const ref = chunk.keys[at]!;
    const slab = ref >>> SLAB_UNITS_LOG2;
    const place = (ref & SLAB_UNITS_MASK) << 1;
    const length = this.#slabs.words[slab]![place + KEY_BYTES]!;
    const bytes = this.#slabs.bytes[slab]!;
    const from = place * 4 + KEY_HEADER_BYTES;
    const shared = Math.min(length, this.#length);
    for (let i = 8; i < shared; i++) {
      const difference = this.#bytes[this.#from + i]! - bytes[from + i]!;
      if (difference !== 0) return difference;
    }
    return this.#length - length;
  }

  #setKey(nodes: TreeNodes, node: number, slot: number, ref: number): void {
    const chunk = nodes.chunk(node);
    const at = nodes.base(node) + slot;
    chunk.keys[at] = ref;
    chunk.high[at] = this.#high;
    chunk.low[at] = this.#low;
  }

  /** Answers the new leaf to its right if it was split, else NONE. */
  #insertIntoLeaf(leaf: number, ref: number): number {
    let slot = this.#lowerBound(this.leaves, leaf, false);
    let into = leaf;
    let right = NONE;
    if (this.leaves.size(leaf) === NODE_SLOTS) {
      right = this.leaves.take();
      const next = this.leaves.next(leaf);
      // Keys that come in order leave full leaves behind them.
      const keep = next === NONE && slot === NODE_SLOTS ? NODE_SLOTS : NODE_SLOTS / 2;
      this.leaves.move(leaf, keep, right);
      this.leaves.setNext(leaf, right);
      this.leaves.setPrevious(right, leaf);
      this.leaves.setNext(right, next);
      if (next !== NONE) this.leaves.setPrevious(next, right);
      if (slot > keep || keep === NODE_SLOTS) {
        into = right;
        slot -= keep;
      }
    }
    this.leaves.open(into, slot);
    this.#setKey(this.leaves, into, slot, ref);
    this.leaves.chunk(into).live[this.leaves.base(into) + slot] = 1;
    return right;
  }

  /** Puts `child`, a node of `below`, into the inner node. Answers the new inner node to its right if it was split, else NONE. */
  #insertChild(node: number, slot: number, below: TreeNodes, child: number, isLast: boolean): number {
    let into = node;
    let at = slot;
    let right = NONE;
    if (this.inner.size(node) === NODE_SLOTS) {
      right = this.inner.take();
      const keep = isLast && slot === NODE_SLOTS ? NODE_SLOTS : NODE_SLOTS / 2;
      this.inner.move(node, keep, right);
      if (slot > keep || keep === NODE_SLOTS) {
        into = right;
        at -= keep;
      }
    }
    this.inner.open(into, at);
    this.#describeChild(into, at, below, child);
    return right;
  }

  /** Writes what an inner node knows of a child that is not empty. */
  #describeChild(node: number, slot: number, below: TreeNodes, child: number): void {
    const chunk = this.inner.chunk(node);
    const at = this.inner.base(node) + slot;
    const source = below.chunk(child);
    const first = below.base(child);
    chunk.keys[at] = source.keys[first]!;
    chunk.high[at] = source.high[first]!;
    chunk.low[at] = source.low[first]!;
    chunk.children[at] = child;
    chunk.counts[at] = below.total(child);
  }

  #growRoot(right: number): void {
    assert(this.height < HEIGHT_MAX, "the tree of keys is not too high");
    const below = this.height === 0 ? this.leaves : this.inner;
    const root = this.inner.take();
    this.inner.setSize(root, 2);
    this.#describeChild(root, 0, below, this.root);
    this.#describeChild(root, 1, below, right);
    this.root = root;
    this.height++;
  }

  /** After a key below the slot went: the child goes too, or joins a neighbour, or has another lowest key. */
  #settleChild(node: number, slot: number, below: TreeNodes, child: number): void {
    const size = below.size(child);
    if (size === 0) {
      if (below === this.leaves) this.#unlinkLeaf(child);
      below.give(child);
      this.inner.close(node, slot);
      return;
    }
    const chunk = this.inner.chunk(node);
    const base = this.inner.base(node);
    const first = below.base(child);
    const source = below.chunk(child);
    chunk.keys[base + slot] = source.keys[first]!;
    chunk.high[base + slot] = source.high[first]!;
    chunk.low[base + slot] = source.low[first]!;
    if (size >= JOIN_BELOW) return;
    if (slot + 1 < this.inner.size(node)) this.#join(node, slot, below);
    if (slot > 0) this.#join(node, slot - 1, below);
  }

  /** Joins the slot's child with the next one, if both fit well into one. */
  #join(node: number, slot: number, below: TreeNodes): void {
    const chunk = this.inner.chunk(node);
    const at = this.inner.base(node) + slot;
    const left = chunk.children[at]!;
    const right = chunk.children[at + 1]!;
    if (below.size(left) + below.size(right) > JOINED_MAX) return;
    below.move(right, 0, left);
    chunk.counts[at]! += chunk.counts[at + 1]!;
    if (below === this.leaves) this.#unlinkLeaf(right);
    below.give(right);
    this.inner.close(node, slot + 1);
  }

  #unlinkLeaf(leaf: number): void {
    const next = this.leaves.next(leaf);
    const previous = this.leaves.previous(leaf);
    if (previous !== NONE) this.leaves.setNext(previous, next);
    if (next !== NONE) this.leaves.setPrevious(next, previous);
  }
}

/** Four bytes from here as a big-endian number, zeros behind the end. */
function prefix(bytes: Uint8Array, from: number, length: number): number {
  if (length >= 4) return ((bytes[from]! << 24) | (bytes[from + 1]! << 16) | (bytes[from + 2]! << 8) | bytes[from + 3]!) >>> 0;
  let word = 0;
  for (let i = 0; i < 4; i++) word = (word << 8) | (i < length ? bytes[from + i]! : 0);
  return word >>> 0;
}
