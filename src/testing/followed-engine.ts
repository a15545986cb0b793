/**
 * An engine as the user of a test cluster holds it: every promise and every stream of it is waited for through the time driver, and all
 * of them end when the machine beneath is crashed, as the application on that machine would.
 */
import type { Engine } from "../client/engine.ts";
import { EngineError } from "../errors.ts";
import type { TimeDriver } from "./time-driver.ts";

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
    if ("then" in result) return driver.wait(result as Promise<unknown>, onEnd);
    return Symbol.asyncIterator in result || "next" in result ? wrap(result) : result;
  };
  const wrap = <T extends object>(object: T): T =>
    new Proxy(object, {
      get: (_, name) => {
        const value: unknown = Reflect.get(object, name, object);
        if (typeof value !== "function") return value;
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
