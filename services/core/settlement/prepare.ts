import type { Sha256 } from "./canonical.ts";
import {
  hourKey,
  lineIdOf,
  priceUsage,
  type HourKey,
  type PricedLine,
  type PriceReason,
  type RatingKey,
} from "./charge.ts";
import type { Contract, CostSide } from "./contract.ts";
import { settleCounts, type CountReason, type Usage } from "./count-rule.ts";
import { periodNameAt } from "./period.ts";
import type { PriceBook } from "./price-book.ts";
import { toRecordText } from "./record-text.ts";
import type { UsageRecord } from "./usage.ts";

export type DoubtReason = CountReason | PriceReason | "revision-mismatch";

/** A record with its bytes and with what the rules make of it, before the ledger's state is looked at. */
export interface Prepared {
  readonly record: UsageRecord;
  readonly rev: bigint;
  /** Canonical. */
  readonly text: string;
  readonly hash: string;
  readonly finding: Owing | Doubtful;
}

export interface Owing {
  readonly kind: "owing";
  readonly usage: Usage;
  readonly slot: string;
  readonly cost: CostSide;
  /** Of the key on which its tokens cumulate. */
  readonly period: string;
  readonly lines: readonly (PricedLine & { readonly key: RatingKey; readonly hour: HourKey })[];
}

export interface Doubtful {
  readonly kind: "doubtful";
  readonly reason: DoubtReason;
  readonly detail: string;
}

/** Applies the contract and the price book; looks at nothing but its arguments. */
export function prepare(
  record: UsageRecord,
  options: {
    readonly rev: bigint;
    readonly contract: Contract;
    readonly book: PriceBook | undefined;
    readonly sha256: Sha256;
  },
): Prepared {
  const { rev, contract, book, sha256 } = options;
  const text = toRecordText(record);
  return { record, rev, text, hash: sha256(text), finding: findingOf(record, contract, book) };
}

function findingOf(
  record: UsageRecord,
  contract: Contract,
  book: PriceBook | undefined,
): Owing | Doubtful {
  const usage = settleCounts(record, contract);
  if (usage.kind === "doubtful") return usage;
  const pricing = priceUsage(usage, book, contract);
  if (pricing.kind === "doubtful") return pricing;
  const owed = contract.owed[usage.ending];
  const period = periodNameAt(record.openedUs, contract.period, contract.timeZone);
  return {
    kind: "owing",
    usage,
    slot: pricing.slot,
    cost: record.isWinner ? owed.cost : owed.costUnlessWinner,
    period,
    lines: pricing.lines.map((priced) => {
      const line = lineIdOf(priced);
      const key = { vendor: record.vendor, period, line, pool: record.pool };
      return { ...priced, key, hour: hourKey(record, line) };
    }),
  };
}
