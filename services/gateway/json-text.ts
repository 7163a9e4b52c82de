/**
 * JSON that is read without being rebuilt. Texts here are `latin1`: one character is one byte of UTF-8, so
 * places in the text are places in the bytes, and what is cut out is forwarded byte for byte.
 */

export interface Member {
  readonly key: string;
  /** Of the quote before the key. */
  readonly keyStart: number;
  /** Of the value; `end` is behind it. */
  readonly start: number;
  readonly end: number;
}

export interface JsonLimits {
  readonly depthMax: number;
  readonly keysMax: number;
}

export type Scan =
  | { readonly kind: "object"; readonly members: ReadonlyMap<string, Member> }
  | { readonly kind: "malformed"; readonly problem: string }
  | { readonly kind: "too-deep" | "too-many-keys"; readonly problem: string };

/** Told of each string value: the member of the whole it is in, the key before it, and where it is. */
export type OnString = (member: string, key: string, start: number, end: number) => void;

/**
 * Checks that the text is one JSON object without a key twice anywhere, and says where its members are. What
 * `JSON.parse` refuses is refused, and a value that repeats a key, which it would drop silently, too.
 */
export function scanObject(text: string, limits: JsonLimits, onString?: OnString): Scan {
  const scanner = new Scanner(text, limits, onString);
  try {
    return { kind: "object", members: scanner.run() };
  } catch (error) {
    if (!(error instanceof ScanError)) throw error;
    return { kind: error.kind, problem: error.message };
  }
}

/**
 * The text with members replaced, added at the end, or, where the change is undefined, left out. Values are JSON
 * in `latin1`.
 */
export function edited(
  text: string,
  members: ReadonlyMap<string, Member>,
  changes: ReadonlyMap<string, string | undefined>,
): string {
  const kept: string[] = [];
  for (const { key, keyStart, start, end } of members.values()) {
    if (!changes.has(key)) kept.push(text.slice(keyStart, end));
    else {
      const value = changes.get(key);
      if (value !== undefined) kept.push(text.slice(keyStart, start) + value);
    }
  }
  for (const [key, value] of changes) {
    if (value !== undefined && !members.has(key)) kept.push(`${JSON.stringify(key)}:${value}`);
  }
  return `{${kept.join(",")}}`;
}

/** As JSON that is the same in `latin1` and UTF-8. */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** What stands between two quotes, as bytes of UTF-8 in `latin1`. */
export function unescaped(raw: string): string {
  if (!raw.includes("\\")) return raw;
  const text: unknown = JSON.parse(`"${Buffer.from(raw, "latin1").toString("utf8")}"`);
  return Buffer.from(String(text), "utf8").toString("latin1");
}

/** The place of the quote that ends a string whose inside begins at `start`; -1 if it is not there yet. */
export function closingQuote(text: string, start: number): number {
  let at = text.indexOf('"', start);
  while (at > start && text.charCodeAt(at - 1) === backslash && isEscaped(text, at, start)) {
    at = text.indexOf('"', at + 1);
  }
  return at;
}

