/** The Watch service: streams that carry any number of watches each. What one stream does: watch-stream.ts. */
import type { ServiceHandlers } from "../handlers.ts";
import type { ServiceContext } from "../service-context.ts";
import { WatchStream } from "./watch-stream.ts";

/** The handlers. */
export function watchService(context: ServiceContext): ServiceHandlers<"etcdserverpb.Watch"> {
  return {
    Watch: (call) => {
      context.admit(call);
      const stream = new WatchStream(context, call);
      stream.start();
    },
  };
}
