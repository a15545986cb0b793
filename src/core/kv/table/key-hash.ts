/**
 * The hash of keys: HalfSipHash-1-3 (Aumasson and Bernstein's SipHash in 32-bit words), keyed, so that a client who chooses the keys
 * cannot choose the collisions. Used in memory only: another process may hash differently.
 */

/** 31 bits, which the engine keeps as a plain small integer, from `length` bytes of `bytes` at `offset`. */
export function hashKey(bytes: Uint8Array, offset: number, length: number, seedLow: number, seedHigh: number): number {
  let v0 = seedLow | 0;
  let v1 = seedHigh | 0;
  let v2 = 0x6c796765 ^ seedLow;
  let v3 = 0x74656462 ^ seedHigh;
  const whole = offset + (length & ~3);
  let at = offset;
  for (;;) {
    // After the whole words, the rest of the bytes with the length above them is one word more.
    let word: number;
    if (at < whole) {
      word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    } else {
      word = length << 24;
      const rest = length & 3;
      if (rest > 0) word |= bytes[at]!;
      if (rest > 1) word |= bytes[at + 1]! << 8;
      if (rest > 2) word |= bytes[at + 2]! << 16;
    }
    v3 ^= word;
    let rounds = 1;
    if (at >= whole) rounds = 4;
    do {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      if (rounds === 4) {
        v0 ^= word;
        v2 ^= 0xff;
      } else if (at < whole) {
        v0 ^= word;
      }
    } while (--rounds > 0);
    if (at >= whole) return (v1 ^ v3) >>> 1;
    at += 4;
  }
}
