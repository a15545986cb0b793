/**
 * Command lines, read by a table: each command lists its options and its words. Unknown options name the nearest known one. Help and shell completion
 * come from the same table.
 */
import { usageError } from "./exit.ts";

/** "flag" takes no value; "list" may be given several times. */
export type OptionKind = "flag" | "text" | "number" | "list";

export interface OptionSpec {
  /** Without its dashes. */
  readonly name: string;
  readonly kind: OptionKind;
  /** One letter. */
  readonly short?: string;
  /** What the help calls its value. */
  readonly value?: string;
  readonly help: string;
  /** The only values that there are. */
  readonly choices?: readonly string[];
  /** Not shown in the help: accepted for the sake of others' command lines. */
  readonly hidden?: boolean;
}

export interface WordSpec {
  readonly name: string;
  readonly optional?: boolean;
  /** All the words that are left. */
  readonly rest?: boolean;
}

export interface CommandSpec {
  /** "put", "lease grant". */
  readonly name: string;
  readonly summary: string;
  readonly words: readonly WordSpec[];
  readonly options: readonly OptionSpec[];
  /** Further lines of its help. */
  readonly notes?: readonly string[];
}

type OptionValue = string | boolean | readonly string[];

/** A command line as it was read: options by their names, words by theirs. */
export class CommandLine {
  readonly #values: ReadonlyMap<string, OptionValue>;
  readonly #words: ReadonlyMap<string, string>;
  /** What the word with `rest` took. */
  readonly rest: readonly string[];

  constructor(values: ReadonlyMap<string, OptionValue>, words: ReadonlyMap<string, string>, rest: readonly string[]) {
    this.#values = values;
    this.#words = words;
    this.rest = rest;
  }

  /** Whether an option was given, be it as --flag=false. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  flag(name: string): boolean {
    return this.#values.get(name) === true;
  }

  text(name: string): string | undefined {
    const value = this.#values.get(name);
    return typeof value === "string" ? value : undefined;
  }

  list(name: string): readonly string[] {
    const value = this.#values.get(name);
    return Array.isArray(value) ? value : [];
  }

  /** Whole numbers; read by parse() already, so that it cannot fail here. */
  number(name: string): number | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : Number(value);
  }

  word(name: string): string {
    const value = this.#words.get(name);
    if (value === undefined) throw usageError(`${name.toUpperCase()} is missing`);
    return value;
  }

  optionalWord(name: string): string | undefined {
    return this.#words.get(name);
  }
}

/** How Go's programs write the value of a flag. */
const FLAG_VALUES: Readonly<Record<string, boolean>> = {
  ...Object.fromEntries(["1", "t", "T", "true", "TRUE", "True"].map((text) => [text, true])),
  ...Object.fromEntries(["0", "f", "F", "false", "FALSE", "False"].map((text) => [text, false])),
};

/** undefined for what says neither. */
export const flagValue = (text: string): boolean | undefined => (Object.hasOwn(FLAG_VALUES, text) ? FLAG_VALUES[text] : undefined);

/** Throws ExitError (usage). What comes behind "--" is words. */
export function parseCommandLine(spec: CommandSpec, args: readonly string[]): CommandLine {
  // The system hands over bytes, Node text: what is not UTF-8 is lost, and another key would be written than the one that was meant.
  const lost = args.find((arg) => arg.includes("\uFFFD"));
  if (lost !== undefined) throw usageError(`${JSON.stringify(lost)} is not UTF-8, or holds U+FFFD; values can come by standard input`);
  const byName = new Map(spec.options.map((option) => [option.name, option]));
  const byShort = new Map(spec.options.filter(({ short }) => short !== undefined).map((option) => [option.short, option]));
  const values = new Map<string, string | boolean | string[]>();
  const words: string[] = [];
  const behind: string[] = [];
  const take = (option: OptionSpec, shown: string, inline: string | undefined, next: () => string | undefined): void => {
    if (option.kind === "flag") {
      const value = inline === undefined ? true : flagValue(inline);
      if (value === undefined) throw usageError(`${shown} takes no value, or =true or =false`);
      values.set(option.name, value);
      return;
    }
    const given = inline ?? next();
    if (given === undefined) throw usageError(`${shown} wants a value`);
    // etcdctl has them in capitals.
    const value = option.choices?.find((choice) => choice === given.toLowerCase()) ?? given;
    if (option.kind === "number" && !/^-?\d+$/.test(value)) throw usageError(`${shown} wants a whole number, not ${JSON.stringify(value)}`);
    if (option.kind === "number" && !Number.isSafeInteger(Number(value))) throw usageError(`${shown} ${value} is too large`);
    if (option.choices !== undefined && !option.choices.includes(value))
      throw usageError(`${shown} is one of ${option.choices.join(", ")}, not ${JSON.stringify(value)}`);
    if (option.kind === "list") {
      const list = values.get(option.name);
      values.set(option.name, Array.isArray(list) ? [...list, value] : [value]);
    } else values.set(option.name, value);
  };
  const hasRest = spec.words.some(({ rest }) => rest === true);
  for (let i = 0; i < args.length; i += 1) {
    const arg = args[i] ?? "";
    const next = (): string | undefined => args[++i];
    if (arg === "--") {
      (hasRest ? behind : words).push(...args.slice(i + 1));
      break;
    }
    const long = /^--([^=]+)(?:=([\s\S]*))?$/.exec(arg);
    if (long !== null) {
      const option = byName.get(long[1] ?? "");
      if (option === undefined) throw usageError(unknownOption(`--${long[1] ?? ""}`, spec));
      take(option, `--${option.name}`, long[2], next);
    } else if (/^-[A-Za-z]/.test(arg)) {
      const letter = arg[1] ?? "";
      const option = byShort.get(letter) ?? byName.get(arg.slice(1).split("=", 1)[0] ?? "");
      if (option === undefined) throw usageError(unknownOption(arg, spec));
      // One dash and a whole name, as Go's programs take it.
      if (option.short !== letter || arg.length > 2) {
        const [name, ...value] = arg.slice(1).split("=");
        if (option.name === name) {
          take(option, `--${option.name}`, value.length === 0 ? undefined : value.join("="), next);
          continue;
        }
      }
      take(option, `-${letter}`, arg.length > 2 ? arg.slice(2) : undefined, next);
    } else {
      words.push(arg);
      // What follows the first word of a command to run is its own.
      if (hasRest && words.length >= spec.words.length) {
        words.push(...args.slice(i + 1));
        break;
      }
    }
  }
  return placeWords(spec, { words, behind }, values);
}

