/**
 * Writes what a node has applied to its record store, behind its own log: batches that end at an entry and say which, cut into slices. From
 * time to time the store is synced and named in the log, which then need not reach back beyond it. The state is never read but between
 * two entries; what a batch holds was fixed when it was begun, and stays in memory until it is written.
 *
 *   1. Between two entries, once enough was applied since the last batch: the target is noted, with a copy of what is not found by revision.
 *   2. Once this member's own disk has the log up to the target: first what history no longer holds is dropped, then the events behind the
 *      last batch are put, then the pages that changed, then the header. The batch holds with its last part, or not at all.
 *   3. Once the log behind the last named state is long enough: sync, the log's record, and the log lets go of what lies before.
 *
 * A batch that meets a full disk is given up and begun again later; the log goes on. Its memory is the slice under way, the pages, and
 * what the state has superseded since the last batch.
 */
import type { KvMachine, Pin } from "../core/kv/machine.ts";
import { CAUSES, DELETE_HEADER_BYTES, TAG_DELETE, TAG_PUT } from "../core/kv/snapshot-format.ts";
import { KV_HEADER_BYTES, packKv } from "../core/kv/packed-kv.ts";
import { ByteWriter, equalBytes } from "../core/kv/bytes.ts";
import type { Table, TableCursor } from "../core/kv/table.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import { EngineError, asEngineError } from "../errors.ts";
import { NUMBER_KEY_LENGTH, numberKey, writeNumberKey } from "../storage/records/record-index.ts";
import { PartWriter } from "../storage/records/store-format.ts";
import type { StateStore, Storage } from "../storage/storage.ts";
import { PAGE_BYTES, PAGE_TAG, RECORD_TAG, type StoredSoFar } from "./stored-state.ts";
import { RecordPlaces } from "./record-places.ts";

/** A batch is begun when the log has grown by this much since the last one, or by this part of what the log may reach back. */
const BATCH_LOG_BYTES = 4 << 20;
const BATCHES_BEHIND_LOG = 16;
/** What every batch has to look at whole makes batches rarer. */
const PREAMBLE_COST = 4;
const PREAMBLE_SLICE_BYTES = 256 << 10;
/** Looked at in one turn, whether written or not. */
const RECORDS_A_TURN = 4_096;
const PAGES_A_TURN = 64;

export interface StoreWriterOptions {
  readonly storage: Storage;
  readonly kv: KvMachine;
  /** What the store holds already; undefined: everything is written, to a new one. */
  readonly stored: StoredSoFar | undefined;
  /** How long the log behind the last named state gets before the next is named. */
  readonly logBytesMin: number;
  /** Of the entry that was applied last; undefined: not known now. */
  meta(): SnapshotMeta | undefined;
  /** Whether this member's own disk has the log up to here. */
  isPersisted(index: number): boolean;
  /** The log may go up to here, the store having been named. */
  onNamed(meta: SnapshotMeta): Promise<void>;
  /** Lets the node's other work go on for a turn. */
  pause(): Promise<void>;
  /** A batch is done, or given up. */
  onDone(): void;
  onFailed(error: EngineError): void;
}

/** What a batch is to reach. */
interface Target {
  readonly meta: SnapshotMeta;
  readonly endEvent: number;
  readonly revision: number;
  readonly compactRevision: number;
  readonly preamble: { read(bytesMax: number): Uint8Array | undefined; cancel(): void };
  readonly pin: Pin;
  readonly logBytes: number;
}

export class StoreWriter {
  readonly #options: StoreWriterOptions;
  #stored: StoredSoFar | undefined;
  #target: Target | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;
  /** The storage's logBytes when the last batch was begun; what is named makes it shorter. */
  #batchedAt = 0;
  /** A batch was given up for want of room: the next waits for as much log again. */
  #retryAt = 0;
  /** The disk is full: once this much of the log is applied, that is stored and named, so that the log can go. */
  #freesFrom: number | undefined;

  constructor(options: StoreWriterOptions) {
    this.#options = options;
    this.#stored = options.stored;
  }

  /** What is written so far; undefined before the first whole batch. */
  get stored(): StoredSoFar | undefined {
    return this.#stored;
  }

