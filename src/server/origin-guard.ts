/**
 * Which HTTP requests may come in: none that a foreign web page has a browser send. A browser says where a request comes from (Origin,
 * Sec-Fetch-Site); and a page that has its own name resolve to this machine is known by the Host that it asks for.
 */
import { isIP } from "node:net";
import type { HttpCall } from "./http-call.ts";

/** Names beside addresses and localhost. */
export interface GuardOptions {
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  /** URLs whose hosts are ours. */
  readonly advertised: () => readonly string[];
}

/** Why the request is refused; undefined if it is not. */
export function refusalOf(call: HttpCall, options: GuardOptions): { readonly status: number; readonly reason: string } | undefined {
  if (!isOwnHost(call.host, options)) return { status: 421, reason: "Host is no address of this server and not among allowedHosts" };
  const origin = call.header("origin");
  if (origin !== undefined && !isOwnOrigin(origin, call.host, options)) {
    return { status: 403, reason: "Origin is foreign and not among allowedOrigins" };
  }
  const site = call.header("sec-fetch-site");
  const isAllowed = origin !== undefined && options.allowedOrigins.includes(origin);
  if (!isAllowed && (site === "cross-site" || site === "same-site")) {
    return { status: 403, reason: "the request comes from another site" };
  }
  return undefined;
}

/** The host of a Host header, without port and brackets. */
function hostName(host: string): string {
  const name = /^\[([^\]]*)\](?::\d*)?$/.exec(host)?.[1] ?? host.replace(/:\d*$/, "");
  return name.toLowerCase().replace(/\.$/, "");
}

function isOwnHost(host: string, options: GuardOptions): boolean {
  const name = hostName(host);
  if (name === "localhost" || name.endsWith(".localhost") || isIP(name) !== 0) return true;
  if (options.allowedHosts.some((allowed) => hostName(allowed) === name)) return true;
  return options.advertised().some((url) => URL.canParse(url) && hostName(new URL(url).host) === name);
}

function isOwnOrigin(origin: string, host: string, options: GuardOptions): boolean {
  if (options.allowedOrigins.includes(origin)) return true;
  if (!URL.canParse(origin)) return false;
  return new URL(origin).host === host.toLowerCase();
}
