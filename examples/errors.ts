/** What can go wrong, told by code; and the one bit that matters for a write: may it have happened? */
import { Engine, EngineError } from "d-engine";

const engine = await Engine.open({ dataDir: "./data" });

try {
  // A value from somewhere that turned out to be missing must not mean "everything".
  await engine.delete({ prefix: "" });
} catch (error) {
  if (!EngineError.is(error, "INVALID_ARGUMENT")) throw error;
  console.log("refused:", error.details.argument);
}

try {
  await Engine.open({ dataDir: "./data" });
} catch (error) {
  if (!EngineError.is(error, "IN_USE")) throw error;
  console.log("in use:", error.details.what);
}

try {
  await engine.put("a", "1", { signal: AbortSignal.abort() });
} catch (error) {
  if (!EngineError.is(error)) throw error;
  switch (error.code) {
    case "ABORTED":
    case "TIMEOUT":
      console.log(error.name, error.mayHaveApplied ? "may have happened: read back" : "did not happen");
      break;
    default:
      throw error;
  }
}

await engine.close();
