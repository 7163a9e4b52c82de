const quarter = 4;
/** Bytes of UTF-8 per token of text that is not ASCII; a Chinese character has three. */
const otherBytesPerToken = 4.5;

/**
 * How many tokens a prompt will probably have, before any engine counted them: the larger of its words and a
 * quarter of its ASCII bytes plus the rest by 4.5. It never bills: it chooses a pool and bounds the work.
 */
export class TokenEstimate {
  readonly #text: string;
  #words = 0;
  #asciiBytes = 0;
  #otherBytes = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get tokens(): number {
    const byBytes = this.#asciiBytes / quarter + this.#otherBytes / otherBytesPerToken;
    return Math.max(1, this.#words, Math.ceil(byBytes));
  }

  /** A part of the text, as it stands between quotes in JSON: an escaped line break parts words too. */
  add(start: number, end: number): void {
    let isInWord = false;
    let otherBytes = 0;
    for (let at = start; at < end; at++) {
      const code = this.#text.charCodeAt(at);
      const isEscape = code === 0x5c;
      if (isEscape) at += 1;
      const isSpace = code <= 0x20 || (isEscape && isSpaceEscape(this.#text.charCodeAt(at)));
      if (!isSpace && !isInWord) this.#words += 1;
      isInWord = !isSpace;
      if (code > 0x7f) otherBytes += 1;
    }
    this.#otherBytes += otherBytes;
    this.#asciiBytes += end - start - otherBytes;
  }
}

/** `\n`, `\r` or `\t`. */
function isSpaceEscape(code: number): boolean {
  return code === 0x6e || code === 0x72 || code === 0x74;
}
