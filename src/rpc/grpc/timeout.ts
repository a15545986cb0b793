/** The `grpc-timeout` header: at most eight digits and a unit. */

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

/** Milliseconds, possibly a fraction; undefined if the text is malformed. */
export function parseTimeout(text: string): number | undefined {
  const length = text.length;
  if (length < 2 || length > 9) return undefined;
  let value = 0;
  for (let i = 0; i < length - 1; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  const unit = UNIT_MS[text[length - 1]!];
  return unit === undefined ? undefined : value * unit;
}

/** The header's text for a timeout in milliseconds, rounded up. At least one nanosecond. */
export function formatTimeout(timeoutMs: number): string {
  if (timeoutMs <= 0) return "1n";
  if (timeoutMs < 10) return `${Math.ceil(timeoutMs * 1000)}u`;
  const ms = Math.ceil(timeoutMs);
  if (ms < 100_000_000) return `${ms}m`;
  const seconds = Math.ceil(timeoutMs / 1000);
  if (seconds < 100_000_000) return `${seconds}S`;
  return `${Math.min(Math.ceil(seconds / 3600), 99_999_999)}H`;
}
