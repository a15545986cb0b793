/** A broken invariant of the core. The node that meets one stops and reports INTERNAL; the process lives on. */
export class InvariantError extends Error {
  constructor(invariant: string) {
    super(`broken invariant: ${invariant}`);
    this.name = "InvariantError";
  }
}

export function assert(holds: boolean, invariant: string): asserts holds {
  if (!holds) throw new InvariantError(invariant);
}
