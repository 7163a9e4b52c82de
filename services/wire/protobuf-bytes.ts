/** Reads and writes protobuf by hand, for the few messages that come by the ten thousand per second. */

const varint = 0;
const fixed64 = 1;
const lengthDelimited = 2;
const fixed32 = 5;

const TAG_MAX = 2 ** 32 - 1;
const TAG_BYTES_MAX = 5;

/** Thrown for bytes that the fast way does not read: the long way reads them, or says what is wrong. */
export class TooUnusual extends Error {
  override name = "TooUnusual";
}

const tooUnusual = new TooUnusual("expected the usual form of the message");

/** Reads the fields of one message between two offsets. Throws `TooUnusual` for whatever it is not made for. */
export class BytesReader {
  readonly #bytes: Buffer;
  #end: number;
  #offset: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#offset = 0;
    this.#end = bytes.length;
  }

  /** Field number × 8 + wire type; 0 at the end. */
  tag(): number {
    if (this.#offset === this.#end) return 0;
    const start = this.#offset;
    const tag = this.uint();
    // A field number has 29 bits, and no tag more bytes than that takes.
    if (tag < 8 || tag > TAG_MAX || this.#offset - start > TAG_BYTES_MAX) throw tooUnusual;
    return tag;
  }

  /** A count that a number holds exactly: negative and larger ones are unusual. */
  uint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      if (this.#offset >= this.#end) throw tooUnusual;
      const byte = this.#bytes[this.#offset++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 0x80;
      if (scale > 2 ** 49) throw tooUnusual;
    }
    if (value > Number.MAX_SAFE_INTEGER) throw tooUnusual;
    return value;
  }

  double(): number {
    const at = this.#skipped(8);
    return this.#bytes.readDoubleLE(at);
  }

  /** Packed 64-bit hashes behind those that came before, of each the lower 53 bits. */
  blocks(into: number[], most: number): number[] {
    const length = this.uint();
    if (length % 8 !== 0 || into.length + length / 8 > most) throw tooUnusual;
    const end = this.#skipped(length) + length;
    for (let at = end - length; at < end; at += 8) {
      const high = this.#bytes.readUInt32LE(at + 4) & 0x1fffff;
      into.push(high * 2 ** 32 + this.#bytes.readUInt32LE(at));
    }
    return into;
  }

  /** Of at most so many bytes, and not empty. */
  text(bytesMax: number): string {
    const length = this.uint();
    if (length === 0 || length > bytesMax) throw tooUnusual;
    const at = this.#skipped(length);
    const text = this.#bytes.toString("utf8", at, at + length);
    // What stands for bytes that are no UTF-8.
    if (text.includes("\ufffd")) throw tooUnusual;
    return text;
  }

  /** Reads a message inside this one. */
  inside<Value>(read: (reader: BytesReader) => Value): Value {
    const length = this.uint();
    const end = this.#offset + length;
    if (end > this.#end) throw tooUnusual;
    const outer = this.#end;
    this.#end = end;
    const value = read(this);
    this.#end = outer;
    return value;
  }

  /** Passes a field over; returns its length in bytes if it has one. */
  skip(tag: number): number {
    switch (tag & 7) {
      case varint:
        this.uint();
        return 0;
      case fixed64:
        this.#skipped(8);
        return 8;
      case fixed32:
        this.#skipped(4);
        return 4;
      case lengthDelimited: {
        const length = this.uint();
        this.#skipped(length);
        return length;
      }
      default:
        throw tooUnusual;
    }
  }

  #skipped(length: number): number {
    const at = this.#offset;
    if (at + length > this.#end) throw tooUnusual;
    this.#offset = at + length;
    return at;
  }
}

/** Writes messages one after the other into a buffer of its own, which grows and is used again. */
export class BytesWriter {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #offset = 0;

  /** What `write` writes, as a copy. */
  message(write: () => void): Buffer {
    this.#offset = 0;
    write();
    return Buffer.from(this.#bytes.subarray(0, this.#offset));
  }

  /** A count of at most 2^53; 0 is left out, as the format does. */
  uint(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(20);
    this.#varint(field * 8 + varint);
    this.#varint(value);
  }

  /** A field that says whether it is there: also a 0 is written, undefined is not. */
  optionalUint(field: number, value: number | undefined): void {
    if (value === undefined) return;
    this.#reserve(20);
    this.#varint(field * 8 + varint);
    this.#varint(value);
  }

  /** A list of enums or counts; an empty one is left out. */
  packed(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.#reserve(20 + values.length * 10);
    this.inside(field, () => {
      for (const value of values) this.#varint(value);
    });
  }

  /** May be negative; 0 is left out. */
  int(field: number, value: number): void {
    if (value >= 0) {
      this.uint(field, value);
      return;
    }
    this.#reserve(20);
    this.#varint(field * 8 + varint);
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest > 0x7fn) {
      this.#bytes[this.#offset++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#offset++] = Number(rest);
  }

  double(field: number, value: number): void {
    if (Object.is(value, 0)) return;
    this.#reserve(18);
    this.#varint(field * 8 + fixed64);
    this.#offset = this.#bytes.writeDoubleLE(value, this.#offset);
  }

  /** Empty text is left out. */
  text(field: number, text: string): void {
    if (text === "") return;
    this.#reserve(20 + text.length * 3);
    this.#varint(field * 8 + lengthDelimited);
    const start = this.#offset + 1;
    const length = this.#bytes.write(text, start, "utf8");
    this.#offset = start;
    this.#closeAt(start, length);
  }

  /** A message inside this one, also if it is empty. */
  inside(field: number, write: () => void): void {
    this.#reserve(20);
    this.#varint(field * 8 + lengthDelimited);
    this.#offset += 1;
    const start = this.#offset;
    write();
    const length = this.#offset - start;
    this.#offset = start;
    this.#closeAt(start, length);
  }

  /** Writes the length before what begins at `start`, which moves if one byte is not enough. */
  #closeAt(start: number, length: number): void {
    if (length < 0x80) {
      this.#bytes[start - 1] = length;
      this.#offset = start + length;
      return;
    }
    this.#reserve(length + 10);
    const lengthBytes = length < 2 ** 14 ? 2 : length < 2 ** 21 ? 3 : length < 2 ** 28 ? 4 : 5;
    this.#bytes.copyWithin(start - 1 + lengthBytes, start, start + length);
    this.#offset = start - 1;
    this.#varint(length);
    this.#offset += length;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#offset++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#offset++] = rest;
  }

  #reserve(length: number): void {
    if (this.#offset + length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.#offset + length));
    // Also what lies behind the offset: a message that is being closed has not been counted yet.
    this.#bytes.copy(larger);
    this.#bytes = larger;
  }
}
