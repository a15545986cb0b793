/** Addresses of the form "host:port", and which hosts cannot be reached from other machines. */
import { isIP, isIPv6 } from "node:net";

export interface Address {
  /** A name, an IPv4 address, or an IPv6 address without its brackets. Names in lower case. */
  readonly host: string;
  readonly port: number;
}

const ADDRESS_LENGTH_MAX = 300;
const HOST_LENGTH_MAX = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** "db-1:2380", "10.0.0.1:2380", "[::1]:2380". undefined where the text is none of these; port 0 is left to the caller to judge. */
export function parseAddress(text: string): Address | undefined {
  if (text.length > ADDRESS_LENGTH_MAX) return undefined;
  const parts = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (parts === null) return undefined;
  const [, bracketed, plain, digits] = parts;
  const port = Number(digits);
  if (port > 65_535) return undefined;
  if (bracketed !== undefined) return isIPv6(bracketed) ? { host: bracketed.toLowerCase(), port } : undefined;
  const host = (plain ?? "").toLowerCase();
  return isHostName(host) ? { host, port } : undefined;
}

/** The text that parseAddress() reads. */
export function formatAddress(address: Address): string {
  return isIPv6(address.host) ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Whether only this machine can reach it: "localhost", 127.0.0.0/8, ::1, and IPv4's as IPv6. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[(.*)\]$/, "$1");
  if (name === "localhost") return true;
  switch (isIP(name)) {
    case 4:
      return name.startsWith("127.");
    case 6:
      return isLoopbackV6(name);
    default:
      return false;
  }
}

function isLoopbackV6(host: string): boolean {
  const mapped = /^(?:::|(?:0{1,4}:){5})ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(host);
  if (mapped !== null) return (mapped[1] as string).startsWith("127.");
  // What is left of ::1 in any spelling, once the zeros and colons are gone, is its last digit.
  return !host.includes(".") && !host.includes("%") && host.endsWith("1") && host.replace(/[0:]/g, "") === "1";
}

function isHostName(host: string): boolean {
  if (host.length === 0 || host.length > HOST_LENGTH_MAX) return false;
  if (isIP(host) === 4) return true;
  const labels = host.replace(/\.$/, "").split(".");
  // A name of digits and dots only is a misspelt IPv4 address.
  return labels.every((label) => LABEL.test(label)) && !/^[\d.]+$/.test(host);
}
