/** The server at the other end: etcd's services over gRPC, so that the commands work against an etcd too. */
import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";
import { decodeMessage, encodeMessage } from "../api/message-codec.ts";
import type { Message, MessageInit, MessageName } from "../api/schema/messages.ts";
import { SERVICES } from "../api/schema/services.ts";
import { RpcClient, type ClientCall, type Method, type MethodKind } from "../rpc/index.ts";
import type { CommandLine, OptionSpec } from "./command-line.ts";
import type { World } from "./command.ts";
import { durationMs } from "./duration.ts";
import { usageError } from "./exit.ts";

/** What every command that talks to a server takes. */
export const REMOTE_OPTIONS: readonly OptionSpec[] = [
  { name: "endpoints", kind: "text", value: "LIST", help: "Servers. Default: D_ENGINE_ENDPOINTS, ETCDCTL_ENDPOINTS, 127.0.0.1:2379" },
  { name: "timeout", kind: "text", value: "TIME", help: "For one call, such as 5s. Default: 5s" },
  { name: "cacert", kind: "text", value: "FILE", help: "Who signed the servers' certificates. Default: ETCDCTL_CACERT" },
  { name: "cert", kind: "text", value: "FILE", help: "This client's certificate. Default: ETCDCTL_CERT" },
  { name: "key", kind: "text", value: "FILE", help: "Its key. Default: ETCDCTL_KEY" },
  { name: "insecure-skip-tls-verify", kind: "flag", help: "Trusts any server" },
];

const DEFAULT_ENDPOINT = "127.0.0.1:2379";
const DEFAULT_TIMEOUT_MS = 5_000;
const TIMEOUT_MS_MAX = 86_400_000;
const CONNECT_TIMEOUT_MS = 2_000;
/** etcd's own bound of a response is higher than of a request. */
const MESSAGE_BYTES_MAX = 256 << 20;

type Services = typeof SERVICES;
type Row<Service extends keyof Services, Name extends keyof Services[Service]> = Services[Service][Name] extends readonly [
  infer Kind extends MethodKind,
  infer Request extends MessageName,
  infer Response extends MessageName,
  ...unknown[],
]
  ? readonly [Kind, Request, Response]
  : never;
/** Names of a service's methods of one kind. */
export type MethodOf<Service extends keyof Services, Kind extends MethodKind> = {
  [Name in keyof Services[Service]]: Row<Service, Name>[0] extends Kind ? Name : never;
}[keyof Services[Service]];

function methodOf(service: string, name: string): Method<unknown, unknown> {
  const row = (SERVICES as Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>)[service]?.[name];
  if (row === undefined) throw new Error(`no method ${service}/${name}`);
  const [kind, request, response] = row as readonly [MethodKind, MessageName, MessageName];
  return {
    path: `/${service}/${name}`,
    kind,
    encodeRequest: (message) => encodeMessage(request, message as MessageInit<typeof request>),
    decodeRequest: (bytes) => decodeMessage(request, bytes),
    encodeResponse: (message) => encodeMessage(response, message as MessageInit<typeof response>),
    // What is decoded holds views: of a copy, since the bytes may lie in the socket's buffer.
    decodeResponse: (bytes) => decodeMessage(response, bytes.slice()),
  };
}

/** One or more servers of a cluster. */
export class Remote {
  readonly endpoints: readonly string[];
  readonly timeoutMs: number;
  readonly #client: RpcClient;
  readonly #signal: AbortSignal;

