/** The engine's own worker, found beside a disk worker that can be made to hang. */
import "../../worker.ts";
