/** A record store as a user might write one, and not a fast one: all records in one JSON file, written anew at each sync. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { OpenRecordStore, RecordStore } from "../../../storage/records/record-store.ts";

const openJsonStore: OpenRecordStore<{ readonly file: string; readonly failsAt?: string }> = async (path, { file, failsAt }) => {
  mkdirSync(path, { recursive: true });
  const whole = join(path, file);
  const records = new Map<string, string>(existsSync(whole) ? (JSON.parse(readFileSync(whole, "utf8")) as [string, string][]) : []);
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
  const meetFault = (operation: string): void => {
    if (failsAt === operation) throw Object.assign(new Error("it broke"), { code: "EBROKEN" });
  };
  const save = (): void => {
    writeFileSync(`${whole}.tmp`, JSON.stringify([...records]));
    renameSync(`${whole}.tmp`, whole);
  };
  const store: RecordStore = {
    get: async (key) => {
      const value = records.get(hex(key));
      return value === undefined ? undefined : bytes(value);
    },
    entries: async function* ({ start, end, reverse }) {
      const from = hex(start);
      const names = [...records.keys()].filter((name) => name >= from && (end === undefined || name < hex(end))).sort();
      if (reverse === true) names.reverse();
      const all = names.map((name) => [bytes(name), bytes(records.get(name)!)] as const);
      for (let at = 0; at < all.length; at += 100) yield all.slice(at, at + 100);
    },
    write: async ({ puts, deletes }) => {
      meetFault("write");
      await new Promise((resolve) => setTimeout(resolve, 1));
      for (const key of deletes) records.delete(hex(key));
      for (const [key, value] of puts) records.set(hex(key), hex(value));
    },
    sync: async () => {
      meetFault("sync");
      save();
    },
    bytes: () => ({ used: records.size, free: 0 }),
    close: async () => save(),
  };
  return store;
};

export default openJsonStore;
