import { create } from "@bufbuild/protobuf";
import type { Counted } from "../core/settlement/claims/counted.ts";
import type { Period } from "../core/settlement/statements/period.ts";
import { buckets } from "../core/settlement/claims/recon-judge.ts";
import type { SideTotal } from "../core/settlement/claims/recon-totals.ts";
import type { Discrepancy, Reconciliation } from "../core/settlement/claims/reconcile.ts";
import { tokenClasses, tokenClassNames, type Tokens } from "../core/settlement/counting/usage.ts";
import {
  CountedSideSchema,
  DiscrepancySchema,
  ReconcileReportSchema,
  ReconcileSideSchema,
  type CountedSide,
  type Discrepancy as WireDiscrepancy,
  type ReconcileReport,
  type ReconcileSide,
} from "./gen/tokengrid/v1/claim_pb.js";
import { PeriodSchema } from "./gen/tokengrid/v1/settlement_pb.js";

export function fromReconciliation(
  found: Reconciliation,
  of: {
    readonly vendor: string;
    readonly period: Period;
    readonly audits: readonly {
      readonly model: string;
      readonly check: string;
      readonly records: number;
      readonly period: string;
    }[];
  },
): ReconcileReport {
  return create(ReconcileReportSchema, {
    vendorId: of.vendor,
    period: create(PeriodSchema, of.period),
    buckets: buckets.map((bucket) => {
      const { ours, theirs } = found.buckets[bucket];
      return { bucket, ours: fromSide(ours), theirs: fromSide(theirs) };
    }),
    lines: found.lines.map(({ pool, model, slot, priceHash, ours, theirs }) => ({
      poolId: pool,
      modelId: model,
      slot,
      priceHash,
      ours: fromSide(ours),
      theirs: fromSide(theirs),
    })),
    breaches: found.breaches.map(({ pool, model, day, ours, theirs, gapPpm }) => ({
      poolId: pool,
      modelId: model,
      day,
      oursTokens: ours,
      theirsTokens: theirs,
      gapPpm,
    })),
    discrepancies: found.discrepancies,
    fuzzyPairs: found.fuzzyPairs,
    fuzzyCut: found.isFuzzyCut,
    audits: of.audits.map(({ model, check, records, period }) => ({
      modelId: model,
      check,
      records: BigInt(records),
      sincePeriod: period,
    })),
  });
}

export function fromDiscrepancy(found: Discrepancy): WireDiscrepancy {
  const { attempt, bucket, severity = "", reason = "", ours, theirs, amountNano, isFuzzy } = found;
  return create(DiscrepancySchema, {
    attemptId: attempt,
    bucket,
    severity,
    reason,
    ...(ours === undefined ? {} : { ours: fromCounted(ours) }),
    ...(theirs === undefined ? {} : { theirs: fromCounted(theirs) }),
    ...(amountNano === undefined ? {} : { valueNano: amountNano }),
    fuzzy: isFuzzy,
  });
}

function fromCounted({
  pool,
  model,
  slot,
  priceHash,
  tokens,
  openedUs,
  rev,
}: Counted): CountedSide {
  return create(CountedSideSchema, {
    ...{ poolId: pool, modelId: model, slot, priceHash, openedUs },
    tokensByClass: byClass(tokens),
    rev: Number(rev),
  });
}

function fromSide({ items, tokens, amountNano, unpriced }: SideTotal): ReconcileSide {
  const tokensByClass = byClass(tokens);
  return create(ReconcileSideSchema, { items, tokensByClass, valueNano: amountNano, unpriced });
}

function byClass(tokens: Tokens): Record<string, bigint> {
  return Object.fromEntries(tokenClasses.map((each) => [tokenClassNames[each], tokens[each]]));
}
