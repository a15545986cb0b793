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
   * once and so many a second; each frame that does work allows one more. Beyond it the connection ends with ENHANCE_YOUR_CALM.
   */
  readonly controlFramesBurst: number;
  readonly controlFramesPerSecond: number;
  /** Streams that the peer resets or makes us reset: so many at once and so many a second; each call that ends in order allows one more. Beyond it: ENHANCE_YOUR_CALM. */
  readonly resetsBurst: number;
  readonly resetsPerSecond: number;
  /** Waiting to be written to the socket. Beyond the first, data waits in its stream; beyond the second a server stops reading and a client ends the connection. */
  readonly outputBytesHigh: number;
  readonly outputBytesMax: number;
  /** Data waiting in all streams of a connection for windows or socket. Beyond it, streams that send more are reset with ENHANCE_YOUR_CALM. */
  readonly sendQueueBytesMax: number;
  /** From the first byte to the peer's SETTINGS, and from ours to their acknowledgement. */
  readonly handshakeTimeoutMs: number;
  /** From HEADERS without END_HEADERS to the last CONTINUATION, and from a frame's first byte to its last. */
  readonly frameTimeoutMs: number;
  /** The socket accepts no byte of what waits. The connection is destroyed. */
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
  resetsBurst: 500,
  resetsPerSecond: 100,
  outputBytesHigh: 131_072,
  outputBytesMax: 4_194_304,
  sendQueueBytesMax: 67_108_864,
  handshakeTimeoutMs: 10_000,
  frameTimeoutMs: 10_000,
  writeTimeoutMs: 30_000,
  windowTimeoutMs: 300_000,
  keepaliveTimeMs: 60_000,
  keepaliveTimeoutMs: 20_000,
  idleTimeoutMs: 0,
};

const RANGES: Readonly<Partial<Record<keyof Http2Limits, readonly [number, number]>>> = {
  frameBytesMax: [16_384, 16_777_215],
  streamWindowBytes: [1, 2_147_483_647],
  connectionWindowBytes: [65_535, 2_147_483_647],
  concurrentStreamsMax: [1, 4_294_967_295],
};

/** The defaults with the given ones in their place. Throws RangeError for a value that is no whole number in range. */
export function resolveLimits(given: Partial<Http2Limits> | undefined): Http2Limits {
  if (given === undefined) return HTTP2_LIMITS;
  const limits: Record<keyof Http2Limits, number> = { ...HTTP2_LIMITS };
  for (const key of Object.keys(HTTP2_LIMITS) as (keyof Http2Limits)[]) {
    const value = given[key];
    if (value === undefined) continue;
    const [min, max] = RANGES[key] ?? [0, Number.MAX_SAFE_INTEGER];
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new RangeError(`${key} must be a whole number from ${min} to ${max}, not ${value}`);
    }
    limits[key] = value;
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
