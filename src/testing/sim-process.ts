/**
 * A machine with its two clocks, and a process on it. Whatever reaches a process (a timer, a frame, an answer of its disk) comes in
 * through deliver(), so that a paused process finds all of it waiting when it goes on, and a killed one hears nothing more.
 *
 *   paused     as by SIGSTOP, a debugger or a long collection: nothing runs, both clocks go on.
 *   suspended  the whole machine sleeps: nothing runs, the monotonic clock stands still, the wall clock goes on.
 */
import type { Clock, Timer } from "../host/clock.ts";
import type { SimEvent, SimScheduler } from "./sim-scheduler.ts";
import type { SimRandom } from "./sim-random.ts";

/** What every simulation's wall clocks show at its start: 2025-01-01. */
export const WALL_EPOCH_MS = 1_735_689_600_000;

export class SimMachine {
  readonly name: string;
  readonly scheduler: SimScheduler;
  /** How fast the monotonic clock runs: 1.02 gains two per cent. Set once, before anything reads the clock. */
  readonly rate: number;
  /** What the wall clock is off by; changing it is a jump. */
  wallOffsetMs = 0;
  /** How often it was suspended. */
  sleeps = 0;
  #sleptMs = 0;
  #suspendedAt: number | undefined;
  readonly #originMs: number;

  constructor(options: { readonly name: string; readonly scheduler: SimScheduler; readonly rate?: number; readonly originMs?: number }) {
    this.name = options.name;
    this.scheduler = options.scheduler;
    this.rate = options.rate ?? 1;
    this.#originMs = options.originMs ?? 0;
  }

  get isSuspended(): boolean {
    return this.#suspendedAt !== undefined;
  }

