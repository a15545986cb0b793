/** The pairs of servers that are compared: a real etcd and ours in this process, or processes of both, which can be stopped, with one or more members. */
import type { Pair } from "./differential-run.ts";
import { Servers } from "./differential-servers.ts";
import { Side, type SideOptions } from "./differential-side.ts";
import { startEtcd, startServed, WireClient, type Ending } from "./wire.ts";

/** What began for a pair, to be ended in the opposite order. */
class Endings implements Ending {
  readonly #ends: (() => unknown)[] = [];

  after(end: () => unknown): void {
    this.#ends.push(end);
  }

  async run(): Promise<void> {
    // oxlint-disable-next-line no-await-in-loop -- in the opposite order of their beginnings
    for (const end of this.#ends.toReversed()) await end();
  }
}

function pairOf(endings: Endings, sides: Omit<Pair, "close">): Pair {
  const { theirs, ours } = sides;
  return {
    ...sides,
    close: async () => {
      theirs.close();
      ours.close();
      await endings.run();
    },
  };
}

/** A fresh etcd, and ours in this process, with its data in memory. `clientOf`: who asks ours. */
export async function openPair(
  clientOf: (endings: Ending, address: string) => WireClient = (endings, address) => new WireClient(endings, address),
): Promise<Pair> {
  const endings = new Endings();
  const [theirs, { address }] = await Promise.all([startEtcd(endings), startServed(endings)]);
  return pairOf(endings, {
    members: 1,
    canStop: false,
    theirs: new Side(() => new WireClient(endings, theirs), { isStrict: false }),
    ours: new Side(() => clientOf(endings, address), { isStrict: true }),
  });
}

/** Fresh processes with their data on the disk. `controlOf`: how ours are stopped and started. */
export async function openProcesses(
  members: number,
  controlOf: (servers: Servers) => Pick<Servers, "start" | "stop"> = (servers) => servers,
): Promise<Pair> {
  const endings = new Endings();
  try {
    const [theirs, ours] = await Promise.all([Servers.start(endings, "etcd", members), Servers.start(endings, "ours", members)]);
    const side = (servers: Servers, options: Pick<SideOptions, "isStrict" | "servers">): Side =>
      new Side((member) => new WireClient(endings, servers.addresses[member]!), { members, ...options });
    return pairOf(endings, {
      members,
      canStop: true,
      theirs: side(theirs, { isStrict: false, servers: theirs }),
      ours: side(ours, { isStrict: true, servers: controlOf(ours) }),
    });
  } catch (error) {
    await endings.run();
    throw error;
  }
}
