/** The messages of gRPC's own services, health and reflection, and of the descriptors that reflection hands out. */

/** By their full names. */
export const GRPC_MESSAGES = {
  "grpc.health.v1.HealthCheckRequest": { service: [1, "string"] },
  "grpc.health.v1.HealthCheckResponse": { status: [1, "enum grpc.health.v1.HealthCheckResponse.ServingStatus"] },
  "grpc.reflection.v1.ServerReflectionRequest": {
    host: [1, "string"],
    file_by_filename: [3, "string", "message_request"],
    file_containing_symbol: [4, "string", "message_request"],
    file_containing_extension: [5, "message grpc.reflection.v1.ExtensionRequest", "message_request"],
    all_extension_numbers_of_type: [6, "string", "message_request"],
    list_services: [7, "string", "message_request"],
  },
  "grpc.reflection.v1.ExtensionRequest": { containing_type: [1, "string"], extension_number: [2, "int32"] },
  "grpc.reflection.v1.ServerReflectionResponse": {
    valid_host: [1, "string"],
    original_request: [2, "message grpc.reflection.v1.ServerReflectionRequest"],
    file_descriptor_response: [4, "message grpc.reflection.v1.FileDescriptorResponse", "message_response"],
    all_extension_numbers_response: [5, "message grpc.reflection.v1.ExtensionNumberResponse", "message_response"],
    list_services_response: [6, "message grpc.reflection.v1.ListServiceResponse", "message_response"],
    error_response: [7, "message grpc.reflection.v1.ErrorResponse", "message_response"],
  },
  "grpc.reflection.v1.FileDescriptorResponse": { file_descriptor_proto: [1, "repeated bytes"] },
  "grpc.reflection.v1.ExtensionNumberResponse": { base_type_name: [1, "string"], extension_number: [2, "repeated int32"] },
  "grpc.reflection.v1.ListServiceResponse": { service: [1, "repeated message grpc.reflection.v1.ServiceResponse"] },
  "grpc.reflection.v1.ServiceResponse": { name: [1, "string"] },
  "grpc.reflection.v1.ErrorResponse": { error_code: [1, "int32"], error_message: [2, "string"] },
} as const;

/** Their enumerations. */
export const GRPC_ENUMS = {
  "grpc.health.v1.HealthCheckResponse.ServingStatus": { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 },
} as const;

/** What a file descriptor is made of, as far as ours are. Not served. */
export const DESCRIPTOR_MESSAGES = {
  "google.protobuf.FileDescriptorProto": {
    name: [1, "string"],
    package: [2, "string"],
    dependency: [3, "repeated string"],
    message_type: [4, "repeated message google.protobuf.DescriptorProto"],
    enum_type: [5, "repeated message google.protobuf.EnumDescriptorProto"],
    service: [6, "repeated message google.protobuf.ServiceDescriptorProto"],
    syntax: [12, "string"],
  },
  "google.protobuf.DescriptorProto": {
    name: [1, "string"],
    field: [2, "repeated message google.protobuf.FieldDescriptorProto"],
    nested_type: [3, "repeated message google.protobuf.DescriptorProto"],
    enum_type: [4, "repeated message google.protobuf.EnumDescriptorProto"],
    oneof_decl: [8, "repeated message google.protobuf.OneofDescriptorProto"],
  },
  "google.protobuf.FieldDescriptorProto": {
    name: [1, "string"],
    number: [3, "int32"],
    label: [4, "int32"],
    type: [5, "int32"],
    type_name: [6, "string"],
    oneof_index: [9, "optional int32"],
    json_name: [10, "string"],
    proto3_optional: [17, "bool"],
  },
  "google.protobuf.OneofDescriptorProto": { name: [1, "string"] },
  "google.protobuf.EnumDescriptorProto": {
    name: [1, "string"],
    value: [2, "repeated message google.protobuf.EnumValueDescriptorProto"],
  },
  "google.protobuf.EnumValueDescriptorProto": { name: [1, "string"], number: [2, "optional int32"] },
  "google.protobuf.ServiceDescriptorProto": {
    name: [1, "string"],
    method: [2, "repeated message google.protobuf.MethodDescriptorProto"],
  },
  "google.protobuf.MethodDescriptorProto": {
    name: [1, "string"],
    input_type: [2, "string"],
    output_type: [3, "string"],
    client_streaming: [5, "bool"],
    server_streaming: [6, "bool"],
  },
} as const;
