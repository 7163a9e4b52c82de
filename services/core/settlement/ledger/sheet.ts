import type { At, Sheets } from "./posting.ts";

/** Totals of one kind: as they were read, and as a batch leaves them. */
export class Sheet<Key, Total> {
  readonly #known: Sheets<Key, Total>;
  readonly #changed = new Map<string, At<Key, Total>>();
  readonly #missing = new Map<string, Key>();

  constructor(known: Sheets<Key, Total>) {
    this.#known = known;
  }

  /** Whether the total was read, or made here. If not it is said to be missing, and what comes of it is worth nothing. */
  has(text: string, key: Key): boolean {
    if (this.#changed.has(text) || this.#known.has(text)) return true;
    this.#missing.set(text, key);
    return false;
  }

  get(text: string): Total | undefined {
    return (this.#changed.get(text) ?? this.#known.get(text))?.total;
  }

  set(text: string, key: Key, total: Total): void {
    this.#changed.set(text, { key, total });
  }

  get changes(): At<Key, Total>[] {
    return [...this.#changed.values()];
  }

  get missing(): Key[] {
    return [...this.#missing.values()];
  }
}
