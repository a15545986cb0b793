/** What the operator does with the data of an embedded engine, and asks of its node. */
import { EngineError, invalidArgument } from "../errors.ts";
import { VERSION } from "../version.ts";
import { checkNumber, checkOptions, describe } from "./arguments.ts";
import { CALL_OPTIONS, type CallContext } from "./call-context.ts";
import type { Bytes, CallOptions, HashResult, Maintenance, Status } from "./client.ts";
import type { EngineStatus } from "./engine-status.ts";
import { LocalBackup } from "./local-backup.ts";

const KNOWN_CALL: ReadonlySet<string> = new Set(CALL_OPTIONS);
const KNOWN_HASH: ReadonlySet<string> = new Set([...CALL_OPTIONS, "revision"]);
const NO_SPACE_ALARM = "NOSPACE";

/** One for each engine. */
export class LocalMaintenance implements Maintenance {
  readonly #context: CallContext;
  readonly #status: EngineStatus;

  constructor(context: CallContext, status: EngineStatus) {
    this.#context = context;
    this.#status = status;
  }

  async status(options: CallOptions = {}): Promise<Status> {
    checkOptions(options, KNOWN_CALL, "options");
    const { signal } = options;
    const asked = this.#context.calls.inspect(this.#context.timeout(options.timeoutMs, signal));
    const { inspection } = await this.#context.cancellable(signal, asked.call, asked.reply);
    const { clusterId, memberId, role, leader, durable } = this.#status.node;
    const { term, commitIndex, revision, compactRevision, keys, dataBytes, dataBytesMax, diskBytes, appliedIndex, isFull } = inspection;
    return {
      version: VERSION,
      clusterId,
      memberId,
      role,
      leader,
      term,
      commitIndex,
      lastApplied: appliedIndex,
      revision,
      compactRevision,
      keys,
      dataBytes,
      dataBytesMax,
      diskBytes,
      durable,
      alarms: isFull ? [NO_SPACE_ALARM] : [],
    };
  }

  // oxlint-disable-next-line require-await -- what it throws rejects
  async compact(revision: number, options: CallOptions = {}): Promise<void> {
    checkOptions(options, KNOWN_CALL, "options");
    checkNumber(revision, "revision", { min: 1 });
    const { signal } = options;
    const timeoutMs = this.#context.timeout(options.timeoutMs, signal);
    return this.#context.abortable<void>(signal, true, (resolve, reject) => {
      this.#context.write(timeoutMs, (batch) => batch.compact(revision), { take: () => resolve(), reject });
    });
  }

  backup(options: CallOptions = {}): AsyncIterable<Bytes> {
    checkOptions(options, KNOWN_CALL, "options");
    const { signal, timeoutMs = Number.POSITIVE_INFINITY } = options;
    return new LocalBackup({
      context: this.#context,
      clusterId: this.#status.node.clusterId,
      signal,
      timeoutMs: this.#context.timeout(timeoutMs, signal),
    });
  }

  async hash(options: CallOptions & { readonly revision?: number } = {}): Promise<HashResult> {
    checkOptions(options, KNOWN_HASH, "options");
    const { signal, revision } = options;
    checkNumber(revision, "revision", { min: 1 });
    const asked = this.#context.calls.hash(revision ?? 0, this.#context.timeout(options.timeoutMs, signal));
    const answer = await this.#context.cancellable(signal, asked.call, asked.reply);
    return { hash: answer.hash, revision: answer.revision, compactRevision: answer.compactRevision };
  }

  async disarm(alarm: string, options: CallOptions = {}): Promise<void> {
    if (alarm !== NO_SPACE_ALARM) throw invalidArgument("alarm", `"${NO_SPACE_ALARM}" is wanted, not ${describe(alarm)}`);
    const { alarms } = await this.status(options);
    if (!alarms.includes(alarm)) return;
    const reason = "its cause lasts: delete keys or compact history, or make room on the disk, and it clears itself";
    throw new EngineError("REFUSED", `the alarm ${alarm} stands: ${reason}`, { reason });
  }
}
