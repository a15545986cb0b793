/**
 * One range being read: in slices, as of one pinned revision, whatever is written meanwhile. In key order kvs are packed as they are met;
 * in any other order the records are gathered, sorted and then packed, each step by step.
 *
 * A page (`bytesMax`) is cut behind so many bytes and says that there is more; unless the count costs nothing it does not count, so that
 * reading a large interval page by page costs each key once. Any other range that passes ANSWER_BYTES_MAX is refused.
 */
import { assert } from "../assert.ts";
import { ByteWriter, compareBytes, sharedBytes } from "./bytes.ts";
import { writeKv } from "./packed-kv.ts";
import type { Pin } from "./pins.ts";
import { ANSWER_BYTES_MAX, type RangeAnswer, type RangeRequest, type ReadRefused } from "./read.ts";
import { SlicedSort } from "./sliced-sort.ts";
import type { RecordRef, Table, TableCursor } from "./table.ts";

/** So many bytes that are compared, or copied, cost about what a record does. */
const COMPARED_BYTES_A_RECORD_LOG2 = 10;
const COPIED_BYTES_A_RECORD_LOG2 = 12;

export interface RangeOptions {
  /** Makes it a page: cut behind this many bytes, but never before the first kv. */
  readonly bytesMax?: number | undefined;
  /** Of a range that is no page. Default, and at most, ANSWER_BYTES_MAX. */
  readonly answerBytesMax?: number | undefined;
  /** Whoever asks holds a pin of its revision, and so reads it though it may be compacted. */
  readonly pinned?: boolean | undefined;
}

/** As of when, and with what hold on it. */
export interface RangeBasis {
  readonly table: Table;
  readonly revision: number;
  /** The table holds nothing newer than `revision` at this moment. */
  readonly newest: boolean;
  /** Released at the end. */
  readonly pin: Pin;
}

type Phase = "walk" | "sort" | "pack" | "done";

/** Made by KvMachine.range(): step() until it answers true, then result(); or cancel(). */
export class RangeReading {
  private readonly request: RangeRequest;
  private readonly table: Table;
  private readonly revision: number;
  private readonly pin: Pin | undefined;
  private readonly bytesMax: number;
  private readonly page: boolean;
  private readonly cursor: TableCursor;
  /** Whether keys are counted on the way, since the table cannot tell. */
  private readonly counting: boolean;
  private readonly counted: boolean;
  private readonly filtered: boolean;
  private readonly writer: ByteWriter = new ByteWriter();
  private phase: Phase = "walk";
  private count = 0;
  private returned = 0;
  private more = false;
  private refused: ReadRefused | undefined = undefined;
  private gathered: RecordRef[] = [];
  private sort: SlicedSort | undefined = undefined;
  private packed = 0;

  constructor(basis: RangeBasis | ReadRefused, table: Table, request: RangeRequest, options: RangeOptions) {
    this.request = request;
    this.bytesMax = Math.min(options.bytesMax ?? options.answerBytesMax ?? ANSWER_BYTES_MAX, ANSWER_BYTES_MAX);
    this.page = options.bytesMax !== undefined;
    this.table = table;
    this.revision = basis.revision;
    this.cursor = table.cursor(request.interval, request.sortBy === "key" ? request.order : "ascending");
    this.filtered = isFiltered(request);
    if ("refused" in basis) {
      this.refused = basis;
      this.pin = undefined;
      this.phase = "done";
      this.counting = false;
      this.counted = false;
      return;
    }
    this.pin = basis.pin;
    this.counting = !basis.newest && !this.page;
    this.counted = basis.newest || this.counting;
    if (basis.newest) this.count = table.count(request.interval);
    if (basis.newest && request.countOnly) this.finish();
  }

  /** Looks at up to `recordsMax` records. True when the result is there. */
  step(recordsMax: number): boolean {
    const { request } = this;
    let budget = Math.max(1, recordsMax);
    if (this.phase === "walk") budget = this.walk(budget);
    if (this.phase === "sort" && this.sort!.step(budget)) {
      this.phase = "pack";
      this.more = request.limit > 0 && this.gathered.length > request.limit;
    }
    if (this.phase === "pack") this.pack(budget);
    return this.phase === "done";
  }

