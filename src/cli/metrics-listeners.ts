/**
 * --listen-metrics-urls: /metrics, /health, /livez and /readyz, and nothing else, on ports of their own, so that what watches over a server needs not
 * reach the one that can write.
 */
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { engineBackend } from "../api/index.ts";
import type { Engine } from "../client/engine.ts";
import { BodyBudget } from "../server/body-budget.ts";
import { collectHttp1 } from "../server/http-call.ts";
import type { Metrics } from "../server/metrics.ts";
import { refusalOf } from "../server/origin-guard.ts";
import { handleProbe } from "../server/probes.ts";
import { formatAddress } from "../transport/address.ts";
import type { NodeConfig } from "./config/node-config.ts";
import { EXIT, ExitError } from "./exit.ts";

const TEXT = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };
const BODY_BYTES_MAX = 1_024;
const CONNECTIONS_MAX = 1_000;
const TIMEOUT_MS = 20_000;

export interface MetricsListeners {
  /** "host:port". */
  readonly addresses: readonly string[];
  close(): Promise<void>;
}

/** Listens at all of the addresses, or rejects with an ExitError and at none. */
export async function openMetricsListeners(
  engine: Engine,
  metrics: Metrics,
  { metrics: places, serve }: NodeConfig,
): Promise<MetricsListeners> {
  const backend = engineBackend(engine);
  const named = typeof serve.http === "object" ? serve.http : {};
  const { allowedHosts = [], allowedOrigins = [] } = named;
  const guard = { allowedHosts, allowedOrigins, advertised: (): readonly string[] => serve.advertise ?? [] };
  const bodies = new BodyBudget(BODY_BYTES_MAX);
  const servers: HttpServer[] = [];
  const addresses: string[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(
      servers.map((server) => {
        const closed = new Promise((resolve) => server.close(resolve));
        server.closeAllConnections();
        return closed;
      }),
    );
  };
  try {
    for (const { host, port } of places) {
      const server = createServer(
        { headersTimeout: TIMEOUT_MS, requestTimeout: TIMEOUT_MS, maxHeaderSize: 16_384 },
        (request, response) => {
          collectHttp1(request, response, bodies, (call) => {
            const answer = async (): Promise<void> => {
              const refusal = refusalOf(call, guard);
              if (refusal !== undefined) return call.respond(refusal.status, TEXT, `${refusal.reason}\n`);
              const { path: pathname } = call;
              if (pathname === "/metrics") return call.respond(200, { "content-type": metrics.contentType }, await metrics.text());
              if (pathname !== "/version" && (await handleProbe(backend, call))) return;
              call.respond(404, TEXT, "Not Found\n");
            };
            // The engine is closing: whoever asks sees the connection end.
            answer().catch(() => response.destroy());
          });
        },
      );
      server.maxConnections = CONNECTIONS_MAX;
      servers.push(server);
      // oxlint-disable-next-line no-await-in-loop -- a few, and in the order in which they were given
      addresses.push(await listen(server, host, port));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { addresses, close };
}

function listen(server: HttpServer, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "EADDRINUSE" ? "another process listens there" : error.message;
      reject(new ExitError(EXIT.refused, `listen-metrics-urls: ${formatAddress({ host, port })}: ${reason}`, { cause: error }));
    });
    server.listen({ host, port }, () => {
      server.on("error", () => {});
      resolve(formatAddress({ host, port: (server.address() as AddressInfo).port }));
    });
  });
}
