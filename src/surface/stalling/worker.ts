/** The engine's own worker, found beside a disk worker that can be made to stall. */
import "d-engine/worker";
