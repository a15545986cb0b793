/** Where settings come from: a file, the environment, flags; later ones win. Knows their types, not what becomes of them. */
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { parse as parseToml, TomlError } from "smol-toml";
import { parse as parseYaml, YAMLParseError } from "yaml";
import { flagValue, nearest, type CommandLine } from "../command-line.ts";
import { durationMs } from "../duration.ts";
import { ExitError, usageError } from "../exit.ts";
import { environmentNames, settingNamed, SETTINGS, type Setting } from "./settings.ts";

export type SettingValue = string | number | boolean | readonly string[];

export interface Given {
  readonly value: SettingValue;
  /** "flag", "ETCD_NAME", "etcd.yml". */
  readonly source: string;
}

/** By name. What nobody set has its default, or is absent. */
export type Config = ReadonlyMap<string, Given>;

/** Environment names of ours and etcd's that are no settings of a server. */
const OTHER_NAMES = new Set([
  "D_ENGINE_CONFIG_FILE",
  "D_ENGINE_ENDPOINTS",
  "D_ENGINE_OUTPUT",
  "D_ENGINE_LOCK_KEY",
  "D_ENGINE_LOCK_TOKEN",
  "ETCD_CONFIG_FILE",
  "ETCD_UNSUPPORTED_ARCH",
]);
const FILE_BYTES_MAX = 1 << 20;
const DEFAULT = "default";

/** Throws ExitError (usage), naming the source of what makes no sense. */
export function loadConfig(
  line: CommandLine,
  environment: Readonly<Record<string, string | undefined>>,
): { readonly config: Config; readonly warnings: readonly string[] } {
  const config = new Map<string, Given>();
  const warnings: string[] = [];
  for (const { name, kind, otherwise } of SETTINGS)
    if (otherwise !== undefined) config.set(name, { value: kind === "list" ? [String(otherwise)] : otherwise, source: DEFAULT });
  const file = line.text("config-file") ?? environment["D_ENGINE_CONFIG_FILE"] ?? environment["ETCD_CONFIG_FILE"];
  if (file !== undefined) readConfigFile(file, config);
  // Ours after etcd's, so that ours wins.
  for (const prefix of ["ETCD_", "D_ENGINE_"]) {
    for (const setting of SETTINGS) {
      for (const name of environmentNames(setting)) {
        const text = name.startsWith(prefix) ? environment[name] : undefined;
        if (text !== undefined && text !== "") config.set(setting.name, { value: fromText(setting, text, name), source: name });
      }
    }
  }
  const known = SETTINGS.flatMap(environmentNames);
  for (const name of Object.keys(environment)) {
    const isOurs = name.startsWith("D_ENGINE_") || (name.startsWith("ETCD_") && !name.startsWith("ETCD_WATCH_"));
    if (!isOurs || OTHER_NAMES.has(name) || known.includes(name)) continue;
    const near = nearest(name, known);
    warnings.push(`the environment's ${name} is no setting${near === undefined ? "" : `; did you mean ${near}?`}`);
  }
  for (const setting of SETTINGS) {
    for (const name of [setting.name, ...(setting.also ?? [])]) {
      if (!line.has(name)) continue;
      const value = fromText(setting, setting.kind === "flag" ? String(line.flag(name)) : (line.text(name) ?? ""), `--${name}`);
      config.set(setting.name, { value, source: "flag" });
    }
  }
  for (const [name, { source }] of config) {
    const { without, only } = settingNamed(name) ?? {};
    // Where only some values are accepted, nothing is amiss with them.
    if (without !== undefined && only === undefined) warnings.push(`${name} (${source}) changes nothing: ${without}`);
  }
  return { config, warnings };
}

function readConfigFile(file: string, config: Map<string, Given>): void {
  const source = path.basename(file);
  let found: unknown;
  try {
    if (statSync(file).size > FILE_BYTES_MAX) throw usageError(`${file} is larger than 1 MiB: that is no configuration`);
    const text = readFileSync(file, "utf8");
    found = /\.toml$/i.test(file) ? parseToml(text) : parseYaml(text);
  } catch (cause) {
    if (cause instanceof ExitError) throw cause;
    if (cause instanceof TomlError || cause instanceof YAMLParseError) throw usageError(`${file}: ${cause.message}`);
    throw usageError(`the configuration file ${file} cannot be read: ${(cause as NodeJS.ErrnoException).code ?? String(cause)}`);
  }
  if (found === null || found === undefined) return;
  if (typeof found !== "object" || Array.isArray(found)) throw usageError(`${file}: settings are wanted, as "name: value"`);
  for (const [name, value] of flattened(found as Record<string, unknown>)) {
    const setting = settingNamed(name);
    if (setting === undefined) {
      const near = nearest(
        name,
        SETTINGS.map((each) => each.name),
      );
      throw usageError(`${file}: unknown setting ${name}${near === undefined ? "" : `; did you mean ${near}?`}`);
    }
    // "discovery:" with nothing behind it, as etcd's own example has it.
    if (value === null) continue;
    config.set(setting.name, { value: fromFile(setting, value, `${file}: ${name}`), source });
  }
}

/** Etcd's files keep certificates in two sections of their own. */
function flattened(file: Record<string, unknown>): readonly (readonly [string, unknown])[] {
  return Object.entries(file).flatMap(([name, value]): (readonly [string, unknown])[] => {
    const prefix = name === "client-transport-security" ? "" : name === "peer-transport-security" ? "peer-" : undefined;
    if (prefix === undefined) return [[name, value]];
    if (value === null) return [];
    if (typeof value !== "object" || Array.isArray(value)) throw usageError(`${name}: settings are wanted below it`);
    return Object.entries(value).map(([inner, its]) => [prefix + inner, its] as const);
  });
}

function fromFile(setting: Setting, value: unknown, where: string): SettingValue {
  if (Array.isArray(value) && value.every((each) => typeof each === "string"))
    return setting.kind === "list" ? value : fromText(setting, value.join(","), where);
  if (typeof value === "number" || typeof value === "string" || typeof value === "boolean") return fromText(setting, String(value), where);
  throw usageError(`${where}: ${JSON.stringify(value)} makes no sense`);
}

function fromText(setting: Setting, text: string, where: string): SettingValue {
  if (setting.choices !== undefined && !setting.choices.includes(text))
    throw usageError(`${where} is one of ${setting.choices.join(", ")}, not ${JSON.stringify(text)}`);
  if (setting.only?.includes(text) === false)
    throw usageError(`${where}: ${JSON.stringify(text)} is not to be had here: ${setting.without ?? ""}`);
  switch (setting.kind) {
    case "flag": {
      const value = flagValue(text);
      if (value === undefined) throw usageError(`${where} is true or false, not ${JSON.stringify(text)}`);
      return value;
    }
    case "number": {
      const value = Number(text);
      if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
        throw usageError(`${where} wants a whole number, not ${JSON.stringify(text)}`);
      return value;
    }
    case "duration":
      // A bare number is milliseconds, as etcd's heartbeat-interval is.
      return /^\d{1,12}$/.test(text) ? Number(text) : durationMs(text, where);
    case "list":
      return text
        .split(",")
        .map((each) => each.trim())
        .filter((each) => each !== "");
    default:
      return text;
  }
}