  get running(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when no batch is under way. Does not reject. */
  settled(): Promise<void> {
    return this.#running ?? Promise.resolve();
  }

  /** No further batch is begun, and one under way ends with the slice that it is at. */
  stop(): void {
    this.#stopped = true;
    this.#forget();
    if (this.#running === undefined) this.#stored?.pin.release();
  }

  get isFreeing(): boolean {
    return this.#freesFrom !== undefined;
  }

  /**
   * The disk is full, and history has let go of much of what it has: that goes, from the store, and from the log, which is named up to here however
   * short it is. Answers whether there is so much. If it finds no room, that is all.
   */
  free(): boolean {
    const { kv, storage, onDone } = this.#options;
    const stored = this.#stored;
    if (this.#stopped || this.isFreeing || this.#running !== undefined || this.#target !== undefined || stored === undefined) return false;
    const fileBytes = storage.diskBytes - storage.reserveBytes;
    if (kv.compactRevision <= stored.compactRevision || 2 * kv.usedBytes > fileBytes) return false;
    this.#freesFrom = Number.POSITIVE_INFINITY;
    storage.giveRoom().then(
      () => {
        this.#freesFrom = storage.lastIndex;
        onDone();
      },
      () => {}, // Storage reports its own failure.
    );
    return true;
  }

  /** Called once a turn, between two entries. */
  poll(): void {
    if (this.#stopped || this.#running !== undefined) return;
    this.#target ??= this.#isDue() ? this.#begin() : undefined;
    const target = this.#target;
    if (target === undefined || !this.#options.isPersisted(target.meta.lastIncludedIndex)) return;
    this.#run(target);
  }

  /** Writes everything to a new store and answers once that is whole; it is yet to be named. Rejects where it could not be. */
  async writeAll(): Promise<StateStore> {
    const target = this.#begin();
    if (target === undefined)
      throw new EngineError("INTERNAL", "a state that is stored is known", { invariant: "a state that is stored is known" });
    this.#target = target;
    try {
      return await this.#write(target);
    } finally {
      this.#forget();
    }
  }

  #isDue(): boolean {
    const { storage, logBytesMin, kv } = this.#options;
    if (this.#freesFrom !== undefined) return kv.appliedIndex >= this.#freesFrom;
    if (this.#stored === undefined) return storage.logBytes >= this.#retryAt;
    const { logBytes } = storage;
    if (logBytes < this.#retryAt) return false;
    const least = Math.max(Math.min(BATCH_LOG_BYTES, logBytesMin / BATCHES_BEHIND_LOG), PREAMBLE_COST * this.#stored.preamble.length);
    return logBytes - this.#batchedAt > least;
  }

  #begin(): Target | undefined {
    const { kv, storage } = this.#options;
    const meta = this.#options.meta();
    if (meta === undefined || meta.lastIncludedIndex === this.#stored?.appliedIndex) return undefined;
    return {
      meta,
      endEvent: kv.table.endEvent,
      revision: kv.revision,
      compactRevision: kv.compactRevision,
      preamble: kv.snapshot().onlyPreamble(),
      pin: kv.holdHistory(),
      logBytes: storage.logBytes,
    };
  }

  #run(target: Target): void {
    const wasNew = this.#stored === undefined;
    this.#running = this.#write(target)
      .then((store) => this.#name(store, target.meta, wasNew))
      .catch((error: unknown) => this.#onError(asEngineError(error)))
      .finally(() => {
        this.#running = undefined;
        this.#freesFrom = undefined;
        this.#forget();
        if (this.#stopped) this.#stored?.pin.release();
        this.#options.onDone();
      });
  }

  #onError(error: EngineError): void {
    if (this.#stopped) return;
    // The storage tells of its own failures.
    if (EngineError.is(error, "NO_SPACE"))
      this.#retryAt = this.#options.storage.logBytes + Math.min(BATCH_LOG_BYTES, this.#options.logBytesMin);
    else this.#options.onFailed(error);
  }

  #forget(): void {
    const target = this.#target;
    this.#target = undefined;
    if (target === undefined) return;
    target.preamble.cancel();
    if (this.#stored?.pin !== target.pin) target.pin.release();
  }

  async #name(store: StateStore, meta: SnapshotMeta, isNew: boolean): Promise<void> {
    const { storage, logBytesMin } = this.#options;
    if (this.#stopped || !(isNew || this.isFreeing || storage.logBytes > logBytesMin)) return;
    await store.name({ resetLog: false });
    // From here on the log is measured from what was named.
    this.#batchedAt = 0;
    if (!this.#stopped) await this.#options.onNamed(meta);
  }

  /** Answers once the batch holds. */
  async #write(target: Target): Promise<StateStore> {
    const { kv, storage } = this.#options;
    const { meta, endEvent, revision, compactRevision, pin } = target;
    const before = this.#stored;
    const store = before?.store ?? (await storage.createStore());
    try {
      const batch = new Batch(kv.table, before?.places);
      const preamble = await this.#preamble(target);
      this.#batchedAt = target.logBytes;
      if (before === undefined) {
        batch.beginBase(compactRevision);
        // None of these batches has a header: the store holds no state before the last.
        while (this.#stepped(batch.base())) await this.#flush(store, batch, true);
        batch.beginEvents(kv.table.seekEvent(compactRevision + 1), endEvent);
      } else {
        batch.beginDrops(kv.table.seekEvent(before.compactRevision + 1), kv.table.seekEvent(compactRevision + 1), before.revision);
        while (this.#stepped(batch.drops())) await this.#flush(store, batch, false);
        batch.beginEvents(before.endEvent, endEvent);
      }
      while (this.#stepped(batch.events(compactRevision))) await this.#flush(store, batch, before === undefined);
      for (let number = 0; number * PAGE_BYTES < Math.max(preamble.length, before?.preamble.length ?? 0); number++) {
        batch.page(number, preamble, before?.preamble);
        if (batch.parts.isFull || number % PAGES_A_TURN === PAGES_A_TURN - 1) await this.#flush(store, batch, before === undefined);
      }
      this.#check();
      await store.write(batch.parts.take(), { last: true, header: { meta, preambleBytes: preamble.length } });
      batch.settle();
      before?.pin.release();
      this.#stored = {
        store,
        places: batch.places,
        preamble,
        endEvent,
        revision,
        compactRevision,
        appliedIndex: meta.lastIncludedIndex,
        pin,
      };
      return store;
    } catch (error) {
      if (before === undefined) await store.abandon().catch(() => {}); // The first error is the one to tell.
      throw error;
    }
  }

  async #preamble(target: Target): Promise<Uint8Array> {
    const writer = new ByteWriter();
    for (let slice = target.preamble.read(PREAMBLE_SLICE_BYTES); slice !== undefined; slice = target.preamble.read(PREAMBLE_SLICE_BYTES)) {
      writer.raw(slice);
      if (slice.length >= PREAMBLE_SLICE_BYTES) await this.#options.pause();
      this.#check();
    }
    target.preamble.cancel();
    return writer.written().slice();
  }

  #stepped(more: boolean): boolean {
    this.#check();
    return more;
  }

  #check(): void {
    if (this.#stopped) throw new EngineError("CLOSED", "the node stops", {});
  }

  async #flush(store: StateStore, batch: Batch, whole: boolean): Promise<void> {
    if (batch.parts.isFull) await store.write(batch.parts.take(), { last: whole });
    await this.#options.pause();
  }
}

/** The records of one batch, put together a slice at a time. Each step answers whether there is more of its kind. */
class Batch {
  readonly parts = new PartWriter();
  readonly places: RecordPlaces;
  readonly #table: Table;
  readonly #isNew: boolean;
  /** Set and forgotten once the batch holds, since one that is given up is begun again. */
  readonly #added: number[] = [];
  readonly #dropped: number[] = [];
  /** Records that no batch has held, and that this one need not hold either. */
  readonly #skipped = new Set<number>();
  #cursor: TableCursor | undefined;
  #compactRevision = 0;
  #at = 0;
  #end = 0;
  #storedRevision = 0;
  #bases = 0;
  /** Of the events, to number those of one revision. */
  #revision = -1;
  #place = 0;

  /** `places`: of the store; undefined: it is new, and nothing is known of it if this batch is given up. */
  constructor(table: Table, places: RecordPlaces | undefined) {
    this.#table = table;
    this.#isNew = places === undefined;
    this.places = places ?? new RecordPlaces();
  }

  beginBase(compactRevision: number): void {
    this.#compactRevision = compactRevision;
    this.#cursor = this.#table.cursor({ start: new Uint8Array(0), end: undefined }, "ascending");
  }

  base(): boolean {
    const table = this.#table;
    for (let left = RECORDS_A_TURN; left > 0 && !this.parts.isFull; left--) {
      const newest = this.#cursor!.next();
      if (newest === 0) return false;
      const ref = table.asOf(newest, this.#compactRevision);
      if (ref === 0 || table.version(ref) === 0) continue;
      // They come in the order of their keys: any number will do that none of their revision has.
      this.#put(ref, ++this.#bases);
    }
    return true;
  }

  /** What the events from `from` to `end` have made superfluous; what is above the stored revision no batch has held. */
  beginDrops(from: number, end: number, storedRevision: number): void {
    this.#at = from;
    this.#end = end;
    this.#storedRevision = storedRevision;
  }

  drops(): boolean {
    const table = this.#table;
    for (let left = RECORDS_A_TURN; left > 0 && !this.parts.isFull; left--) {
      if (this.#at >= this.#end) return false;
      const event = table.event(this.#at++);
      const before = table.previous(event);
      if (before !== 0 && table.version(before) > 0) this.#drop(before);
      if (table.version(event) === 0) this.#drop(event);
    }
    return true;
  }

  beginEvents(from: number, end: number): void {
    this.#at = from;
    this.#end = end;
    this.#revision = -1;
  }

  events(compactRevision: number): boolean {
    const table = this.#table;
    for (let left = RECORDS_A_TURN; left > 0 && !this.parts.isFull; left--) {
      if (this.#at >= this.#end) return false;
      const ref = table.event(this.#at++);
      const revision = table.revision(ref);
      this.#place = revision === this.#revision ? this.#place + 1 : 0;
      this.#revision = revision;
      const isGone = revision <= compactRevision && (table.version(ref) === 0 || this.#skipped.has(ref));
      if (!isGone) this.#put(ref, this.#place);
    }
    return true;
  }

  /** A page of the preamble, if it is another than before. */
  page(number: number, preamble: Uint8Array, before: Uint8Array | undefined): void {
    const from = number * PAGE_BYTES;
    const page = preamble.subarray(from, from + PAGE_BYTES);
    const old = before?.subarray(from, from + PAGE_BYTES) ?? new Uint8Array(0);
    if (equalBytes(page, old)) return;
    const key = numberKey(PAGE_TAG, number, 0);
    if (page.length > 0) this.parts.put(key, page);
    else this.parts.delete(key);
  }

  /** The batch holds. */
  settle(): void {
    for (const ref of this.#dropped) this.places.delete(ref);
    for (let at = 0; at < this.#added.length; at += 2) this.places.set(this.#added[at]!, this.#added[at + 1]!);
  }

  #drop(ref: number): void {
    const revision = this.#table.revision(ref);
    if (revision > this.#storedRevision) {
      this.#skipped.add(ref);
      return;
    }
    const at = this.parts.beginDelete(NUMBER_KEY_LENGTH);
    writeNumberKey(this.parts.view, at, { tag: RECORD_TAG, high: revision, low: this.places.get(ref) });
    this.#dropped.push(ref);
  }

  #put(ref: number, place: number): void {
    const table = this.#table;
    const cause = table.deletionCause(ref);
    const keyBytes = table.keyBytes(ref);
    const bytes = cause === undefined ? 1 + KV_HEADER_BYTES + keyBytes + table.valueBytes(ref) : DELETE_HEADER_BYTES + keyBytes;
    const at = this.parts.beginPut(NUMBER_KEY_LENGTH, bytes);
    writeNumberKey(this.parts.view, at, { tag: RECORD_TAG, high: table.revision(ref), low: place });
    const { bytes: part, view } = this.parts;
    const valueAt = at + NUMBER_KEY_LENGTH;
    if (cause === undefined) {
      part[valueAt] = TAG_PUT;
      packKv(part, view, valueAt + 1, table, ref);
    } else {
      view.setUint32(valueAt, TAG_DELETE | (CAUSES.indexOf(cause) << 8), true);
      view.setFloat64(valueAt + 4, table.revision(ref), true);
      view.setUint32(valueAt + 12, keyBytes, true);
      part.set(table.key(ref), valueAt + DELETE_HEADER_BYTES);
    }
    if (place === 0) return;
    if (this.#isNew) this.places.set(ref, place);
    else this.#added.push(ref, place);
  }
}
