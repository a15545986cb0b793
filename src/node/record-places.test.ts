import assert from "node:assert/strict";
import { test } from "node:test";
import { RecordPlaces } from "./record-places.ts";

test("places agree with a map through growth, deletion and shrinking", () => {
  const places = new RecordPlaces();
  const model = new Map<number, number>();
  let state = 7;
  const draw = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (const [steps, deletions] of [
    [20_000, 1],
    [40_000, 4],
    [10_000, 2],
  ] as const) {
    for (let step = 0; step < steps; step++) {
      const ref = ((1 + draw(9_000)) * 8 + draw(2)) >>> 0;
      if (draw(5) < deletions) {
        places.delete(ref);
        model.delete(ref);
      } else {
        const place = draw(5);
        places.set(ref, place);
        if (place === 0) model.delete(ref);
        else model.set(ref, place);
      }
    }
    for (let ref = 1; ref < 80_000; ref++) assert.equal(places.get(ref), model.get(ref) ?? 0);
  }
});
