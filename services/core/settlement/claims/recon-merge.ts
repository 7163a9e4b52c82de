import { assert } from "../../assert.ts";

/** What is sorted by attempt, then by revision. */
export interface Sorted {
  readonly attempt: string;
  readonly rev: bigint;
}

/** All that both parties have of one attempt, in order of revision. */
export interface Group<Item extends Sorted> {
  readonly attempt: string;
  readonly ours: readonly Item[];
  readonly theirs: readonly Item[];
}

type Side = "ours" | "theirs";

/**
 * Merges two sorted sources that come in pages. Holds a page of each and no more: a group leaves when both sources
 * are past its attempt. The caller feeds the side that `wants` names until it is undefined.
 */
export class Merge<Item extends Sorted> {
  readonly #pending: Record<Side, Item[]> = { ours: [], theirs: [] };
  readonly #next: Record<Side, number> = { ours: 0, theirs: 0 };
  readonly #isEnded: Record<Side, boolean> = { ours: false, theirs: false };
  readonly #last: Record<Side, Sorted | undefined> = { ours: undefined, theirs: undefined };

  /** The side whose next page is needed; undefined when both have ended. */
  get wants(): Side | undefined {
    const { ours, theirs } = this.#isEnded;
    if (ours && theirs) return undefined;
    if (ours) return "theirs";
    if (theirs) return "ours";
    // Whoever is behind holds the other up.
    const [a, b] = [this.#last.ours, this.#last.theirs];
    if (a === undefined || b === undefined) return a === undefined ? "ours" : "theirs";
    return a.attempt <= b.attempt ? "ours" : "theirs";
  }

  /** The next page of a side; an empty one ends it. Gives the groups that are complete now. */
  feed(side: Side, page: readonly Item[]): Group<Item>[] {
    assert(!this.#isEnded[side], "a source that has ended has no further page");
    if (page.length === 0) this.#isEnded[side] = true;
    for (const item of page) {
      const last = this.#last[side];
      assert(last === undefined || inOrder(last, item), "a source is sorted by attempt, revision");
      this.#last[side] = item;
    }
    const rest = this.#pending[side].slice(this.#next[side]);
    this.#pending[side] = rest.length === 0 ? [...page] : [...rest, ...page];
    this.#next[side] = 0;
    return this.#complete();
  }

  #complete(): Group<Item>[] {
    const groups: Group<Item>[] = [];
    for (;;) {
      const [a, b] = [this.#peek("ours"), this.#peek("theirs")];
      if (a === undefined && b === undefined) return groups;
      const attempt = a === undefined || (b !== undefined && b < a) ? b : a;
      if (attempt === undefined || !this.#isPast(attempt)) return groups;
      groups.push({
        attempt,
        ours: this.#take("ours", attempt),
        theirs: this.#take("theirs", attempt),
      });
    }
  }

  #peek(side: Side): string | undefined {
    return this.#pending[side][this.#next[side]]?.attempt;
  }

  /** Nothing more of an attempt can come. */
  #isPast(attempt: string): boolean {
    return this.#isSidePast("ours", attempt) && this.#isSidePast("theirs", attempt);
  }

  #isSidePast(side: Side, attempt: string): boolean {
    const last = this.#last[side];
    return this.#isEnded[side] || (last !== undefined && last.attempt > attempt);
  }

  #take(side: Side, attempt: string): Item[] {
    const pending = this.#pending[side];
    const from = this.#next[side];
    let to = from;
    while (pending[to]?.attempt === attempt) to += 1;
    this.#next[side] = to;
    return pending.slice(from, to);
  }
}

function inOrder(a: Sorted, b: Sorted): boolean {
  return a.attempt < b.attempt || (a.attempt === b.attempt && a.rev <= b.rev);
}