function placeWords(
  spec: CommandSpec,
  { words, behind }: { readonly words: readonly string[]; readonly behind: readonly string[] },
  values: ReadonlyMap<string, OptionValue>,
): CommandLine {
  const placed = new Map<string, string>();
  let at = 0;
  for (const word of spec.words) {
    if (word.rest === true) break;
    const value = words[at];
    if (value === undefined) {
      if (word.optional === true) continue;
      throw usageError(`${word.name.toUpperCase()} is missing`);
    }
    placed.set(word.name, value);
    at += 1;
  }
  const rest = [...words.slice(at), ...behind];
  const restWord = spec.words.find((word) => word.rest === true);
  if (restWord === undefined && rest.length > 0) throw usageError(`${JSON.stringify(rest[0])} is one word too many`);
  if (restWord !== undefined && restWord.optional !== true && rest.length === 0)
    throw usageError(`${restWord.name.toUpperCase()} is missing`);
  return new CommandLine(values, placed, rest);
}

/** What those who know etcdctl look for. */
const ETCDCTLS: Readonly<Record<string, string>> = { w: "output", "write-out": "output" };

function unknownOption(given: string, spec: CommandSpec): string {
  const ours = ETCDCTLS[given.replace(/^-+/, "")];
  if (spec.options.some(({ name }) => name === ours)) return `unknown option ${given}; here it is --${ours}`;
  const near = nearest(
    given.replace(/^-+/, ""),
    spec.options.filter(({ hidden }) => hidden !== true).map(({ name }) => name),
  );
  const words = spec.words.length === 0 ? "" : "; words that begin with - go behind --";
  return `unknown option ${given}${near === undefined ? words : `; did you mean --${near}?`}`;
}

/** The one known name that begins so, or else the one that is fewest letters away, if it is near at all. */
export function nearest(given: string, known: readonly string[]): string | undefined {
  const begun = known.filter((name) => given !== "" && name.startsWith(`${given}-`));
  if (begun.length === 1) return begun[0];
  let best: string | undefined;
  let least = Math.max(2, Math.floor(given.length / 3)) + 1;
  for (const name of known) {
    const distance = editDistance(given, name);
    if (distance < least) {
      least = distance;
      best = name;
    }
  }
  return best;
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, i) => i);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}

/** The help of one command. */
export function helpOf(spec: CommandSpec): string {
  const words = spec.words.map(({ name, optional, rest }) => {
    const shown = rest === true ? `${name.toUpperCase()}...` : name.toUpperCase();
    return optional === true ? `[${shown}]` : shown;
  });
  const options = spec.options.filter(({ hidden }) => hidden !== true);
  const left = options.map(
    ({ name, short, kind, value, choices }) =>
      `${short === undefined ? "   " : `-${short},`} --${name}${kind === "flag" ? "" : ` ${choices?.join("|") ?? value ?? kind.toUpperCase()}`}`,
  );
  const width = Math.min(44, Math.max(0, ...left.map((each) => each.length)));
  const lines = [`usage: d-engine ${[spec.name, ...words].join(" ")}${options.length === 0 ? "" : " [OPTIONS]"}`, "", spec.summary];
  if (options.length > 0) lines.push("", ...options.map(({ help }, i) => `  ${(left[i] ?? "").padEnd(width)}  ${help}`));
  if (spec.notes !== undefined) lines.push("", ...spec.notes);
  return `${lines.join("\n")}\n`;
}
