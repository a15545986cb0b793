/** gRPC's health checks: SERVING while the node is alive, whether or not it has a majority; that is readiness, and HTTP's /readyz. */
import type { Timer } from "../../host/clock.ts";
import type { ResponseStream } from "../../rpc/index.ts";
import { RpcError, Status } from "../../rpc/index.ts";
import type { Answer, ServiceHandlers } from "../handlers.ts";
import type { ServiceContext } from "../service-context.ts";

const SERVING = 1;
const NOT_SERVING = 2;
const SERVICE_UNKNOWN = 3;
/** How often a change is looked for. */
const EVERY_MS = 1_000;

/** The handlers. */
export function healthService(context: ServiceContext): ServiceHandlers<"grpc.health.v1.Health"> {
  const now = (): number => (context.backend.node().live ? SERVING : NOT_SERVING);
  return {
    Check: (request) => {
      if (request.service !== "") throw new RpcError(Status.NOT_FOUND, "unknown service");
      return { status: now() };
    },
    Watch: (request, call) => watch(context, request.service === "" ? now : (): number => SERVICE_UNKNOWN, call),
  };
}

function watch(context: ServiceContext, now: () => number, call: ResponseStream<Answer<"grpc.health.v1.HealthCheckResponse">>): void {
  let told = now();
  call.send({ status: told });
  let timer: Timer | undefined = undefined;
  const look = (): void => {
    const status = now();
    if (status !== told) call.send({ status });
    told = status;
    timer = context.backend.clock.setTimer(EVERY_MS, look);
    timer.unref?.();
  };
  look();
  const forgetStop = context.onStop(() => {
    timer?.cancel();
    call.end();
  });
  call.onCancel(() => {
    timer?.cancel();
    forgetStop();
  });
}
