/**
 * The whole of the data a second time, as one would explain it: every revision is a full copy, every answer is found by looking at
 * everything. Keys and values are strings of chars below 256. What machine, ranges, watches and snapshots must agree with.
 */
import type { KeyInterval } from "../table.ts";

export interface ModelKv {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
}

export interface ModelEvent {
  readonly kind: "put" | "delete";
  readonly kv: ModelKv;
  readonly created: boolean;
  readonly cause: string | undefined;
  readonly prevKv: ModelKv | undefined;
}

export type ModelCommand =
  | {
      readonly op: "put";
      readonly key: string;
      readonly value: string;
      readonly ttlMs?: number;
      readonly lease?: string;
      readonly prevKv?: boolean;
    }
  | { readonly op: "deleteKey"; readonly key: string; readonly prevKv?: boolean }
  | { readonly op: "deleteRange"; readonly start: string; readonly end: string | undefined; readonly prevKv?: boolean }
  | {
      readonly op: "compareAndSwap";
      readonly key: string;
      readonly expected: string | undefined;
      readonly value: string;
      readonly ttlMs?: number;
    };

export interface ModelResult {
  readonly refusal: string | undefined;
  readonly revision: number;
  readonly succeeded: boolean;
  readonly deleted: number;
  readonly prevKvs: readonly ModelKv[];
}

export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

export function textOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

export function intervalOf(start: string, end: string | undefined): KeyInterval {
  return { start: bytesOf(start), end: end === undefined ? undefined : bytesOf(end) };
}

export class Model {
  revision = 1;
  compactRevision = 0;
  clockMs = 0;
  /** By revision. */
  readonly states: Map<string, ModelKv>[] = [new Map(), new Map()];
  readonly events: ModelEvent[][] = [[], []];
  private readonly bytes: number[] = [0, 0];
  private leases: { id: string; dueMs: number }[] = [];
  private readonly limits: { readonly revisionsMax: number; readonly bytesMax: number };

  constructor(limits: { readonly revisionsMax: number; readonly bytesMax: number }) {
    this.limits = limits;
  }

  get state(): Map<string, ModelKv> {
    return this.states[this.revision]!;
  }

  get nextDue(): number | undefined {
    return this.leases.length === 0 ? undefined : Math.min(...this.leases.map((lease) => lease.dueMs));
  }

  apply(index: number, clockMs: number, commands: readonly ModelCommand[]): ModelResult[] {
    const before = this.revision;
    this.clockMs = Math.max(this.clockMs, clockMs);
    const due = this.leases.filter((lease) => lease.dueMs <= this.clockMs);
    due.sort((left, right) => left.dueMs - right.dueMs || (left.id < right.id ? -1 : 1));
    for (const { id } of due) {
      const keys = this.sorted().filter((kv) => kv.lease === id);
      keys.sort((left, right) => left.modRevision - right.modRevision);
      if (keys.length > 0) this.change(keys.map((kv) => ({ key: kv.key, put: undefined, cause: "expiry" })));
    }
    const results = commands.map((command, at) => this.run(index, at, command));
    const held = (): number => this.bytes.slice(this.compactRevision + 1).reduce((sum, bytes) => sum + bytes, 0);
    while (
      this.compactRevision < before &&
      (this.revision - this.compactRevision > this.limits.revisionsMax || held() > this.limits.bytesMax)
    ) {
      this.compactRevision++;
    }
    return results;
  }

  sorted(revision: number = this.revision): ModelKv[] {
    return [...this.states[revision]!.values()].sort((left, right) => (left.key < right.key ? -1 : 1));
  }

  within(start: string, end: string | undefined, revision: number = this.revision): ModelKv[] {
    return this.sorted(revision).filter((kv) => kv.key >= start && (end === undefined || kv.key < end));
  }

  private run(index: number, at: number, command: ModelCommand): ModelResult {
    const result = { refusal: undefined, succeeded: false, deleted: 0, prevKvs: [] };
    const prevKvs = (kvs: readonly ModelKv[]): readonly ModelKv[] => ("prevKv" in command && command.prevKv === true ? kvs : []);
    if (command.op === "deleteKey" || command.op === "deleteRange") {
      const { start, end } = command.op === "deleteKey" ? { start: command.key, end: `${command.key}\0` } : command;
      const found = this.within(start, end);
      if (found.length > 0) this.change(found.map((kv) => ({ key: kv.key, put: undefined, cause: "request" })));
      return { ...result, revision: this.revision, deleted: found.length, prevKvs: prevKvs(found) };
    }
    const before = this.state.get(command.key);
    if (command.op === "compareAndSwap" && before?.value !== command.expected) return { ...result, revision: this.revision };
    let lease: string | undefined;
    if (command.op === "put" && command.lease !== undefined) {
      lease = command.lease;
      if (!this.leases.some(({ id }) => id === lease)) return { ...result, refusal: "leaseNotFound", revision: this.revision };
    } else if (command.ttlMs !== undefined) {
      lease = (BigInt(index) * 65_536n + BigInt(at)).toString(16).padStart(16, "0");
      this.leases.push({ id: lease, dueMs: this.clockMs + command.ttlMs });
    }
    this.change([{ key: command.key, put: { value: command.value, lease }, cause: undefined }]);
    const succeeded = command.op === "compareAndSwap";
    return { ...result, revision: this.revision, succeeded, prevKvs: prevKvs(before === undefined ? [] : [before]) };
  }

  private change(
    changes: readonly { key: string; put: { value: string; lease: string | undefined } | undefined; cause: string | undefined }[],
  ): void {
    const revision = this.revision + 1;
    const state = new Map(this.state);
    const events: ModelEvent[] = [];
    let bytes = 0;
    for (const { key, put, cause } of changes) {
      const prevKv = state.get(key);
      bytes += 16;
      if (prevKv !== undefined) bytes += 64 + key.length + prevKv.value.length;
      if (put === undefined) {
        bytes += 64 + key.length;
        state.delete(key);
        const kv = { key, value: "", createRevision: 0, modRevision: revision, version: 0, lease: undefined };
        events.push({ kind: "delete", kv, created: false, cause, prevKv });
      } else {
        const createRevision = prevKv?.createRevision ?? revision;
        const kv = { key, ...put, createRevision, modRevision: revision, version: (prevKv?.version ?? 0) + 1 };
        state.set(key, kv);
        events.push({ kind: "put", kv, created: prevKv === undefined, cause: undefined, prevKv });
      }
    }
    this.states[revision] = state;
    this.events[revision] = events;
    this.bytes[revision] = bytes;
    this.revision = revision;
    const held = new Set([...state.values()].map((kv) => kv.lease));
    this.leases = this.leases.filter(({ id }) => held.has(id));
  }
}
