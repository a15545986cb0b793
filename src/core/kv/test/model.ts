/**
 * The whole of the data a second time, as one would explain it: every revision is a full copy, every answer is found by looking at
 * everything. Keys and values are strings of chars below 256. What machine, ranges, watches and snapshots must agree with.
 */
import type { KeyInterval } from "../table.ts";
import { ModelSessions, sessionId, type SessionCommand } from "./model-sessions.ts";
import { runTxn, type ModelAnswer, type ModelTxn } from "./model-txn.ts";

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
      readonly ignoreLease?: boolean;
    }
  | { readonly op: "txn"; readonly txn: ModelTxn }
  | { readonly op: "compact"; readonly revision: number }
  | { readonly op: "limitHistory"; readonly revisionsMax: number; readonly bytesMax: number }
  | { readonly op: "deleteKey"; readonly key: string; readonly prevKv?: boolean }
  | { readonly op: "deleteRange"; readonly start: string; readonly end: string | undefined; readonly prevKv?: boolean }
  | {
      readonly op: "compareAndSwap";
      readonly key: string;
      readonly expected: string | undefined;
      readonly value: string;
      readonly ttlMs?: number;
    }
  | { readonly op: "grant"; readonly lease: string; readonly ttlMs: number }
  | { readonly op: "renew"; readonly leases: readonly string[] }
  | { readonly op: "revoke"; readonly lease: string }
  | SessionCommand;

export interface ModelLease {
  readonly id: string;
  readonly ttlMs: number;
  readonly dueMs: number;
  /** Ends with its last key. */
  readonly ofPut: boolean;
}

