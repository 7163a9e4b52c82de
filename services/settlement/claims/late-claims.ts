import type { AttemptId, InstantUs, PairId } from "../../core/units.ts";
import type { ClaimRow, LedgerStore } from "../../io/ledger-store.ts";
import type { Agreements } from "../terms/agreements.ts";
import { asAgreed, type Revisions } from "../statements/revisions.ts";

/** Claims that are read, and attempts that are settled, together. */
const pageClaims = 256;
/** After a start, claims of so long ago are looked at again: nobody knows which of them were gone by. */
const lookBackUs = 2n * 86_400_000_000n;

interface Parts {
  readonly store: LedgerStore;
  readonly agreements: Agreements;
  readonly revisions: Revisions;
  readonly nowUs: () => InstantUs;
}

/** Where a contract goes by what the vendor counted, a claim that comes after its record settles it again. */
export class LateClaims {
  readonly #parts: Parts;
  readonly #waiting = new Set<AttemptId>();
  #isRead = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Whether any of them counts for what is owed. */
  note(claims: readonly ClaimRow[]): boolean {
    for (const { pair, attempt, openedUs } of claims) {
      if (this.#goesByClaims(pair, openedUs)) this.#waiting.add(attempt);
    }
    return this.#waiting.size > 0;
  }

  /** Settles what has come; the first time also what came before the start. */
  async run(): Promise<void> {
    if (!this.#isRead) await this.#readBefore();
    this.#isRead = true;
    while (this.#waiting.size > 0) {
      const attempts = [...this.#waiting].slice(0, pageClaims);
      await this.#parts.revisions.settle(attempts, asAgreed);
      for (const attempt of attempts) this.#waiting.delete(attempt);
    }
  }

  async #readBefore(): Promise<void> {
    const { store, nowUs } = this.#parts;
    const period = { fromUs: nowUs() - lookBackUs, toUs: nowUs() + lookBackUs };
    for (const vendor of await store.vendors()) {
      const pair = `vendor:${vendor}` as PairId;
      if (!this.#goesByClaims(pair, nowUs())) continue;
      let after: ClaimRow | undefined;
      do {
        const page = await store.claims(pair, period, after, pageClaims);
        this.note(page);
        after = page.at(-1);
      } while (after !== undefined);
    }
  }

  #goesByClaims(pair: PairId, us: InstantUs): boolean {
    return this.#parts.agreements.contractWith(pair, us).countRule === "claim-in-tolerance";
  }
}
