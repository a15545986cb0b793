#!/usr/bin/env node
/** The program's process: its signals, its streams, its exit code. */
import { setMaxListeners } from "node:events";
import process from "node:process";
import { isatty } from "node:tty";
import type { World } from "./command.ts";
import { EXIT } from "./exit.ts";
import { shownOnTerminal } from "./output.ts";
import { runProgram } from "./program.ts";

/** What a command still does when nobody reads its output any more (a lock to give back) may take so long. */
const AFTER_PIPE_MS = 2_000;
/** Npm hands on a signal that a terminal has sent to all of a process group already: within this time it is the same one. */
const SAME_SIGNAL_MS = 300;

function processWorld(): World {
  const controller = new AbortController();
  // Each call that is under way listens to it, and some commands have many.
  setMaxListeners(0, controller.signal);
  let firstAt: number | undefined;
  const isUnderNpm = process.env["npm_lifecycle_event"] !== undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    const now = performance.now();
    if (firstAt === undefined) {
      firstAt = now;
      controller.abort(signal);
      return;
    }
    if (isUnderNpm && now - firstAt < SAME_SIGNAL_MS) return;
    // The second ends it at once, as the shell tells such an end.
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  // A defect of this program: what it was about to do may have been done.
  process.on("uncaughtException", (error) => {
    process.stderr.write(`d-engine: ${error.stack ?? error.message}\n`);
    process.exit(EXIT.mayHaveApplied);
  });
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever reads the output has gone: nothing more to say, and nothing wrong.
    const isGone = error.code === "EPIPE";
    if (!isGone) process.stderr.write(`d-engine: the output cannot be written: ${error.code ?? error.message}\n`);
    const code = isGone ? EXIT.done : EXIT.refused;
    outputCode ??= code;
    controller.abort("output");
    setTimeout(() => process.exit(code), AFTER_PIPE_MS).unref();
  });
  process.stderr.on("error", () => {});
  const { isTTY } = process.stdout;
  return {
    environment: process.env,
    get stdin() {
      return process.stdin;
    },
    isTerminal: { stdin: isatty(0), stdout: isTTY, stderr: process.stderr.isTTY },
    signal: controller.signal,
    onHangup: (callback) => {
      process.on("SIGHUP", callback);
    },
    print: (text) => {
      // Nobody reads: the loop that prints need not go on for ever.
      if (outputCode !== undefined) return Promise.resolve();
      const shown = isTTY && typeof text === "string" ? shownOnTerminal(text) : text;
      return new Promise((resolve) => {
        process.stdout.write(shown, () => resolve());
      });
    },
    say: (text) => {
      process.stderr.write(`${process.stderr.isTTY ? shownOnTerminal(text) : text}\n`);
    },
  };
}

let outputCode: number | undefined;
const code = await runProgram(process.argv.slice(2), processWorld());
// Set rather than exit(): what was written is still on its way where standard output is a pipe.
process.exitCode = outputCode ?? code;
