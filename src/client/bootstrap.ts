/**
 * The founding list as it is given, checked against what else is said of this member. What differs between members cannot be seen here: those that
 * wait for each other say so in their logs (node/joining.ts).
 */
import { isIP } from "node:net";
import { invalidArgument } from "../errors.ts";
import { FOUNDING_LIST_MAX } from "../node/founding.ts";
import type { PeerListener } from "../node/node-options.ts";
import { isLoopback, parseAddress, type Address } from "../transport/address.ts";
import { describe } from "./arguments.ts";

/** Throws INVALID_ARGUMENT. */
export function checkName(name: unknown, argument: string): void {
  if (typeof name !== "string" || name === "" || name.length > 255 || /[\p{Cc}=,]/u.test(name)) {
    throw invalidArgument(argument, `1 to 255 characters without control characters, "=" and "," are wanted, not ${describe(name)}`);
  }
}

export interface OwnMember {
  readonly name: string | undefined;
  readonly peer: PeerListener | undefined;
  /** Whether `peer.advertise` was given; if not, others find the member where it listens. */
  readonly isAdvertised: boolean;
}

/** Throws INVALID_ARGUMENT. */
export function checkBootstrap(bootstrap: Readonly<Record<string, string>>, own: OwnMember): void {
  if (typeof bootstrap !== "object" || bootstrap === null || Array.isArray(bootstrap))
    throw invalidArgument("bootstrap", `{ name: "host:port", ... } is wanted, not ${describe(bootstrap)}`);
  const entries = Object.entries(bootstrap);
  if (entries.length === 0 || entries.length > FOUNDING_LIST_MAX)
    throw invalidArgument("bootstrap", `1 to ${FOUNDING_LIST_MAX} members are wanted, not ${entries.length}`);
  for (const [member, address] of entries) {
    checkName(member, "bootstrap");
    const parsed = typeof address === "string" ? parseAddress(address) : undefined;
    if (parsed === undefined || parsed.port === 0)
      throw invalidArgument("bootstrap", `"host:port" is wanted for ${member}, not ${describe(address)}`);
  }
  if (new Set(entries.map(([, address]) => address)).size !== entries.length)
    throw invalidArgument("bootstrap", "two members have the same address");
  const { name, peer } = own;
  if (name === undefined || !Object.hasOwn(bootstrap, name)) {
    throw invalidArgument("name", `with bootstrap, name says which of ${entries.map(([member]) => member).join(", ")} this node is`);
  }
  if (entries.length > 1 && peer === undefined) throw invalidArgument("peer", "a cluster of several members needs peer.listen");
  if (peer !== undefined) checkOwnAddress({ name, address: bootstrap[name] ?? "", peer, isAdvertised: own.isAdvertised });
}

/** The others dial the address of the list: a member that listens elsewhere would wait for them for ever. */
function checkOwnAddress(own: {
  readonly name: string;
  readonly address: string;
  readonly peer: PeerListener;
  readonly isAdvertised: boolean;
}): void {
  const { name, address, peer, isAdvertised } = own;
  const listed = parseAddress(address);
  const said = parseAddress(isAdvertised ? peer.advertise : peer.listen);
  if (listed === undefined || said === undefined) return;
  const isSame = listed.port === said.port && (isAdvertised ? listed.host === said.host : mayBeOne(listed, said));
  if (isSame) return;
  if (isAdvertised) {
    throw invalidArgument(
      "peer.advertise",
      `${peer.advertise} is not where bootstrap says that ${name} is found, ${address}: the others dial that one; make both the same`,
    );
  }
  throw invalidArgument(
    "peer.listen",
    `${peer.listen} is not where bootstrap says that ${name} is found, ${address}: the others dial that one; listen there, or say peer.advertise: "${address}" if it leads here`,
  );
}

/** Whether two hosts may be the same one: a name may stand for any address. */
function mayBeOne(one: Address, other: Address): boolean {
  if (one.host === other.host) return true;
  if (isLoopback(one.host) || isLoopback(other.host))
    return one.host === "localhost" ? isLoopback(other.host) : other.host === "localhost" && isLoopback(one.host);
  return isIP(one.host) === 0 || isIP(other.host) === 0;
}
