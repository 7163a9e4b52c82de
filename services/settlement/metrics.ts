import type { PostOutcome } from "../core/settlement/ledger/posting.ts";
import { Counter, Gauge, type Registry } from "../io/metrics.ts";

/** Where a second delivery was noticed: on its way within one batch, or by the ledger. */
const stages = ["stream", "ledger"] as const;

const statementResults = ["issued", "failed"] as const;
export type StatementResult = (typeof statementResults)[number];

/** What settlement tells about itself. Counted from what was committed, so that it agrees with the books. */
export class SettlementMetrics {
  readonly #duplicates: Counter<"stage">;
  readonly #gaps: Counter;
  readonly #records: Counter;
  readonly #statements: Counter<"result">;
  readonly #closedWithout: Counter;
  readonly #quarantined: Gauge;
  readonly #salesWaiting: Gauge;
  readonly #unsold: Counter;
  readonly #unclosed: Gauge;
  readonly #calendarDays: Gauge<"calendar">;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#duplicates = new Counter({
      name: "tokengrid_metering_duplicates_total",
      help: "Usage records that came again and changed nothing",
      labelNames: ["stage"] as const,
      registers,
    });
    this.#gaps = new Counter({
      name: "tokengrid_metering_gaps_total",
      help: "Numbers of a gateway's dense sequence that never came",
      registers,
    });
    this.#records = new Counter({
      name: "tokengrid_ledger_records_total",
      help: "Usage records posted to the ledger",
      registers,
    });
    this.#statements = new Counter({
      name: "tokengrid_settlement_statements_total",
      help: "Statements that were closed, and tries that failed; one that is closed never changes",
      labelNames: ["result"] as const,
      registers,
    });
    this.#closedWithout = new Counter({
      name: "tokengrid_settlement_closed_without_gateways_total",
      help: "Gateways that had not said, an hour after the end of a period, that nothing of it was missing; what comes late goes into the next one",
      registers,
    });
    this.#quarantined = new Gauge({
      name: "tokengrid_ledger_quarantined_records",
      help: "Usage records that are kept and not paid until someone looked",
      registers,
    });
    this.#salesWaiting = new Gauge({
      name: "tokengrid_settlement_sales_waiting",
      help: "Sales that wait for a contract, a price, a split rule or a count, and are in no bill",
      registers,
    });
    this.#unsold = new Counter({
      name: "tokengrid_settlement_unsold_requests_total",
      help: "Requests that were served and that nobody pays for: nothing was agreed with any tenant",
      registers,
    });
    this.#unclosed = new Gauge({
      name: "tokengrid_settlement_unclosed_seconds",
      help: "How long ago the oldest period ended that is not closed; 0 if all are",
      registers,
    });
    this.#calendarDays = new Gauge({
      name: "tokengrid_settlement_calendar_days_left",
      help: "Days until a calendar says no more what day it is",
      labelNames: ["calendar"] as const,
      registers,
    });
    for (const stage of stages) this.#duplicates.inc({ stage }, 0);
    for (const result of statementResults) this.#statements.inc({ result }, 0);
  }

  onCommitted(outcomes: readonly PostOutcome[]): void {
    const seen = new Set<string>();
    for (const { record, status } of outcomes) {
      if (status === "posted") this.#records.inc();
      if (status === "exists")
        this.#duplicates.inc({ stage: seen.has(record) ? "stream" : "ledger" });
      seen.add(record);
    }
  }

  onLost(numbers: bigint): void {
    this.#gaps.inc(Number(numbers));
  }

  onWaiting(records: number): void {
    this.#quarantined.set(records);
  }

  onSalesWaiting(sales: number): void {
    this.#salesWaiting.set(sales);
  }

  onUnsold(requests: number): void {
    this.#unsold.inc(requests);
  }

  onUnclosed(seconds: number): void {
    this.#unclosed.set(seconds);
  }

  onCalendar(calendar: string, daysLeft: number): void {
    this.#calendarDays.set({ calendar }, daysLeft);
  }

  onStatement(result: StatementResult): void {
    this.#statements.inc({ result });
  }

  /** A period was closed though these may have attempts of it. */
  onClosedWithout(gateways: number): void {
    this.#closedWithout.inc(gateways);
  }
}
