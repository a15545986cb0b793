/**
 * Decoding of header blocks (RFC 7541). One decoder serves one connection, as the dynamic table is shared by all its blocks. It never
 * throws: a malformed block yields undefined, after which the connection must end, since the tables of both sides differ from then on.
 * Blocks that name only table entries are remembered, so that the requests of a busy connection, which repeat, decode by comparison.
 */
import { HeaderBlock, HeaderField, headerFieldBytes, headerNameOf, isHeaderNameValid, isHeaderValueValid } from "./header-field.ts";
import { huffmanDecode, huffmanDecodedBytesMax } from "./huffman.ts";
import { STATIC_TABLE, STATIC_TABLE_LENGTH } from "./static-table.ts";

/** Blocks remembered per connection, and the longest of them. */
const REMEMBERED_MAX = 4;
const REMEMBERED_BYTES_MAX = 128;

const ENTRY_BYTES_MIN = 32;

interface Remembered {
  readonly bytes: Uint8Array;
  readonly block: HeaderBlock;
}

/** Scratch for Huffman strings: nothing outlives one call. */
let scratch: Buffer = Buffer.allocUnsafeSlow(1024);

/** Decodes the header blocks of one connection. */
export class HpackDecoder {
  /** Why the last call of `decode` returned undefined. */
  error = "";
  readonly #listBytesMax: number;
  /** Size updates may not exceed this. */
  #tableBytesMax: number;
  #tableCapacity: number;
  #tableBytes = 0;
  /** The dynamic table as a ring; its length is a power of two. Empty until the first insertion. */
  #ring: (HeaderField | undefined)[] = [];
  #newest = 0;
  #count = 0;
  /** Grows with each change of the table: a remembered block holds only while it stands still. */
  #changes = 0;
  #remembered: Remembered[] | undefined;
  #rememberedAt = -1;
  #rememberedNext = 0;
  #position = 0;

  /** tableBytesMax: the table's size and the limit of it. listBytesMax: fields beyond this list size are dropped and the block marked. */
  constructor(options: { readonly tableBytesMax: number; readonly listBytesMax: number }) {
    this.#tableBytesMax = options.tableBytesMax;
    this.#tableCapacity = options.tableBytesMax;
    this.#listBytesMax = options.listBytesMax;
  }

