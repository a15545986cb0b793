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
import { CHILDREN, HIGH, KEYS, LOW, NODE_SLOTS, NONE, TreeNodes } from "./tree-nodes.ts";

const JOIN_BELOW = NODE_SLOTS / 4;
const JOINED_MAX = (NODE_SLOTS * 3) / 4;
/** A tree of 2^26 keys in nodes of two slots would not be higher. */
const HEIGHT_MAX = 27;
/** What a node can say of its keys' common beginning. */
const SHARED_MAX = 65_535;

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
  /** The eight bytes of it at this offset. */
  #prefixAt = 0;
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
      node = this.inner.child(node, slot);
    }

    let right = this.#insertIntoLeaf(node, ref);
    for (let level = 0; level < this.height; level++) {
      const above = this.#path[level]!;
      const slot = this.#taken[level]!;
      const below = level === 0 ? this.leaves : this.inner;
      if (right === NONE) {
        this.inner.setCount(above, slot, this.inner.count(above, slot) + 1);
      } else {
        this.inner.setCount(above, slot, below.total(this.inner.child(above, slot)));
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
    assert(slot < this.leaves.size(leaf) && this.leaves.key(leaf, slot) === ref, "a key that is removed is in the order");
    assert(this.leaves.count(leaf, slot) === 0, "a key that is removed is not live");
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
      const only = this.inner.child(this.root, 0);
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
    const slot = this.#lowerBound(this.leaves, leaf, false);
    assert(slot < this.leaves.size(leaf) && this.leaves.key(leaf, slot) === ref, "a key that changes is in the order");
    assert(this.leaves.count(leaf, slot) === (live ? 0 : 1), "a key begins or ends to be live");
    this.leaves.setCount(leaf, slot, live ? 1 : 0);
    for (let level = 0; level < this.height; level++) {
      const above = this.#path[level]!;
      const taken = this.#taken[level]!;
      this.inner.setCount(above, taken, this.inner.count(above, taken) + (live ? 1 : -1));
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
      node = this.inner.child(node, slot);
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
      node = this.inner.child(node, slot);
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
    this.#seekPrefix(0);
  }

  #seekPrefix(at: number): void {
    this.#prefixAt = at;
    this.#high = prefix(this.#bytes, this.#from + at, this.#length - at);
    this.#low = prefix(this.#bytes, this.#from + at + 4, this.#length - at - 4);
  }

  /** The leaf where the sought key is or would be; the way there in #path and #taken. */
  #descend(): number {
    let node = this.root;
    for (let level = this.height - 1; level >= 0; level--) {
      const slot = Math.max(0, this.#lowerBound(this.inner, node, true) - 1);
      this.#path[level] = node;
      this.#taken[level] = slot;
      node = this.inner.child(node, slot);
    }
    return node;
  }

  /** How many keys of the node are lower than the sought one, or, with `orEqual`, not higher. */
  #lowerBound(nodes: TreeNodes, node: number, orEqual: boolean): number {
    const words = nodes.words(node);
    const base = nodes.base(node);
    const size = nodes.size(node);
    const shared = nodes.shared(node);
    if (shared > 0 && size > 0) {
      const compared = this.#compareBeginning(words[base + KEYS]!, shared);
      if (compared !== 0) return compared > 0 ? size : 0;
    }
    if (shared !== this.#prefixAt) this.#seekPrefix(shared);
    let low = 0;
    let high = size;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const compared = this.#compare(words, base + middle);
      if (compared > 0 || (orEqual && compared === 0)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Positive where the sought key is higher than all that begin with the first `shared` bytes of this key, negative where lower. */
  #compareBeginning(ref: number, shared: number): number {
    const bytes = this.#slabs.bytes[ref >>> SLAB_UNITS_LOG2]!;
    const from = (ref & SLAB_UNITS_MASK) * 8 + KEY_HEADER_BYTES;
    const both = Math.min(shared, this.#length);
    for (let i = 0; i < both; i++) {
      const difference = this.#bytes[this.#from + i]! - bytes[from + i]!;
      if (difference !== 0) return difference;
    }
    return this.#length < shared ? -1 : 0;
  }

  /** Positive where the sought key is higher than the slot's. Both begin with what the node's keys share. */
  #compare(words: Uint32Array, at: number): number {
    const high = words[at + HIGH]!;
    if (high !== this.#high) return this.#high > high ? 1 : -1;
    const low = words[at + LOW]!;
    if (low !== this.#low) return this.#low > low ? 1 : -1;
    const ref = words[at + KEYS]!;
    const slab = ref >>> SLAB_UNITS_LOG2;
    const place = (ref & SLAB_UNITS_MASK) << 1;
    const length = this.#slabs.words[slab]![place + KEY_BYTES]!;
    const bytes = this.#slabs.bytes[slab]!;
    const from = place * 4 + KEY_HEADER_BYTES;
    const both = Math.min(length, this.#length);
    for (let i = this.#prefixAt + 8; i < both; i++) {
      const difference = this.#bytes[this.#from + i]! - bytes[from + i]!;
      if (difference !== 0) return difference;
    }
    return this.#length - length;
  }

  /** Puts a key into a slot of a node, whose keys then may share less than before. */
  #setKey(nodes: TreeNodes, node: number, slot: number, ref: number): void {
    nodes.words(node)[nodes.base(node) + KEYS + slot] = ref;
    const shared = nodes.shared(node);
    if (nodes.size(node) === 1) {
      nodes.setShared(node, this.#sharedBytes(ref, ref, SHARED_MAX));
    } else if (shared > 0) {
      const both = this.#sharedBytes(ref, nodes.key(node, slot === 0 ? 1 : 0), shared);
      if (both < shared) {
        this.#setShared(nodes, node, both);
        return;
      }
    }
    this.#setPrefix(nodes, node, slot);
  }

  /** With how many bytes, up to `most`, both keys begin. */
  #sharedBytes(left: number, right: number, most: number): number {
    const leftBytes = this.#slabs.bytes[left >>> SLAB_UNITS_LOG2]!;
    const rightBytes = this.#slabs.bytes[right >>> SLAB_UNITS_LOG2]!;
    const leftAt = (left & SLAB_UNITS_MASK) << 1;
    const rightAt = (right & SLAB_UNITS_MASK) << 1;
    const leftLength = this.#slabs.words[left >>> SLAB_UNITS_LOG2]![leftAt + KEY_BYTES]!;
    const rightLength = this.#slabs.words[right >>> SLAB_UNITS_LOG2]![rightAt + KEY_BYTES]!;
    const end = Math.min(most, leftLength, rightLength);
    let i = 0;
    while (i < end && leftBytes[leftAt * 4 + KEY_HEADER_BYTES + i] === rightBytes[rightAt * 4 + KEY_HEADER_BYTES + i]) i++;
    return i;
  }

  /** After slots moved: what the node's keys share is what the lowest and the highest share. */
  #settleShared(nodes: TreeNodes, node: number): void {
    const size = nodes.size(node);
    if (size === 0) return;
    this.#setShared(nodes, node, this.#sharedBytes(nodes.key(node, 0), nodes.key(node, size - 1), SHARED_MAX));
  }

  #setShared(nodes: TreeNodes, node: number, shared: number): void {
    nodes.setShared(node, shared);
    const size = nodes.size(node);
    for (let slot = 0; slot < size; slot++) this.#setPrefix(nodes, node, slot);
  }

  #setPrefix(nodes: TreeNodes, node: number, slot: number): void {
    const words = nodes.words(node);
    const at = nodes.base(node) + slot;
    const shared = nodes.shared(node);
    const ref = words[at + KEYS]!;
    const slab = ref >>> SLAB_UNITS_LOG2;
    const place = (ref & SLAB_UNITS_MASK) << 1;
    const bytes = this.#slabs.bytes[slab]!;
    const rest = this.#slabs.words[slab]![place + KEY_BYTES]! - shared;
    const from = place * 4 + KEY_HEADER_BYTES + shared;
    words[at + HIGH] = prefix(bytes, from, rest);
    words[at + LOW] = prefix(bytes, from + 4, rest - 4);
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
      if (keep < NODE_SLOTS) {
        this.#settleShared(this.leaves, leaf);
        this.#settleShared(this.leaves, right);
      }
    }
    this.leaves.open(into, slot);
    this.#setKey(this.leaves, into, slot, ref);
    this.leaves.setCount(into, slot, 1);
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
      if (keep < NODE_SLOTS) {
        this.#settleShared(this.inner, node);
        this.#settleShared(this.inner, right);
      }
    }
    this.inner.open(into, at);
    this.#describeChild(into, at, below, child);
    return right;
  }

  /** Writes what an inner node knows of a child that is not empty. */
  #describeChild(node: number, slot: number, below: TreeNodes, child: number): void {
    this.inner.words(node)[this.inner.base(node) + CHILDREN + slot] = child;
    this.inner.setCount(node, slot, below.total(child));
    this.#setKey(this.inner, node, slot, below.key(child, 0));
  }

  #growRoot(right: number): void {
    assert(this.height < HEIGHT_MAX, "the tree of keys is not too high");
    const below = this.height === 0 ? this.leaves : this.inner;
    const root = this.inner.take();
    this.inner.setSize(root, 1);
    this.#describeChild(root, 0, below, this.root);
    this.inner.setSize(root, 2);
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
    const lowest = below.key(child, 0);
    if (lowest !== this.inner.key(node, slot)) this.#setKey(this.inner, node, slot, lowest);
    if (size >= JOIN_BELOW) return;
    if (slot + 1 < this.inner.size(node)) this.#join(node, slot, below);
    if (slot > 0) this.#join(node, slot - 1, below);
  }

  /** Joins the slot's child with the next one, if both fit well into one. */
  #join(node: number, slot: number, below: TreeNodes): void {
    const left = this.inner.child(node, slot);
    const right = this.inner.child(node, slot + 1);
    if (below.size(left) + below.size(right) > JOINED_MAX) return;
    below.move(right, 0, left);
    this.#settleShared(below, left);
    this.inner.setCount(node, slot, this.inner.count(node, slot) + this.inner.count(node, slot + 1));
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
