/**
 * An open loop: so many calls a second, whether those before are answered or not, up to a bound on those under way. So a stall is seen for what
 * it is, which a closed loop would wait for.
 */
import type { LoadResult } from "./load.ts";

/** Calls under way; when there are as many, the load falls behind. */
const PENDING_MAX = 20_000;
const SAMPLES_MAX = 4_000_000;

/** Latency is from the call to its answer. */
export async function runPacedLoad(
  perSecond: number,
  secondsMin: number,
  operation: (count: number) => Promise<unknown>,
): Promise<LoadResult> {
  const samples = new Float64Array(SAMPLES_MAX);
  let begun = 0;
  let operations = 0;
  let failures = 0;
  const call = async (count: number): Promise<void> => {
    const started = performance.now();
    try {
      await operation(count);
    } catch (error) {
      failures += 1;
      if (failures === 1) process.stderr.write(`first failed call: ${String(error)}\n`);
    }
    if (operations < SAMPLES_MAX) samples[operations] = performance.now() - started;
    operations += 1;
  };
  const cpu = process.cpuUsage();
  const started = performance.now();
  for (let now = started; now < started + secondsMin * 1000; now = performance.now()) {
    const due = Math.min(Math.floor(((now - started) / 1000) * perSecond), operations + PENDING_MAX);
    for (; begun < due; begun += 1) void call(begun);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  while (operations < begun) await new Promise((resolve) => setTimeout(resolve, 1));
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const sorted = samples.subarray(0, Math.min(operations, SAMPLES_MAX)).sort();
  const at = (share: number): number => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 1000;
  return { operations, seconds, p50Us: at(0.5), p99Us: at(0.99), maxUs: at(1), cpuUs: user + system, failures };
}
