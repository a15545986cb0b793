/**
 * What a peer may cost us. Every limit is an option with a default; each is enforced at the place that its comment names, and what
 * happens at the limit is said there. Bytes are of memory held for the peer, times are checked at least once a second, or four times
 * in the smallest of them.
 */

/** Limits of one HTTP/2 connection and of the streams on it. */
export interface Http2Limits {
  /** Streams that the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS). More are refused with REFUSED_STREAM. */
  readonly concurrentStreamsMax: number;
  /** What we accept before we grant more: per stream, until it is read. */
  readonly streamWindowBytes: number;
  /** The same per connection, but granted again as it arrives, so that a stream that nobody reads does not stop the others. */
  readonly connectionWindowBytes: number;
  /** Unread data of a connection beyond which its window shrinks. With connectionWindowBytes it bounds what a connection can make us hold unread. */
  readonly unreadBytesMax: number;
  /** The largest frame accepted (SETTINGS_MAX_FRAME_SIZE). Larger ones end the connection with FRAME_SIZE_ERROR. */
  readonly frameBytesMax: number;
  /** The dynamic table of the peer's encoder (SETTINGS_HEADER_TABLE_SIZE). */
  readonly headerTableBytesMax: number;
  /** Decoded header list (SETTINGS_MAX_HEADER_LIST_SIZE). A call with a larger one fails, and the excess is never kept. */
  readonly headerListBytesMax: number;
  /** A header block as sent, HEADERS with its CONTINUATIONs. More ends the connection with ENHANCE_YOUR_CALM. */
  readonly headerBlockBytesMax: number;
  /** CONTINUATION frames for one block. More end the connection with ENHANCE_YOUR_CALM. */
  readonly continuationFramesMax: number;
  /**
   * Frames that do no work (PING, SETTINGS, PRIORITY, empty DATA, WINDOW_UPDATE, unknown ones, frames for closed streams): so many at
   * once and so many a second; each frame that does work allows one more. Compressed messages count as well, once for each 256 KiB to which they
   * expand beyond 64 times their size. Beyond it the connection ends with ENHANCE_YOUR_CALM.
   */
  readonly controlFramesBurst: number;
  readonly controlFramesPerSecond: number;
  /**
   * Streams that the peer resets or makes us reset: so many at once and so many a second; each call that ends in order allows one more. Beyond it:
   * ENHANCE_YOUR_CALM. Not below concurrentStreamsMax, or a client that cancels all its calls at once is taken for a hostile one.
   */
  readonly resetsBurst: number;
  readonly resetsPerSecond: number;
  /**
   * Waiting to be written to the socket. Beyond the first, data waits in its stream; beyond the second a server stops reading and a client ends
   * the connection. It is looked at after each read, so it may be passed by the answers to one.
   */
  readonly outputBytesHigh: number;
  readonly outputBytesMax: number;
  /** Data waiting in all streams of a connection for windows or socket. Beyond it, streams that send more are reset with ENHANCE_YOUR_CALM. */
  readonly sendQueueBytesMax: number;
  /** From the first byte to the peer's SETTINGS, and from ours to their acknowledgement. */
  readonly handshakeTimeoutMs: number;
  /** From HEADERS without END_HEADERS to the last CONTINUATION, and from a frame's first byte to its last. */
  readonly frameTimeoutMs: number;
  /** The socket finishes no write. The connection is destroyed. A connection that has ended in order is given as long to take its last bytes. */
  readonly writeTimeoutMs: number;
  /** The peer grants no window to a stream with waiting data. The stream is reset with CANCEL. */
  readonly windowTimeoutMs: number;
  /** Nothing received for so long: a PING is sent. 0: never. */
  readonly keepaliveTimeMs: number;
  /** The PING is not answered, nor anything else received: the connection is destroyed. */
  readonly keepaliveTimeoutMs: number;
  /** Ends a connection without streams with GOAWAY. 0: never. */
  readonly idleTimeoutMs: number;
}

