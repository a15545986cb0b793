/**
 * The Huffman code of HPACK (RFC 7541 section 5.2 and Appendix B). The code is canonical, so the table of the RFC follows from the
 * lengths alone: codes of one length ascend with the symbol, and shorter codes come first. Decoding walks a state machine four bits
 * at a time; as no code is shorter than five bits, a step yields at most one symbol.
 */

/** Lengths in bits of the codes of symbols 0 to 255, then of EOS (RFC 7541 Appendix B). */
// prettier-ignore
const CODE_LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];

const EOS = 256;

const codes = new Uint32Array(257);
const lengths: Uint8Array = Uint8Array.from(CODE_LENGTHS);

/**
 * transitions[state * 16 + nibble]: the next state in bits 0 to 7, the symbol in bits 8 to 15, SYMBOL when there is one, FAILED when
 * the path reaches EOS. There are 256 states, the inner nodes of a tree with 257 leaves.
 */
const transitions = new Uint32Array(256 * 16);
/** 1 for the states in which a string may end: fewer than eight padding bits, all of them ones. */
const accepting = new Uint8Array(256);
const SYMBOL = 1 << 16;
const FAILED = 1 << 17;

function buildCodes(): void {
  const order = CODE_LENGTHS.map((_, symbol) => symbol).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  let code = 0;
  let length = lengths[order[0]!]!;
  for (const [position, symbol] of order.entries()) {
    if (position > 0) code = (code + 1) * 2 ** (lengths[symbol]! - length);
    length = lengths[symbol]!;
    codes[symbol] = code;
  }
}

function buildTransitions(): void {
  // The tree: children[node * 2 + bit] is an inner node (>= 0), or -1 - symbol for a leaf.
  const children = new Int32Array(256 * 2);
  let nodes = 1;
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = lengths[symbol]! - 1; bit >= 0; bit--) {
      const slot = node * 2 + ((codes[symbol]! >>> bit) & 1);
      if (bit === 0) {
        children[slot] = -1 - symbol;
      } else {
        if (children[slot] === 0) children[slot] = nodes++;
        node = children[slot]!;
      }
    }
  }
  for (let state = 0; state < 256; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = state;
      let result = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const child = children[node * 2 + ((nibble >>> bit) & 1)]!;
        if (child >= 0) {
          node = child;
        } else {
          const symbol = -1 - child;
          result |= symbol === EOS ? FAILED : SYMBOL | (symbol << 8);
          node = 0;
        }
      }
      transitions[state * 16 + nibble] = result | node;
    }
  }
  let node = 0;
  for (let depth = 0; depth < 8; depth++) {
    accepting[node] = 1;
    node = children[node * 2 + 1]!;
  }
}

buildCodes();
buildTransitions();

/** The most bytes that `length` coded bytes can decode to: no code is shorter than five bits. */
export function huffmanDecodedBytesMax(length: number): number {
  return Math.floor((length * 8) / 5);
}

/**
 * Decodes source[start, end) into target from 0 and returns the number of bytes, or -1 if the string is malformed: it contains EOS, its
 * padding is longer than seven bits or not all ones. The target must hold `huffmanDecodedBytesMax(end - start)` bytes.
 */
export function huffmanDecode(source: Uint8Array, start: number, end: number, target: Uint8Array): number {
  let state = 0;
  let written = 0;
  let failed = 0;
  for (let i = start; i < end; i++) {
    const byte = source[i]!;
    const high = transitions[state * 16 + (byte >>> 4)]!;
    if ((high & SYMBOL) !== 0) target[written++] = (high >>> 8) & 0xff;
    const low = transitions[(high & 0xff) * 16 + (byte & 15)]!;
    if ((low & SYMBOL) !== 0) target[written++] = (low >>> 8) & 0xff;
    failed |= high | low;
    state = low & 0xff;
  }
  if ((failed & FAILED) !== 0 || accepting[state] === 0) return -1;
  return written;
}

/** Bytes that the string takes when coded. Each character is one byte (latin1). */
export function huffmanEncodedBytes(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += lengths[text.charCodeAt(i) & 0xff]!;
  return (bits + 7) >>> 3;
}

/** Codes the string into target from `at` and returns the place behind it. Each character is one byte (latin1). */
export function huffmanEncode(text: string, target: Uint8Array, at: number): number {
  let held = 0;
  let heldBits = 0;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff;
    let code = codes[symbol]!;
    let length = lengths[symbol]!;
    // At most 7 bits are held, so that 24 more fit; longer codes go in two parts.
    if (length > 24) {
      const upper = length - 16;
      held = (held << upper) | (code >>> 16);
      heldBits += upper;
      while (heldBits >= 8) {
        heldBits -= 8;
        target[at++] = held >>> heldBits;
      }
      held &= (1 << heldBits) - 1;
      code &= 0xffff;
      length = 16;
    }
    held = (held << length) | code;
    heldBits += length;
    while (heldBits >= 8) {
      heldBits -= 8;
      target[at++] = held >>> heldBits;
    }
    held &= (1 << heldBits) - 1;
  }
  if (heldBits > 0) target[at++] = (held << (8 - heldBits)) | ((1 << (8 - heldBits)) - 1);
  return at;
}
