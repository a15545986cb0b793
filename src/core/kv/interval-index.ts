/**
 * Which intervals hold a key. Single keys are found by a map; the others by a treap ordered by (start, end), each node of which knows the
 * furthest end below it, so that a look-up costs the logarithm of the intervals and the number of hits. Intervals are equal if their
 * bounds are: one value for each.
 */
import { compareBytes, contains, mapKey } from "./bytes.ts";
import type { KeyInterval } from "./table.ts";

interface Node<T> {
  readonly interval: KeyInterval;
  readonly value: T;
  readonly priority: number;
  left: Node<T> | undefined;
  right: Node<T> | undefined;
  /** undefined: the last key is below this node. */
  furthest: Uint8Array | undefined;
}

/** One value for each interval. */
export class IntervalIndex<T> {
  private readonly single: Map<string, T> = new Map();
  private root: Node<T> | undefined = undefined;
  private priorities = 1;
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
      return;
    }
    this.intervals++;
    // A step of a full-period generator: the shape must not depend on the order of additions, nor the run on chance.
    this.priorities = (Math.imul(this.priorities, 1_664_525) + 1_013_904_223) >>> 0;
    const { left, right } = split(this.root, interval);
    const node: Node<T> = { interval, value, priority: this.priorities, left: undefined, right: undefined, furthest: interval.end };
    this.root = merge(merge(left, node), right);
  }

  /** The interval must be there. */
  remove(interval: KeyInterval): void {
    if (isSingleKey(interval)) {
      this.single.delete(mapKey(interval.start));
      return;
    }
    this.intervals--;
    this.root = without(this.root, interval);
  }

  /** Adds the values of all intervals that hold the key. */
  collect(key: Uint8Array, into: T[]): void {
    if (this.single.size > 0) {
      const value = this.single.get(mapKey(key));
      if (value !== undefined) into.push(value);
    }
    collect(this.root, key, into);
  }
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

function update<T>(node: Node<T>): Node<T> {
  let furthest = node.interval.end;
  if (node.left !== undefined && compareEnds(node.left.furthest, furthest) > 0) furthest = node.left.furthest;
  if (node.right !== undefined && compareEnds(node.right.furthest, furthest) > 0) furthest = node.right.furthest;
  node.furthest = furthest;
  return node;
}

interface Halves<T> {
  readonly left: Node<T> | undefined;
  readonly right: Node<T> | undefined;
}

/** Left: what sorts before the interval. */
function split<T>(node: Node<T> | undefined, interval: KeyInterval): Halves<T> {
  if (node === undefined) return { left: undefined, right: undefined };
  if (compareIntervals(node.interval, interval) < 0) {
    const { left, right } = split(node.right, interval);
    node.right = left;
    return { left: update(node), right };
  }
  const { left, right } = split(node.left, interval);
  node.left = right;
  return { left, right: update(node) };
}

/** All of `left` sorts before all of `right`. */
function merge<T>(left: Node<T> | undefined, right: Node<T> | undefined): Node<T> | undefined {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.priority > right.priority) {
    left.right = merge(left.right, right);
    return update(left);
  }
  right.left = merge(left, right.left);
  return update(right);
}

function without<T>(node: Node<T> | undefined, interval: KeyInterval): Node<T> | undefined {
  if (node === undefined) return undefined;
  const order = compareIntervals(interval, node.interval);
  if (order === 0) return merge(node.left, node.right);
  if (order < 0) node.left = without(node.left, interval);
  else node.right = without(node.right, interval);
  return update(node);
}

function collect<T>(node: Node<T> | undefined, key: Uint8Array, into: T[]): void {
  if (node === undefined) return;
  if (node.furthest !== undefined && compareBytes(key, node.furthest) >= 0) return;
  collect(node.left, key, into);
  if (compareBytes(key, node.interval.start) < 0) return;
  if (contains(node.interval, key)) into.push(node.value);
  collect(node.right, key, into);
}
