/**
 * Who wants to know when a signal aborts. However many calls share a signal, one listener is on it: Node prints a warning at the eleventh,
 * and an engine prints nothing.
 */

const heard: WeakMap<AbortSignal, Set<() => void>> = new WeakMap();

/** Calls `onAbort` once when the signal aborts, which it must not have done yet. Forget it with forgetAbort(). */
export function onAbortOf(signal: AbortSignal, onAbort: () => void): void {
  const known = heard.get(signal);
  if (known !== undefined) {
    known.add(onAbort);
    return;
  }
  const listeners = new Set([onAbort]);
  heard.set(signal, listeners);
  signal.addEventListener("abort", tellAll, { once: true });
}

/** Never listened to, already told, or forgotten before: does nothing. */
export function forgetAbort(signal: AbortSignal, onAbort: () => void): void {
  const listeners = heard.get(signal);
  if (listeners === undefined || !listeners.delete(onAbort) || listeners.size > 0) return;
  heard.delete(signal);
  signal.removeEventListener("abort", tellAll);
}

function tellAll(this: AbortSignal): void {
  const listeners = heard.get(this) ?? [];
  heard.delete(this);
  for (const onAbort of listeners) onAbort();
}
