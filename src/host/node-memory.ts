/** The memory that this process may use. */
import { totalmem } from "node:os";
import { getHeapStatistics } from "node:v8";

/** Of a young generation as it usually is. */
const YOUNG_BYTES = 48 << 20;

/** The least of the machine's memory, the limit of the control group (version 1 or 2), and that of the heap. In bytes. */
export function memoryLimit(): number {
  // 0 or something beyond all memory: there is no limit.
  const constrained = process.constrainedMemory();
  const limits = [totalmem(), heapLimit(), constrained > 0 ? constrained : Number.POSITIVE_INFINITY];
  return Math.min(...limits);
}

/** The limit that V8 tells of includes the young generation, for which later versions count as much again as a small heap that somebody asked for. */
function heapLimit(): number {
  // oxlint-disable-next-line node/no-process-env -- what V8 was told is said nowhere else
  const given = [process.env["NODE_OPTIONS"] ?? "", ...process.execArgv].join(" ");
  const sizes = [...given.matchAll(/--max[-_]old[-_]space[-_]size[= ](\d+)/g)].map((match) => Number(match[1]) * 2 ** 20);
  const asked = sizes.at(-1) ?? 0;
  const { heap_size_limit: limit } = getHeapStatistics();
  return asked > 0 ? Math.min(limit, asked + YOUNG_BYTES) : limit;
}
