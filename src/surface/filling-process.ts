/**
 * A process with little memory that fills its node: it writes until it is refused and then goes on asking, makes room, and writes again. Told as
 * JSON on its standard output. Started by a test, with the data directory as its argument.
 */
import { Engine, EngineError } from "d-engine";

const WRITERS = 50;
const VALUE_BYTES = 8_192;
const REFUSALS_MIN = 3_000;
const MS_MAX = 60_000;

const dataDir = process.argv[2];
if (dataDir === undefined) throw new Error("a data directory is wanted");
const engine = await Engine.open({ dataDir, unsafeNoFsync: true });
const failures: Record<string, number> = {};
let refused = 0;
let used = 0;
let max = 0;

/** Writers at once, each key once, until so many were refused. */
async function fill(prefix: string): Promise<number> {
  const until = performance.now() + MS_MAX;
  const value = new Uint8Array(VALUE_BYTES).fill(7);
  const before = refused;
  let written = 0;
  let next = 0;
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      while (refused - before < REFUSALS_MIN && performance.now() < until) {
        try {
          await engine.put(`${prefix}${next++}`, value);
          written++;
        } catch (error) {
          const code = EngineError.is(error) ? error.code : String(error);
          if (EngineError.is(error, "NO_SPACE") && !error.mayHaveApplied) {
            refused++;
            ({ used, max } = error.details);
          } else failures[code] = (failures[code] ?? 0) + 1;
        }
      }
    }),
  );
  return written;
}

const first = await fill("a/");
const stateWhenFull = engine.state.kind;
const { deleted } = await engine.delete({ prefix: "a/" });
const until = performance.now() + MS_MAX;
while (engine.state.kind !== "ready" && performance.now() < until) await new Promise((resolve) => setImmediate(resolve));
const second = await fill("b/");
process.stdout.write(`${JSON.stringify({ first, stateWhenFull, deleted, second, refused, used, max, failures })}\n`);
await engine.close();
