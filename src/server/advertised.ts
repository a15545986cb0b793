/** Where clients are told to find a member: the URLs that its front end is given, or makes of where it listens. */
import { CLIENT_ADDRESS_BYTES_MAX, CLIENT_ADDRESSES_MAX, isClientAddress } from "../client/client-addresses.ts";
import { invalidArgument } from "../errors.ts";
import { formatAddress, parseAddress } from "../transport/address.ts";

const WILDCARDS: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

/** Throws INVALID_ARGUMENT. */
export function checkAdvertised(urls: readonly string[]): void {
  if (urls.length > CLIENT_ADDRESSES_MAX) throw invalidArgument("advertise", `at most ${CLIENT_ADDRESSES_MAX} URLs are told`);
  for (const url of urls) {
    if (!URL.canParse(url)) throw invalidArgument("advertise", `URLs are wanted, not ${JSON.stringify(url)}`);
    if (!isClientAddress(url))
      throw invalidArgument(
        "advertise",
        `a URL has at most ${CLIENT_ADDRESS_BYTES_MAX} bytes, and no blanks: ${JSON.stringify(String(url).slice(0, CLIENT_ADDRESS_BYTES_MAX))}`,
      );
  }
}

/** "host:port" as others reach it: the host of a wildcard is that under which other members find this one, if they do. */
export function reachable(address: string, peerAddress: string | undefined): string {
  const parsed = parseAddress(address);
  const peer = peerAddress === undefined ? undefined : parseAddress(peerAddress);
  if (parsed === undefined || peer === undefined || !WILDCARDS.has(parsed.host)) return address;
  return formatAddress({ host: peer.host, port: parsed.port });
}

/** What of it the whole cluster is told: not that this member listens everywhere, which is of no use elsewhere. */
export function announced(urls: readonly string[]): readonly string[] {
  return urls.filter((url) => !WILDCARDS.has(new URL(url).hostname.replace(/^\[(.*)\]$/, "$1")));
}
