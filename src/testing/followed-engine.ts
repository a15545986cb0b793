/**
 * An engine as the user of a test cluster holds it: every promise and every stream of it is waited for through the time driver, and all
 * of them end when the machine beneath is crashed, as the application on that machine would.
 */
import type { Engine } from "../client/engine.ts";
import { EngineError } from "../errors.ts";
import type { TimeDriver } from "./time-driver.ts";

/** Parts of an engine whose methods are calls as its own are. */
const SERVICES: ReadonlySet<string | symbol> = new Set(["leases", "maintenance", "cluster"]);
/** What a holder asks of what it holds, answered at once whatever became of the machine. */
const AT_ONCE: ReadonlySet<string | symbol> = new Set(["remainingMs", "throwIfLost", "abandon"]);

export interface FollowedEngine {
  readonly engine: Engine;
  /** The machine crashed: whatever is under way rejects. */
  end(): void;
}

export function followEngine(target: Engine, driver: TimeDriver): FollowedEngine {
  const rejects = new Set<(error: Error) => void>();
  let isOver = false;
  const gone = (): EngineError => new EngineError("CLOSED", "the machine crashed", {}, { mayHaveApplied: true });
  const onEnd = (reject: (error: Error) => void): (() => void) => {
    rejects.add(reject);
    return () => rejects.delete(reject);
  };
  const follow = (result: unknown): unknown => {
    if (result === target) return proxy;
    if (typeof result !== "object" || result === null) return result;
    if ("then" in result) return driver.wait((result as Promise<unknown>).then(handle), onEnd);
    return Symbol.asyncIterator in result || "next" in result ? wrap(result) : result;
  };
  /** What is held is called like an engine: a lease, for one. */
  const handle = (value: unknown): unknown =>
    typeof value === "object" && value !== null && Symbol.asyncDispose in value && value !== target ? wrap(value) : value;
  const wrap = <T extends object>(object: T): T =>
    new Proxy(object, {
      get: (_, name) => {
        const value: unknown = Reflect.get(object, name, object);
        if (object === target && SERVICES.has(name)) return wrap(value as object);
        if (typeof value !== "function") return value;
        if (AT_ONCE.has(name)) return value.bind(object) as unknown;
        return (...parameters: readonly unknown[]): unknown => {
          if (isOver) {
            if (name === "close" || name === Symbol.asyncDispose) return Promise.resolve();
            return Promise.reject(gone());
          }
          return follow(Reflect.apply(value, object, parameters));
        };
      },
    });
  const proxy = wrap(target);
  return {
    engine: proxy,
    end: () => {
      isOver = true;
      for (const reject of [...rejects]) reject(gone());
    },
  };
}