/** The defaults, for both roles. */
export const HTTP2_LIMITS: Http2Limits = {
  concurrentStreamsMax: 1000,
  streamWindowBytes: 262_144,
  connectionWindowBytes: 1_048_576,
  unreadBytesMax: 8_388_608,
  frameBytesMax: 16_384,
  headerTableBytesMax: 4096,
  headerListBytesMax: 16_384,
  headerBlockBytesMax: 32_768,
  continuationFramesMax: 16,
  controlFramesBurst: 2000,
  controlFramesPerSecond: 200,
  resetsBurst: 1000,
  resetsPerSecond: 100,
  outputBytesHigh: 131_072,
  outputBytesMax: 1_048_576,
  sendQueueBytesMax: 67_108_864,
  handshakeTimeoutMs: 10_000,
  frameTimeoutMs: 10_000,
  writeTimeoutMs: 30_000,
  windowTimeoutMs: 300_000,
  keepaliveTimeMs: 60_000,
  keepaliveTimeoutMs: 20_000,
  idleTimeoutMs: 0,
};

/** The longest time that a Node timer can count; it takes a longer one for one millisecond. */
export const TIMER_MS_MAX = 2_147_483_647;

const TIMEOUT: readonly [number, number] = [1, Number.MAX_SAFE_INTEGER];

/** The least and the most, where they are not 0 and the largest whole number. A timeout of 0 would pass at once, so 0 is refused where it does not mean never. */
const RANGES: Readonly<Partial<Record<keyof Http2Limits, readonly [number, number]>>> = {
  frameBytesMax: [16_384, 16_777_215],
  streamWindowBytes: [1, 2_147_483_647],
  connectionWindowBytes: [65_535, 2_147_483_647],
  concurrentStreamsMax: [1, 4_294_967_295],
  headerTableBytesMax: [0, 4_294_967_295],
  headerListBytesMax: [1, 4_294_967_295],
  // Two SETTINGS frames are paid for in each handshake.
  controlFramesBurst: [4, Number.MAX_SAFE_INTEGER],
  outputBytesHigh: [1, Number.MAX_SAFE_INTEGER],
  outputBytesMax: [1, Number.MAX_SAFE_INTEGER],
  handshakeTimeoutMs: TIMEOUT,
  frameTimeoutMs: TIMEOUT,
  writeTimeoutMs: [1, TIMER_MS_MAX],
  windowTimeoutMs: TIMEOUT,
  keepaliveTimeoutMs: TIMEOUT,
};

/** The value of an option, or what it is without one. Throws RangeError for one that is no whole number in range. */
export function wholeNumber(
  name: string,
  value: number | undefined,
  otherwise: number,
  min = 0,
  max: number = Number.MAX_SAFE_INTEGER,
): number {
  if (value === undefined) return otherwise;
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} must be a whole number from ${min} to ${max}, not ${value}`);
  }
  return value;
}

/** The defaults with the given ones in their place. Throws RangeError for a value that is no whole number in range. */
export function resolveLimits(given: Partial<Http2Limits> | undefined): Http2Limits {
  if (given === undefined) return HTTP2_LIMITS;
  const limits: Record<keyof Http2Limits, number> = { ...HTTP2_LIMITS };
  for (const key of Object.keys(HTTP2_LIMITS) as (keyof Http2Limits)[]) {
    const [min, max] = RANGES[key] ?? [0, Number.MAX_SAFE_INTEGER];
    limits[key] = wholeNumber(key, given[key], limits[key], min, max);
  }
  return limits;
}

/** How often to look at timeouts, those of the limits and one more. */
export function sweepIntervalMs(limits: Http2Limits, timeoutMs = 0): number {
  const { handshakeTimeoutMs, frameTimeoutMs, writeTimeoutMs, windowTimeoutMs, keepaliveTimeMs, keepaliveTimeoutMs, idleTimeoutMs } =
    limits;
  let least = 4000;
  for (const ms of [
    handshakeTimeoutMs,
    frameTimeoutMs,
    writeTimeoutMs,
    windowTimeoutMs,
    keepaliveTimeMs,
    keepaliveTimeoutMs,
    idleTimeoutMs,
    timeoutMs,
  ]) {
    if (ms > 0 && ms < least) least = ms;
  }
  return Math.max(5, Math.floor(least / 4));
}
