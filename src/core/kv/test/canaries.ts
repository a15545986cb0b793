/** Machines with one thing wrong each. The property that machine and model agree must reject every one of them. */
import type { KvMachine } from "../machine.ts";
import { SESSION_ANSWERED, SESSION_APPLY } from "../session-table.ts";
import type { RecordRef, Table } from "../table.ts";
import type { TxnCommand, TxnOp } from "../txn-command.ts";
import { TxnPlanning } from "../txn-plan.ts";
import type { ModelCommand } from "./model.ts";
import { SimpleTable } from "./simple-table.ts";
import type { Action } from "./world.ts";

export interface Canary {
  readonly name: string;
  readonly spoil?: (machine: KvMachine) => void;
  readonly createTable?: () => Table;
  /** What rejects it, where random actions would too seldom. */
  readonly actions?: readonly Action[];
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

interface Front {
  readonly underWay: number;
  readonly nextRevision: number;
}

function frontOf(machine: KvMachine): Front {
  return field<Front>(machine.watches, "front");
}

function moveBoundary(machine: KvMachine, boundary: (front: Front) => number): void {
  const front = frontOf(machine);
  Object.defineProperty(front, "boundary", { get: () => boundary(front) });
}

function applyAll(commands: readonly ModelCommand[]): Action {
  return { do: "apply", commands, passMs: 1, slices: [1], peek: false };
}

function applyOne(command: ModelCommand): Action {
  return applyAll([command]);
}

function sessionsOf(machine: KvMachine): object {
  return field<object>(field(machine, "data"), "sessions");
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

/** Spoils each transaction as it begins. */
function onTxn(machine: KvMachine, spoil: (run: object) => void): void {
  const begin = method(machine, "beginTxn");
  (machine as unknown as Record<string, unknown>)["beginTxn"] = (...args: unknown[]) => {
    begin(...args);
    const run = (machine as unknown as { readonly txn: object | undefined }).txn;
    if (run !== undefined) spoil(run);
  };
}

interface LatePlan {
  readonly txn: TxnCommand;
  succeeded: boolean;
  ops: readonly TxnOp[];
  nested: LatePlan[];
}

/** Nested transactions are decided when their turn comes. */
function decideLate(run: object): void {
  replace(run, "enter", (original) => (frame) => {
    const { plan, nested } = frame as { readonly plan: LatePlan; readonly nested: number };
    const { ground, phase } = run as { readonly ground: { readonly data: { readonly table: Table } }; readonly phase: string };
    if (phase === "run") {
      const planning = new TxnPlanning(ground.data.table, plan.nested[nested]!.txn, (run as { readonly revision: number }).revision);
      planning.step(1_000);
      plan.nested[nested] = planning.root as LatePlan;
    }
    original(frame);
  });
}

/** Spoils the hub's cohorts, those to come too. */
function onCohorts(machine: KvMachine, spoil: (cohort: object) => void): void {
  spoil(frontOf(machine));
  replace(machine.watches, "cohortAt", (original) => (...args) => {
    const cohort = original(...args) as object;
    spoil(cohort);
    return cohort;
  });
}

interface Leaving {
  next: number;
  skip: number;
}

const WATCHED_KEYS: readonly Action[] = [
  applyAll(["a", "b", "ab", "c"].map((key) => ({ op: "put", key, value: "1" }))),
  { do: "watch", start: "", end: undefined, back: undefined, prevKv: false, only: undefined, initial: false, onGap: "throw" },
  { do: "credit", watch: 0, bytes: 100_000 },
];
/** The watch is told part of a deletion, where parts are single events. */
const HALF_TOLD: readonly Action[] = [applyOne({ op: "deleteRange", start: "", end: undefined }), { do: "pump", records: 2 }];

/** What is wrong when revisions are told in parts, and not seen where they are told whole. */
export const PART_CANARIES: readonly Canary[] = [
  {
    name: "a watcher that falls behind between two parts loses an event",
    spoil: (machine) =>
      onCohorts(machine, (cohort) =>
        replace(cohort, "leave", (original) => (member) => {
          original(member);
          const leaving = member as Leaving;
          if (leaving.skip > 0) leaving.skip++;
        }),
      ),
  },
  {
    name: "a watcher that falls behind between two parts is told the first again",
    spoil: (machine) =>
      onCohorts(machine, (cohort) =>
        replace(cohort, "leave", (original) => (member) => {
          original(member);
          (member as Leaving).skip = 0;
        }),
      ),
  },
  {
    name: "a part is lost between two parts",
    spoil: (machine) => {
      let told = 0;
      onCohorts(machine, (cohort) =>
        replace(cohort, "tell", (original) => (audience, revision, events) => {
          const { more } = events as { readonly more: boolean };
          const isLost = more && (audience as { readonly toldTo: number }).toldTo > 0 && ++told % 2 === 0;
          return isLost ? 0 : original(audience, revision, events);
        }),
      );
    },
  },
  {
    name: "progress is told between two parts",
    spoil: (machine) => onCohorts(machine, (cohort) => replace(cohort, "isAmidRevision", () => () => false)),
    actions: [...WATCHED_KEYS, { do: "progress", watch: 0 }, ...HALF_TOLD],
  },
  {
    name: "who comes back between two parts is told with those who are elsewhere in the revision",
    spoil: (machine) =>
      onCohorts(machine, (cohort) =>
        replace(cohort, "join", (original) => (watcher) => {
          const joining = watcher as Leaving;
          const { boundary } = cohort as { readonly boundary: number };
          // Its place is forgotten where the cohort is at the same revision, or before it.
          if (joining.next >= boundary) joining.skip = 0;
          original(watcher);
        }),
      ),
  },
  {
    name: "a revision that was told in part is told anew when a snapshot comes",
    spoil: (machine) =>
      replace(machine.watches, "rebase", (original) => (restored) => {
        const watchers = field<Map<number, Leaving>>(machine.watches, "watchers");
        replace(machine.watches, "detach", (detach) => (watcher) => {
          detach(watcher);
          (watcher as Leaving).skip = 0;
        });
        original(restored);
        delete (machine.watches as unknown as { detach?: unknown }).detach;
        for (const watcher of watchers.values()) watcher.skip = 0;
      }),
    actions: [
      ...WATCHED_KEYS,
      { do: "snapshot" },
      { do: "readSnapshot", bytes: 100_000 },
      { do: "readSnapshot", bytes: 100_000 },
      ...HALF_TOLD,
      { do: "install", commands: [] },
    ],
  },
];

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
      const front = frontOf(machine);
      replace(front, "leave", (original) => (member) => {
        const { underWay } = front;
        original(member);
        if (underWay > 0) (member as { next: number }).next = underWay + 1;
      });
    },
  },
  {
    name: "a watcher joins the synced ones a revision early",
    spoil: (machine) => moveBoundary(machine, ({ underWay, nextRevision }) => (underWay > 0 ? underWay : nextRevision - 1)),
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
    spoil: (machine) => replace(frontOf(machine), "nextOf", () => () => machine.revision + 1),
  },
  {
    name: "the revision after a reset is passed over",
    spoil: (machine) =>
      replace(field(machine.watches, "resets"), "step", (original) => (watcher, options) => {
        const part = original(watcher, options) as { readonly more: boolean } | undefined;
        if (part?.more === false) (watcher as { next: number }).next++;
        return part;
      }),
  },
  {
    name: "a watch whose history is gone goes on in silence",
    spoil: (machine) =>
      replace(machine.watches, "onGap", () => (watcher) => {
        (watcher as { gap: boolean }).gap = false;
        (watcher as { next: number }).next = machine.freedRevision + 1;
        method(machine.watches, "place")(watcher);
      }),
  },
  {
    name: "watchers go on in silence when history is freed before they have read it",
    spoil: (machine) =>
      replace(machine.watches, "loseTrack", () => (cohort) => {
        const { frontier } = cohort as { readonly frontier: number };
        if (frontier <= machine.freedRevision) method(cohort, "moveTo")(machine.freedRevision + 1);
      }),
  },
  {
    name: "a watcher that catches up misses the first event",
    spoil: (machine) => replace(machine.watches, "begin", (original) => (revision) => original((revision as number) + 1)),
  },
  {
    name: "what was told before a snapshot is told again behind it",
    spoil: (machine) =>
      replace(machine.watches, "rebase", (original) => (restored) => {
        replace(frontOf(machine), "leave", (leave) => (member) => {
          const { next } = member as { readonly next: number };
          leave(member);
          (member as { next: number }).next = next;
        });
        return original(restored);
      }),
  },
  {
    name: "a watch is told more than it was allowed",
    spoil: (machine) => replace(machine.watches, "credit", (original) => (id, bytes) => original(id, 2 * (bytes as number))),
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
    name: "a renewal revives a lease that has expired",
    spoil: (machine) => {
      const leases = field<{ has(id: string): boolean; add(lease: object): void }>(field(machine, "data"), "leases");
      replace(leases, "renew", (original) => (id, clockMs) => {
        if (!leases.has(id as string)) leases.add({ id, ttlMs: 20, dueMs: (clockMs as number) + 20, kind: 0 });
        return original(id, clockMs);
      });
    },
  },
  {
    name: "a lease that a client was granted ends with its last key",
    spoil: (machine) =>
      replace(field(field(machine, "data"), "leases"), "add", (original) => (lease) => original({ ...(lease as object), kind: 1 })),
  },
  {
    name: "a snapshot takes leases of clients for leases of puts",
    spoil: (machine) =>
      replace(field(field(machine, "data"), "leases"), "copyColumns", (original) => () => {
        const columns = original() as { kind: Uint8Array };
        return { ...columns, kind: columns.kind.map(() => 1) };
      }),
  },
  {
    name: "a revocation takes each key at a revision of its own",
    spoil: (machine) =>
      replace(machine, "endLease", (original) => (budget) => {
        const changes = field<{ deleted: number; cause: string }>(machine, "leaseChanges");
        const before = changes.deleted;
        const left = original(Math.min(budget as number, 2));
        const own = machine as unknown as { currentRevision: number };
        if (changes.cause === "revocation" && changes.deleted > before && field<boolean>(changes, "isEnding")) own.currentRevision++;
        return left;
      }),
  },
  {
    name: "the keys of a lease go in no order",
    spoil: (machine) =>
      replace(field(machine, "leaseChanges"), "beginEnding", (original) => (id, cause) => {
        original(id, cause);
        (field(machine, "leaseChanges") as { keys: { sorted: boolean } }).keys.sorted = true;
      }),
  },
  {
    name: "a snapshot does not pin what it reads",
    spoil: (machine) => replace(field(machine, "pins"), "holdAnyway", () => () => ({ revision: 0, release: () => undefined })),
  },
  {
    name: "a transaction is done once more when it goes on after a slice",
    spoil: (machine) =>
      replace(machine, "runTxn", (original) => (run, budget) => {
        const { phase } = run as { readonly phase: string };
        const left = original(run, budget);
        const { frames, isDone } = run as { readonly frames: { at: number }[]; readonly isDone: boolean };
        if (phase === "run" && !isDone && frames.length === 1) frames[0]!.at = Math.max(0, frames[0]!.at - 1);
        return left;
      }),
  },
  {
    name: "the comparisons of a nested transaction look at what was written before it",
    spoil: (machine) => onTxn(machine, (run) => decideLate(run)),
  },
  {
    name: "what a branch needs is checked as it goes",
    spoil: (machine) =>
      onTxn(machine, (run) => {
        const check = method(run, "check");
        replace(run, "check", () => () => undefined);
        replace(run, "run", (original) => (op) => {
          check(op);
          if ((run as { refusal: unknown }).refusal === undefined) original(op);
        });
      }),
  },
  {
    name: "a transaction that was refused has a revision",
    spoil: (machine) =>
      replace(machine, "runTxn", (original) => (run, budget) => {
        const left = original(run, budget);
        if ((run as { refusal: unknown }).refusal !== undefined) (machine as unknown as { currentRevision: number }).currentRevision++;
        return left;
      }),
  },
  {
    name: "a transaction does not see what it has written",
    spoil: (machine) =>
      onTxn(machine, (run) => {
        const { ground } = run as { readonly ground: { readonly revision: number } };
        replace(run, "get", (original) => (key) => {
          Object.defineProperty(run, "revision", { value: ground.revision, configurable: true });
          original(key);
          delete (run as { revision?: number }).revision;
        });
      }),
  },
  {
    name: "each operation of a transaction has a revision of its own",
    spoil: (machine) =>
      onTxn(machine, (run) => {
        let written = 0;
        const { ground } = run as { readonly ground: { readonly revision: number } };
        replace(run, "put", (original) => (op) => {
          if (written++ > 0) (ground as { revision: number }).revision++;
          return original(op);
        });
      }),
  },
  {
    name: "a compaction takes the revision itself",
    spoil: (machine) =>
      replace(
        field(field(machine, "data"), "ledger"),
        "compact",
        (original) => (through) => original(Math.min((through as number) + 1, machine.revision - 1)),
      ),
  },
  {
    name: "a snapshot forgets the bounds of history that were set",
    spoil: (machine) => {
      const { history } = machine;
      Object.defineProperty(machine, "history", { get: () => history });
    },
  },
  {
    name: "a lease that a put made is gone for the next put of the transaction that takes its last key",
    spoil: (machine) => onTxn(machine, (run) => replace(run, "keepLease", () => () => undefined)),
    actions: [
      applyOne({ op: "put", key: "a", value: "1", ttlMs: 40 }),
      applyOne({
        op: "txn",
        txn: {
          compare: [],
          success: [
            { op: "put", key: "a", value: "2" },
            // Of the first command of the first entry.
            { op: "put", key: "b", value: "1", lease: "0000000000010000" },
          ],
          failure: [],
        },
      }),
    ],
  },
  {
    name: "a snapshot forgets what sessions were answered",
    spoil: (machine) =>
      replace(sessionsOf(machine), "copy", (original) => () => {
        const { sessions } = original() as { readonly sessions: readonly { readonly acked: number }[] };
        return { sessions: sessions.map((session) => ({ ...session, highest: session.acked })), answers: [] };
      }),
  },
  {
    name: "a command of a session is applied again when it comes again",
    spoil: (machine) =>
      replace(sessionsOf(machine), "begin", (original) => (command, clockMs) => {
        const verdict = original(command, clockMs);
        return verdict === SESSION_ANSWERED ? SESSION_APPLY : verdict;
      }),
  },
  {
    name: "a session's window is one too long",
    spoil: (machine) =>
      replace(sessionsOf(machine), "add", (original) => (session) => {
        const { window } = session as { readonly window: number };
        return original({ ...(session as object), window: window + 1 });
      }),
  },
  {
    name: "a command that is acknowledged is applied when it comes late",
    spoil: (machine) =>
      replace(sessionsOf(machine), "acknowledge", (original) => (session, acked) => original(session, (acked as number) - 1)),
  },
  {
    name: "a session is revived after its end",
    spoil: (machine) => replace(sessionsOf(machine), "expire", (original) => (clockMs) => original((clockMs as number) - 1)),
  },
  {
    name: "a command renews no session",
    spoil: (machine) =>
      replace(sessionsOf(machine), "begin", (original) => (command, clockMs) => original(command, Math.min(clockMs as number, 0))),
  },
  {
    name: "a refusal is not remembered",
    spoil: (machine) =>
      replace(sessionsOf(machine), "remember", (original) => (op, refusal, ...rest) => {
        if (refusal === 0) original(op, refusal, ...rest);
      }),
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
  moveBoundary(machine, ({ underWay, nextRevision }) => (underWay > 0 ? underWay : nextRevision));
}
