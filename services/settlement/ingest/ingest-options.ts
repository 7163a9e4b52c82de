import type { SaltOf } from "../../core/settlement/ledger/leaf.ts";
import type { InstantUs } from "../../core/units.ts";
import type { Log } from "../../io/log.ts";
import type { SettlementMetrics } from "../metrics.ts";
import type { TermsSource } from "../terms/terms-source.ts";
import type { LedgerWriter } from "./ledger-writer.ts";
import type { Producers } from "./producers.ts";

/** What posting works with. */
export interface IngestOptions {
  readonly writer: LedgerWriter;
  readonly terms: TermsSource;
  readonly metrics: SettlementMetrics;
  readonly log: Log;
  readonly producers: Producers;
  /** From a key that is the operator's alone. */
  readonly saltOf: SaltOf;
  readonly queueRecordsMax?: number;
  /** Nothing from after it is posted; left out where old records are posted again. */
  readonly nowUs?: () => InstantUs;
}
