/** Tables, and the lines that say whether a goal was reached. */

export interface Row {
  readonly name: string;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly cpuPerOperationUs: number;
  readonly failures: number;
}

export interface Goal {
  readonly name: string;
  /** Median, lowest and highest of the pairs, in `unit`. */
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly unit: string;
  readonly required: number;
  /** "least": the median must not be below what is required. */
  readonly bound: "least" | "most";
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

export function summarize(name: string, values: readonly number[], goal: Pick<Goal, "unit" | "required" | "bound">): Goal {
  return { name, median: median(values), low: Math.min(...values), high: Math.max(...values), ...goal };
}

export const isReached = (goal: Goal): boolean => (goal.bound === "least" ? goal.median >= goal.required : goal.median <= goal.required);

/** Three digits that count, thousands set apart. */
export function round(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const rounded = Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
  return rounded.toLocaleString("en-US", { maximumFractionDigits: 3 });
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ");
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].map((each) => `  ${each.trimEnd()}\n`).join("");
}

export function rowsTable(rows: readonly Row[]): string {
  return table(
    ["", "per second", "p50 us", "p99 us", "CPU us/op", "failed"],
    rows.map((row) => [
      row.name,
      round(row.perSecond),
      round(row.p50Us),
      round(row.p99Us),
      round(row.cpuPerOperationUs),
      String(row.failures),
    ]),
  );
}

export function goalsTable(goals: readonly Goal[]): string {
  return table(
    ["", "median", "range", "required", ""],
    goals.map((goal) => [
      goal.name,
      `${round(goal.median)} ${goal.unit}`,
      `${round(goal.low)} - ${round(goal.high)}`,
      `${goal.bound === "least" ? ">=" : "<="} ${round(goal.required)} ${goal.unit}`,
      isReached(goal) ? "reached" : "MISSED",
    ]),
  );
}
