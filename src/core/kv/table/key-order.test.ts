import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KeyOrder } from "./key-order.ts";
import { CONTROL_WORDS, KEY_BYTES, KEY_HEADER_BYTES, SLAB_UNITS_LOG2, SLAB_UNITS_MASK, SLABS_MAX } from "./layout.ts";
import { Slabs } from "./slabs.ts";
import { NODE_SLOTS, NONE } from "./tree-nodes.ts";

/** An order of keys that are numbers, in ten digits behind a beginning they share. */
class NumberOrder {
  readonly slabs: Slabs = new Slabs({ control: new Uint32Array(CONTROL_WORDS), slabsMax: SLABS_MAX, onGrowth: () => {} });
  readonly order: KeyOrder = new KeyOrder(this.slabs);
  readonly refs: Map<number, number> = new Map();
  readonly #beginning: string;

  constructor(beginning: string) {
    this.#beginning = beginning;
  }

  key(number: number): Uint8Array {
    return Uint8Array.from(this.#beginning + String(number).padStart(10, "0"), (character) => character.charCodeAt(0));
  }

  insert(number: number): void {
    const key = this.key(number);
    const ref = this.slabs.allocate(KEY_HEADER_BYTES + key.length);
    this.slabs.words[ref >>> SLAB_UNITS_LOG2]![((ref & SLAB_UNITS_MASK) << 1) + KEY_BYTES] = key.length;
    this.slabs.bytes[ref >>> SLAB_UNITS_LOG2]!.set(key, (ref & SLAB_UNITS_MASK) * 8 + KEY_HEADER_BYTES);
    this.refs.set(number, ref);
    this.order.insert(ref);
  }

  remove(number: number): void {
    const ref = this.refs.get(number)!;
    this.order.setLive(ref, false);
    this.order.remove(ref);
    this.slabs.release(ref);
    this.refs.delete(number);
  }

  /** Walks the whole tree: every leaf is as deep, lowest keys and counts are exact, leaves are chained in order. Answers the keys. */
  check(): number[] {
    const { order } = this;
    const numbers: number[] = [];
    let leafBefore = NONE;
    const numberOf = (ref: number): number => {
      const from = (ref & SLAB_UNITS_MASK) * 8 + KEY_HEADER_BYTES;
      return Number(
        String.fromCharCode(
          ...this.slabs.bytes[ref >>> SLAB_UNITS_LOG2]!.subarray(from + this.#beginning.length, from + this.#beginning.length + 10),
        ),
      );
    };
    const walk = (node: number, level: number): { first: number; live: number } => {
      const nodes = level < 0 ? order.leaves : order.inner;
      const size = nodes.size(node);
      assert.ok(size > 0 && size <= NODE_SLOTS);
      let live = 0;
      if (level < 0) {
        assert.equal(nodes.previous(node), leafBefore);
        if (leafBefore !== NONE) assert.equal(nodes.next(leafBefore), node);
        leafBefore = node;
      }
      for (let slot = 0; slot < size; slot++) {
        if (level < 0) {
          numbers.push(numberOf(nodes.key(node, slot)));
          live += nodes.count(node, slot);
        } else {
          const below = walk(nodes.child(node, slot), level - 1);
          assert.equal(nodes.key(node, slot), below.first, "the lowest key below a child");
          assert.equal(nodes.count(node, slot), below.live, "the live keys below a child");
          live += below.live;
        }
      }
      return { first: nodes.key(node, 0), live };
    };
    if (order.root !== NONE) {
      assert.equal(walk(order.root, order.height - 1).live, order.total);
      assert.equal(order.leaves.next(leafBefore), NONE);
    }
    for (let i = 1; i < numbers.length; i++) assert.ok(numbers[i - 1]! < numbers[i]!, "keys ascend");
    return numbers;
  }
}

function* randomNumbers(seed: number): Generator<number, never> {
  let state = seed;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state >>> 4;
  }
}

describe("the order of keys", () => {
  for (const beginning of ["", "service/region/"]) {
    test(`stays a well-formed tree while keys come and go at random, beginning with "${beginning}"`, () => {
      const numbers = new NumberOrder(beginning);
      const random = randomNumbers(7);
      // Grows to some ten thousand keys, shrinks to few, and again.
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 8_000; i++) {
          const number = random.next().value % 1_000_000;
          if (numbers.refs.has(number)) continue;
          numbers.insert(number);
        }
        assert.deepEqual(
          numbers.check(),
          [...numbers.refs.keys()].sort((a, b) => a - b),
        );
        const all = [...numbers.refs.keys()];
        const sorted = all.toSorted((a, b) => a - b);
        for (let i = 0; i < 500; i++) {
          const at = random.next().value % sorted.length;
          assert.equal(numbers.order.rank(numbers.key(sorted[at]!)), at);
        }
        const keep = round % 2 === 0 ? 50 : 0;
        for (const [i, number] of all.entries()) {
          if (all.length - i <= keep) break;
          numbers.remove(number);
          if (i % 3000 === 0) numbers.check();
        }
        assert.equal(numbers.check().length, keep);
      }
      assert.equal(numbers.order.root, NONE);
    });
  }

  test("takes keys in rising order into full nodes, and in falling order into half full ones", () => {
    const rising = new NumberOrder("");
    for (let i = 0; i < 20_000; i++) rising.insert(i);
    const falling = new NumberOrder("");
    for (let i = 20_000; i > 0; i--) falling.insert(i);
    assert.equal(rising.check().length, 20_000);
    assert.equal(falling.check().length, 20_000);
    const leaves = (order: KeyOrder): number => {
      let count = 0;
      for (let leaf = order.outermostLeaf("first"); leaf !== NONE; leaf = order.leaves.next(leaf)) count++;
      return count;
    };
    assert.equal(leaves(rising.order), Math.ceil(20_000 / NODE_SLOTS));
    assert.ok(leaves(falling.order) <= (20_000 / NODE_SLOTS) * 2 + 1);
  });

  test("frees nodes: removing from the front and adding behind for ever takes no more memory", () => {
    const queue = new NumberOrder("queue/");
    let bytes = 0;
    for (let i = 0; i < 60_000; i++) {
      queue.insert(i);
      if (i >= 5000) queue.remove(i - 5000);
      if (i === 20_000) bytes = queue.order.memoryBytes;
    }
    assert.equal(queue.check().length, 5000);
    assert.equal(queue.order.memoryBytes, bytes);
  });
});
