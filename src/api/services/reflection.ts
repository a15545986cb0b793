/** gRPC's server reflection: which services there are, and the descriptors of their files. */
import { fileDescriptor, protoFileNamed } from "../file-descriptors.ts";
import type { Answer, ServiceHandlers } from "../handlers.ts";
import { fileOf, type ProtoFile } from "../schema/files.ts";
import { ENUMS, MESSAGES, type Message, type MessageInit } from "../schema/messages.ts";
import { SERVICES } from "../schema/services.ts";

type Request = Message<"grpc.reflection.v1.ServerReflectionRequest">;
type Response = MessageInit<"grpc.reflection.v1.ServerReflectionResponse">;

const NOT_FOUND = 5;
const UNIMPLEMENTED = 12;

/** The handlers. */
export function reflectionService(): ServiceHandlers<"grpc.reflection.v1.ServerReflection"> {
  return {
    ServerReflectionInfo: async (call) => {
      for await (const request of call) {
        const answer: Answer<"grpc.reflection.v1.ServerReflectionResponse"> = {
          valid_host: request.host,
          original_request: request,
          ...answerOf(request),
        };
        if (!call.send(answer)) await call.writable();
      }
    },
  };
}

function answerOf(request: Request): Response {
  if (request.list_services !== undefined) {
    return { list_services_response: { service: Object.keys(SERVICES).map((name) => ({ name })) } };
  }
  if (request.file_by_filename !== undefined) return filesFrom(protoFileNamed(request.file_by_filename), request.file_by_filename);
  if (request.file_containing_symbol !== undefined)
    return filesFrom(fileWith(request.file_containing_symbol), request.file_containing_symbol);
  return { error_response: { error_code: UNIMPLEMENTED, error_message: "there are no extensions" } };
}

/** The file of a message, an enumeration, a service, or a method. */
function fileWith(symbol: string): ProtoFile | undefined {
  const isService = Object.keys(SERVICES).some(
    (service) =>
      symbol === service || Object.keys(SERVICES[service as keyof typeof SERVICES]).some((name) => symbol === `${service}.${name}`),
  );
  return isService || symbol in MESSAGES || symbol in ENUMS ? fileOf(symbol) : undefined;
}

/** The file and all that it imports. */
function filesFrom(file: ProtoFile | undefined, wanted: string): Response {
  if (file === undefined) return { error_response: { error_code: NOT_FOUND, error_message: `not found: ${wanted}` } };
  const files: ProtoFile[] = [];
  const add = (one: ProtoFile): void => {
    if (files.includes(one)) return;
    files.push(one);
    for (const name of one.imports) add(protoFileNamed(name)!);
  };
  add(file);
  return { file_descriptor_response: { file_descriptor_proto: files.map(fileDescriptor) } };
}
