/** The memory that this process may use. */
import { totalmem } from "node:os";
import { getHeapStatistics } from "node:v8";

/** The least of the machine's memory, the limit of the control group (version 1 or 2), and that of the heap. In bytes. */
export function memoryLimit(): number {
  // 0 or something beyond all memory: there is no limit.
  const constrained = process.constrainedMemory();
  const limits = [totalmem(), getHeapStatistics().heap_size_limit, constrained > 0 ? constrained : Number.POSITIVE_INFINITY];
  return Math.min(...limits);
}