export interface ModelResult {
  readonly refusal: string | undefined;
  readonly revision: number;
  readonly succeeded: boolean;
  readonly deleted: number;
  readonly prevKvs: readonly ModelKv[];
  /** Of a renewal: the times to live, 0 where there is no such lease. */
  readonly renewed: readonly number[];
  /** Of a transaction. */
  readonly answers: readonly ModelAnswer[];
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
  leases: ModelLease[] = [];
  readonly sessions: ModelSessions = new ModelSessions();
  private limits: { readonly revisionsMax: number; readonly bytesMax: number };

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
    for (const { id } of due) this.end(id, "expiry");
    this.sessions.expire(this.clockMs);
    const known = [...this.sessions.opened];
    const results = commands.map((command, at) => this.run(index, at, command, known));
    const held = (): number => this.bytes.slice(this.compactRevision + 1).reduce((sum, bytes) => sum + bytes, 0);
    while (
      this.compactRevision < Math.min(before, this.revision - 1) &&
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

  private run(index: number, at: number, command: ModelCommand, known: readonly string[]): ModelResult {
    const result = { refusal: undefined, succeeded: false, deleted: 0, prevKvs: [], renewed: [], answers: [] };
    if (command.op === "openSession" || command.op === "closeSession" || command.op === "inSession") {
      const { sessions, clockMs, revision } = this;
      if (command.op === "openSession") {
        sessions.open((BigInt(index) * 65_536n + BigInt(at)).toString(16).padStart(16, "0"), command, clockMs);
        return { ...result, revision };
      }
      const id = sessionId(known, command.nth);
      if (command.op === "closeSession") return { ...result, refusal: sessions.close(id) ? undefined : "sessionGone", revision };
      const answer = sessions.once(id, command, clockMs, () => this.run(index, at, command.command, known));
      return typeof answer === "string" ? { ...result, refusal: answer, revision } : answer;
    }
    if (command.op === "txn" || command.op === "compact" || command.op === "limitHistory") return this.runTxn(index, at, command, result);
    if (command.op === "grant" || command.op === "renew" || command.op === "revoke") return this.runLease(command, result);
    const prevKvs = (kvs: readonly ModelKv[]): readonly ModelKv[] => ("prevKv" in command && command.prevKv === true ? kvs : []);
    if (command.op === "deleteKey" || command.op === "deleteRange") {
      const { start, end } = command.op === "deleteKey" ? { start: command.key, end: `${command.key}\0` } : command;
      const found = this.within(start, end);
      if (found.length > 0) this.change(found.map((kv) => ({ key: kv.key, put: undefined, cause: "request" })));
      return { ...result, revision: this.revision, deleted: found.length, prevKvs: prevKvs(found) };
    }
    const before = this.state.get(command.key);
    const keeps = command.op === "put" && command.ignoreLease === true;
    if (keeps && before === undefined) return { ...result, refusal: "keyNotFound", revision: this.revision };
    if (command.op === "compareAndSwap" && before?.value !== command.expected) return { ...result, revision: this.revision };
    let lease = keeps ? before!.lease : undefined;
    if (command.op === "put" && command.lease !== undefined) {
      lease = command.lease;
      if (!this.leases.some(({ id }) => id === lease)) return { ...result, refusal: "leaseNotFound", revision: this.revision };
    } else if (command.ttlMs !== undefined) {
      lease = (BigInt(index) * 65_536n + BigInt(at)).toString(16).padStart(16, "0");
      if (this.lease(lease) !== undefined) return { ...result, refusal: "leaseExists", revision: this.revision };
      this.leases.push({ id: lease, ttlMs: command.ttlMs, dueMs: this.clockMs + command.ttlMs, ofPut: true });
    }
    this.change([{ key: command.key, put: { value: command.value, lease }, cause: undefined }]);
    const succeeded = command.op === "compareAndSwap";
    return { ...result, revision: this.revision, succeeded, prevKvs: prevKvs(before === undefined ? [] : [before]) };
  }

  private runTxn(
    index: number,
    at: number,
    command: ModelCommand & { readonly op: "txn" | "compact" | "limitHistory" },
    nothing: Omit<ModelResult, "revision">,
  ): ModelResult {
    switch (command.op) {
      case "txn": {
        const leaseId = (BigInt(index) * 65_536n + BigInt(at)).toString(16).padStart(16, "0");
        const { refusal, succeeded, answers } = runTxn(this, command.txn, leaseId);
        return { ...nothing, refusal, succeeded, answers, revision: this.revision };
      }
      case "compact": {
        const { revision, compactRevision } = this;
        if (command.revision > revision) return { ...nothing, refusal: "future", revision };
        if (compactRevision > 0 && command.revision <= compactRevision + 1) return { ...nothing, refusal: "compacted", revision };
        this.compactRevision = Math.max(0, command.revision - 1);
        return { ...nothing, revision };
      }
      case "limitHistory":
        this.limits = command;
        return { ...nothing, revision: this.revision };
    }
  }

  private runLease(
    command: ModelCommand & { readonly op: "grant" | "renew" | "revoke" },
    nothing: Omit<ModelResult, "revision">,
  ): ModelResult {
    const result = { ...nothing, revision: this.revision };
    switch (command.op) {
      case "grant":
        if (this.lease(command.lease) !== undefined) return { ...result, refusal: "leaseExists" };
        this.leases.push({ id: command.lease, ttlMs: command.ttlMs, dueMs: this.clockMs + command.ttlMs, ofPut: false });
        return result;
      case "revoke":
        if (this.lease(command.lease) === undefined) return { ...result, refusal: "leaseNotFound" };
        this.end(command.lease, "revocation");
        return { ...result, revision: this.revision };
      case "renew": {
        const renewed: number[] = [];
        for (const id of command.leases) {
          renewed.push(this.lease(id)?.ttlMs ?? 0);
          this.leases = this.leases.map((lease) => (lease.id === id ? { ...lease, dueMs: this.clockMs + lease.ttlMs } : lease));
        }
        return { ...result, renewed };
      }
    }
  }

  lease(id: string): ModelLease | undefined {
    return this.leases.find((lease) => lease.id === id);
  }

  leaseKeys(id: string): string[] {
    return this.sorted()
      .filter((kv) => kv.lease === id)
      .map((kv) => kv.key);
  }

  private end(id: string, cause: string): void {
    const keys = this.leaseKeys(id);
    this.leases = this.leases.filter((lease) => lease.id !== id);
    if (keys.length > 0) this.change(keys.map((key) => ({ key, put: undefined, cause })));
  }

  change(
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
    this.leases = this.leases.filter(({ id, ofPut }) => !ofPut || held.has(id));
  }
}
