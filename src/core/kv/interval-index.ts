/**
 * Which intervals hold a key. Single keys are found by a map, behind a filter that spares most others from being made into a string; the rest by an AVL tree ordered by (start, end), each node of which knows
 * the furthest end below it, so that a look-up costs the logarithm of the intervals and the number of hits, in whatever order they came.
 * Intervals are equal if their bounds are: one value for each.
 */
import { compareBytes, mapKey } from "./bytes.ts";
import type { KeyInterval } from "./table.ts";

interface Node<T> {
  readonly interval: KeyInterval;
  readonly value: T;
  left: Node<T> | undefined;
  right: Node<T> | undefined;
  height: number;
  /** undefined: the last key is below this node. */
  furthest: Uint8Array | undefined;
}

/** Single keys from which on a filter stands before the map. */
const FILTERED_KEYS_MIN = 16;
const FILTER_PLACES = 1 << 16;
const FILTER_FULL = 0xffff;

/** One value for each interval. */
export class IntervalIndex<T> {
  private readonly single: Map<string, T> = new Map();
  /** How many single keys have each hash. A place that is full stays full. undefined while there are few. */
  private filter: Uint16Array | undefined = undefined;
  private root: Node<T> | undefined = undefined;
  private intervals = 0;

  get size(): number {
    return this.single.size + this.intervals;
  }

  get(interval: KeyInterval): T | undefined {
    if (isSingleKey(interval)) return this.single.get(mapKey(interval.start));
    let node = this.root;
    while (node !== undefined) {
      const order = compareIntervals(interval, node.interval);
      if (order === 0) return node.value;
      node = order < 0 ? node.left : node.right;
    }
    return undefined;
  }

  /** The interval must not be there. Keeps it: nobody may change its bytes. */
  add(interval: KeyInterval, value: T): void {
    if (isSingleKey(interval)) {
      this.single.set(mapKey(interval.start), value);
      if (this.filter !== undefined) note(this.filter, interval.start, 1);
      else if (this.single.size >= FILTERED_KEYS_MIN) this.filter = this.listed();
      return;
    }
    this.intervals++;
    const node: Node<T> = { interval, value, left: undefined, right: undefined, height: 1, furthest: interval.end };
    this.root = withNode(this.root, node);
  }

  /** The interval must be there. */
  remove(interval: KeyInterval): void {
    if (isSingleKey(interval)) {
      this.single.delete(mapKey(interval.start));
      if (this.single.size === 0) this.filter = undefined;
      if (this.filter !== undefined) note(this.filter, interval.start, -1);
      return;
    }
    this.intervals--;
    this.root = without(this.root, interval);
  }

  /** Adds the values of all intervals that hold the key. */
  collect(key: Uint8Array, into: T[]): void {
    if (this.single.size > 0 && (this.filter === undefined || this.filter[placeOf(key)]! > 0)) {
      const value = this.single.get(mapKey(key));
      if (value !== undefined) into.push(value);
    }
    if (this.root !== undefined) collect(this.root, key, into);
  }

  private listed(): Uint16Array {
    const filter = new Uint16Array(FILTER_PLACES);
    for (const key of this.single.keys()) {
      note(
        filter,
        Uint8Array.from(key, (char) => char.charCodeAt(0)),
        1,
      );
    }
    return filter;
  }
}

/** FNV-1a, folded. Whoever makes keys collide has the map asked, and nothing else. */
function placeOf(key: Uint8Array): number {
  let hash = 0x811c_9dc5;
  const { length } = key;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ key[i]!, 0x0100_0193);
  return (hash ^ (hash >>> 16)) & (FILTER_PLACES - 1);
}

function note(filter: Uint16Array, key: Uint8Array, change: 1 | -1): void {
  const place = placeOf(key);
  const count = filter[place]!;
  if (count < FILTER_FULL) filter[place] = count + change;
}

/** Whether the end is the key right behind the start. */
export function isSingleKey(interval: KeyInterval): boolean {
  const { start, end } = interval;
  if (end === undefined || start.length === 0 || end.length !== start.length + 1 || end[start.length] !== 0) return false;
  return compareBytes(start, end.subarray(0, start.length)) === 0;
}

function compareEnds(left: Uint8Array | undefined, right: Uint8Array | undefined): number {
  if (left === undefined || right === undefined) return left === right ? 0 : left === undefined ? 1 : -1;
  return compareBytes(left, right);
}

function compareIntervals(left: KeyInterval, right: KeyInterval): number {
  const byStart = compareBytes(left.start, right.start);
  return byStart !== 0 ? byStart : compareEnds(left.end, right.end);
}

function update<T>(node: Node<T>): void {
  const { left, right } = node;
  let furthest = node.interval.end;
  if (left !== undefined && compareEnds(left.furthest, furthest) > 0) furthest = left.furthest;
  if (right !== undefined && compareEnds(right.furthest, furthest) > 0) furthest = right.furthest;
  node.furthest = furthest;
  node.height = 1 + Math.max(left?.height ?? 0, right?.height ?? 0);
}

function rotateRight<T>(node: Node<T>): Node<T> {
  const top = node.left!;
  node.left = top.right;
  top.right = node;
  update(node);
  update(top);
  return top;
}

function rotateLeft<T>(node: Node<T>): Node<T> {
  const top = node.right!;
  node.right = top.left;
  top.left = node;
  update(node);
  update(top);
  return top;
}

/** After one of its subtrees grew or shrank by one level. */
function balance<T>(node: Node<T>): Node<T> {
  const { left, right } = node;
  const lean = (left?.height ?? 0) - (right?.height ?? 0);
  if (lean > 1) {
    if ((left!.left?.height ?? 0) < (left!.right?.height ?? 0)) node.left = rotateLeft(left!);
    return rotateRight(node);
  }
  if (lean < -1) {
    if ((right!.right?.height ?? 0) < (right!.left?.height ?? 0)) node.right = rotateRight(right!);
    return rotateLeft(node);
  }
  update(node);
  return node;
}

function withNode<T>(root: Node<T> | undefined, node: Node<T>): Node<T> {
  if (root === undefined) return node;
  if (compareIntervals(node.interval, root.interval) < 0) root.left = withNode(root.left, node);
  else root.right = withNode(root.right, node);
  return balance(root);
}

function without<T>(root: Node<T> | undefined, interval: KeyInterval): Node<T> | undefined {
  if (root === undefined) return undefined;
  const order = compareIntervals(interval, root.interval);
  if (order < 0) {
    root.left = without(root.left, interval);
  } else if (order > 0) {
    root.right = without(root.right, interval);
  } else {
    if (root.left === undefined) return root.right;
    if (root.right === undefined) return root.left;
    // The next one in order takes its place.
    let next = root.right;
    while (next.left !== undefined) next = next.left;
    const rest = without(root.right, next.interval);
    next.left = root.left;
    next.right = rest;
    return balance(next);
  }
  return balance(root);
}

function collect<T>(from: Node<T>, key: Uint8Array, into: T[]): void {
  let node: Node<T> | undefined = from;
  while (node !== undefined) {
    if (node.furthest !== undefined && compareBytes(key, node.furthest) >= 0) return;
    if (node.left !== undefined) collect(node.left, key, into);
    const { start, end } = node.interval;
    // All to the right begin no earlier.
    if (compareBytes(key, start) < 0) return;
    if (end === undefined || compareBytes(key, end) < 0) into.push(node.value);
    node = node.right;
  }
}
