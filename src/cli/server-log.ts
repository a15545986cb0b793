/** The server's own log: lines for people on a terminal, else JSON, one object a line; on standard error. */
import { pino } from "pino";
import type { World } from "./command.ts";
import type { NodeConfig } from "./config/node-config.ts";

export type LogFields = Readonly<Record<string, string | number | boolean>>;

export interface ServerLog {
  write(level: "debug" | "info" | "warn" | "error", message: string, fields?: LogFields): void;
}

const ORDER = ["debug", "info", "warn", "error"];

/** What others chose (names, reasons) cannot look like a line or a field of its own. */
function fieldText(value: string | number | boolean): string {
  const text = String(value);
  return /^[^\s"=\p{C}]+$/u.test(text) ? text : JSON.stringify(text);
}

export function createServerLog(world: World, settings: Pick<NodeConfig, "logLevel" | "logFormat">): ServerLog {
  const format = settings.logFormat ?? (world.isTerminal.stderr ? "text" : "json");
  if (format === "text") {
    const least = ORDER.indexOf(settings.logLevel);
    return {
      write: (level, message, fields = {}) => {
        if (ORDER.indexOf(level) < least) return;
        const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${fieldText(value)}`);
        world.say(`${new Date().toISOString()} ${level.padEnd(5)} ${message}${pairs.join("")}`);
      },
    };
  }
  const logger = pino(
    {
      level: settings.logLevel,
      base: {},
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      messageKey: "message",
    },
    { write: (line: string) => world.say(line.replace(/\n$/, "")) },
  );
  return { write: (level, message, fields = {}) => logger[level](fields, message) };
}
