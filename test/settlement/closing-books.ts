import { Registry as Metrics } from "prom-client";
import { defaultContract } from "../../services/core/settlement/terms/contract.ts";
import {
  defaultPairTerms,
  type PairTerms,
} from "../../services/core/settlement/terms/pair-terms.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { InstantUs, PairId } from "../../services/core/units.ts";
import { systemClock } from "../../services/io/clock.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { openLog } from "../../services/io/log.ts";
import { Agreements } from "../../services/settlement/terms/agreements.ts";
import { ClosedPeriods } from "../../services/settlement/statements/closed-periods.ts";
import { Ingest } from "../../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import { Packages } from "../../services/settlement/packages/packages.ts";
import { Producers } from "../../services/settlement/ingest/producers.ts";
import {
  Statements,
  type StatementSources,
} from "../../services/settlement/statements/statements.ts";
import { trueUpsFrom } from "../../services/settlement/statements/true-ups.ts";
import { sha256 } from "../core/settlement/fixtures.ts";
import { buyBook, channel, rateRule, sellBook } from "../core/settlement/market.ts";

const log = openLog({ role: "test", level: "silent" });

/** All tokens of a period at the price of the tier that their sum is in. */
const volumeTiers = [
  { fromTokens: 0n, pricePicoPerToken: 1_999_501n },
  { fromTokens: 150n, pricePicoPerToken: 1_111_111n },
];

export const volumeBook: PriceBook = {
  ...buyBook,
  lines: buyBook.lines.map((line) =>
    line.tokenClass === "response"
      ? { ...line, tiers: volumeTiers.slice(0, 1), volumeTiers }
      : line,
  ),
};

export type Commitment = Pick<PairTerms, "period" | "minimumNano" | "discountPpm">;

/** Settlement that posts and closes over a store, with terms that have something to true up. */
export async function openClosing(
  store: LedgerStore,
  options: {
    readonly commitment: Commitment;
    readonly nowUs: () => InstantUs;
    readonly sources?: Partial<StatementSources>;
  },
) {
  const { commitment, nowUs } = options;
  const closed = await ClosedPeriods.load(store);
  const known = (id: string, version: bigint) =>
    id === volumeBook.id && version === volumeBook.version ? volumeBook : undefined;
  const agreements = new Agreements({
    buyBooks: { known, find: async (id, version) => known(id, version) },
    firstOpenOf: (pair) => closed.firstOpenOf(pair),
    packagesOf: (tenant, openedUs) => packages.catalog.valid(tenant, openedUs),
  });
  const { touBasis, touGraceUs, attemptNanoMax } = defaultContract;
  agreements.addContract({
    ...{ ...defaultContract, ...commitment },
    ...{ id: "northgrid", pair: "vendor:northgrid" as PairId },
  });
  agreements.addContract({
    ...{ ...defaultPairTerms, ...commitment, touBasis, touGraceUs, attemptNanoMax },
    ...{ id: "acme", pair: "tenant:acme" as PairId, sellBook: sellBook.id, channel },
    ...{ creditNano: undefined, splitRule: rateRule.id },
  });
  agreements.addBook(sellBook);
  agreements.addSplitRule({
    ...rateRule,
    parts: rateRule.parts.filter(({ part }) => part !== "model"),
  });
  const writer: LedgerWriter = new LedgerWriter({ store, log });
  const { bookingOf } = agreements;
  const packages: Packages = new Packages({
    ...{ store, writer, holds: writer.holds, nowUs, bookingOf, expiryGraceUs: 0n },
  });
  writer.onCommitted((batch) => packages.onCommitted(batch));
  const metrics = new SettlementMetrics(new Metrics());
  const ingest = new Ingest({
    ...{ writer, terms: agreements, metrics, log, nowUs },
    producers: new Producers({ states: [], clock: systemClock, onLost: () => undefined }),
    saltOf: (record) => `salt of ${record}`,
  });
  const termsOf = (pair: PairId, us: InstantUs): PairTerms =>
    agreements.contractOf(pair, us) ?? { ...defaultPairTerms, period: commitment.period };
  const { lineOf, ruleOf } = agreements;
  const statements = new Statements({
    ...{ store, writer, closed, metrics, log, nowUs, domain: "grid.example" },
    sources: {
      termsOf: (pair, us) => ({ ...termsOf(pair, us), hash: sha256("contract") }),
      sign: () => undefined,
      trueUps: trueUpsFrom({ store, closed, lineOf, ruleOf, bookingOf, termsOf, nowUs }),
      recon: async () => undefined,
      gatewaysBehind: () => [],
      unwitnessedSinceUs: () => undefined,
      calendars: () => [],
      ...options.sources,
    },
  });
  return { ingest, writer, statements, closed, agreements, packages };
}

export const closingPairs: readonly PairId[] = [
  "vendor:northgrid" as PairId,
  "tenant:acme" as PairId,
  channel,
];
