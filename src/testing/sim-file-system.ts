/**
 * A simulated disk: sectors of 512 bytes, of which each unsynced one independently survives, does not, or turns to garbage when power
 * is lost; directory entries that are unsynced too; faults by plan. Everything it decides comes from the Random that it is given.
 * It knows no time: what a call takes is for the caller to simulate. Directories themselves are durable when made.
 */
import { FileError } from "../host/file-system.ts";
import type { FileHandle, FileSystem } from "../host/file-system.ts";
import type { Random } from "../host/random.ts";

export const SIM_SECTOR_BYTES = 512;

/** The calls that change something. Crash points and counters are counted in these; reading calls are counted as "read". */
export type SimOperation = "create" | "write" | "dataSync" | "rename" | "remove" | "syncDirectory" | "read";

/** Thrown where a planned crash falls, and by every call after it until crash() was called. Not a FileError: nothing may handle it. */
export class SimulatedCrash extends Error {
  constructor() {
    super("the simulated machine has lost power");
    this.name = "SimulatedCrash";
  }
}

export type SectorFate = "old" | "new" | "garbage";

export interface CrashChoices {
  /** What becomes of one unsynced sector; `unsynced` counts them all in a fixed order. Default: drawn from the Random. */
  sector?(path: string, sector: number, unsynced: number): SectorFate;
  /** Whether the unsynced directory operation was done; counted in the order of the calls. Default: drawn from the Random. */
  entry?(operation: "create" | "rename" | "remove", path: string, unsynced: number): boolean;
}

export interface SimFault {
  readonly operation: SimOperation;
  readonly errno: "ENOSPC" | "EIO";
  /** How many such calls succeed first. Default 0. */
  readonly after?: number;
  /** Only calls whose path contains this text. */
  readonly pathPart?: string;
  /** How many calls fail. Default 1. */
  readonly times?: number;
}

interface Inode {
  /** What survives. Sectors are never written in place, so that a sector of zeros, or a copy of the disk, costs nothing. */
  durable: (Uint8Array | undefined)[];
  durableBytes: number;
  bytes: number;
  /** Written and not synced yet. */
  readonly pending: Map<number, Uint8Array>;
  /** Written before a sync that failed: read back until power is lost, and never on the disk (Linux marks such pages clean). */
  readonly phantom: Map<number, Uint8Array>;
}

type EntryOperation =
  | { readonly kind: "create"; readonly path: string; readonly inode: Inode }
  | { readonly kind: "rename"; readonly from: string; readonly path: string; readonly inode: Inode }
  | { readonly kind: "remove"; readonly path: string };

interface PlannedFault {
  readonly fault: SimFault;
  skip: number;
  left: number;
}

const ZEROS = new Uint8Array(SIM_SECTOR_BYTES);

