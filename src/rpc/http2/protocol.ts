/** The numbers of HTTP/2 (RFC 9113): frame types, flags, error codes, settings, sizes. */

/** Frame types (section 6). */
export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** Flags (section 6): of DATA and HEADERS; of SETTINGS and PING; of HEADERS and CONTINUATION; of DATA and HEADERS; of HEADERS. */
export const FLAG_END_STREAM = 0x1;
export const FLAG_ACK = 0x1;
export const FLAG_END_HEADERS = 0x4;
export const FLAG_PADDED = 0x8;
export const FLAG_PRIORITY = 0x20;

/** Error codes (section 7). */
export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
  HTTP_1_1_REQUIRED: 13,
} as const;

const ERROR_NAMES: readonly string[] = Object.keys(ErrorCode);

/** The name of an error code, for messages. */
export function errorCodeName(code: number): string {
  return ERROR_NAMES[code] ?? `code ${code}`;
}

/** Settings (section 6.5.2). */
export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

/** Length, type, flags, stream id (section 4.1). */
export const FRAME_HEADER_BYTES = 9;
/** The frame size that every peer accepts, and the largest that we send. */
export const FRAME_BYTES_DEFAULT = 16_384;
/** The largest value of SETTINGS_MAX_FRAME_SIZE. */
export const FRAME_BYTES_MAX = 16_777_215;
/** Windows before any SETTINGS, and the largest there can be (section 6.9). */
export const WINDOW_BYTES_DEFAULT = 65_535;
export const WINDOW_BYTES_MAX = 2_147_483_647;
/** The highest id of a stream (section 5.1.1). */
export const STREAM_ID_MAX = 2_147_483_647;
/** The dynamic table before any SETTINGS (section 6.5.2). */
export const HEADER_TABLE_BYTES_DEFAULT = 4096;

/** What a client sends first (section 3.4). */
export const CLIENT_PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
