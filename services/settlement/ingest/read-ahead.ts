import type { SaleRow, StoredRecord } from "../../core/settlement/ledger/posting.ts";
import type { Prepared } from "../../core/settlement/ledger/prepare.ts";
import type { UsageRecord } from "../../core/settlement/counting/usage.ts";
import type { LedgerBatch } from "../../io/ledger-store.ts";
import type { LedgerWriter } from "./ledger-writer.ts";

/** What the ledger has of records that are to be posted. */
export interface Found {
  /** All revisions of their attempts. */
  readonly records: readonly StoredRecord[];
  /** In force, of their requests. */
  readonly sales: readonly SaleRow[];
}

/**
 * Questions about records that are asked before they have their turn, so that nobody waits for the answers behind a
 * transaction that is being written. What that transaction writes is put on top of them.
 */
export class ReadAhead {
  readonly #writer: LedgerWriter;
  readonly #records: readonly UsageRecord[];
  readonly #failures: number;
  readonly #answers: Promise<Found>;
  #without: LedgerBatch | undefined;

  constructor(writer: LedgerWriter, records: readonly UsageRecord[]) {
    this.#writer = writer;
    this.#records = records;
    this.#failures = writer.failures;
    this.#without = writer.sent;
    this.#answers = this.#ask();
    // Whoever waits for them is told.
    this.#answers.catch(() => undefined);
  }

  /** Was sent after the questions. */
  isWithout(batch: LedgerBatch): void {
    this.#without = batch;
  }

  async found(): Promise<Found> {
    // What was to be put on top was not written.
    if (this.#failures !== this.#writer.failures)
      return new ReadAhead(this.#writer, this.#records).found();
    const found = await this.#answers;
    return this.#without === undefined ? found : onTop(found, this.#without, this.#records);
  }

  async #ask(): Promise<Found> {
    const { store } = this.#writer;
    const [records, sales] = await Promise.all([
      store.recordsOf(this.#records.map(({ attempt }) => attempt)),
      store.salesOfRequests(this.#records.map(({ request }) => request)),
    ]);
    return { records, sales };
  }
}

function onTop(
  found: Found,
  { posted, waiting, sales }: Pick<LedgerBatch, "posted" | "waiting" | "sales">,
  asked: readonly UsageRecord[],
): Found {
  const attempts = new Set(asked.map(({ attempt }) => attempt));
  const requests = new Set(asked.map(({ request }) => request));
  const records = [...waiting, ...posted].filter(({ attempt }) => attempts.has(attempt));
  const sold = sales.filter(({ request }) => requests.has(request));
  if (records.length + sold.length === 0) return found;
  const recordById = new Map([...found.records, ...records].map((each) => [each.record, each]));
  const saleById = new Map(
    [...found.sales, ...sold].map((each) => [`${each.attempt}:${each.rev}`, each]),
  );
  return {
    records: [...recordById.values()],
    sales: [...saleById.values()].filter(({ state }) => state !== "replaced"),
  };
}

/** Of requests with anything to sell; a record without a tenant's terms has no sale. */
export function salesOf(
  sales: readonly SaleRow[],
  prepared: readonly Prepared[],
): readonly SaleRow[] {
  if (sales.length === 0) return sales;
  const sold = prepared.filter(
    ({ finding }) =>
      finding.kind === "owing" &&
      (finding.sale.kind !== "none" || finding.sale.place !== undefined),
  );
  const requests = new Set(sold.map(({ record }) => record.request));
  return sales.filter(({ request }) => requests.has(request));
}
