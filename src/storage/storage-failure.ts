/** File errors and damaged files as the errors that callers see. */
import { EngineError } from "../errors.ts";
import { FileError } from "../host/file-system.ts";

/** NO_SPACE where the device or the owner's quota on it is full, else DISK_FAILED. The write that met it may be on the disk. */
export function diskError(error: FileError, usedBytes: number): EngineError {
  if (error.errno === "ENOSPC" || error.errno === "EDQUOT") {
    return new EngineError(
      "NO_SPACE",
      `no space on the disk: ${error.operation} ${error.path}`,
      { of: "disk", used: usedBytes, max: usedBytes },
      { mayHaveApplied: true, cause: error },
    );
  }
  const { operation, path, errno } = error;
  return new EngineError(
    "DISK_FAILED",
    `the disk failed: ${operation} ${path}: ${errno}`,
    { operation, path, errno },
    { mayHaveApplied: true, cause: error },
  );
}

export function isNoSpace(error: unknown): error is FileError {
  return error instanceof FileError && (error.errno === "ENOSPC" || error.errno === "EDQUOT");
}

export function corrupt(at: { path: string; offset: number; expected: string; found: string }): EngineError<"CORRUPT"> {
  return new EngineError("CORRUPT", `${at.path} is corrupt at byte ${at.offset}: expected ${at.expected}, found ${at.found}`, at);
}

export function newerFormat(path: string, format: { readonly found: number; readonly supported: number }): EngineError<"INCOMPATIBLE"> {
  return new EngineError("INCOMPATIBLE", `${path} is of a newer format: ${format.found}`, {
    what: `format of ${path}`,
    found: String(format.found),
    supported: String(format.supported),
  });
}
