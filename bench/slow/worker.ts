/** The engine's own worker, found beside a disk worker that is slow. */
import "d-engine/worker";
