import type { Command } from "../command.ts";
import { helpOfSetting, optionKind, SETTINGS } from "../config/settings.ts";

export const serve: Command = {
  spec: {
    name: "serve",
    summary:
      "Runs a member of a cluster, or a cluster of one, until a signal. Settings come from a file, the environment (D_ENGINE_..., ETCD_...) and flags.",
    words: [],
    options: [
      { name: "config-file", kind: "text", value: "FILE", help: "Settings, in TOML (by its name) or YAML" },
      ...SETTINGS.flatMap((setting) =>
        [setting.name, ...(setting.also ?? [])].map((name) => ({
          name,
          kind: optionKind(setting.kind),
          help: helpOfSetting(setting),
          hidden: setting.without !== undefined || name !== setting.name,
          ...(setting.value === undefined ? {} : { value: setting.value }),
          ...(setting.choices === undefined ? {} : { choices: setting.choices }),
        })),
      ),
    ],
    notes: [
      "Later sources win: defaults, file, ETCD_ variables, D_ENGINE_ variables, flags. etcd's other settings are accepted where they change nothing.",
      "The first SIGINT or SIGTERM lets calls under way end, hands leadership over and closes, a second ends it at once; SIGHUP rereads the certificates.",
    ],
  },
  run: async (line, world) => (await import("../serving.ts")).runServe(line, world),
};
