/** gRPC A6: a failure costs a token, a success earns a tenth, and at half of them nothing is tried again. */
export class RetryBudget {
  #tokens = tokensMax;

  get tokens(): number {
    return this.#tokens;
  }

  get mayRetry(): boolean {
    return this.#tokens > tokensMax / 2;
  }

  failed(): void {
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  succeeded(): void {
    this.#tokens = Math.min(tokensMax, this.#tokens + 0.1);
  }
}

const tokensMax = 10;
