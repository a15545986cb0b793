/**
 * A closed loop: so many callers, each with one call under way. What it costs per call is one reading of the clock, the same for
 * the engine and for the floors. Latency is from call to answer as the caller sees it.
 */

export interface LoadResult {
  readonly operations: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  /** Of this process, all its threads, while the load ran. */
  readonly cpuUs: number;
  /** Calls that were refused or failed. */
  readonly failures: number;
}

/** Beyond this many calls the latencies are those of the first ones. */
const SAMPLES_MAX = 4_000_000;

export async function runLoad(
  options: { readonly clients: number; readonly seconds: number },
  operation: (client: number, count: number) => Promise<unknown>,
): Promise<LoadResult> {
  const samples = new Float64Array(SAMPLES_MAX);
  let operations = 0;
  let failures = 0;
  const cpu = process.cpuUsage();
  const started = performance.now();
  const deadline = started + options.seconds * 1000;
  const caller = async (client: number): Promise<void> => {
    let last = performance.now();
    for (let count = 0; last < deadline; count += 1) {
      try {
        await operation(client, count);
      } catch (error) {
        failures += 1;
        if (failures === 1) process.stderr.write(`first failed call: ${String(error)}\n`);
      }
      const now = performance.now();
      if (operations < SAMPLES_MAX) samples[operations] = now - last;
      operations += 1;
      last = now;
    }
  };
  await Promise.all(Array.from({ length: options.clients }, (_, client) => caller(client)));
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const sorted = samples.subarray(0, Math.min(operations, SAMPLES_MAX)).sort();
  const at = (share: number): number => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 1000;
  return { operations, seconds, p50Us: at(0.5), p99Us: at(0.99), maxUs: at(1), cpuUs: user + system, failures };
}

/** Of 8 bytes. */
export function makeKey(number: number): string {
  return String(number).padStart(8, "0");
}

/** 8-byte keys, made once. */
export function makeKeys(count: number): readonly string[] {
  return Array.from({ length: count }, (_, i) => makeKey(i));
}

/** Spreads the callers over the keys without randomness. */
export function keyIndex(client: number, count: number, keys: number): number {
  return (client * 7919 + count * 31) % keys;
}
