/**
 * What watches over a server asks: /health as etcd's clients know it, /livez and /readyz, /version. Liveness asks this node alone; readiness a
 * majority.
 */
import type { Backend } from "../api/backend.ts";
import { ETCD_VERSION } from "../api/versions.ts";
import { EngineError } from "../errors.ts";
import type { HttpCall } from "./http-call.ts";

const TEXT = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };
const JSON_TYPE = { "content-type": "application/json" };
const PROBE_KEY = Uint8Array.from(Buffer.from("health"));

/** Why a check fails; undefined if it does not. */
type Check = (backend: Backend) => Promise<string | undefined> | string | undefined;

const CHECKS: Readonly<Record<string, Check>> = {
  data_corruption: (backend) => (backend.node().corrupt ? "a file is corrupt" : undefined),
  serializable_read: (backend) => (backend.node().live ? undefined : backend.node().reasons.join(", ")),
  linearizable_read: (backend) => linearizableRead(backend),
  non_learner: (backend) => (backend.isLearner() ? "a learner" : undefined),
};

const LIVE = ["serializable_read"];
const READY = ["data_corruption", "serializable_read", "linearizable_read", "non_learner"];

/** Answers a probe; false: the path is none. */
export async function handleProbe(backend: Backend, call: HttpCall): Promise<boolean> {
  const { path } = call;
  const [, root, name, ...more] = path.split("/");
  if (more.length > 0 || (name !== undefined && root !== "livez" && root !== "readyz")) return false;
  if (root !== "health" && root !== "livez" && root !== "readyz" && root !== "version") return false;
  if (call.method !== "GET" && call.method !== "HEAD") {
    call.respond(405, { ...TEXT, allow: "GET" }, "Method Not Allowed\n");
    return true;
  }
  if (root === "version") {
    call.respond(200, JSON_TYPE, JSON.stringify({ etcdserver: ETCD_VERSION, etcdcluster: ETCD_VERSION, storage: ETCD_VERSION }));
  } else if (root === "health") {
    await health(backend, call);
  } else {
    await checks(backend, call, root, name);
  }
  return true;
}

async function health(backend: Backend, call: HttpCall): Promise<void> {
  const { query } = call;
  const excluded = query.getAll("exclude");
  const reason = await unhealthy(backend, query.get("serializable") === "true", excluded);
  call.respond(reason === "" ? 200 : 503, JSON_TYPE, JSON.stringify({ health: reason === "" ? "true" : "false", reason }));
}

async function unhealthy(backend: Backend, isLocal: boolean, excluded: readonly string[]): Promise<string> {
  const node = backend.node();
  if (node.full && !excluded.includes("NOSPACE")) return "ALARM NOSPACE";
  if (node.corrupt && !excluded.includes("CORRUPT")) return "ALARM CORRUPT";
  if (!node.live) return `RANGE ERROR:${node.reasons.join(", ")}`;
  if (isLocal) return "";
  if (node.leader === undefined) return "RAFT NO LEADER";
  const failure = await linearizableRead(backend);
  return failure === undefined ? "" : `RANGE ERROR:${failure}`;
}

/** One read through a majority. */
function linearizableRead(backend: Backend): Promise<string | undefined> {
  return new Promise((resolve) => {
    try {
      backend.read(PROBE_KEY, "linearizable", {
        take: () => resolve(undefined),
        reject: (error) => resolve(error.message),
      });
    } catch (error) {
      resolve(EngineError.is(error) ? error.message : "the read failed");
    }
  });
}

async function checks(backend: Backend, call: HttpCall, root: "livez" | "readyz", name: string | undefined): Promise<void> {
  const all = root === "livez" ? LIVE : READY;
  if (name !== undefined && name !== "" && !all.includes(name)) return call.respond(404, TEXT, "Not Found\n");
  const excluded = call.query.getAll("exclude");
  const chosen = (name === undefined || name === "" ? all : [name]).filter((check) => !excluded.includes(check));
  const results = await Promise.all(chosen.map(async (check) => [check, await CHECKS[check]!(backend)] as const));
  const isGood = results.every(([, failure]) => failure === undefined);
  const lines = results
    .map(([check, failure]) => (failure === undefined ? `[+]${check} ok\n` : `[-]${check} failed: ${failure}\n`))
    .join("");
  const verdict = isGood ? "ok\n" : `${root} check failed\n`;
  const isVerbose = !isGood || call.query.has("verbose");
  call.respond(isGood ? 200 : 503, TEXT, isVerbose ? `${lines}${verdict}` : verdict);
}
