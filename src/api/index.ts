/** The wire's API: etcd's services and d-engine's own, over a backend. It knows no socket; the gRPC server is rpc's, the HTTP one is server's. */
export { createApi } from "./api.ts";
export type { Backend } from "./backend.ts";
export { engineBackend } from "./engine-backend.ts";
export type { ServedMethod } from "./handlers.ts";
