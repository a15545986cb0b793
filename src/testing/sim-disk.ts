/**
 * A machine's disk under virtual time: the shipped disk server over a simulated file system, of which each request takes a while and is
 * answered later. A crash finds a request half done: some of its file calls were made, and what none of them synced is lost.
 */
import type { DiskPort, DiskReply, DiskRequest } from "../storage/disk-protocol.ts";
import { DiskQueue } from "../storage/disk-queue.ts";
import { createDiskServer, type DiskServer } from "../storage/disk-server.ts";
import { SimFileSystem, SimulatedCrash } from "./sim-file-system.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimScheduler } from "./sim-scheduler.ts";

/** How long requests take. */
export interface DiskSpeed {
  readonly minMs: number;
  readonly maxMs: number;
}

export const HEALTHY_DISK: DiskSpeed = { minMs: 0.1, maxMs: 0.5 };

/** Where a member's data lies on its machine's disk. */
export const DISK_DIRECTORY = "/data";
/** File calls of which a crash may still see some done. */
const CRASH_OPERATIONS_MAX = 12;
const BACKGROUND_MS = 2;

export class SimDisk {
  readonly fileSystem: SimFileSystem;
  speed: DiskSpeed = HEALTHY_DISK;
  readonly segmentBytes: number;
  readonly #scheduler: SimScheduler;
  readonly #random: SimRandom;
  #isHung = false;
  #hangsAt: DiskRequest["kind"] | undefined;
  #onPowerLost: (() => void) | undefined;
  #channel: DiskChannel | undefined;

  constructor(options: { readonly scheduler: SimScheduler; readonly random: SimRandom; readonly segmentBytes: number }) {
    this.#scheduler = options.scheduler;
    this.#random = options.random;
    this.segmentBytes = options.segmentBytes;
    this.fileSystem = new SimFileSystem({ random: options.random.split("sectors") });
  }

  /** What is being done never returns, until the disk is let go on. */
  get isHung(): boolean {
    return this.#isHung;
  }

  hang(): void {
    this.#isHung = true;
  }

  /** The next request of this kind is begun and does not return, nor does what is asked for after it, until the disk is let go on. */
  hangAt(kind: DiskRequest["kind"]): void {
    this.#hangsAt = kind;
  }

  /** @internal */
  onPosted(kind: DiskRequest["kind"]): void {
    if (kind !== this.#hangsAt) return;
    this.#hangsAt = undefined;
    this.hang();
  }

  release(): void {
    this.#hangsAt = undefined;
    if (!this.#isHung) return;
    this.#isHung = false;
    this.#channel?.proceed();
  }

  /** Lets so many more of its file calls finish, and calls `lost` at the next one: the machine is to lose power then. */
  losePowerAfter(operations: number, lost: () => void): void {
    this.fileSystem.crashAfterOperations(operations);
    this.#onPowerLost = lost;
  }

  /** @internal */
  powerLost(): void {
    const lost = this.#onPowerLost;
    this.#onPowerLost = undefined;
    if (lost === undefined) throw new SimulatedCrash();
    this.#scheduler.after(0, lost);
  }

  /** A process's way to it. The process before it must be dead. */
  open(process: SimProcess): DiskPort {
    const server = createDiskServer({
      fileSystem: this.fileSystem,
      directory: DISK_DIRECTORY,
      options: {
        random: this.#random.split(`names ${this.#random.uint32()}`),
        segmentBytes: this.segmentBytes,
        now: () => this.#scheduler.now,
      },
    });
    const channel = new DiskChannel({ disk: this, process, server, scheduler: this.#scheduler, random: this.#random });
    this.#channel = channel;
    return channel;
  }

  /** Power is lost: what is under way is cut short, and what was not synced is as chance has it. */
  crash(): void {
    this.#channel?.cutShort();
    this.#channel = undefined;
    this.#isHung = false;
    this.fileSystem.crash();
  }

  /** The process was killed, the machine runs on: what was written stays written. */
  endProcess(): void {
    this.#channel?.cutShort();
    this.#channel = undefined;
    this.fileSystem.endProcess();
  }

  wipe(): void {
    this.#channel = undefined;
    this.fileSystem.wipe();
    this.fileSystem.clearFaults();
  }
}

/** One process's requests, in the order of the shipped queue. */
class DiskChannel implements DiskPort {
  readonly #disk: SimDisk;
  readonly #process: SimProcess;
  readonly #queue: DiskQueue;
  readonly #scheduler: SimScheduler;
  readonly #random: SimRandom;
  #replies: DiskReply[] = [];
  #reply: ((reply: DiskReply) => void) | undefined;
  #isBusy = false;
  /** A step that was due while the disk hung. */
  #isWaiting = false;
  #mayHaveBackground = false;
  #isOver = false;

  constructor(parts: {
    readonly disk: SimDisk;
    readonly process: SimProcess;
    readonly server: DiskServer;
    readonly scheduler: SimScheduler;
    readonly random: SimRandom;
  }) {
    this.#disk = parts.disk;
    this.#process = parts.process;
    this.#queue = new DiskQueue(parts.server, (reply) => this.#replies.push(reply));
    this.#scheduler = parts.scheduler;
    this.#random = parts.random;
  }

  post(request: DiskRequest): void {
    this.#queue.push(request);
    this.#disk.onPosted(request.kind);
    this.#begin();
  }

  onReply(callback: (reply: DiskReply) => void): void {
    this.#reply = callback;
  }

  /** What was posted is done, at once; no answers are given any more. */
  close(): Promise<void> {
    if (!this.#isOver) {
      this.#isOver = true;
      while (!this.#queue.isEmpty) this.#queue.runOne();
    }
    return Promise.resolve();
  }

  /** The process or the machine is gone in the middle of whatever is being done. */
  cutShort(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (!this.#isBusy || this.#random.chance(0.3)) return;
    this.#disk.fileSystem.crashAfterOperations(this.#random.below(CRASH_OPERATIONS_MAX));
    try {
      this.#queue.runOne();
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error;
    }
  }

  proceed(): void {
    if (!this.#isWaiting) return;
    this.#isWaiting = false;
    this.#scheduler.after(0, () => this.#process.deliver(() => this.#step()));
  }

  #begin(): void {
    if (this.#isBusy || this.#isOver) return;
    const hasRequests = !this.#queue.isEmpty;
    if (!hasRequests && !this.#mayHaveBackground) return;
    this.#isBusy = true;
    const { minMs, maxMs } = this.#disk.speed;
    const delayMs = hasRequests ? this.#random.between(minMs, maxMs) : BACKGROUND_MS;
    this.#scheduler.after(delayMs, () => this.#process.deliver(() => this.#step()));
  }

  #step(): void {
    if (this.#isOver) return;
    if (this.#disk.isHung) {
      this.#isWaiting = true;
      return;
    }
    this.#isBusy = false;
    try {
      this.#mayHaveBackground = this.#queue.runOne() || this.#queue.runIdle();
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error;
      this.#isOver = true;
      this.#disk.powerLost();
      return;
    }
    if (this.#replies.length > 0) {
      const replies = this.#replies;
      this.#replies = [];
      // Between the work and its answer there is a moment in which the process may be stopped or killed.
      this.#scheduler.after(this.#random.fraction() * 0.05, () => {
        this.#process.deliver(() => {
          for (const reply of replies) this.#reply?.(reply);
        });
      });
    }
    this.#begin();
  }
}
