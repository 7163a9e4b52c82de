import type { Charge, StoredRecord } from "../../core/settlement/ledger/posting.ts";
import type { Owing, Side, Terms } from "../../core/settlement/ledger/prepare.ts";
import { fromRecordText } from "../../core/settlement/counting/record-text.ts";
import { fromSaleText } from "../../core/settlement/ledger/sale-text.ts";
import { tokenClasses, type UsageRecord } from "../../core/settlement/counting/usage.ts";
import type { AttemptId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import type { Log } from "../../io/log.ts";
import type { Ingest } from "../ingest/ingest.ts";

/** By what a record that is posted is settled again. */
export interface Resettling {
  /** Whether this revision, which counts now, is one of those. */
  readonly isMeant: (record: StoredRecord) => boolean;
  /** What the terms are instead. */
  readonly terms: (terms: Terms) => Terms;
  /** What its price version is instead; undefined: as it was. */
  readonly price?: Pick<UsageRecord, "priceBook" | "priceVersion"> | undefined;
}

/** By what has come since: a claim. */
export const asAgreed: Resettling = { isMeant: () => true, terms: (terms) => terms };

export interface Resettled {
  readonly changed: number;
  /** Could not be settled so, and are as they were. */
  readonly refused: number;
}

interface Parts {
  readonly store: LedgerStore;
  readonly ingest: Ingest;
  readonly log: Log;
}

/**
 * Settles records again that are posted: the next revision of each has the same counts of the same witnesses, and takes the
 * place of the one before by a correction in the open period. What would change nothing is left alone, so that doing it again
 * does nothing.
 */
export class Revisions {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Of at most as many attempts as one transaction has. */
  async settle(attempts: readonly AttemptId[], by: Resettling): Promise<Resettled> {
    const { store, ingest, log } = this.#parts;
    const inForce = [...highestOf(await store.recordsOf(attempts)).values()].filter(by.isMeant);
    const next = inForce.map((record) => nextOf(record, by));
    const prepared = await ingest.preview(next, by.terms);
    const changed: UsageRecord[] = [];
    let refused = 0;
    for (const [place, each] of prepared.entries()) {
      const before = inForce[place];
      if (before === undefined) continue;
      if (each.finding.kind === "doubtful") {
        refused += 1;
        const { reason, detail } = each.finding;
        log.warn({ record: before.record, reason, detail }, "a record is not settled again");
      } else if (await this.#isOther(before, each.finding)) changed.push(each.record);
    }
    if (changed.length === 0) return { changed: 0, refused };
    const outcomes = await ingest.revise(changed, by.terms);
    const posted = outcomes.filter(({ status }) => status === "posted").length;
    return { changed: posted, refused: refused + outcomes.length - posted };
  }

  async #isOther(before: StoredRecord, owing: Owing): Promise<boolean> {
    const isSold = tokenClasses.some((each) => owing.usage.sold[each] !== before.sold[each]);
    if (isSold || !isSame(before.charges, owing.buy)) return true;
    const fees = before.fees.flatMap(({ charges }) => charges);
    if (!isSame(fees, owing.fee)) return true;
    if (owing.sale.kind !== "priced") return false;
    const rows = await this.#parts.store.salesOf([before.attempt]);
    const billed = rows.find(({ state }) => state === "billed");
    const charges = billed === undefined ? [] : fromSaleText(billed.text).sale.charges;
    return !isSame(charges, owing.sale.side);
  }
}

/** The revision of each attempt that counts. */
function highestOf(records: readonly StoredRecord[]): ReadonlyMap<AttemptId, StoredRecord> {
  const byAttempt = new Map<AttemptId, StoredRecord>();
  for (const record of records) {
    const other = byAttempt.get(record.attempt);
    if (record.state !== "posted" || (other !== undefined && other.rev > record.rev)) continue;
    byAttempt.set(record.attempt, record);
  }
  return byAttempt;
}

function nextOf({ text, attempt, rev }: StoredRecord, { price }: Resettling): UsageRecord {
  return { ...fromRecordText(text), ...price, id: `${attempt}:${rev + 1n}` };
}

/** A rest that an earlier correction left has no tokens. */
function isSame(charges: readonly Charge[], side: Side | undefined): boolean {
  const had = charges.filter(({ tokens }) => tokens !== 0n).map(lineText);
  const has = (side?.lines ?? []).map(lineText);
  return had.toSorted().join("\n") === has.toSorted().join("\n");
}

function lineText({ line, tokens }: Pick<Charge, "line" | "tokens">): string {
  return `${line} ${tokens}`;
}
