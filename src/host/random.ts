/** Randomness, as a node sees it: seeded in the simulator, from the operating system otherwise. */
export interface Random {
  /** An integer, 0 <= x < 2^32. */
  uint32(): number;
}

/** 16 lower-case hex digits: an id of 64 random bits, never zero. */
export function randomId(random: Random): string {
  for (;;) {
    const id = random.uint32().toString(16).padStart(8, "0") + random.uint32().toString(16).padStart(8, "0");
    if (id !== "0000000000000000") return id;
  }
}
