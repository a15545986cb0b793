/**
 * What the header block of a request, a response or trailers says to HTTP/2 itself, and whether it is malformed (RFC 9113 sections 8.1
 * to 8.3). Interpreted once for each distinct block.
 */
import { HeaderName, type HeaderBlock } from "../hpack/header-field.ts";

/** The pseudo-headers of a block and the fields that HTTP/2 itself minds. */
export interface MessageHead {
  /** Why the block is malformed; "" if it is not. */
  problem: string;
  method: string | undefined;
  scheme: string | undefined;
  path: string | undefined;
  authority: string | undefined;
  /** 0 if there is none. */
  status: number;
  /** -1 if there is none. */
  contentLength: number;
  /** True if there are pseudo-headers at all: trailers have none. */
  pseudo: boolean;
}

/** The head of a block. The same object for the same block. */
export function messageHeadOf(block: HeaderBlock): MessageHead {
  if (block.head !== undefined) return block.head as MessageHead;
  const head: MessageHead = {
    problem: "",
    method: undefined,
    scheme: undefined,
    path: undefined,
    authority: undefined,
    status: 0,
    contentLength: -1,
    pseudo: false,
  };
  interpret(block, head);
  block.head = head;
  return head;
}

function interpret(block: HeaderBlock, head: MessageHead): void {
  let regularSeen = false;
  for (const field of block.fields) {
    const { kind, value } = field;
    if (!field.valid) {
      head.problem = "a header name or value has forbidden characters";
      return;
    }
    if (kind >= HeaderName.method && kind <= HeaderName.unknownPseudo) {
      if (regularSeen) head.problem = "a pseudo-header after other headers";
      head.pseudo = true;
    } else {
      regularSeen = true;
    }
    let repeated = false;
    switch (kind) {
      case HeaderName.method:
        repeated = head.method !== undefined;
        head.method = value;
        break;
      case HeaderName.scheme:
        repeated = head.scheme !== undefined;
        head.scheme = value;
        break;
      case HeaderName.path:
        repeated = head.path !== undefined;
        head.path = value;
        break;
      case HeaderName.authority:
        repeated = head.authority !== undefined;
        head.authority = value;
        break;
      case HeaderName.status:
        repeated = head.status !== 0;
        if (!/^[1-5][0-9][0-9]$/.test(value)) head.problem = "a malformed :status";
        else head.status = Number(value);
        break;
      case HeaderName.unknownPseudo:
        head.problem = "an unknown pseudo-header";
        break;
      case HeaderName.connectionSpecific:
        head.problem = "a connection-specific header";
        break;
      case HeaderName.te:
        if (value !== "trailers") head.problem = "te other than trailers";
        break;
      case HeaderName.contentLength:
        if (!/^[0-9]{1,15}$/.test(value) || (head.contentLength >= 0 && head.contentLength !== Number(value))) {
          head.problem = "a malformed content-length";
        } else {
          head.contentLength = Number(value);
        }
        break;
    }
    if (repeated) head.problem = "a repeated pseudo-header";
    if (head.problem !== "") return;
  }
}

/** Why the head cannot open a request; "" if it can. CONNECT is not supported, so every request has method, scheme and path. */
export function requestProblem(head: MessageHead): string {
  if (head.problem !== "") return head.problem;
  if (head.status !== 0) return "a request with :status";
  if (head.method === undefined || head.scheme === undefined || head.path === undefined || head.path === "") {
    return "a request without :method, :scheme or :path";
  }
  return "";
}

/** Why the head cannot open a response; "" if it can. */
export function responseProblem(head: MessageHead): string {
  if (head.problem !== "") return head.problem;
  if (head.status === 0) return "a response without :status";
  if (head.method !== undefined || head.scheme !== undefined || head.path !== undefined || head.authority !== undefined) {
    return "a response with a pseudo-header of requests";
  }
  return "";
}

/** Why the head cannot be trailers; "" if it can. */
export function trailersProblem(head: MessageHead): string {
  return head.problem !== "" ? head.problem : head.pseudo ? "trailers with a pseudo-header" : "";
}
