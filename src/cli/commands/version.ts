import { ETCD_VERSION } from "../../api/versions.ts";
import { isJson, OUTPUT_OPTION, type Command } from "../command.ts";
import { EXIT } from "../exit.ts";
import { VERSION } from "../../version.ts";

export const version: Command = {
  spec: { name: "version", summary: "Shows this program's version, and which etcd's API it speaks.", words: [], options: [OUTPUT_OPTION] },
  run: async (line, world) => {
    const versions = { version: VERSION, etcd: ETCD_VERSION, node: process.version };
    if (isJson(line, world)) await world.print(`${JSON.stringify(versions)}\n`);
    else await world.print(versionText());
    return EXIT.done;
  },
};

/** Tools that look for an etcd read its first line. */
export const versionText = (): string => `etcd Version: ${ETCD_VERSION}\nd-engine: ${VERSION}\nNode: ${process.version}\n`;
