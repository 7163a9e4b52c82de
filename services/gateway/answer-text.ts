import type { TextKind } from "./meter.ts";

/** Text of one answer that is kept for a recount. Beyond it the count is an estimate. */
export const recountBytesMax = 1024 * 1024;
/** Of all answers that are under way. */
export const keptBytesMax = 256 * 1024 * 1024;

const firstBytes = 1024;

/** What all answers together may keep. */
export class TextBudget {
  readonly #bytesMax: number;
  #taken = 0;

  constructor(bytesMax = keptBytesMax) {
    this.#bytesMax = bytesMax;
  }

  get taken(): number {
    return this.#taken;
  }

  mayTake(bytes: number): boolean {
    if (this.#taken + bytes > this.#bytesMax) return false;
    this.#taken += bytes;
    return true;
  }

  free(bytes: number): void {
    this.#taken -= bytes;
  }
}

/** The text of an answer while it goes by, for a recount. It never leaves the process, and dies with the attempt. */
export class AnswerText {
  readonly #budget: TextBudget;
  readonly #parts = new Map<string, { bytes: Buffer; length: number }>();
  #length = 0;
  #taken = 0;
  #isGone = false;

  constructor(budget: TextBudget) {
    this.#budget = budget;
  }

  /** Bytes of UTF-8 in `latin1`. */
  add(choice: number, kind: TextKind, text: string): void {
    if (this.#isGone) return;
    this.#length += text.length;
    const part = this.#length > recountBytesMax ? undefined : this.#partFor(choice, kind, text);
    if (part === undefined) return this.free();
    part.bytes.write(text, part.length, "latin1");
    part.length += text.length;
  }

  /** Each choice's text of each kind. Undefined: it was more than is kept. */
  get texts(): readonly Uint8Array[] | undefined {
    if (this.#isGone) return undefined;
    return [...this.#parts.values()].map(({ bytes, length }) => bytes.subarray(0, length));
  }

  /** Nobody needs it any more. */
  free(): void {
    this.#isGone = true;
    this.#parts.clear();
    this.#budget.free(this.#taken);
    this.#taken = 0;
  }

  /** With room for the text. Undefined: all answers together have too much. */
  #partFor(choice: number, kind: TextKind, text: string) {
    const key = `${choice}:${kind}`;
    const part = this.#parts.get(key) ?? { bytes: Buffer.alloc(0), length: 0 };
    this.#parts.set(key, part);
    const needed = part.length + text.length;
    if (needed <= part.bytes.length) return part;
    const size = Math.max(firstBytes, needed, part.bytes.length * 2);
    const more = size - part.bytes.length;
    if (!this.#budget.mayTake(more)) return undefined;
    this.#taken += more;
    const larger = Buffer.alloc(size);
    part.bytes.copy(larger);
    part.bytes = larger;
    return part;
  }
}
