import { payableAccount, signed, type LedgerEntry } from "../../core/settlement/ledger/ledger.ts";
import { daysIn, nameOfPeriod, type Period } from "../../core/settlement/statements/period.ts";
import type { SaleRow } from "../../core/settlement/ledger/posting.ts";
import type { BookingOf } from "../../core/settlement/ledger/prepare.ts";
import { fromSaleText } from "../../core/settlement/ledger/sale-text.ts";
import {
  splitCorrectionText,
  SplitSums,
  type RuleOf,
} from "../../core/settlement/packages/split-true-up.ts";
import type { PairId, TenantId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { sha256 } from "../../io/signing.ts";
import type { NewLeaf } from "../ingest/writer.ts";

/** Sales that are read at once. */
const pageSales = 2_000;

/**
 * Shares of sales were rounded record by record: at the close of a tenant's period each party gets what its shares are off the
 * split of their sum, booked into its own open period. Together it is 0, the platform's part with it.
 */
export async function splitTrueUpsOf(
  pair: PairId,
  period: Period,
  parts: {
    readonly store: Pick<LedgerStore, "salesBooked">;
    readonly ruleOf: RuleOf;
    readonly bookingOf: BookingOf;
    readonly atUs: bigint;
  },
): Promise<{ readonly entries: readonly LedgerEntry[]; readonly leaves: readonly NewLeaf[] }> {
  const { store, ruleOf, bookingOf, atUs } = parts;
  const sums = new SplitSums(ruleOf);
  const tenant = pair.slice("tenant:".length) as TenantId;
  for (const booking of daysIn(period)) {
    let last: SaleRow | undefined;
    do {
      const page = await store.salesBooked(tenant, booking, last?.attempt, pageSales);
      for (const { text } of page) sums.add(fromSaleText(text).sale);
      last = page.at(-1);
    } while (last !== undefined);
  }
  const usedUs = period.toUs - 1n;
  const txn = `true-up:${pair}:${nameOfPeriod(period)}`;
  const made = sums.corrections.map((each) => {
    const { part, party, amountNano } = each.share;
    const id = `${txn}:split:${each.rule}:${part}:${party}`;
    const entry: LedgerEntry = {
      ...{ id, txn, kind: "true-up", phase: "posted", cause: txn, atUs, unit: "CNY:nano" },
      ...signed(amountNano, ["rev:platform", payableAccount(party, "accrued")]),
      corrects: "",
    };
    const text = splitCorrectionText(each, { booking: bookingOf(party, usedUs), atUs: usedUs });
    // Whose sales they were is not the party's business.
    const leaf: NewLeaf = { log: party, kind: "sale", ref: `true-up:${sha256(id)}`, text };
    return { entry, leaf };
  });
  return { entries: made.map(({ entry }) => entry), leaves: made.map(({ leaf }) => leaf) };
}
