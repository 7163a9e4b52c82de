/** Somebody who waits for moments: told the time often, so that thousands of waits need one timer. */
export interface Ticker {
  /** `now` is monotonic, in ms. */
  tick(now: number): void;
}

export const sweepMs = 50;

export class Sweeper {
  readonly #tickers = new Set<Ticker>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.#sweep(), sweepMs).unref();
  }

  add(ticker: Ticker): void {
    this.#tickers.add(ticker);
  }

  remove(ticker: Ticker): void {
    this.#tickers.delete(ticker);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #sweep(): void {
    const now = performance.now();
    for (const ticker of this.#tickers) ticker.tick(now);
  }
}
