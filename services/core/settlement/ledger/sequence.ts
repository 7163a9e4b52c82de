import { assert } from "../../assert.ts";

/** Numbers that were seen, both ends included. */
interface Range {
  readonly from: bigint;
  readonly to: bigint;
}

/** Holes that are remembered; the oldest beyond them is given up and counted as lost. */
export const holesMax = 256;

/**
 * What came of a dense sequence from 1 on, in any order. Below `next` everything came or was given up; the
 * ranges beyond it say where the holes are.
 */
export class Sequence {
  #next: bigint;
  #ahead: Range[];

  /** `ahead` as `toText` writes it. */
  constructor(next = 1n, ahead = "") {
    this.#next = next;
    this.#ahead = ahead === "" ? [] : ahead.split(",").map(toRange);
  }

  get next(): bigint {
    return this.#next;
  }

  /** Numbers that are missing below the highest that was seen. */
  get missing(): bigint {
    let from = this.#next;
    let count = 0n;
    for (const range of this.#ahead) {
      count += range.from - from;
      from = range.to + 1n;
    }
    return count;
  }

  /** Whether the number is new, and how many were given up to make room for it. */
  note(number: bigint): { readonly isNew: boolean; readonly lost: bigint } {
    assert(number > 0n, "a sequence starts at 1");
    if (number === this.#next) {
      this.#next += 1n;
      this.#advance();
      return { isNew: true, lost: 0n };
    }
    if (this.#has(number)) return { isNew: false, lost: 0n };
    const after = this.#ahead.findIndex(({ from }) => from > number);
    const place = after === -1 ? this.#ahead.length : after;
    this.#ahead.splice(place, 0, { from: number, to: number });
    this.#join(place);
    return { isNew: true, lost: this.#ahead.length > holesMax ? this.giveUp() : 0n };
  }

  /** Takes the oldest hole for lost. Returns its size. */
  giveUp(): bigint {
    const [first] = this.#ahead;
    if (first === undefined) return 0n;
    const lost = first.from - this.#next;
    this.#next = first.from;
    this.#advance();
    return lost;
  }

  /** The ranges beyond `next`: `7-9,12-12`. */
  toText(): string {
    return this.#ahead.map(({ from, to }) => `${from}-${to}`).join(",");
  }

  #has(number: bigint): boolean {
    return (
      number < this.#next || this.#ahead.some(({ from, to }) => number >= from && number <= to)
    );
  }

  /** Joins the range at an index with its neighbours, and the first with what is complete. */
  #join(index: number): void {
    const start = Math.max(0, index - 1);
    const joined: Range[] = [];
    const near = this.#ahead.slice(start, index + 2);
    for (const range of near) {
      const last = joined.at(-1);
      if (last !== undefined && last.to + 1n === range.from) {
        joined[joined.length - 1] = { from: last.from, to: range.to };
      } else joined.push(range);
    }
    this.#ahead.splice(start, near.length, ...joined);
    this.#advance();
  }

  #advance(): void {
    const [first] = this.#ahead;
    if (first?.from !== this.#next) return;
    this.#next = first.to + 1n;
    this.#ahead.shift();
  }
}

function toRange(text: string): Range {
  const [from = "", to = ""] = text.split("-");
  return { from: BigInt(from), to: BigInt(to) };
}