  /** The monotonic clock. */
  now(): number {
    const awake = (this.#suspendedAt ?? this.scheduler.now) - this.#sleptMs;
    return this.#originMs + awake * this.rate;
  }

  wallNow(): number {
    return Math.floor(WALL_EPOCH_MS + this.scheduler.now + this.wallOffsetMs);
  }

  suspend(): void {
    if (this.#suspendedAt !== undefined) return;
    this.sleeps++;
    this.#suspendedAt = this.scheduler.now;
  }

  wake(): void {
    if (this.#suspendedAt === undefined) return;
    this.#sleptMs += this.scheduler.now - this.#suspendedAt;
    this.#suspendedAt = undefined;
  }
}

/** What a stopped process holds for later, at most; beyond it the oldest are lost, as a kernel's buffers would overflow. */
const HELD_MAX = 100_000;

/** What waits for a process, by where it comes from: an event loop, and a process's threads, take from these in no order between them. */
type HeldKind = "input" | "timer" | "deferred" | "application";
const HELD_KINDS: readonly HeldKind[] = ["input", "timer", "deferred", "application"];
/** How long a process may take over one thing that it finds waiting, when it goes on in an order of chance. */
const CATCH_UP_MS_MAX = 0.2;

export class SimProcess {
  readonly machine: SimMachine;
  /** For the node. */
  readonly clock: Clock;
  /** For what calls the node: in a thread of its own, and so in no order with it. */
  readonly applicationClock: Clock;
  alive = true;
  #paused = false;
  #pausesAtDefer = false;
  /** In the order of arrival; or by kind, while it catches up in an order of chance. */
  readonly #held: { readonly kind: HeldKind; readonly run: () => void }[] = [];
  #order: { readonly random: SimRandom; readonly preferred: readonly HeldKind[] } | undefined;
  readonly #killed: (() => void)[] = [];

  constructor(machine: SimMachine) {
    this.machine = machine;
    this.clock = new ProcessClock(this, { timer: "timer", deferred: "deferred" });
    this.applicationClock = new ProcessClock(this, { timer: "application", deferred: "application" });
  }

  /** Whether anything runs in it now. */
  get isRunning(): boolean {
    return this.alive && !this.#paused && !this.machine.isSuspended;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  /** Runs `run` in the process: now, or once it goes on; never if it is dead. Called from within an event. */
  deliver(run: () => void, kind: HeldKind = "input"): void {
    if (!this.alive) return;
    if (this.isRunning && this.#held.length === 0) {
      run();
      return;
    }
    if (this.#held.length >= HELD_MAX) this.#held.shift();
    this.#held.push({ kind, run });
  }

  pause(): void {
    this.#paused = true;
  }

  /** Pauses when it has next put something off to the end of its turn: between that and the turn that follows. */
  pauseAtDefer(): void {
    this.#pausesAtDefer = true;
  }

  /** @internal */
  onDefer(): void {
    if (!this.#pausesAtDefer) return;
    this.#pausesAtDefer = false;
    this.machine.scheduler.after(0, () => this.pause());
  }

  /**
   * Goes on after a pause. What waited runs in the order in which it came, each in an event of its own; with `random`, in an order that
   * an event loop may find too: what is of one kind keeps its order, and between the kinds there is none.
   */
  resume(random?: SimRandom): void {
    this.#paused = false;
    this.#pausesAtDefer = false;
    this.#catchUp(random);
  }

  /** To be called when the machine woke. */
  wake(random?: SimRandom): void {
    this.#catchUp(random);
  }

  /** Ends it where it stands: no code of it runs any more. */
  kill(): void {
    if (!this.alive) return;
    this.alive = false;
    this.#held.length = 0;
    for (const killed of this.#killed.splice(0)) killed();
  }

  /** Calls the world back, not the process, when it was killed. */
  onKill(killed: () => void): void {
    this.#killed.push(killed);
  }

  #catchUp(random: SimRandom | undefined): void {
    if (!this.isRunning || this.#held.length === 0) return;
    this.#order = random?.chance(0.7) === true ? { random, preferred: random.shuffle(HELD_KINDS) } : undefined;
    this.machine.scheduler.after(0, () => this.#takeOne());
  }

  #takeOne(): void {
    if (!this.isRunning || this.#held.length === 0) return;
    const at = this.#next();
    const [held] = at < 0 ? [] : this.#held.splice(at, 1);
    const delayMs = this.#order === undefined ? 0 : this.#order.random.fraction() * CATCH_UP_MS_MAX;
    if (this.#held.length > 0) this.machine.scheduler.after(delayMs, () => this.#takeOne());
    else this.#order = undefined;
    held?.run();
  }

  /** Which of what is held is next; -1: a moment passes first. */
  #next(): number {
    if (this.#order === undefined) return 0;
    const { random, preferred } = this.#order;
    for (const kind of preferred) {
      const at = this.#held.findIndex((held) => held.kind === kind);
      if (at >= 0) return at;
      if (random.chance(0.3)) return -1;
    }
    return 0;
  }
}

/** How much later than asked a timer fires: real ones are never early, and never exact either. */
const TIMER_LATENESS_MS = 0.001;

class ProcessClock implements Clock {
  readonly #process: SimProcess;
  readonly #kinds: { readonly timer: HeldKind; readonly deferred: HeldKind };

  constructor(process: SimProcess, kinds: { readonly timer: HeldKind; readonly deferred: HeldKind }) {
    this.#process = process;
    this.#kinds = kinds;
  }

  now(): number {
    return this.#process.machine.now();
  }

  wallNow(): number {
    return this.#process.machine.wallNow();
  }

  setTimer(delayMs: number, run: () => void): Timer {
    return new ProcessTimer(this.#process, this.#kinds.timer, delayMs, run);
  }

  defer(run: () => void): void {
    const process = this.#process;
    const { deferred } = this.#kinds;
    if (deferred === "deferred") process.onDefer();
    process.machine.scheduler.after(0, () => process.deliver(run, deferred));
  }
}

/** A timer on a machine's monotonic clock: it does not come due while that stands still. */
class ProcessTimer implements Timer {
  readonly #process: SimProcess;
  readonly #kind: HeldKind;
  readonly #deadline: number;
  readonly #run: () => void;
  #event: SimEvent | undefined;
  #cancelled = false;

  constructor(process: SimProcess, kind: HeldKind, delayMs: number, run: () => void) {
    this.#process = process;
    this.#kind = kind;
    // A timer of setTimeout never fires in the same turn, and NaN or a negative delay count as none.
    this.#deadline = process.machine.now() + (delayMs > 0 ? delayMs : 0);
    this.#run = run;
    this.#arm();
  }

  cancel(): void {
    this.#cancelled = true;
    this.#event?.cancel();
  }

  #arm(): void {
    const { machine } = this.#process;
    const remainingMs = (this.#deadline - machine.now()) / machine.rate;
    this.#event = machine.scheduler.after((remainingMs > 0 ? remainingMs : 0) + TIMER_LATENESS_MS, () => this.#fall());
  }

  #fall(): void {
    const { machine } = this.#process;
    // The machine slept meanwhile, or sleeps now: its clock has not come as far as the scheduler's.
    const isEarly = machine.now() < this.#deadline;
    if (isEarly && !machine.isSuspended) this.#arm();
    else if (isEarly) this.#process.deliver(() => this.#arm(), this.#kind);
    else this.#process.deliver(() => this.#fire(), this.#kind);
  }

  #fire(): void {
    if (!this.#cancelled) this.#run();
  }
}
