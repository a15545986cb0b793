/** Machines with one thing wrong each. The property that machine and model agree must reject every one of them. */
import type { KvMachine } from "../machine.ts";
import type { RecordRef, Table } from "../table.ts";
import { SimpleTable } from "./simple-table.ts";

export interface Canary {
  readonly name: string;
  readonly spoil?: (machine: KvMachine) => void;
  readonly createTable?: () => Table;
}

/** A method of an object, private ones included. */
type Method = (...args: unknown[]) => unknown;

function method(object: unknown, name: string): Method {
  const found = (object as Record<string, unknown>)[name];
  if (typeof found !== "function") throw new Error(`there is no ${name} to spoil`);
  return (found as Method).bind(object);
}

function replace(object: unknown, name: string, by: (original: Method) => Method): void {
  const original = method(object, name);
  (object as Record<string, unknown>)[name] = by(original);
}

function field<T>(object: unknown, name: string): T {
  const found = (object as Record<string, unknown>)[name];
  if (found === undefined) throw new Error(`there is no ${name} to spoil`);
  return found as T;
}

class LosesAnEvent extends SimpleTable {
  override compact(revision: number, recordsMax: number): boolean {
    return super.compact(Math.min(revision + 1, this.published), recordsMax);
  }
}

class ReadsTheNewest extends SimpleTable {
  override asOf(ref: RecordRef): RecordRef {
    return ref;
  }
}

export const CANARIES: readonly Canary[] = [
  { name: "compaction frees one revision too many", createTable: () => new LosesAnEvent() },
  { name: "a read of the past sees the present", createTable: () => new ReadsTheNewest() },
  {
    name: "an overwrite does not clear the time to live",
    spoil: (machine) => replace(field(machine, "data"), "leave", () => () => undefined),
  },
  {
    name: "a deletion of nothing makes a revision",
    spoil: (machine) =>
      replace(machine, "deleteKey", (original) => () => {
        const before = machine.revision;
        original();
        if (machine.revision === before) (machine as unknown as { currentRevision: number }).currentRevision++;
      }),
  },
  {
    name: "a lease falls due a millisecond late",
    spoil: (machine) =>
      replace(field(field(machine, "data"), "leases"), "due", (original) => (clockMs) => original((clockMs as number) - 1)),
  },
  {
    name: "history is not charged for what a deletion holds",
    spoil: (machine) =>
      replace(
        field(field(machine, "data"), "ledger"),
        "add",
        (original) => (revision, bytes) => original(revision, Math.min(bytes as number, 80)),
      ),
  },
  {
    name: "history is trimmed one revision late",
    spoil: (machine) =>
      replace(field(field(machine, "data"), "ledger"), "trim", (original) => (through) => original((through as number) - 1)),
  },
  {
    name: "a pin does not hold history back",
    spoil: (machine) => {
      Object.defineProperty(field(machine, "pins"), "lowestRevision", { value: Number.POSITIVE_INFINITY });
    },
  },
  {
    name: "a watcher that falls behind skips an event",
    spoil: (machine) => {
      const get = (): number => field(machine.watches, "position");
      Object.defineProperty(machine.watches, "underWayFrom", {
        get,
        set() {
          // Stays where the hub is by then.
        },
      });
    },
  },
  {
    name: "a watcher joins the synced ones a revision early",
    spoil: (machine) => replace(machine.watches, "boundary", (original) => () => (original() as number) - 1),
  },
  {
    name: "events are told before their revision is whole",
    spoil: (machine) => {
      const get = (): number => field<number>(machine, "currentRevision") + (machine.applying ? 1 : 0);
      Object.defineProperty(machine, "revision", { get });
    },
  },
  {
    name: "progress is told of what was not looked at",
    spoil: (machine) => replace(machine.watches, "effectiveNext", () => () => machine.revision + 1),
  },
  {
    name: "the revision after a reset is passed over",
    spoil: (machine) =>
      replace(machine.watches, "readReset", (original) => (watcher, budget) => {
        const cost = original(watcher, budget);
        const { reset } = watcher as { reset: unknown };
        if (reset === undefined) (watcher as { next: number }).next++;
        return cost;
      }),
  },
  {
    name: "a watch whose history is gone goes on in silence",
    spoil: (machine) =>
      replace(machine.watches, "onGap", () => (watcher) => {
        (watcher as { gap: boolean; next: number; position: number }).gap = false;
        (watcher as { next: number }).next = machine.freedRevision + 1;
        (watcher as { position: number }).position = -1;
        method(machine.watches, "enqueue")(watcher);
      }),
  },
  {
    name: "a snapshot forgets how long leases have left",
    spoil: (machine) =>
      replace(field(field(machine, "data"), "leases"), "copyColumns", (original) => () => {
        const columns = original() as { dueMs: Float64Array; ttlMs: Float64Array };
        return { ...columns, dueMs: columns.dueMs.map((dueMs, at) => dueMs + columns.ttlMs[at]!) };
      }),
  },
  {
    name: "a snapshot does not pin what it reads",
    spoil: (machine) => replace(field(machine, "pins"), "holdAnyway", () => () => ({ revision: 0, release: () => undefined })),
  },
  {
    name: "a sorted range is cut before it is sorted",
    spoil: (machine) =>
      replace(machine, "range", (original) => (request, options) => {
        const reading = original(request, options);
        replace(reading, "number", () => () => 0);
        return reading;
      }),
  },
];

/** Too rare among random actions: the hub's own tests must reject it. */
export function joinInTheMiddle(machine: KvMachine): void {
  replace(machine.watches, "boundary", (original) => () => {
    const { underWay } = machine.watches as unknown as { underWay: number };
    return underWay > 0 ? underWay : original();
  });
}
