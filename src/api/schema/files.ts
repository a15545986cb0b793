/** The .proto files (../proto), each with its package and what it imports. A message belongs to the file of its package. */

/** One file. */
export interface ProtoFile {
  readonly name: string;
  readonly package: string;
  readonly imports: readonly string[];
}

/** All of them; what a file imports stands before it. */
export const PROTO_FILES: readonly ProtoFile[] = [
  { name: "kv.proto", package: "mvccpb", imports: [] },
  { name: "auth.proto", package: "authpb", imports: [] },
  { name: "rpc.proto", package: "etcdserverpb", imports: ["kv.proto", "auth.proto"] },
  { name: "v3lock.proto", package: "v3lockpb", imports: ["rpc.proto"] },
  { name: "v3election.proto", package: "v3electionpb", imports: ["rpc.proto", "kv.proto"] },
  { name: "health.proto", package: "grpc.health.v1", imports: [] },
  { name: "reflection.proto", package: "grpc.reflection.v1", imports: [] },
  { name: "d_engine_error.proto", package: "d_engine.error", imports: [] },
  { name: "d_engine_common.proto", package: "d_engine.common", imports: [] },
  { name: "d_engine_client.proto", package: "d_engine.client", imports: ["d_engine_error.proto"] },
  { name: "d_engine_cluster.proto", package: "d_engine.server.cluster", imports: ["d_engine_common.proto"] },
];

/** The file that a message, an enumeration, a service or a method is of; undefined if there is none. */
export function fileOf(symbol: string): ProtoFile | undefined {
  return PROTO_FILES.find((file) => symbol.startsWith(`${file.package}.`));
}
