/**
 * Whether the ports that a server is to listen at are free, asked before the engine is opened: a port that is taken is no reason to found a cluster.
 * Somebody may still take one in between; then opening says so.
 */
import { createServer } from "node:net";
import { formatPlace, type Place } from "../server/places.ts";
import { formatAddress, parseAddress } from "../transport/address.ts";
import { EXIT, ExitError } from "./exit.ts";

interface Address {
  readonly host: string;
  readonly port: number;
}

/** Rejects with an ExitError that names the setting and the address. Sockets in the file system are not looked at: a stale one is cleared. */
export async function checkPorts(wanted: {
  readonly clients: readonly Place[];
  readonly metrics: readonly Address[];
  readonly peer: string | undefined;
}): Promise<void> {
  const peer = wanted.peer === undefined ? undefined : parseAddress(wanted.peer);
  const asked: readonly (readonly [setting: string, address: Address, shown: string])[] = [
    ...wanted.clients.flatMap((place) => (place.kind === "tcp" ? [["listen-client-urls", place, formatPlace(place)] as const] : [])),
    ...wanted.metrics.map((address) => ["listen-metrics-urls", address, formatAddress(address)] as const),
    ...(peer === undefined ? [] : [["listen-peer-urls", peer, formatAddress(peer)] as const]),
  ];
  const taken = new Map<string, string>();
  for (const [setting, { host, port }, shown] of asked) {
    if (port === 0) continue;
    const other = taken.get(shown);
    if (other !== undefined) throw new ExitError(EXIT.usage, `${setting}: ${shown} is in ${other} already`);
    taken.set(shown, setting);
    // oxlint-disable-next-line no-await-in-loop -- a few
    await probe(setting, { host, port }, shown);
  }
}

function probe(setting: string, address: Address, shown: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "EADDRINUSE" ? `another process listens on ${shown}` : `${shown}: ${error.message}`;
      // No address of this machine: that is how it was set, not how things are now.
      const code = error.code === "EADDRNOTAVAIL" ? EXIT.usage : EXIT.refused;
      reject(new ExitError(code, `${setting}: ${reason}`, { cause: error }));
    });
    server.listen({ ...address, exclusive: true }, () => server.close(() => resolve()));
  });
}
