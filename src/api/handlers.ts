/** The types of handlers, computed from the table of services, and the methods as the rpc layer and the JSON gateway take them. */
import type { CallContext, DuplexStream, Later, Method, MethodKind, ResponseStream } from "../rpc/index.ts";
import { malformedRequest } from "./etcd-errors.ts";
import { decodePutRequest, decodeRangeRequest } from "./hot-requests.ts";
import { decodeMessage, encodeMessage } from "./message-codec.ts";
import type { Message, MessageInit, MessageName } from "./schema/messages.ts";
import { SERVICES, type MethodRow, type ServiceName } from "./schema/services.ts";

/** A response: as a message, or encoded already. */
export type Answer<Name extends MessageName> = MessageInit<Name> | Uint8Array;

type HandlerOf<Row> = Row extends readonly [
  infer Kind,
  infer Request extends MessageName,
  infer Response extends MessageName,
  ...(readonly string[]),
]
  ? Kind extends "unary"
    ? (request: Message<Request>, call: CallContext) => Answer<Response> | Promise<Answer<Response>> | Later<Answer<Response>>
    : Kind extends "serverStream"
      ? (request: Message<Request>, call: ResponseStream<Answer<Response>>) => void | Promise<void>
      : (call: DuplexStream<Message<Request>, Answer<Response>>) => void | Promise<void>
  : never;

/** The handlers of a service, one for each of its methods. */
export type ServiceHandlers<Service extends ServiceName> = {
  readonly [Name in keyof (typeof SERVICES)[Service]]: HandlerOf<(typeof SERVICES)[Service][Name]>;
};

/** A method that is served. */
export interface ServedMethod {
  // oxlint-disable-next-line typescript/no-explicit-any -- requests and responses of one method agree; a table of all cannot say so
  readonly method: Method<any, any>;
  readonly kind: MethodKind;
  readonly request: MessageName;
  readonly response: MessageName;
  /** Of the JSON gateway. */
  readonly paths: readonly string[];
  // oxlint-disable-next-line typescript/no-explicit-any -- the same
  readonly handler: (first: any, call: any) => unknown;
}

/** The methods of a service. `path`: under another name than the table's. */
export function servedMethods<Service extends ServiceName>(
  service: Service,
  handlers: ServiceHandlers<Service>,
  path: string = service,
): ServedMethod[] {
  const rows = SERVICES[service] as Readonly<Record<string, MethodRow>>;
  return Object.entries(rows).map(([name, [kind, request, response, ...paths]]): ServedMethod => {
    const requestName = request as MessageName;
    const responseName = response as MessageName;
    const decode = DECODERS[requestName] ?? ((bytes: Uint8Array): unknown => decodeMessage(requestName, bytes));
    return {
      kind,
      request: requestName,
      response: responseName,
      paths,
      handler: (handlers as Readonly<Record<string, ServedMethod["handler"]>>)[name]!,
      method: {
        path: `/${path}/${name}`,
        kind,
        encodeRequest: (message) => encodeMessage(requestName, message as MessageInit<MessageName>),
        decodeRequest: (bytes) => {
          try {
            return decode(bytes);
          } catch (error) {
            throw malformedRequest(error);
          }
        },
        encodeResponse: (answer) => (answer instanceof Uint8Array ? answer : encodeMessage(responseName, answer)),
        decodeResponse: (bytes) => decodeMessage(responseName, bytes) as MessageInit<MessageName>,
      },
    };
  });
}

/** Requests that are decoded by hand. */
const DECODERS: Readonly<Partial<Record<MessageName, (bytes: Uint8Array) => unknown>>> = {
  "etcdserverpb.RangeRequest": decodeRangeRequest,
  "etcdserverpb.PutRequest": decodePutRequest,
};
