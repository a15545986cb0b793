/**
 * Whether a watch told everything, once, and in order: its batches against the model of the changes.
 */
import { CheckFailure, type DataEvent, type DataModel, type ReadValue } from "./history.ts";

export interface WatchedEvent {
  readonly kind: "put" | "delete";
  readonly key: string;
  readonly value: string;
  readonly created: boolean;
  readonly cause: DataEvent["cause"];
  /** Its value before; undefined if there was none, or if it was not asked for. */
  readonly prevValue: string | undefined;
}

export type WatchedBatch =
  /** `more`: the revision goes on with the next batch. */
  | { readonly kind: "events"; readonly revision: number; readonly events: readonly WatchedEvent[]; readonly more: boolean }
  | { readonly kind: "progress"; readonly revision: number }
  | {
      readonly kind: "reset";
      readonly revision: number;
      readonly values: readonly ReadValue[];
      readonly reason: "initial" | "compacted" | "restored";
    };

/** A watch of a simulation, as its reader saw it. */
export interface WatchRecord {
  readonly watcher: string;
  /** The opening of a node that served it. */
  readonly node: string;
  readonly prefix: string;
  /** The first revision wanted; 0 until the registration told it. */
  fromRevision: number;
  readonly prevKv: boolean;
  readonly only: "puts" | "deletes" | undefined;
  readonly onGap: "throw" | "reset";
  /** It asked to begin with what is there. */
  readonly initial: boolean;
  readonly batches: WatchedBatch[];
  /** Set if it ended by itself with COMPACTED. */
  compactRevision: number | undefined;
  /** It was still being read at the end, so that it must have been told everything. */
  isLive: boolean;
}

/** Throws CheckFailure with the batch that is wrong. */
export function checkWatch(watch: WatchRecord, model: DataModel): void {
  const fail = (finding: string, batch?: WatchedBatch): never => {
    const shown = { ...watch, batches: watch.batches.length };
    throw new CheckFailure("watch", [finding, JSON.stringify(shown), ...(batch === undefined ? [] : [JSON.stringify(batch)])].join("\n  "));
  };
  if (watch.fromRevision === 0) {
    if (watch.batches.length > 0) fail("batches before the registration was known");
    return;
  }
  // Everything that matches below `next` was told.
  let next = watch.fromRevision;
  // How many of the events of `next` were told, of a revision that goes on.
  let toldOfNext = 0;
  const expectNothingBefore = (revision: number, batch?: WatchedBatch): void => {
    for (; next < revision; next++) {
      if (matching(watch, model, next).length > 0) fail(`nothing was told of revision ${next}`, batch);
    }
  };
  for (const [at, batch] of watch.batches.entries()) {
    const isInitial = batch.kind === "reset" && batch.reason === "initial";
    if (isInitial !== (watch.initial && at === 0)) fail("what is there when it begins is told first and once, to who asked for it", batch);
    if (batch.kind === "reset" && !isInitial && watch.onGap !== "reset") fail("a reset that nobody asked for", batch);
    if (batch.revision > model.revision) fail(`a batch of a revision that never was`, batch);
    if (batch.kind === "reset") {
      if (batch.revision < next - 1) fail(`a reset goes back behind what was told`, batch);
      const expected = model.range(watch.prefix, batch.revision);
      const same =
        expected.length === batch.values.length &&
        expected.every(
          (value, at) =>
            batch.values[at]?.key === value.key &&
            batch.values[at]?.value === value.value &&
            batch.values[at]?.modRevision === value.modRevision,
        );
      if (!same) fail(`a reset holds other data than ${JSON.stringify(expected)}`, batch);
      next = batch.revision + 1;
      toldOfNext = 0;
      continue;
    }
    if (toldOfNext > 0 && (batch.kind === "progress" || batch.revision !== next)) fail(`revision ${next} was to go on`, batch);
    if (batch.kind === "progress") {
      expectNothingBefore(batch.revision + 1, batch);
      continue;
    }
    if (batch.revision < next) fail(`a batch comes again or too late: ${next} was to be next`, batch);
    expectNothingBefore(batch.revision, batch);
    const expected = matching(watch, model, batch.revision);
    const told = toldOfNext + batch.events.length;
    if (batch.events.length === 0 || (batch.more ? told >= expected.length : told !== expected.length))
      fail(`revision ${batch.revision} has ${expected.length} events that match, of which ${toldOfNext} had been told`, batch);
    for (const [at, event] of batch.events.entries()) {
      const wanted = expected[toldOfNext + at] as DataEvent;
      const before = model.at(wanted.key, batch.revision - 1).value;
      const isRight =
        event.kind === wanted.kind &&
        event.key === wanted.key &&
        event.value === wanted.value &&
        event.cause === wanted.cause &&
        (event.kind === "delete" || event.created === (before === undefined)) &&
        event.prevValue === (watch.prevKv ? before : undefined);
      if (!isRight) fail(`an event is not what happened: ${JSON.stringify({ ...wanted, before })}`, batch);
    }
    next = batch.more ? batch.revision : batch.revision + 1;
    toldOfNext = batch.more ? told : 0;
  }
  if (watch.compactRevision !== undefined) {
    if (watch.onGap === "reset") fail("ended with COMPACTED though a reset was asked for");
    if (watch.compactRevision <= next) fail(`ended with COMPACTED though ${next} was still there`);
    return;
  }
  if (watch.isLive) expectNothingBefore(model.revision + 1);
}

function matching(watch: WatchRecord, model: DataModel, revision: number): readonly DataEvent[] {
  return (model.change(revision)?.events ?? []).filter(
    (event) =>
      event.key.startsWith(watch.prefix) &&
      (watch.only === undefined || (watch.only === "puts" ? event.kind === "put" : event.kind === "delete")),
  );
}
