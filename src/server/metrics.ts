/**
 * What /metrics tells, under etcd's names where dashboards expect them. Calls are counted in plain numbers as they pass; everything else is asked for
 * when somebody looks.
 */
import { Gauge, Registry } from "prom-client";
import type { Backend, ServedMethod } from "../api/index.ts";
import { ETCD_CLUSTER_VERSION, ETCD_VERSION } from "../api/versions.ts";
import { RpcError } from "../rpc/index.ts";

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

interface Counts {
  readonly labels: { readonly grpc_type: string; readonly grpc_service: string; readonly grpc_method: string };
  started: number;
  /** By code. */
  readonly handled: number[];
}

/** Of one server. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #counts: Counts[] = [];

  constructor(backend: Backend) {
    const gauge = (name: string, help: string, read: () => number): void => {
      this.#add(name, help, [], (set) => set({}, read()));
    };
    gauge("etcd_server_has_leader", "Whether a leader is known: 1 or 0.", () => (backend.leader() === undefined ? 0 : 1));
    gauge("etcd_server_is_leader", "Whether this member leads: 1 or 0.", () => (backend.node().role === "leader" ? 1 : 0));
    gauge("etcd_server_is_learner", "Whether this member is a learner: 1 or 0.", () => (backend.isLearner() ? 1 : 0));
    gauge("etcd_server_proposals_committed_total", "Index of the last entry that is committed.", () => backend.node().commitIndex);
    gauge("etcd_server_proposals_applied_total", "Index of the last entry that is applied.", () => backend.node().appliedIndex);
    gauge("etcd_debugging_mvcc_current_revision", "Revision of the data on this member.", () => backend.revision());
    gauge("process_resident_memory_bytes", "Resident memory of the process, in bytes.", () => process.memoryUsage.rss());
    gauge("process_cpu_seconds_total", "Processor time of the process, in seconds.", () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    });
    gauge("process_start_time_seconds", "When the process began, in seconds since 1970.", () => Math.round(performance.timeOrigin / 1e3));
    this.#add("etcd_server_id", "Labels name this member: always 1.", ["server_id"], (set) =>
      set({ server_id: backend.memberId.replace(/^0+/, "") }, 1),
    );
    this.#add("etcd_server_version", "Labels name the level of etcd's API: always 1.", ["server_version"], (set) =>
      set({ server_version: ETCD_VERSION }, 1),
    );
    this.#add("etcd_cluster_version", "Labels name the cluster's level of etcd's API: always 1.", ["cluster_version"], (set) =>
      set({ cluster_version: ETCD_CLUSTER_VERSION }, 1),
    );
    const methodLabels = ["grpc_type", "grpc_service", "grpc_method"];
    this.#add("grpc_server_started_total", "Calls that have begun.", methodLabels, (set) => {
      for (const { labels, started } of this.#counts) set(labels, started);
    });
    this.#add("grpc_server_handled_total", "Calls that have ended, by their code.", [...methodLabels, "grpc_code"], (set) => {
      for (const { labels, handled } of this.#counts) {
        for (const [code, count] of handled.entries()) if (count > 0) set({ ...labels, grpc_code: CODES[code]! }, count);
      }
    });
  }

  #add(
    name: string,
    help: string,
    labelNames: readonly string[],
    read: (set: (labels: Readonly<Record<string, string>>, value: number) => void) => void,
  ): void {
    new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.#registry],
      collect(this: Gauge): void {
        this.reset();
        read((labels, value) => this.set({ ...labels }, value));
      },
    });
  }

  /** The method, with its calls counted. */
  counted(served: ServedMethod): ServedMethod {
    const [, service = "", name = ""] = served.method.path.split("/");
    const counts: Counts = {
      labels: { grpc_type: TYPES[served.kind], grpc_service: service, grpc_method: name },
      started: 0,
      handled: CODES.map(() => 0),
    };
    this.#counts.push(counts);
    const { handler } = served;
    const onEnd = (answer: unknown): unknown => {
      counts.handled[0]!++;
      return answer;
    };
    const onFailure = (error: unknown): never => {
      const code = RpcError.is(error) && error.code < CODES.length ? error.code : UNKNOWN;
      counts.handled[code]!++;
      throw error;
    };
    return {
      ...served,
      handler: (first, call) => {
        counts.started++;
        let result: unknown;
        try {
          result = handler(first, call);
        } catch (error) {
          onFailure(error);
        }
        if (result instanceof Promise) return result.then(onEnd, onFailure);
        if (served.kind === "unary") counts.handled[0]!++;
        return result;
      },
    };
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
