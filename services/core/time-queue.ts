import type { Instant } from "./units.ts";

interface Entry<Item> {
  readonly at: Instant;
  readonly item: Item;
}

/** What is due when: a binary heap, so that taking the earliest costs the logarithm of how many there are. */
export class TimeQueue<Item> {
  readonly #heap: Entry<Item>[] = [];

  add(at: Instant, item: Item): void {
    const heap = this.#heap;
    const entry: Entry<Item> = { at, item };
    let place = heap.length;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || parent.at <= at) break;
      heap[place] = parent;
      place = above;
    }
    heap[place] = entry;
  }

  /** The earliest, if it is due by then. */
  takeUntil(now: Instant): Entry<Item> | undefined {
    const heap = this.#heap;
    const [first] = heap;
    if (first === undefined || first.at > now) return undefined;
    const last = heap.pop();
    if (last !== undefined && heap.length > 0) this.#sink(last);
    return first;
  }

  #sink(entry: Entry<Item>): void {
    const heap = this.#heap;
    let place = 0;
    for (;;) {
      const left = heap[2 * place + 1];
      const right = heap[2 * place + 2];
      if (left === undefined) break;
      const isRight = right !== undefined && right.at < left.at;
      const child = isRight ? right : left;
      if (child.at >= entry.at) break;
      heap[place] = child;
      place = 2 * place + (isRight ? 2 : 1);
    }
    heap[place] = entry;
  }
}
