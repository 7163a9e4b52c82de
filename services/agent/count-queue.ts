import type { OwnCount } from "../core/settlement/claims/own-count.ts";
import type { Log } from "../io/log.ts";
import type { Counted, CountSource } from "./claims.ts";

/** Counts between two rounds. Beyond it they are not claimed. */
const queuedMax = 200_000;

/** Counts that are handed over within the process, in memory until the next round. */
export class CountQueue implements CountSource {
  readonly name = "queue";
  readonly #log: Log;
  #counts: OwnCount[] = [];
  #lost = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  push(count: OwnCount): void {
    if (this.#counts.length < queuedMax) {
      this.#counts.push(count);
      return;
    }
    if (this.#lost === 0) this.#log.error({ queuedMax }, "counts are lost: they are not claimed");
    this.#lost += 1;
  }

  async read(_place: string | undefined, max: number): Promise<Counted> {
    const counts = this.#counts.slice(0, max);
    this.#counts = this.#counts.slice(max);
    return { counts, place: "" };
  }
}
