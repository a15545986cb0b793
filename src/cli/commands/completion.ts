import type { Command } from "../command.ts";
import { EXIT, usageError } from "../exit.ts";

/** `all` is called when a script is made, since this command is one of them. */
export const completionOf = (all: () => readonly Command[]): Command => ({
  spec: {
    name: "completion",
    summary: "Prints a completion script: source <(d-engine completion bash).",
    words: [{ name: "shell" }],
    options: [],
    notes: ["SHELL is bash, zsh or fish."],
  },
  run: async (line, world) => {
    const commands = all();
    const shell = line.word("shell");
    if (shell === "bash") await world.print(bash(commands));
    else if (shell === "zsh") await world.print(`autoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`);
    else if (shell === "fish") await world.print(fish(commands));
    else throw usageError(`SHELL is bash, zsh or fish, not ${JSON.stringify(shell)}`);
    return EXIT.done;
  },
});

const optionsOf = ({ spec }: Command): string[] => spec.options.filter(({ hidden }) => hidden !== true).map(({ name }) => `--${name}`);

function bash(commands: readonly Command[]): string {
  const firsts = [...new Set(commands.map(({ spec }) => spec.name.split(" ")[0] ?? ""))];
  const seconds = new Map<string, string[]>();
  for (const { spec } of commands) {
    const [first = "", second] = spec.name.split(" ");
    if (second !== undefined) seconds.set(first, [...(seconds.get(first) ?? []), second]);
  }
  const cases = commands.map((command) => `    "${command.spec.name}") words="${optionsOf(command).join(" ")}" ;;`);
  const inner = [...seconds].map(([first, words]) => `      ${first}) words="${words.join(" ")}" ;;`);
  return `_d_engine() {
  local word="\${COMP_WORDS[COMP_CWORD]}" words="" name="\${COMP_WORDS[1]}"
  if [[ $COMP_CWORD -eq 1 ]]; then
    words="${firsts.join(" ")}"
  elif [[ $COMP_CWORD -eq 2 && $word != -* ]]; then
    case "$name" in
${inner.join("\n")}
    esac
  else
    case "$name" in ${[...seconds.keys()].join("|")}) name="$name \${COMP_WORDS[2]}" ;; esac
    case "$name" in
${cases.join("\n")}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _d_engine d-engine
`;
}

function fish(commands: readonly Command[]): string {
  const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = ["complete -c d-engine -f"];
  for (const { spec } of commands) {
    const [first = "", second] = spec.name.split(" ");
    const summary = quote(spec.summary.split(". ")[0] ?? "");
    lines.push(
      second === undefined
        ? `complete -c d-engine -n __fish_use_subcommand -a ${first} -d ${summary}`
        : `complete -c d-engine -n "__fish_use_subcommand" -a ${first}\ncomplete -c d-engine -n "__fish_seen_subcommand_from ${first}" -a ${second} -d ${summary}`,
    );
    for (const { name, help, kind, hidden } of spec.options)
      if (hidden !== true)
        lines.push(
          `complete -c d-engine -n "__fish_seen_subcommand_from ${first}" -l ${name}${kind === "flag" ? "" : " -r"} -d ${quote(help)}`,
        );
  }
  return `${[...new Set(lines)].join("\n")}\n`;
}
