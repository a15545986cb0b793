/**
 * Pins: revisions that somebody is still reading. A pin holds back the freeing of memory on this member alone; the compact revision,
 * which all members share, goes on without regard to it, so that only who holds the pin can still read there.
 */

export const PINS_MAX = 10_000;

export interface Pin {
  readonly revision: number;
  /** More than once does nothing. */
  release(): void;
}

/** All pins of one machine. */
export class Pins {
  private readonly held: HeldPin[] = [];
  /** Of all that are held; Infinity without any; undefined while it must be looked for. */
  private lowest: number | undefined = Number.POSITIVE_INFINITY;

  get count(): number {
    return this.held.length;
  }

  get lowestRevision(): number {
    if (this.lowest === undefined) {
      this.lowest = Number.POSITIVE_INFINITY;
      for (const pin of this.held) this.lowest = Math.min(this.lowest, pin.revision);
    }
    return this.lowest;
  }

  /** undefined where PINS_MAX are held. */
  hold(revision: number): Pin | undefined {
    return this.held.length >= PINS_MAX ? undefined : this.holdAnyway(revision);
  }

  /** For the few readers that the node itself starts, one at a time: snapshots. */
  holdAnyway(revision: number): Pin {
    const pin = new HeldPin(revision, this.held.length, this);
    this.held.push(pin);
    if (this.lowest !== undefined) this.lowest = Math.min(this.lowest, revision);
    return pin;
  }

  /** Whether somebody holds exactly this revision. Looks at all: ask only where it decides. */
  holds(revision: number): boolean {
    return this.held.some((pin) => pin.revision === revision);
  }

  /** A pin's own business. */
  drop(pin: HeldPin): void {
    if (this.held[pin.at] !== pin) return;
    const last = this.held.pop()!;
    if (last !== pin) {
      this.held[pin.at] = last;
      last.at = pin.at;
    }
    if (pin.revision === this.lowest) this.lowest = undefined;
  }
}

class HeldPin implements Pin {
  readonly revision: number;
  at: number;
  private readonly pins: Pins;

  constructor(revision: number, at: number, pins: Pins) {
    this.revision = revision;
    this.at = at;
    this.pins = pins;
  }

  release(): void {
    this.pins.drop(this);
  }
}
