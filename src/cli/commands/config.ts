import type yaml from "yaml";
import { isJson, OUTPUT_OPTION, type Command, type World } from "../command.ts";
import type { CommandLine } from "../command-line.ts";
import type { Config, Given } from "../config/load-config.ts";
import { nodeConfig } from "../config/node-config.ts";
import { SETTINGS } from "../config/settings.ts";
import { EXIT } from "../exit.ts";
import { serve } from "./serve.ts";

const options = [...serve.spec.options, OUTPUT_OPTION];

async function load(line: CommandLine, world: World): Promise<Config> {
  // The languages of files are loaded only here, so that other commands begin sooner.
  const { loadConfig } = await import("../config/load-config.ts");
  const { config, warnings } = loadConfig(line, world.environment);
  for (const warning of [...warnings, ...nodeConfig(config).warnings]) world.say(warning);
  return config;
}

/** A line of a configuration file, which may be written to one as it is. */
function fileLine(name: string, { value, source }: Given, stringify: typeof yaml.stringify): string {
  const shown = typeof value === "object" ? value.join(",") : value;
  return `${stringify({ [name]: shown }, { lineWidth: 0 }).trimEnd()} # ${source}\n`;
}

export const configPrint: Command = {
  spec: {
    name: "config print",
    summary: "Shows the settings that serve would take, and where each comes from. It can be kept as a configuration file.",
    words: [],
    options,
  },
  run: async (line, world) => {
    const config = await load(line, world);
    if (isJson(line, world))
      await world.print(`${JSON.stringify(Object.fromEntries([...config].map(([name, { value }]) => [name, value])))}\n`);
    else {
      const { stringify } = await import("yaml");
      const lines = SETTINGS.map(({ name }) => {
        const given = config.get(name);
        return given === undefined ? "" : fileLine(name, given, stringify);
      });
      await world.print(lines.join(""));
    }
    return EXIT.done;
  },
};

export const configCheck: Command = {
  spec: { name: "config check", summary: "Says whether serve would take these settings.", words: [], options },
  run: async (line, world) => {
    await load(line, world);
    await world.print("ok\n");
    return EXIT.done;
  },
};
