/**
 * What /metrics tells, under etcd's names where dashboards expect them. Calls are counted in plain numbers as they pass; everything else is asked for
 * when somebody looks.
 */
import { readdirSync, readFileSync } from "node:fs";
import { Registry, type Metric } from "prom-client";
import type { Backend, ServedMethod } from "../api/index.ts";
import { CALL_TIME_BUCKETS_MS, type NodeInspection } from "../client/engine-internals.ts";
import { ETCD_CLUSTER_VERSION, ETCD_VERSION } from "../api/versions.ts";
import { Later, RpcError, type LaterListener } from "../rpc/index.ts";
import type { CallCounts } from "./call-counts.ts";

/** gRPC's codes as its Go implementation names them in metrics. */
const CODES: readonly string[] = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
];
const UNKNOWN = 2;

const TYPES: Readonly<Record<ServedMethod["kind"], string>> = {
  unary: "unary",
  serverStream: "server_stream",
  clientStream: "client_stream",
  bidi: "bidi_stream",
};

interface Labels {
  readonly grpc_type: string;
  readonly grpc_service: string;
  readonly grpc_method: string;
}

type Type = "gauge" | "counter" | "histogram";

interface Value {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** Where it is another than the metric's. */
  readonly metricName?: string;
}

/** Of one server. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #counts: CallCounts;
  /** Of each method, in the order in which they are counted. */
  readonly #labels: Labels[] = [];

  #inspection: NodeInspection | undefined;
  readonly #backend: Backend;

  /** `counts` has a place for each method that counted() will be asked for; every front end asks in the same order. */
  constructor(backend: Backend, counts: CallCounts) {
    this.#backend = backend;
    this.#counts = counts;
    this.#addMember();
    this.#addNode();
    this.#addProcess();
    this.#addCalls();
  }

  /** What this thread knows by itself. */
  #addMember(): void {
    const backend = this.#backend;
    this.#gauge("etcd_server_has_leader", "Whether a leader is known: 1 or 0.", () => (backend.leader() === undefined ? 0 : 1));
    this.#gauge("etcd_server_is_leader", "Whether this member leads: 1 or 0.", () => (backend.node().role === "leader" ? 1 : 0));
    this.#gauge("etcd_server_is_learner", "Whether this member is a learner: 1 or 0.", () => (backend.isLearner() ? 1 : 0));
    this.#gauge("etcd_server_proposals_committed_total", "Index of the last entry that is committed.", () => backend.node().commitIndex);
    this.#gauge("etcd_server_proposals_applied_total", "Index of the last entry that is applied.", () => backend.node().appliedIndex);
    this.#gauge("etcd_debugging_mvcc_current_revision", "Revision of the data on this member.", () => backend.revision());
    this.#one("etcd_server_id", "Labels name this member: always 1.", { server_id: backend.memberId.replace(/^0+/, "") });
    this.#one("etcd_server_version", "Labels name the level of etcd's API: always 1.", { server_version: ETCD_VERSION });
    this.#one("etcd_cluster_version", "Labels name the cluster's level of etcd's API: always 1.", {
      cluster_version: ETCD_CLUSTER_VERSION,
    });
  }

  /** What its node knows, as of one of its turns. Nothing of it is told once the node has ended. */
  #addNode(): void {
    const add = (type: Type, name: string, help: string, read: (inspection: NodeInspection) => number | undefined): void =>
      this.#add(name, help, type, () => {
        const value = this.#inspection === undefined ? undefined : read(this.#inspection);
        return value === undefined ? [] : [{ labels: {}, value }];
      });
    add("counter", "etcd_server_leader_changes_seen_total", "How often another leader was found.", (node) => node.leaderChanges);
    add(
      "gauge",
      "etcd_server_proposals_pending",
      "Batches of writes of this member's callers that are under way.",
      (node) => node.proposalsPending,
    );
    add("counter", "etcd_server_proposals_failed_total", "Batches of writes that were given up.", (node) => node.proposalsFailed);
    add("gauge", "etcd_server_quota_backend_bytes", "The quota on the data, in bytes.", (node) => node.dataBytesMax);
    add(
      "gauge",
      "etcd_mvcc_db_total_size_in_bytes",
      "Size of the data, history included, as the quota counts it.",
      (node) => node.dataBytes,
    );
    add("gauge", "etcd_mvcc_db_total_size_in_use_in_bytes", "The same: nothing waits for defragmentation.", (node) => node.dataBytes);
    add("gauge", "etcd_debugging_mvcc_keys_total", "Keys.", (node) => node.keys);
    add("gauge", "etcd_debugging_mvcc_compact_revision", "The first revision that can be read.", (node) => node.compactRevision);
    add("gauge", "etcd_debugging_mvcc_watcher_total", "Watches.", (node) => node.watches);
    add("gauge", "d_engine_disk_bytes", "Size of the files of log and state.", (node) => node.diskBytes);
    this.#times("etcd_disk_wal_fsync_duration_seconds", "How long fdatasync of the log took.", "sync");
    this.#times("etcd_disk_backend_commit_duration_seconds", "How long a batch for the record store took to write.", "commit");
  }

  #addProcess(): void {
    this.#gauge("process_resident_memory_bytes", "Resident memory of the process, in bytes.", () => process.memoryUsage.rss());
    this.#counter("process_cpu_seconds_total", "Processor time of the process, in seconds.", () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    });
    const startedAt = Math.round(performance.timeOrigin / 1e3);
    this.#gauge("process_start_time_seconds", "When the process began, in seconds since 1970.", () => startedAt);
    for (const name of ["process_open_fds", "os_fd_used"]) this.#gauge(name, "File descriptors that are open.", openFiles);
    for (const name of ["process_max_fds", "os_fd_limit"]) this.#gauge(name, "File descriptors that may be open.", openFilesMax);
  }

  #addCalls(): void {
    const counts = this.#counts;
    this.#counter("etcd_network_client_grpc_received_bytes_total", "Bytes of messages that came from clients.", () => counts.receivedBytes);
    this.#counter("etcd_network_client_grpc_sent_bytes_total", "Bytes of messages that went to clients.", () => counts.sentBytes);
    this.#add("grpc_server_started_total", "Calls that have begun.", "counter", () =>
      this.#labels.map((labels, method) => ({ labels: { ...labels }, value: counts.startedOf(method) })),
    );
    this.#add("grpc_server_handled_total", "Calls that have ended, by their code.", "counter", () =>
      this.#labels.flatMap((labels, method) =>
        CODES.map((grpc_code, code) => ({ labels: { ...labels, grpc_code }, value: counts.handledOf(method, code) })).filter(
          ({ value }) => value > 0,
        ),
      ),
    );
  }

  #one(name: string, help: string, labels: Readonly<Record<string, string>>): void {
    this.#add(name, help, "gauge", () => [{ labels, value: 1 }]);
  }

  #gauge(name: string, help: string, read: () => number | undefined): void {
    this.#add(name, help, "gauge", () => plain(read()));
  }

  #counter(name: string, help: string, read: () => number | undefined): void {
    this.#add(name, help, "counter", () => plain(read()));
  }

  /** A histogram that was gathered elsewhere. */
  #times(name: string, help: string, kind: "sync" | "commit"): void {
    this.#add(name, help, "histogram", () => {
      const times = this.#inspection?.diskTimes?.[kind];
      if (times === undefined) return [];
      let below = 0;
      const buckets = times.buckets.map((count, bucket) => {
        below += count;
        const boundMs = CALL_TIME_BUCKETS_MS[bucket];
        return { metricName: `${name}_bucket`, labels: { le: boundMs === undefined ? "+Inf" : String(boundMs / 1e3) }, value: below };
      });
      const sum = { metricName: `${name}_sum`, labels: {}, value: times.sumMs / 1e3 };
      return [...buckets, sum, { metricName: `${name}_count`, labels: {}, value: times.count }];
    });
  }

  /** The library has metrics that are counted by it; these are only told by it, and asked for when somebody looks. */
  #add(name: string, help: string, type: Type, read: () => readonly Value[]): void {
    const metric = { name, help, type, get: () => Promise.resolve({ name, help, type, values: read(), aggregator: "sum" }) };
    this.#registry.registerMetric(metric as unknown as Metric);
  }

  /** The method, with its calls counted. */
  counted(served: ServedMethod): ServedMethod {
    const [, service = "", name = ""] = served.method.path.split("/");
    const counts = this.#counts;
    const number = this.#labels.push({ grpc_type: TYPES[served.kind], grpc_service: service, grpc_method: name }) - 1;
    const { handler, method } = served;
    const onEnd = (answer: unknown): unknown => {
      counts.handled(number, 0);
      return answer;
    };
    const observer: LaterListener = {
      onResponse: () => counts.handled(number, 0),
      onError: (error) => counts.handled(number, RpcError.is(error) && error.code < CODES.length ? error.code : UNKNOWN),
    };
    const onFailure = (error: unknown): never => {
      observer.onError(error);
      throw error;
    };
    return {
      ...served,
      method: {
        ...method,
        decodeRequest: (bytes: Uint8Array): unknown => {
          counts.received(bytes.byteLength);
          return method.decodeRequest(bytes);
        },
        encodeResponse: (answer: unknown): Uint8Array => {
          const bytes = method.encodeResponse(answer);
          counts.sent(bytes.byteLength);
          return bytes;
        },
        onEncoded: (bytes) => counts.sent(bytes),
      },
      handler: (first, call) => {
        counts.started(number);
        let result: unknown;
        try {
          result = handler(first, call);
        } catch (error) {
          onFailure(error);
        }
        if (result instanceof Promise) return result.then(onEnd, onFailure);
        if (result instanceof Later) {
          result.observe(observer);
          return result;
        }
        if (served.kind === "unary") counts.handled(number, 0);
        return result;
      },
    };
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    this.#inspection = await this.#backend.inspect().catch(() => undefined);
    return this.#registry.metrics();
  }
}

function plain(value: number | undefined): readonly Value[] {
  return value === undefined ? [] : [{ labels: {}, value }];
}

/** Undefined where the system does not say. */
function openFiles(): number | undefined {
  try {
    // Less the one that reading the directory takes.
    return readdirSync("/proc/self/fd").length - 1;
  } catch {
    return undefined;
  }
}

/** The same. */
function openFilesMax(): number | undefined {
  try {
    const max = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return max === undefined ? undefined : Number(max);
  } catch {
    return undefined;
  }
}