  result(): RangeAnswer | ReadRefused {
    assert(this.phase === "done", "a range is read to its end before its result is taken");
    if (this.refused !== undefined) return this.refused;
    const { returned, more, revision } = this;
    return { kvs: this.writer.take(), returned, count: this.counted ? this.count : -1, more, revision };
  }

  /** Gives up before the end. */
  cancel(): void {
    this.finish();
  }

  private walk(budgetBefore: number): number {
    const { request, table, revision } = this;
    let budget = budgetBefore;
    while (budget > 0) {
      budget--;
      const newest = this.cursor.next();
      if (newest === 0) {
        this.endWalk();
        return budget;
      }
      const ref = table.asOf(newest, revision);
      if (ref === 0 || table.version(ref) === 0) continue;
      if (this.counting) this.count++;
      if (request.countOnly || (this.more && this.counting)) continue;
      if (this.filtered && !this.passes(ref)) continue;
      if (request.sortBy !== "key") {
        this.gathered.push(ref);
        continue;
      }
      if (request.limit > 0 && this.returned >= request.limit) {
        this.more = true;
      } else {
        budget -= this.add(ref);
      }
      if (this.refused !== undefined || (this.more && !this.counting)) {
        this.finish();
        return budget;
      }
    }
    return budget;
  }

  private endWalk(): void {
    const { request, table, gathered } = this;
    if (request.sortBy === "key" || request.countOnly) {
      this.finish();
      return;
    }
    const sign = request.order === "ascending" ? 1 : -1;
    if (request.sortBy === "value") {
      const sort = new SlicedSort(gathered.length, (left, right) => {
        const one = table.value(gathered[left]!);
        const other = table.value(gathered[right]!);
        const shared = sharedBytes(one, other);
        sort.extraCost = shared >>> COMPARED_BYTES_A_RECORD_LOG2;
        return sign * compareBytes(one.subarray(shared), other.subarray(shared));
      });
      this.sort = sort;
    } else {
      const numbers = new Float64Array(gathered.length);
      for (let i = 0; i < gathered.length; i++) numbers[i] = this.number(gathered[i]!);
      this.sort = new SlicedSort(gathered.length, (left, right) => sign * (numbers[left]! - numbers[right]!));
    }
    this.phase = "sort";
  }

  private number(ref: RecordRef): number {
    switch (this.request.sortBy) {
      case "version":
        return this.table.version(ref);
      case "createRevision":
        return this.table.createRevision(ref);
      default:
        return this.table.revision(ref);
    }
  }

  private pack(budgetBefore: number): void {
    const order = this.sort!.order;
    const end = this.more ? this.request.limit : order.length;
    for (let budget = Math.max(1, budgetBefore); this.packed < end; budget--) {
      if (budget <= 0) return;
      const more = this.more;
      this.more = false;
      budget -= this.add(this.gathered[order[this.packed++]!]!);
      if (this.refused !== undefined || this.more) break;
      this.more = more;
    }
    this.finish();
  }

  /** Sets `more` without adding where a page is full, `refused` where an answer is. Answers what it cost beside a record. */
  private add(ref: RecordRef): number {
    if (this.writer.length >= this.bytesMax && this.returned > 0) {
      if (this.page) this.more = true;
      else this.refused = { refused: "tooLarge", revision: this.revision };
      return 0;
    }
    const before = this.writer.length;
    writeKv(this.writer, this.table, ref, this.request.keysOnly);
    this.returned++;
    return (this.writer.length - before) >>> COPIED_BYTES_A_RECORD_LOG2;
  }

  private passes(ref: RecordRef): boolean {
    const { request, table } = this;
    const modified = table.revision(ref);
    const created = table.createRevision(ref);
    return (
      modified >= (request.minModRevision ?? 0) &&
      modified <= (request.maxModRevision ?? Number.POSITIVE_INFINITY) &&
      created >= (request.minCreateRevision ?? 0) &&
      created <= (request.maxCreateRevision ?? Number.POSITIVE_INFINITY)
    );
  }

  private finish(): void {
    this.phase = "done";
    this.gathered = [];
    this.sort = undefined;
    this.pin?.release();
  }
}

function isFiltered(request: RangeRequest): boolean {
  return (
    request.minModRevision !== undefined ||
    request.maxModRevision !== undefined ||
    request.minCreateRevision !== undefined ||
    request.maxCreateRevision !== undefined
  );
}
