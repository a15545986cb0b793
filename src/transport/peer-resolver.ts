/**
 * Addresses of peers' names, looked up ahead of need and kept. Everything goes through c-ares (`Resolver` of node:dns), never through
 * `dns.lookup`, whose calls occupy libuv's thread pool and wait behind whatever the application does there. c-ares' queries know neither
 * the hosts file nor search domains, so their contents are options: this file reads no files.
 * A name whose lookup fails keeps the addresses that it had: a cluster outlives its name server.
 */
// oxlint-disable-next-line no-restricted-imports -- Resolver is c-ares on sockets of its own; what enters the thread pool is `lookup`.
import { Resolver } from "node:dns";
import { isIP } from "node:net";
import type { Clock, Timer } from "../host/clock.ts";

/** Asks a name server; answers the addresses, or a text that says why there are none. */
export type AskNameServer = (name: string, answer: (addresses: readonly string[], problem: string | undefined) => void) => void;

export interface PeerResolverOptions {
  readonly clock: Clock;
  /** The text of a hosts file; its names are not asked for. Default none. */
  readonly hosts?: string;
  /** Appended to a name that is not found as it is, one after the other. At most eight are tried. Default none. */
  readonly searchDomains?: readonly string[];
  readonly refreshMs?: number;
  readonly retryMs?: number;
  /** Default c-ares. */
  readonly ask?: AskNameServer;
}

const SEARCH_DOMAINS_MAX = 8;
const ADDRESSES_MAX = 16;

interface Name {
  addresses: readonly string[];
  problem: string | undefined;
  timer: Timer | undefined;
  users: number;
  /** Consecutive lookups that failed. */
  failures: number;
}

export class PeerResolver {
  readonly #clock: Clock;
  readonly #hosts: ReadonlyMap<string, readonly string[]>;
  readonly #searchDomains: readonly string[];
  readonly #refreshMs: number;
  readonly #retryMs: number;
  readonly #ask: AskNameServer;
  readonly #names = new Map<string, Name>();
  readonly #listeners = new Set<(host: string) => void>();
  #closed = false;

  constructor(options: PeerResolverOptions) {
    this.#clock = options.clock;
    this.#hosts = parseHosts(options.hosts ?? "");
    this.#searchDomains = (options.searchDomains ?? []).slice(0, SEARCH_DOMAINS_MAX);
    this.#refreshMs = options.refreshMs ?? 30_000;
    this.#retryMs = options.retryMs ?? 500;
    this.#ask = options.ask ?? askCares;
  }

  /** `run` is told of every name whose addresses were found or have changed. Returns what ends that. */
  onChange(run: (host: string) => void): () => void {
    this.#listeners.add(run);
    return () => this.#listeners.delete(run);
  }

  /** Looks the host up now and from then on. Ends with as many calls of release(). */
  retain(host: string): void {
    if (this.#closed || this.#fixed(host) !== undefined) return;
    let name = this.#names.get(host);
    if (name === undefined) {
      name = { addresses: [], problem: "not looked up yet", timer: undefined, users: 0, failures: 0 };
      this.#names.set(host, name);
      this.#lookUp(host, name);
    }
    name.users += 1;
  }

  release(host: string): void {
    const name = this.#names.get(host);
    if (name === undefined) return;
    name.users -= 1;
    if (name.users > 0) return;
    name.timer?.cancel();
    this.#names.delete(host);
  }

  /** IP addresses, never names. Empty while none is known. */
  addresses(host: string): readonly string[] {
    return this.#fixed(host) ?? this.#names.get(host)?.addresses ?? [];
  }

  /** Why there are no (fresh) addresses; undefined if there are. */
  problem(host: string): string | undefined {
    return this.#names.get(host)?.problem;
  }

  close(): void {
    this.#closed = true;
    for (const name of this.#names.values()) name.timer?.cancel();
    this.#names.clear();
    this.#listeners.clear();
  }

  /** What needs no name server. */
  #fixed(host: string): readonly string[] | undefined {
    if (isIP(host) !== 0) return [host];
    return this.#hosts.get(host) ?? (host === "localhost" ? ["127.0.0.1"] : undefined);
  }

  #lookUp(host: string, name: Name): void {
    name.timer = undefined;
    this.#askEach([host, ...this.#searchDomains.map((domain) => `${host}.${domain}`)], (addresses, problem) => {
      if (this.#closed || this.#names.get(host) !== name) return;
      if (addresses.length === 0) {
        name.problem = problem ?? "it has no address";
        name.failures += 1;
      } else {
        const changed = name.addresses.length !== addresses.length || name.addresses.some((address, i) => address !== addresses[i]);
        name.addresses = addresses;
        name.problem = undefined;
        name.failures = 0;
        if (changed) for (const run of this.#listeners) run(host);
      }
      const retryMs = Math.min(this.#refreshMs, this.#retryMs * 2 ** Math.min(16, Math.max(0, name.failures - 1)));
      name.timer = this.#clock.setTimer(name.failures === 0 ? this.#refreshMs : retryMs, () => this.#lookUp(host, name));
    });
  }

  #askEach(names: readonly string[], answer: (addresses: readonly string[], problem: string | undefined) => void): void {
    const [name, ...others] = names as [string, ...string[]];
    this.#ask(name, (addresses, problem) => {
      const literal = [...new Set(addresses.filter((address) => isIP(address) !== 0))].sort().slice(0, ADDRESSES_MAX);
      if (literal.length > 0 || others.length === 0 || this.#closed) answer(literal, problem);
      else this.#askEach(others, answer);
    });
  }
}

/** A resolver for each question, so that a change of the machine's name servers is taken up. */
function askCares(name: string, answer: (addresses: readonly string[], problem: string | undefined) => void): void {
  const resolver = new Resolver({ timeout: 2000, tries: 2 });
  const found: string[] = [];
  let problem: string | undefined;
  let open = 2;
  const take = (error: NodeJS.ErrnoException | null, addresses: readonly string[] | undefined): void => {
    if (error === null) found.push(...(addresses ?? []));
    else problem ??= error.code ?? error.message;
    open -= 1;
    if (open === 0) answer(found, problem);
  };
  resolver.resolve4(name, take);
  resolver.resolve6(name, take);
}

/** Name to addresses, of the text of a hosts file: an address, then its names, `#` before a comment. Lines that are none of this are passed over. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [address, ...hosts] = line.replace(/#.*/, "").trim().split(/\s+/);
    if (address === undefined || isIP(address) === 0) continue;
    for (const host of hosts) {
      const known = names.get(host.toLowerCase()) ?? [];
      if (!known.includes(address) && known.length < ADDRESSES_MAX) known.push(address);
      names.set(host.toLowerCase(), known);
    }
  }
  return names;
}
