import type { DrainLimit } from "../core/settlement/terms/contract.ts";
import type { PoolId } from "../core/units.ts";

/** How many streams are read on for clients that have gone, by pool. */
export class DrainPlaces {
  readonly #takenByPool = new Map<PoolId, number>();

  /** Undefined: as many as the contract allows are being drained already. */
  take(pool: PoolId, { concurrent }: DrainLimit): DrainPlace | undefined {
    const taken = this.#takenByPool.get(pool) ?? 0;
    if (taken >= concurrent) return undefined;
    this.#takenByPool.set(pool, taken + 1);
    return { free: () => this.#free(pool) };
  }

  get taken(): number {
    return this.#takenByPool.values().reduce((sum, each) => sum + each, 0);
  }

  #free(pool: PoolId): void {
    const left = (this.#takenByPool.get(pool) ?? 1) - 1;
    if (left > 0) this.#takenByPool.set(pool, left);
    else this.#takenByPool.delete(pool);
  }
}

export interface DrainPlace {
  /** To be called once. */
  free(): void;
}

/** One stream that is read on to its end, or to the contract's limit, though nobody is there to take it. */
export class Drain {
  readonly #limit: DrainLimit;
  readonly #place: DrainPlace;
  readonly #start: { readonly at: number; readonly tokens: number };

  constructor(
    limit: DrainLimit,
    place: DrainPlace,
    start: { readonly at: number; readonly tokens: number },
  ) {
    this.#limit = limit;
    this.#place = place;
    this.#start = start;
  }

  /** `tokens` as far as they are known now; `now` is monotonic, in ms. */
  isOver(now: number, tokens: number): boolean {
    const { at, tokens: before } = this.#start;
    return now - at >= this.#limit.seconds * 1_000 || tokens - before >= this.#limit.tokens;
  }

  end(): void {
    this.#place.free();
  }
}