function isEscaped(text: string, at: number, start: number): boolean {
  let backslashes = 0;
  while (at - 1 - backslashes >= start && text.charCodeAt(at - 1 - backslashes) === backslash) {
    backslashes += 1;
  }
  return backslashes % 2 === 1;
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const escapePattern = /["\\/bfnrt]|u[0-9a-fA-F]{4}/y;
const words = ["true", "false", "null"];

class ScanError extends Error {
  readonly kind: "malformed" | "too-deep" | "too-many-keys";

  constructor(kind: ScanError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

class Scanner {
  readonly #text: string;
  readonly #limits: JsonLimits;
  readonly #onString: OnString | undefined;
  #at = 0;
  #depth = 0;
  #keys = 0;
  /** The member of the whole that is being read. */
  #member = "";

  constructor(text: string, limits: JsonLimits, onString: OnString | undefined) {
    this.#text = text;
    this.#limits = limits;
    this.#onString = onString;
  }

  run(): Map<string, Member> {
    const members = new Map<string, Member>();
    if (this.#skipSpace() !== openBrace) this.#fail("expected an object");
    this.#object((key, keyStart, start) => {
      members.set(key, { key, keyStart, start, end: this.#at });
    });
    if (!Number.isNaN(this.#skipSpace())) this.#fail("expected the end");
    return members;
  }

  /** Leaves `#at` on the next character that is no space, and returns it; NaN at the end. */
  #skipSpace(): number {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.#at += 1;
    }
  }

  #value(key: string): void {
    const code = this.#skipSpace();
    if (code === quote) {
      const start = this.#at + 1;
      this.#string();
      this.#onString?.(this.#member, key, start, this.#at - 1);
    } else if (code === openBrace) this.#object();
    else if (code === openBracket) this.#array(key);
    else this.#scalar();
  }

  #object(onMember?: (key: string, keyStart: number, start: number) => void): void {
    this.#enter();
    const seen = new Set<string>();
    if (this.#skipSpace() === closeBrace) return this.#leave();
    for (;;) {
      if (this.#skipSpace() !== quote) this.#fail("expected a key");
      const keyStart = this.#at;
      this.#string();
      const key = this.#key(keyStart + 1, this.#at - 1);
      if (seen.has(key)) this.#fail(`the key ${JSON.stringify(key)} is there twice`);
      seen.add(key);
      if (this.#skipSpace() !== colon) this.#fail("expected a colon");
      this.#at += 1;
      this.#skipSpace();
      const start = this.#at;
      if (onMember !== undefined) this.#member = key;
      this.#value(key);
      onMember?.(key, keyStart, start);
      const code = this.#skipSpace();
      if (code === closeBrace) return this.#leave();
      if (code !== comma) this.#fail("expected a comma or the end of the object");
      this.#at += 1;
    }
  }

  #array(key: string): void {
    this.#enter();
    if (this.#skipSpace() === closeBracket) return this.#leave();
    for (;;) {
      this.#value(key);
      const code = this.#skipSpace();
      if (code === closeBracket) return this.#leave();
      if (code !== comma) this.#fail("expected a comma or the end of the array");
      this.#at += 1;
    }
  }

  /** From the quote to behind the closing one. */
  #string(): void {
    const text = this.#text;
    let at = this.#at + 1;
    for (;;) {
      const code = text.charCodeAt(at);
      if (code === quote) break;
      // NaN, the end of the text, is not above 0x1f either.
      if (!(code > 0x1f)) {
        this.#at = at;
        this.#fail("expected the end of a string, found a control character or nothing");
      }
      at += 1;
      if (code === backslash) {
        escapePattern.lastIndex = at;
        if (!escapePattern.test(text)) {
          this.#at = at;
          this.#fail("expected an escape");
        }
        at = escapePattern.lastIndex;
      }
    }
    this.#at = at + 1;
  }

  #key(start: number, end: number): string {
    this.#keys += 1;
    if (this.#keys > this.#limits.keysMax) {
      throw new ScanError("too-many-keys", `more than ${this.#limits.keysMax} keys`);
    }
    const raw = this.#text.slice(start, end);
    return raw.includes("\\") ? unescaped(raw) : raw;
  }

  #scalar(): void {
    for (const word of words) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return;
      }
    }
    numberPattern.lastIndex = this.#at;
    if (!numberPattern.test(this.#text)) this.#fail("expected a value");
    this.#at = numberPattern.lastIndex;
  }

  #enter(): void {
    this.#at += 1;
    this.#depth += 1;
    if (this.#depth > this.#limits.depthMax) {
      throw new ScanError("too-deep", `nested deeper than ${this.#limits.depthMax}`);
    }
  }

  #leave(): void {
    this.#at += 1;
    this.#depth -= 1;
  }

  #fail(expected: string): never {
    throw new ScanError("malformed", `${expected} at byte ${this.#at}`);
  }
}
