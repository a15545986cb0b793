/** The engine's own disk worker, found beside a worker that is timed. */
import "d-engine/disk-worker";
