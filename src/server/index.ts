/** d-engine/server: etcd's API and HTTP in front of an embedded engine. */
export { serve, type ServeOptions, type Server, type ServerTlsOptions } from "./serve.ts";
