import { dayAfter } from "../../core/settlement/statements/period.ts";
import { readClosing, type Closing } from "../../core/settlement/statements/closing.ts";
import type { PairId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";

/** Documents that are read at once. */
const pageDocuments = 1_000;

/** What was closed of each pair. Read at start; told of each closing before its transaction is committed. */
export class ClosedPeriods {
  readonly #closings = new Map<PairId, Closing[]>();

  static async load(store: LedgerStore): Promise<ClosedPeriods> {
    const closed = new ClosedPeriods();
    let afterSeq = 0n;
    for (;;) {
      const page = await store.documents({ kind: "closing" }, { afterSeq, limit: pageDocuments });
      for (const { body } of page) closed.add(readClosing(body));
      const last = page.at(-1);
      if (last === undefined) return closed;
      afterSeq = last.seq;
    }
  }

  /** Name of the first day of a pair that can still be booked into; undefined if none was ever closed. */
  firstOpenOf(pair: PairId): string | undefined {
    const last = this.lastOf(pair, "daily");
    return last === undefined ? undefined : dayAfter(last.name, last.timeZone);
  }

  /** The newest closing of a kind. */
  lastOf(pair: PairId, kind: Closing["kind"]): Closing | undefined {
    return this.of(pair).findLast((each) => each.kind === kind);
  }

  /** In the order in which they were closed. */
  of(pair: PairId): readonly Closing[] {
    return this.#closings.get(pair) ?? [];
  }

  /** Of all pairs. */
  get all(): readonly Closing[] {
    return [...this.#closings.values()].flat();
  }

  add(closing: Closing): void {
    const before = this.#closings.get(closing.pair) ?? [];
    this.#closings.set(closing.pair, [...before, closing]);
  }

  /** Its transaction was not committed after all. */
  remove({ pair, statement }: Pick<Closing, "pair" | "statement">): void {
    this.#closings.set(
      pair,
      this.of(pair).filter((each) => each.statement !== statement),
    );
  }
}
