/** The static table of HPACK (RFC 7541 Appendix A). Index 1 is the first entry, as on the wire. */
import { HeaderField, headerNameOf } from "./header-field.ts";

// prettier-ignore
const ENTRIES: readonly (readonly [string, string])[] = [
  [":authority", ""], [":method", "GET"], [":method", "POST"], [":path", "/"], [":path", "/index.html"], [":scheme", "http"],
  [":scheme", "https"], [":status", "200"], [":status", "204"], [":status", "206"], [":status", "304"], [":status", "400"],
  [":status", "404"], [":status", "500"], ["accept-charset", ""], ["accept-encoding", "gzip, deflate"], ["accept-language", ""],
  ["accept-ranges", ""], ["accept", ""], ["access-control-allow-origin", ""], ["age", ""], ["allow", ""], ["authorization", ""],
  ["cache-control", ""], ["content-disposition", ""], ["content-encoding", ""], ["content-language", ""], ["content-length", ""],
  ["content-location", ""], ["content-range", ""], ["content-type", ""], ["cookie", ""], ["date", ""], ["etag", ""], ["expect", ""],
  ["expires", ""], ["from", ""], ["host", ""], ["if-match", ""], ["if-modified-since", ""], ["if-none-match", ""], ["if-range", ""],
  ["if-unmodified-since", ""], ["last-modified", ""], ["link", ""], ["location", ""], ["max-forwards", ""],
  ["proxy-authenticate", ""], ["proxy-authorization", ""], ["range", ""], ["referer", ""], ["refresh", ""], ["retry-after", ""],
  ["server", ""], ["set-cookie", ""], ["strict-transport-security", ""], ["transfer-encoding", ""], ["user-agent", ""], ["vary", ""],
  ["via", ""], ["www-authenticate", ""],
];

/** Number of entries; dynamic entries start at the index after it. */
export const STATIC_TABLE_LENGTH = 61;

/** STATIC_TABLE[index], 1 to 61. Place 0 holds a field that no index may name. */
export const STATIC_TABLE: readonly HeaderField[] = [
  new HeaderField("", "", 0, false),
  ...ENTRIES.map(([name, value]) => new HeaderField(name, value, headerNameOf(name), true)),
];

const indexes = new Map<string, number>();
const nameIndexes = new Map<string, number>();
for (const [position, [name, value]] of ENTRIES.entries()) {
  if (!nameIndexes.has(name)) nameIndexes.set(name, position + 1);
  if (value !== "") indexes.set(`${name}\n${value}`, position + 1);
}

/** The index of the field, or 0. */
export function staticIndexOf(name: string, value: string): number {
  return nameIndexes.has(name) ? (indexes.get(`${name}\n${value}`) ?? 0) : 0;
}

/** The lowest index with this name, or 0. */
export function staticNameIndexOf(name: string): number {
  return nameIndexes.get(name) ?? 0;
}