  /** The peer has acknowledged a SETTINGS_HEADER_TABLE_SIZE. If the table is larger, its next block must begin by making it smaller. */
  limitTable(tableBytesMax: number): void {
    this.#tableBytesMax = tableBytesMax;
    // A remembered block would be found without a look at the capacity.
    if (this.#tableCapacity > tableBytesMax) this.#changes++;
  }

  /** Bytes in the dynamic table, as RFC 7541 section 4.1 counts them. */
  get tableBytes(): number {
    return this.#tableBytes;
  }

  /** Entries in the dynamic table. */
  get tableLength(): number {
    return this.#count;
  }

  /** Decodes source[start, end), one whole block. undefined: malformed, see `error`; the connection must end with COMPRESSION_ERROR. */
  decode(source: Buffer, start: number, end: number): HeaderBlock | undefined {
    const length = end - start;
    if (length <= REMEMBERED_BYTES_MAX && this.#rememberedAt === this.#changes) {
      const known = this.#find(source, start, length);
      if (known !== undefined) return known;
    }
    const changesBefore = this.#changes;
    const block = new HeaderBlock();
    this.#position = start;
    let fieldSeen = false;
    while (this.#position < end) {
      const first = source[this.#position]!;
      // RFC 7541 section 4.2: a limit that was lowered is answered by a size update at the beginning of the next block.
      if (this.#tableCapacity > this.#tableBytesMax && (first & 0xe0) !== 0x20)
        return this.#fail("no table size update after a lower limit");
      let field: HeaderField | undefined;
      if (first >= 0x80) {
        const index = this.#integer(source, end, 7);
        if (index < 0) return undefined;
        field = this.#entry(index);
        if (field === undefined) return undefined;
      } else if (first >= 0x40) {
        field = this.#literal(source, end, 6);
        if (field === undefined) return undefined;
        this.#insert(field);
      } else if (first >= 0x20) {
        const capacity = this.#integer(source, end, 5);
        if (capacity < 0) return undefined;
        // RFC 7541 section 4.2: size updates come first in a block and stay within what we allowed.
        if (fieldSeen) return this.#fail("a table size update after a field");
        if (capacity > this.#tableBytesMax) return this.#fail("a table size update above the limit");
        this.#resize(capacity);
        continue;
      } else {
        field = this.#literal(source, end, 4);
        if (field === undefined) return undefined;
      }
      fieldSeen = true;
      block.listBytes += headerFieldBytes(field.name, field.value);
      if (block.listBytes > this.#listBytesMax) block.oversized = true;
      else block.fields.push(field);
    }
    if (this.#changes === changesBefore && length <= REMEMBERED_BYTES_MAX) this.#remember(source, start, end, block);
    return block;
  }

  #fail(error: string): undefined {
    this.error = error;
    return undefined;
  }

  #find(source: Buffer, start: number, length: number): HeaderBlock | undefined {
    const remembered = this.#remembered!;
    next: for (let i = 0; i < remembered.length; i++) {
      const bytes = remembered[i]!.bytes;
      if (bytes.length !== length) continue;
      for (let j = 0; j < length; j++) if (bytes[j] !== source[start + j]) continue next;
      return remembered[i]!.block;
    }
    return undefined;
  }

  #remember(source: Buffer, start: number, end: number, block: HeaderBlock): void {
    const remembered = (this.#remembered ??= []);
    if (this.#rememberedAt !== this.#changes) {
      remembered.length = 0;
      this.#rememberedNext = 0;
      this.#rememberedAt = this.#changes;
    }
    remembered[this.#rememberedNext] = { bytes: Uint8Array.prototype.slice.call(source, start, end), block };
    this.#rememberedNext = (this.#rememberedNext + 1) % REMEMBERED_MAX;
  }

  /** An integer with a prefix of so many bits at #position (RFC 7541 section 5.1); -1 and `error` if it is cut off or above 2^28. */
  #integer(source: Buffer, end: number, prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = source[this.#position++]! & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#position >= end) {
        this.error = "an integer is cut off";
        return -1;
      }
      const byte = source[this.#position++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    this.error = "an integer is too large";
    return -1;
  }

  #string(source: Buffer, end: number): string | undefined {
    if (this.#position >= end) return this.#fail("a string is cut off");
    const huffman = source[this.#position]! >= 0x80;
    const length = this.#integer(source, end, 7);
    if (length < 0) return undefined;
    const start = this.#position;
    const stop = start + length;
    if (stop > end) return this.#fail("a string is cut off");
    this.#position = stop;
    if (!huffman) return source.toString("latin1", start, stop);
    const bytesMax = huffmanDecodedBytesMax(length);
    if (scratch.length < bytesMax) scratch = Buffer.allocUnsafeSlow(bytesMax);
    const written = huffmanDecode(source, start, stop, scratch);
    if (written < 0) return this.#fail("a Huffman string is malformed");
    return scratch.toString("latin1", 0, written);
  }

  #literal(source: Buffer, end: number, prefixBits: number): HeaderField | undefined {
    const index = this.#integer(source, end, prefixBits);
    if (index < 0) return undefined;
    let name: string | undefined;
    let kind: number;
    let nameValid: boolean;
    if (index === 0) {
      name = this.#string(source, end);
      if (name === undefined) return undefined;
      kind = headerNameOf(name);
      nameValid = isHeaderNameValid(name);
    } else {
      const named = this.#entry(index);
      if (named === undefined) return undefined;
      name = named.name;
      kind = named.kind;
      nameValid = index <= STATIC_TABLE_LENGTH || isHeaderNameValid(name);
    }
    const value = this.#string(source, end);
    if (value === undefined) return undefined;
    return new HeaderField(name, value, kind, nameValid && isHeaderValueValid(value));
  }

  #entry(index: number): HeaderField | undefined {
    if (index <= STATIC_TABLE_LENGTH) {
      if (index === 0) return this.#fail("index 0");
      return STATIC_TABLE[index];
    }
    const age = index - STATIC_TABLE_LENGTH - 1;
    if (age >= this.#count) return this.#fail("an index beyond the table");
    return this.#ring[(this.#newest - age) & (this.#ring.length - 1)];
  }

  #insert(field: HeaderField): void {
    this.#changes++;
    const bytes = headerFieldBytes(field.name, field.value);
    this.#evict(this.#tableCapacity - bytes);
    // RFC 7541 section 4.4: an entry larger than the table empties it and is not an error.
    if (bytes > this.#tableCapacity) return;
    if (this.#count === this.#ring.length) this.#grow();
    this.#newest = (this.#newest + 1) & (this.#ring.length - 1);
    this.#ring[this.#newest] = field;
    this.#count++;
    this.#tableBytes += bytes;
  }

  /** The ring holds at most tableBytesMax / 32 entries, rounded up to a power of two. */
  #grow(): void {
    const old = this.#ring;
    const length = old.length === 0 ? 16 : old.length * 2;
    const ring: (HeaderField | undefined)[] = new Array<HeaderField | undefined>(length).fill(undefined);
    for (let age = 0; age < this.#count; age++) {
      ring[this.#count - 1 - age] = old[(this.#newest - age) & (old.length - 1)];
    }
    this.#ring = ring;
    this.#newest = this.#count === 0 ? length - 1 : this.#count - 1;
  }

  #evict(bytesMax: number): void {
    while (this.#tableBytes > bytesMax && this.#count > 0) {
      const at = (this.#newest - this.#count + 1) & (this.#ring.length - 1);
      const oldest = this.#ring[at]!;
      this.#ring[at] = undefined;
      this.#count--;
      this.#tableBytes -= headerFieldBytes(oldest.name, oldest.value);
    }
  }

  #resize(capacity: number): void {
    this.#changes++;
    this.#tableCapacity = capacity;
    this.#evict(capacity);
  }
}

/** The most entries that a table of so many bytes can hold. */
export function tableEntriesMax(tableBytes: number): number {
  return Math.floor(tableBytes / ENTRY_BYTES_MIN);
}
