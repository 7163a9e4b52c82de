/** Hex, base64 and UTF-8 without the machine's help: the core has none. Decoders take the one canonical form alone. */
const hexDigits = "0123456789abcdef";
const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const urlDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const hexOfByte: readonly string[] = Array.from(
  { length: 256 },
  (_each, byte) => `${hexDigits[byte >> 4]}${hexDigits[byte & 15]}`,
);
const valueOfHexDigit = valuesOf(hexDigits);
const valueOfBase64Digit = valuesOf(base64Digits);
const valueOfUrlDigit = valuesOf(urlDigits);
/** What no digit has. */
const noDigit = 0xff;

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += hexOfByte[byte] ?? "";
  return text;
}

/** Undefined unless it is lower-case hex of whole bytes. */
export function fromHex(text: string): Uint8Array | undefined {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  writeHex(text, bytes, 0);
  return bytes;
}

/** Of a text that is known to be hex. */
export function writeHex(text: string, to: Uint8Array, at: number): void {
  for (let digit = 0; digit < text.length; digit += 2) {
    const high = valueOfHexDigit[text.charCodeAt(digit)] ?? noDigit;
    const low = valueOfHexDigit[text.charCodeAt(digit + 1)] ?? noDigit;
    to[at + (digit >> 1)] = (high << 4) | low;
  }
}

/** RFC 4648 § 4, padded. */
export function toBase64(bytes: Uint8Array): string {
  const text = digitsOf(bytes, base64Digits);
  return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
}

/** Undefined unless it is padded base64 whose last bits are zero: one text for the same bytes. */
export function fromBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0) return undefined;
  return bytesOf(text.replace(/={1,2}$/, ""), valueOfBase64Digit);
}

/** RFC 4648 § 5, without padding, as JOSE has it. */
export function toBase64Url(bytes: Uint8Array): string {
  return digitsOf(bytes, urlDigits);
}

export function fromBase64Url(text: string): Uint8Array | undefined {
  return bytesOf(text, valueOfUrlDigit);
}

/** As every encoder does it, a lone surrogate is U+FFFD. */
export function utf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    const scalar = point >= 0xd800 && point <= 0xdfff ? 0xfffd : point;
    if (scalar < 0x80) bytes.push(scalar);
    else if (scalar < 0x800) bytes.push(0xc0 | (scalar >> 6), tail(scalar));
    else if (scalar < 0x10000) bytes.push(0xe0 | (scalar >> 12), tail(scalar >> 6), tail(scalar));
    else {
      bytes.push(0xf0 | (scalar >> 18), tail(scalar >> 12), tail(scalar >> 6), tail(scalar));
    }
  }
  return Uint8Array.from(bytes);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function tail(bits: number): number {
  return 0x80 | (bits & 0x3f);
}

function digitsOf(bytes: Uint8Array, digits: string): string {
  let text = "";
  let [kept, count] = [0, 0];
  for (const byte of bytes) {
    kept = ((kept & 0x3f) << 8) | byte;
    count += 8;
    while (count >= 6) {
      count -= 6;
      text += digits[(kept >> count) & 0x3f] ?? "";
    }
  }
  return count === 0 ? text : text + (digits[(kept << (6 - count)) & 0x3f] ?? "");
}

function bytesOf(text: string, valueOfDigit: Uint8Array): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * 6) / 8));
  let [kept, count, at] = [0, 0, 0];
  for (let place = 0; place < text.length; place += 1) {
    const value = valueOfDigit[text.charCodeAt(place)] ?? noDigit;
    if (value === noDigit) return undefined;
    kept = ((kept & 0xff) << 6) | value;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes[at] = (kept >> count) & 0xff;
    at += 1;
  }
  const isWhole = count < 6 && (kept & ((1 << count) - 1)) === 0;
  return isWhole ? bytes : undefined;
}

function valuesOf(digits: string): Uint8Array {
  const values = new Uint8Array(128).fill(0xff);
  for (let value = 0; value < digits.length; value += 1) values[digits.charCodeAt(value)] = value;
  return values;
}
