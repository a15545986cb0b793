/**
 * One node of the demo: a process that opens an engine and does what the main process asks. It is an ordinary application with an
 * engine in it; nothing here is special but the channel that the orders come through.
 *
 *   node node.js NAME DIRECTORY n1=HOST:PORT n2=HOST:PORT n3=HOST:PORT
 */
import { Engine, EngineError, type KeyValue } from "d-engine";
import type { AnswerMessage, Answers, Notice, Order, OrderMessage, PlainKeyValue } from "./protocol.ts";

const [name = "", dataDir = "", ...addresses] = process.argv.slice(2);
const bootstrap = Object.fromEntries(addresses.map((each) => each.split("=") as [string, string]));

/** What cannot be sent any more has nobody to read it: the main process is gone, and this one will be. */
const send = (message: AnswerMessage | { readonly notice: Notice }): void => {
  process.send?.(message, undefined, undefined, () => {});
};
const tell = (notice: Notice): void => send({ notice });
const plain = (kv: KeyValue): PlainKeyValue => ({ key: kv.key, value: kv.text(), revision: kv.modRevision, version: kv.version });

// Without the main process there is nobody to work for. A Ctrl-C reaches the whole group; the main process decides what it means.
process.on("disconnect", () => process.exit(0));
process.on("SIGINT", () => {});

async function open(): Promise<Engine> {
  try {
    return await Engine.open({ dataDir, name, peer: { listen: bootstrap[name] ?? "" }, bootstrap });
  } catch (error) {
    tell({ kind: "openFailed", message: String(error) });
    throw error;
  }
}

const engine = await open();

async function memberName(id: string): Promise<string> {
  const { members } = await engine.members();
  return members.find((member) => member.id === id)?.name ?? id;
}

async function printWatch(prefix: string): Promise<{ readonly revision: number }> {
  const watch = engine.watch({ prefix });
  const registered = await watch.ready();
  void (async () => {
    try {
      for await (const batch of watch) {
        if (batch.kind !== "events") continue;
        for (const event of batch.events) {
          const what =
            event.kind === "put" ? `put ${event.kv.key} = ${event.kv.text()}` : `delete ${event.key} (${event.cause ?? "request"})`;
          tell({ kind: "event", text: `${what}, revision ${batch.revision}` });
        }
      }
    } catch (error) {
      if (!EngineError.is(error, "CLOSED")) tell({ kind: "event", text: `the watch ended: ${String(error)}` });
    }
  })();
  return registered;
}

async function carryOut(order: Order): Promise<Answers[Order["kind"]]> {
  switch (order.kind) {
    case "put":
      return { revision: (await engine.put(order.key, order.value, { timeoutMs: 10_000 })).revision };
    case "get": {
      const kv = await engine.get(
        order.key,
        order.minRevision === undefined ? {} : { minRevision: order.minRevision, consistency: "eventual" },
      );
      return kv === undefined ? undefined : plain(kv);
    }
    case "delete": {
      const { deleted, revision } = await engine.delete(order.key);
      return { deleted, revision };
    }
    case "range": {
      const { kvs, revision } = await engine.range(order.prefix === undefined ? { all: true } : { prefix: order.prefix });
      return { kvs: kvs.map(plain), revision };
    }
    case "compareAndSwap":
      return engine.compareAndSwap(order.key, order.expected, order.value);
    case "watch":
      return printWatch(order.prefix);
    case "members": {
      const { members, leader } = await engine.members();
      return members
        .map((member) => ({ name: member.name, address: member.peerAddress, isLeader: member.id === leader }))
        .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    }
    case "waitReady": {
      const { id, term } = await engine.waitReady({ timeoutMs: 15_000 });
      return { leader: await memberName(id), term };
    }
    case "close":
      await engine.close();
      return undefined;
  }
}

process.on("message", (message) => {
  const { id, order } = message as OrderMessage;
  carryOut(order).then(
    (result) => send({ id, result } as AnswerMessage),
    (error: unknown) => {
      const code = EngineError.is(error) ? error.code : "INTERNAL";
      send({ id, error: { code, message: error instanceof Error ? error.message : String(error) } });
    },
  );
});

tell({ kind: "opened" });
