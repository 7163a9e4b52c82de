/** Rows that were looked at, of all there are. */
export type OnProgress = (done: number, total: number) => void;

export const pageRows = 1_000;
/** More of them say nothing new. */
const mistakesMax = 1_000;

/** What goes on while a ledger is looked through: rows that are done, and mistakes that are told. */
export class Findings {
  readonly #total: number;
  readonly #onProgress: OnProgress;
  readonly mistakes: string[] = [];
  #done = 0;

  constructor(total: number, onProgress: OnProgress) {
    this.#total = total;
    this.#onProgress = onProgress;
  }

  looked(rows: number): void {
    this.#done += rows;
    this.#onProgress(this.#done, this.#total);
  }

  tell(mistake: string): void {
    if (this.mistakes.length < mistakesMax) this.mistakes.push(mistake);
    else if (this.mistakes.length === mistakesMax) this.mistakes.push("and more");
  }
}

/** Keys have their parts on lines of their own. */
export function named(key: string): string {
  return key.replaceAll("\n", " ");
}
