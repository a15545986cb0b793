/** What the demo's main process and its nodes say to each other, over the channel that fork() gives them. */

export interface PlainKeyValue {
  readonly key: string;
  readonly value: string;
  readonly revision: number;
  readonly version: number;
}

export type Order =
  | { readonly kind: "put"; readonly key: string; readonly value: string }
  | { readonly kind: "get"; readonly key: string; readonly minRevision?: number }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "range"; readonly prefix: string | undefined }
  | { readonly kind: "compareAndSwap"; readonly key: string; readonly expected: string | undefined; readonly value: string }
  | { readonly kind: "watch"; readonly prefix: string }
  | { readonly kind: "members" }
  | { readonly kind: "waitReady" }
  | { readonly kind: "close" };

export interface Answers {
  put: { readonly revision: number };
  get: PlainKeyValue | undefined;
  delete: { readonly deleted: number; readonly revision: number };
  range: { readonly kvs: readonly PlainKeyValue[]; readonly revision: number };
  compareAndSwap: boolean;
  watch: { readonly revision: number };
  members: readonly { readonly name: string; readonly address: string; readonly isLeader: boolean }[];
  waitReady: { readonly leader: string; readonly term: number };
  close: undefined;
}

/** From a node, unasked. */
export type Notice =
  | { readonly kind: "opened" }
  | { readonly kind: "openFailed"; readonly message: string }
  | { readonly kind: "event"; readonly text: string };

export interface OrderMessage {
  readonly id: number;
  readonly order: Order;
}

export interface AnswerMessage {
  readonly id: number;
  readonly result?: Answers[Order["kind"]];
  readonly error?: { readonly code: string; readonly message: string };
}
