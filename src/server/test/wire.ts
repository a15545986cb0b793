/** Calls of any method of the table, through our gRPC client: to our server, or to a real etcd where one is installed. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Engine, type EngineOptions } from "../../index.ts";
import { decodeMessage, encodeMessage } from "../../api/message-codec.ts";
import { messageToJson } from "../../api/json-codec.ts";
import type { Message, MessageInit, MessageName } from "../../api/schema/messages.ts";
import { SERVICES, type MethodRow, type ServiceName } from "../../api/schema/services.ts";
import { RpcClient, RpcError, type CallOptions, type ClientCall, type Method } from "../../rpc/index.ts";
import { serve, type ServeOptions, type Server } from "../serve.ts";

type Row<S extends ServiceName, M extends keyof (typeof SERVICES)[S]> = (typeof SERVICES)[S][M];
type RequestOf<R> = R extends readonly [unknown, infer Name extends MessageName, ...unknown[]] ? MessageInit<Name> : never;
type ResponseOf<R> = R extends readonly [unknown, unknown, infer Name extends MessageName, ...unknown[]] ? Message<Name> : never;

/** Who ends what was started: a test, as a rule. */
export interface Ending {
  after(end: () => unknown): void;
}

/** A client of one server. */
export class WireClient {
  readonly rpc: RpcClient;

  constructor(context: Ending, address: string) {
    this.rpc = new RpcClient({ endpoints: [address], messageBytesMax: 64 << 20 });
    context.after(() => this.rpc.close());
  }

  call<S extends ServiceName, M extends keyof (typeof SERVICES)[S] & string>(
    service: S,
    method: M,
    request: RequestOf<Row<S, M>>,
    options: CallOptions = {},
  ): Promise<ResponseOf<Row<S, M>>> {
    const known = methodOf(service, method) as Method<unknown, unknown, "unary">;
    return this.rpc.unary(known, request, { timeoutMs: 20_000, ...options }) as Promise<ResponseOf<Row<S, M>>>;
  }

  stream<S extends ServiceName, M extends keyof (typeof SERVICES)[S] & string>(
    service: S,
    method: M,
    metadata: Readonly<Record<string, string>> = {},
  ): ClientCall<RequestOf<Row<S, M>>, ResponseOf<Row<S, M>>> {
    return this.rpc.stream(methodOf(service, method) as Method<any, any, "bidi">, { metadata });
  }

  serverStream<S extends ServiceName, M extends keyof (typeof SERVICES)[S] & string>(
    service: S,
    method: M,
    request: RequestOf<Row<S, M>>,
  ): AsyncIterable<ResponseOf<Row<S, M>>> {
    return this.rpc.serverStream(methodOf(service, method) as Method<any, any, "serverStream">, request);
  }

  /** What came back, so that two servers can be compared: the response as JSON, or code and text of the error. */
  async outcome(service: ServiceName, method: string, request: object): Promise<unknown> {
    const [, , response] = rowOf(service, method);
    try {
      const answer = (await this.call(service, method as never, request as never)) as object;
      return comparable(messageToJson(response as MessageName, answer));
    } catch (error) {
      if (!RpcError.is(error)) throw error;
      return `${error.code} ${error.message}`;
    }
  }
}

/** JSON without what differs from server to server. */
export function comparable(json: unknown): unknown {
  return JSON.parse(JSON.stringify(json), (key: string, value: unknown) =>
    key === "cluster_id" || key === "member_id" || key === "raft_term" ? undefined : value,
  );
}

function rowOf(service: ServiceName, method: string): MethodRow {
  return (SERVICES[service] as unknown as Readonly<Record<string, MethodRow>>)[method]!;
}

function methodOf(service: ServiceName, name: string): Method<unknown, unknown> {
  const [kind, request, response] = rowOf(service, name);
  return {
    path: `/${service}/${name}`,
    kind,
    encodeRequest: (message) => encodeMessage(request as MessageName, message as never),
    decodeRequest: (bytes) => decodeMessage(request as MessageName, bytes),
    encodeResponse: (message) => encodeMessage(response as MessageName, message as never),
    // Copied: what is decoded are views of the read buffer.
    decodeResponse: (bytes) => decodeMessage(response as MessageName, Uint8Array.from(bytes)),
  };
}

/** Text as UTF-8. */
export function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text));
}

/** Bytes as text. */
export function text(from: Uint8Array): string {
  return Buffer.from(from).toString("utf8");
}

/** An engine of one member in memory, with a front end on a free port; both end with the test. */
export async function startServed(
  context: Ending,
  options: ServeOptions = {},
  engineOptions: Partial<EngineOptions> = {},
): Promise<{ readonly engine: Engine; readonly server: Server; readonly address: string; readonly client: WireClient }> {
  const engine = await Engine.open({ dataDir: "memory:", name: "n1", ...engineOptions });
  context.after(() => engine.close());
  const server = await serve(engine, { listen: "127.0.0.1:0", frontEnds: 1, ...options });
  context.after(() => server.close({ timeoutMs: 0 }));
  await engine.waitReady();
  const address = server.addresses[0]!;
  return { engine, server, address, client: new WireClient(context, address) };
}

/** Whether a program is installed. */
export function isInstalled(program: string): boolean {
  return spawnSync(program, ["--version"]).error === undefined;
}

/** A real etcd of one member on a free port; it ends with the test. */
export async function startEtcd(context: Ending): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), "etcd-"));
  const [client, peer] = await Promise.all([freePort(), freePort()]);
  const url = (port: number): string => `http://127.0.0.1:${port}`;
  const child = spawn(
    "etcd",
    [
      ...["--data-dir", path.join(directory, "data"), "--name", "n1", "--unsafe-no-fsync"],
      ...["--listen-client-urls", url(client), "--advertise-client-urls", url(client)],
      ...["--listen-peer-urls", url(peer), "--initial-advertise-peer-urls", url(peer), "--initial-cluster", `n1=${url(peer)}`],
    ].filter((argument) => argument !== "--unsafe-no-fsync"),
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  context.after(async () => {
    child.kill("SIGKILL");
    await ended;
    await rm(directory, { recursive: true, force: true });
  });
  await new Promise<void>((resolve, reject) => {
    let seen = "";
    child.once("error", reject);
    child.stderr.on("data", (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes("ready to serve client requests")) resolve();
    });
    child.once("close", () => reject(new Error(`etcd has ended: ${seen}`)));
  });
  return `127.0.0.1:${client}`;
}

/** What freePort() has answered. */
const givenPorts = new Set<number>();

/**
 * A port that nobody listens on, and another one each time: below those that systems give to connections, so that no connection has it by the time when
 * it is used.
 */
export async function freePort(): Promise<number> {
  for (let tries = 1; ; tries++) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (tries > 100) throw new Error("no port is free");
    if (givenPorts.has(port)) continue;
    givenPorts.add(port);
    const server = createServer();
    // oxlint-disable-next-line no-await-in-loop -- one after another
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