  constructor(options: {
    readonly endpoints: readonly string[];
    readonly timeoutMs: number;
    /** Ends the calls that have none of their own. */
    readonly signal: AbortSignal;
    readonly tls?: ConnectionOptions | undefined;
  }) {
    this.endpoints = options.endpoints;
    this.timeoutMs = options.timeoutMs;
    this.#signal = options.signal;
    this.#client = new RpcClient({
      endpoints: options.endpoints,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      messageBytesMax: MESSAGE_BYTES_MAX,
      memoryBytesMax: MESSAGE_BYTES_MAX * 2,
      connectionMemoryBytesMax: MESSAGE_BYTES_MAX * 2,
      ...(options.tls === undefined ? {} : { tls: options.tls }),
    });
  }

  /** Rejects with an RpcError. `timeoutMs` Infinity waits for ever; `signal` null: nothing ends it before its time. */
  call<Service extends keyof Services, Name extends MethodOf<Service, "unary"> & string>(
    service: Service,
    name: Name,
    request: MessageInit<Row<Service, Name>[1]>,
    options: { readonly signal?: AbortSignal | null; readonly timeoutMs?: number } = {},
  ): Promise<Message<Row<Service, Name>[2]>> {
    const { signal = this.#signal, timeoutMs = this.timeoutMs } = options;
    const method = methodOf(service, name) as Method<unknown, Message<Row<Service, Name>[2]>, "unary">;
    return this.#client.unary(method, request, {
      ...(Number.isFinite(timeoutMs) ? { timeoutMs } : {}),
      ...(signal === null ? {} : { signal }),
    });
  }

  /** A stream of responses. */
  stream<Service extends keyof Services, Name extends MethodOf<Service, "serverStream"> & string>(
    service: Service,
    name: Name,
    request: MessageInit<Row<Service, Name>[1]>,
    options: { readonly signal?: AbortSignal } = {},
  ): ClientCall<unknown, Message<Row<Service, Name>[2]>> {
    return this.#client.serverStream(
      methodOf(service, name) as Method<unknown, Message<Row<Service, Name>[2]>, "serverStream">,
      request,
      options,
    );
  }

  /** Streams both ways. */
  talk<Service extends keyof Services, Name extends MethodOf<Service, "bidi"> & string>(
    service: Service,
    name: Name,
    options: { readonly signal?: AbortSignal } = {},
  ): ClientCall<MessageInit<Row<Service, Name>[1]>, Message<Row<Service, Name>[2]>> {
    const method = methodOf(service, name) as Method<MessageInit<Row<Service, Name>[1]>, Message<Row<Service, Name>[2]>, "bidi">;
    return this.#client.stream(method, options);
  }

  async close(): Promise<void> {
    await this.#client.close({ graceMs: 0 });
  }
}

/** From the options above and D_ENGINE_ENDPOINTS. Throws ExitError (usage). */
export function remoteOf(
  line: CommandLine,
  { environment, signal }: Pick<World, "environment" | "signal">,
  endpoints?: readonly string[],
): Remote {
  const listed = line.text("endpoints") ?? environment["D_ENGINE_ENDPOINTS"] ?? environment["ETCDCTL_ENDPOINTS"] ?? DEFAULT_ENDPOINT;
  const found = endpoints ?? splitEndpoints(listed);
  if (found.length === 0) throw usageError("--endpoints: none is given");
  const tls = tlsOf(line, environment);
  try {
    return new Remote({ endpoints: found, timeoutMs: timeoutOf(line), tls, signal });
  } catch (error) {
    throw usageError(`--endpoints: ${error instanceof Error ? error.message : String(error)}`);
  }
}

export const splitEndpoints = (list: string): string[] =>
  list
    .split(",")
    .map((each) => each.trim().replace(/\/$/, ""))
    .filter((each) => each !== "");

/** "5s", "300ms", "1m". */
function timeoutOf(line: CommandLine): number {
  const text = line.text("timeout");
  if (text === undefined) return DEFAULT_TIMEOUT_MS;
  const ms = durationMs(text, "--timeout");
  if (ms < 1 || ms > TIMEOUT_MS_MAX) throw usageError("--timeout is from 1ms to 24h");
  return ms;
}

function tlsOf(line: CommandLine, environment: World["environment"]): ConnectionOptions | undefined {
  const read = (option: string): Buffer | undefined => {
    const variable = `ETCDCTL_${option.toUpperCase()}`;
    const given = line.text(option);
    const file = given ?? environment[variable];
    if (file === undefined || file === "") return undefined;
    try {
      return readFileSync(file);
    } catch (error) {
      throw usageError(
        `${given === undefined ? variable : `--${option}`}: ${file} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
      );
    }
  };
  const ca = read("cacert");
  const cert = read("cert");
  const key = read("key");
  const isBlind = line.flag("insecure-skip-tls-verify");
  if (ca === undefined && cert === undefined && key === undefined && !isBlind) return undefined;
  if ((cert === undefined) !== (key === undefined)) throw usageError("--cert and --key go together");
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(isBlind ? { rejectUnauthorized: false } : {}),
  };
}