export class SimFileSystem implements FileSystem {
  readonly #random: Random;
  readonly #directories = new Set<string>();
  #entries = new Map<string, Inode>();
  #durableEntries = new Map<string, Inode>();
  #unsyncedOperations: EntryOperation[] = [];
  #faults: PlannedFault[] = [];
  #operationsLeft = Infinity;
  #off = false;
  #boot = 0;
  /** In sectors. A write that would take more finds ENOSPC, after as much of it as there was room for; what has its sectors is written. */
  #capacity = Infinity;
  readonly #counts: Record<SimOperation, number> = {
    create: 0,
    write: 0,
    dataSync: 0,
    rename: 0,
    remove: 0,
    syncDirectory: 0,
    read: 0,
  };

  constructor(options: { readonly random: Random }) {
    this.#random = options.random;
  }

  // ---------------------------------------------------------------- FileSystem

  open(path: string, mode: "create" | "write" | "read"): FileHandle {
    if (mode !== "create") {
      this.#begin("read", path);
      const inode = this.#entries.get(path);
      if (inode === undefined) throw new FileError({ operation: "open", path, errno: "ENOENT" });
      return this.#handle(path, inode, mode);
    }
    this.#begin("create", path);
    if (this.#entries.has(path)) throw new FileError({ operation: "open", path, errno: "EEXIST" });
    if (!this.#directories.has(parentOf(path))) throw new FileError({ operation: "open", path, errno: "ENOENT" });
    const inode: Inode = { durable: [], durableBytes: 0, bytes: 0, pending: new Map(), phantom: new Map() };
    this.#entries.set(path, inode);
    this.#unsyncedOperations.push({ kind: "create", path, inode });
    return this.#handle(path, inode, mode);
  }

  list(directory: string): readonly string[] {
    this.#begin("read", directory);
    const names: string[] = [];
    const prefix = `${directory}/`;
    for (const path of this.#entries.keys()) {
      if (path.startsWith(prefix) && !path.includes("/", prefix.length)) names.push(path.slice(prefix.length));
    }
    for (const path of this.#directories) if (parentOf(path) === directory && path !== directory) names.push(path.slice(prefix.length));
    return names.sort();
  }

  exists(path: string): boolean {
    this.#begin("read", path);
    return this.#entries.has(path) || this.#directories.has(path);
  }

  makeDirectory(path: string): void {
    this.#begin("read", path);
    for (let at = path; at !== ""; at = parentOf(at)) this.#directories.add(at);
  }

  rename(from: string, to: string): void {
    this.#begin("rename", to);
    const inode = this.#entries.get(from);
    if (inode === undefined) throw new FileError({ operation: "rename", path: from, errno: "ENOENT" });
    this.#entries.delete(from);
    this.#entries.set(to, inode);
    this.#unsyncedOperations.push({ kind: "rename", from, path: to, inode });
  }

  remove(path: string): void {
    this.#begin("remove", path);
    if (this.#entries.delete(path)) this.#unsyncedOperations.push({ kind: "remove", path });
  }

  /** One call, of whose removals each is there or not after a crash; a directory in which something is left is there again. */
  removeDirectory(path: string): void {
    this.#begin("remove", path);
    const prefix = `${path}/`;
    for (const inside of [...this.#entries.keys()]) {
      if (!inside.startsWith(prefix)) continue;
      this.#entries.delete(inside);
      this.#unsyncedOperations.push({ kind: "remove", path: inside });
    }
    for (const inside of [...this.#directories]) if (inside === path || inside.startsWith(prefix)) this.#directories.delete(inside);
  }

  syncDirectory(path: string): void {
    this.#begin("syncDirectory", path);
    const left: EntryOperation[] = [];
    for (const operation of this.#unsyncedOperations) {
      if (parentOf(operation.path) === path) apply(this.#durableEntries, operation);
      else left.push(operation);
    }
    this.#unsyncedOperations = left;
  }

  // ---------------------------------------------------------------- faults

  /** Makes the calls that it describes throw a FileError. Several may be planned; each counts for itself. */
  fail(fault: SimFault): void {
    this.#faults.push({ fault, skip: fault.after ?? 0, left: fault.times ?? 1 });
  }

  /** From now on the disk holds this many bytes more than it does, and no others; undefined: as many as anybody likes. */
  limit(freeBytes: number | undefined): void {
    this.#capacity = freeBytes === undefined ? Infinity : this.#usedSectors() + Math.floor(freeBytes / SIM_SECTOR_BYTES);
  }

  /** No planned faults from here on, and room for everything. What a failed sync has lost stays lost. */
  clearFaults(): void {
    this.#faults = [];
    this.#capacity = Infinity;
    this.#operationsLeft = Infinity;
  }

  /** Lets `count` more changing calls finish and throws SimulatedCrash at the next; then call crash(). */
  crashAfterOperations(count: number): void {
    this.#operationsLeft = count;
  }

  /** Power is lost and comes back. Handles of before are dead, planned faults are forgotten. */
  crash(choices: CrashChoices = {}): void {
    let counted = 0;
    for (const operation of this.#unsyncedOperations) {
      const done = choices.entry?.(operation.kind, operation.path, counted++) ?? (this.#random.uint32() & 1) === 1;
      if (done) apply(this.#durableEntries, operation);
    }
    this.#unsyncedOperations = [];
    let unsynced = 0;
    for (const [path, inode] of this.#durableEntries) {
      unsynced = this.#losePower(path, inode, unsynced, choices);
    }
    this.#entries = new Map(this.#durableEntries);
    for (const path of this.#entries.keys()) for (let at = parentOf(path); at !== ""; at = parentOf(at)) this.#directories.add(at);
    this.#faults = [];
    this.#operationsLeft = Infinity;
    this.#off = false;
    this.#boot++;
  }

  /** The process ends and the machine does not: handles of before are dead, everything written is still there to be read. */
  endProcess(): void {
    this.#off = false;
    this.#operationsLeft = Infinity;
    this.#boot++;
  }

  /** Changes one bit of a file, on the disk as well as in memory. */
  flipBit(path: string, offset: number, bit: number): void {
    const inode = this.#inode(path);
    const sector = Math.floor(offset / SIM_SECTOR_BYTES);
    const flip = (bytes: Uint8Array): Uint8Array => {
      const changed = bytes.slice();
      changed[offset % SIM_SECTOR_BYTES]! ^= 1 << bit;
      return changed;
    };
    const pending = inode.pending.get(sector);
    if (pending !== undefined) inode.pending.set(sector, flip(pending));
    const phantom = inode.phantom.get(sector);
    if (phantom !== undefined) inode.phantom.set(sector, flip(phantom));
    inode.durable[sector] = flip(inode.durable[sector] ?? ZEROS);
  }

  /** Cuts a file to its first `bytes`, durably. */
  truncate(path: string, bytes: number): void {
    const content = this.contents(path).slice(0, bytes);
    const inode = this.#inode(path);
    inode.pending.clear();
    inode.phantom.clear();
    inode.durable = [];
    for (let at = 0; at < content.byteLength; at += SIM_SECTOR_BYTES) {
      const sector = new Uint8Array(SIM_SECTOR_BYTES);
      sector.set(content.subarray(at, at + SIM_SECTOR_BYTES));
      inode.durable.push(sector);
    }
    inode.bytes = inode.durableBytes = content.byteLength;
  }

  /** A new, empty disk. */
  wipe(): void {
    this.#directories.clear();
    this.#entries.clear();
    this.#durableEntries.clear();
    this.#unsyncedOperations = [];
    this.#boot++;
  }

  // ---------------------------------------------------------------- looking

  /** Paths of the files there are, sorted. */
  paths(): readonly string[] {
    return [...this.#entries.keys()].sort();
  }

  /** What a reader would see now. */
  contents(path: string): Uint8Array {
    const inode = this.#inode(path);
    const bytes = new Uint8Array(inode.bytes);
    readInode(inode, bytes, 0);
    return bytes;
  }

  get unsyncedSectors(): number {
    let count = 0;
    for (const inode of new Set(this.#entries.values())) count += inode.pending.size;
    return count;
  }

  /** Calls so far, by kind. */
  get counts(): Readonly<Record<SimOperation, number>> {
    return this.#counts;
  }

  /** Changing calls so far: the numbers that crashAfterOperations() counts in. */
  get operations(): number {
    const { read: _, ...changing } = this.#counts;
    return Object.values(changing).reduce((sum, count) => sum + count, 0);
  }

  /** A second disk with the same content, unsynced writes included; changes to one do not reach the other. No faults are copied. */
  clone(random: Random = this.#random): SimFileSystem {
    const copy = new SimFileSystem({ random });
    const copies = new Map<Inode, Inode>();
    const inodeCopy = (inode: Inode): Inode => {
      let made = copies.get(inode);
      if (made === undefined) {
        made = {
          durable: inode.durable.slice(),
          durableBytes: inode.durableBytes,
          bytes: inode.bytes,
          pending: new Map(inode.pending),
          phantom: new Map(inode.phantom),
        };
        copies.set(inode, made);
      }
      return made;
    };
    for (const directory of this.#directories) copy.#directories.add(directory);
    for (const [path, inode] of this.#entries) copy.#entries.set(path, inodeCopy(inode));
    for (const [path, inode] of this.#durableEntries) copy.#durableEntries.set(path, inodeCopy(inode));
    copy.#unsyncedOperations = this.#unsyncedOperations.map((operation) =>
      operation.kind === "remove" ? operation : { ...operation, inode: inodeCopy(operation.inode) },
    );
    return copy;
  }

  /** What is certain to be there after power was lost now: nothing unsynced. This disk is not changed. */
  durableCopy(): SimFileSystem {
    const copy = this.clone();
    copy.crash({ sector: () => "old", entry: () => false });
    return copy;
  }

  // ---------------------------------------------------------------- inside

  #inode(path: string): Inode {
    const inode = this.#entries.get(path);
    if (inode === undefined) throw new FileError({ operation: "look", path, errno: "ENOENT" });
    return inode;
  }

  #begin(operation: SimOperation, path: string): void {
    if (this.#off) throw new SimulatedCrash();
    this.#counts[operation]++;
    if (operation !== "read" && this.#operationsLeft-- <= 0) {
      this.#off = true;
      throw new SimulatedCrash();
    }
    if (this.#faults.length > 0) this.#meetFaults(operation, path);
  }

  #meetFaults(operation: SimOperation, path: string): void {
    for (const planned of this.#faults) {
      const { fault } = planned;
      if (fault.operation !== operation || planned.left === 0) continue;
      if (fault.pathPart !== undefined && !path.includes(fault.pathPart)) continue;
      if (planned.skip > 0) {
        planned.skip--;
        continue;
      }
      planned.left--;
      throw new FileError({ operation, path, errno: fault.errno });
    }
  }

  #usedSectors(): number {
    let sectors = 0;
    for (const inode of new Set(this.#entries.values())) sectors += sectorsOf(inode.bytes);
    return sectors;
  }

  /** As much of the bytes as the disk has room for. Files have no holes: what lies within one's length has its sectors. */
  #fitting(inode: Inode, bytes: Uint8Array, position: number): Uint8Array {
    if (this.#capacity === Infinity) return bytes;
    const free = Math.max(0, this.#capacity - this.#usedSectors());
    const end = (sectorsOf(inode.bytes) + free) * SIM_SECTOR_BYTES;
    return position + bytes.byteLength <= end ? bytes : bytes.subarray(0, Math.max(0, end - position));
  }

  #handle(path: string, inode: Inode, mode: "create" | "write" | "read"): FileHandle {
    const boot = this.#boot;
    let open = true;
    const check = (operation: SimOperation): void => {
      if (boot !== this.#boot) throw new SimulatedCrash();
      if (!open) throw new FileError({ operation, path, errno: "EBADF" });
      this.#begin(operation, path);
    };
    return {
      path,
      size: () => {
        check("read");
        return inode.bytes;
      },
      read: (into, position) => {
        check("read");
        return readInode(inode, into, position);
      },
      write: (bytes, position) => {
        // Power may be lost in the middle: the sectors are there to be lost, so that a crash at this call is one between its parts.
        if (mode === "read") throw new FileError({ operation: "write", path, errno: "EBADF" });
        const losesPower = !this.#off && boot === this.#boot && open && this.#operationsLeft <= 0;
        if (losesPower) writeInode(inode, bytes, position);
        check("write");
        const fitting = this.#fitting(inode, bytes, position);
        if (fitting.byteLength > 0) writeInode(inode, fitting, position);
        if (fitting !== bytes) throw new FileError({ operation: "write", path, errno: "ENOSPC" });
      },
      truncate: (bytes) => {
        if (mode === "read") throw new FileError({ operation: "truncate", path, errno: "EBADF" });
        check("write");
        cutInode(inode, bytes);
      },
      dataSync: () => {
        try {
          check("dataSync");
        } catch (error) {
          if (error instanceof FileError && error.errno !== "EBADF") {
            for (const [sector, bytes] of inode.pending) inode.phantom.set(sector, bytes);
            inode.pending.clear();
          }
          throw error;
        }
        for (const [sector, bytes] of inode.pending) {
          inode.durable[sector] = bytes;
          inode.phantom.delete(sector);
        }
        inode.pending.clear();
        // A length that only phantom sectors reach is not on the disk either.
        let bytes = inode.bytes;
        if (inode.phantom.size > 0) bytes = Math.min(bytes, Math.max(inode.durableBytes, inode.durable.length * SIM_SECTOR_BYTES));
        inode.durableBytes = Math.max(inode.durableBytes, bytes);
      },
      close: () => {
        open = false;
      },
    };
  }

  #losePower(path: string, inode: Inode, counted: number, choices: CrashChoices): number {
    let unsynced = counted;
    let reach = inode.durableBytes;
    for (const sector of [...inode.pending.keys()].sort((a, b) => a - b)) {
      const fate = choices.sector?.(path, sector, unsynced++) ?? FATES[this.#random.uint32() % FATES.length]!;
      if (fate === "old") continue;
      inode.durable[sector] = fate === "new" ? inode.pending.get(sector)! : this.#garbage();
      reach = Math.max(reach, Math.min(inode.bytes, (sector + 1) * SIM_SECTOR_BYTES));
    }
    inode.pending.clear();
    inode.phantom.clear();
    inode.bytes = inode.durableBytes = reach;
    inode.durable.length = Math.min(inode.durable.length, Math.ceil(reach / SIM_SECTOR_BYTES));
    return unsynced;
  }

  #garbage(): Uint8Array {
    const bytes = new Uint8Array(SIM_SECTOR_BYTES);
    const words = new Uint32Array(bytes.buffer);
    for (let at = 0; at < words.length; at++) words[at] = this.#random.uint32();
    return bytes;
  }
}

const FATES: readonly SectorFate[] = ["old", "new", "garbage"];

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

function apply(entries: Map<string, Inode>, operation: EntryOperation): void {
  if (operation.kind === "remove") {
    entries.delete(operation.path);
    return;
  }
  if (operation.kind === "rename" && entries.get(operation.from) === operation.inode) entries.delete(operation.from);
  entries.set(operation.path, operation.inode);
}

function sectorsOf(bytes: number): number {
  return Math.ceil(bytes / SIM_SECTOR_BYTES);
}

function sectorOf(inode: Inode, sector: number): Uint8Array {
  return inode.pending.get(sector) ?? inode.phantom.get(sector) ?? inode.durable[sector] ?? ZEROS;
}

function readInode(inode: Inode, into: Uint8Array, position: number): number {
  const count = Math.max(0, Math.min(into.byteLength, inode.bytes - position));
  for (let done = 0; done < count;) {
    const within = (position + done) % SIM_SECTOR_BYTES;
    const part = Math.min(SIM_SECTOR_BYTES - within, count - done);
    into.set(sectorOf(inode, Math.floor((position + done) / SIM_SECTOR_BYTES)).subarray(within, within + part), done);
    done += part;
  }
  return count;
}

function writeInode(inode: Inode, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.byteLength;) {
    const sector = Math.floor((position + done) / SIM_SECTOR_BYTES);
    const within = (position + done) % SIM_SECTOR_BYTES;
    const part = Math.min(SIM_SECTOR_BYTES - within, bytes.byteLength - done);
    const piece = bytes.subarray(done, done + part);
    const before = sectorOf(inode, sector);
    if (before === ZEROS && isZero(piece)) {
      inode.pending.set(sector, ZEROS);
    } else {
      const content = before.slice();
      content.set(piece, within);
      inode.pending.set(sector, content);
    }
    done += part;
  }
  inode.bytes = Math.max(inode.bytes, position + bytes.byteLength);
}

/** Durable at once. */
function cutInode(inode: Inode, bytes: number): void {
  const sectors = sectorsOf(bytes);
  for (const unsynced of [inode.pending, inode.phantom])
    for (const sector of [...unsynced.keys()]) if (sector >= sectors) unsynced.delete(sector);
  inode.durable.length = Math.min(inode.durable.length, sectors);
  inode.bytes = Math.min(inode.bytes, bytes);
  inode.durableBytes = Math.min(inode.durableBytes, bytes);
}

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.byteLength; at++) if (bytes[at] !== 0) return false;
  return true;
}
