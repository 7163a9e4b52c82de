import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AllotmentAsk, AllotmentMode } from "../core/settlement/packages/departments.ts";
import type { PackageReport, WalletReport } from "../core/settlement/packages/package-report.ts";
import type { BurnBook, BurnRate, Sku } from "../core/settlement/packages/token-package.ts";
import type { TokenClass, Tokens } from "../core/settlement/counting/usage.ts";
import type { InstantUs, ModelId } from "../core/units.ts";
import { required, words } from "./field.ts";
import * as gen from "./gen/tokengrid/v1/package_pb.js";
import { TokenClass as TokenClassValue } from "./gen/tokengrid/v1/price_pb.js";

export const packageUnitWords = words<Sku["kind"], gen.PackageUnit>({
  tokens: gen.PackageUnit.TOKENS,
  points: gen.PackageUnit.POINTS,
});

export const overageWords = words<Sku["overage"], gen.Overage>({
  payg: gen.Overage.PAYG,
  stop: gen.Overage.STOP,
});

export const allotmentModeWords = words<AllotmentMode, gen.AllotmentMode>({
  hard: gen.AllotmentMode.HARD,
  cap: gen.AllotmentMode.CAP,
  guarantee: gen.AllotmentMode.GUARANTEE,
});

const burnClassWords = words<TokenClass, TokenClassValue>({
  uncachedInput: TokenClassValue.UNCACHED_INPUT,
  cacheRead: TokenClassValue.CACHE_READ,
  cacheWrite: TokenClassValue.CACHE_WRITE,
  response: TokenClassValue.RESPONSE,
  reasoning: TokenClassValue.REASONING,
});

/** Without an instant of its own it is in force from `nowUs` on. */
export function toSku(message: gen.Sku, nowUs: InstantUs): Sku {
  return {
    id: required("sku_id", message.skuId),
    version: message.version,
    title: message.title,
    operator: message.operator,
    kind: packageUnitWords.toWord("unit", message.unit),
    quantity: message.quantity,
    priceNano: message.priceNano,
    validityUs: message.validityUs,
    burn: toBurnBook(required("burn", message.burn)),
    overage: overageWords.toWord("overage", message.overage),
    priority: message.priority,
    refundPpm: BigInt(message.refundPpm),
    effectiveFromUs: message.effectiveFromUs === 0n ? nowUs : message.effectiveFromUs,
    source: message.source,
  };
}

export function fromSku(sku: Sku): MessageInitShape<typeof gen.SkuSchema> {
  const { id, kind, burn, overage, refundPpm, ...same } = sku;
  return {
    ...same,
    skuId: id,
    unit: packageUnitWords.fromWord(kind),
    burn: fromBurnBook(burn),
    overage: overageWords.fromWord(overage),
    refundPpm: Number(refundPpm),
  };
}

export function toBurnBook({ denominator, rates }: gen.BurnBook): BurnBook {
  return {
    den: denominator,
    rates: rates.map(({ modelId, tokenClass, numerator: num }) => ({
      model: modelId as ModelId,
      tokenClass: toBurnClass(tokenClass),
      num,
    })),
  };
}

export function fromBurnBook({
  den,
  rates,
}: BurnBook): MessageInitShape<typeof gen.BurnBookSchema> {
  return {
    denominator: den,
    rates: rates.map(({ model, tokenClass, num }) => ({
      modelId: model,
      tokenClass:
        tokenClass === "*" ? TokenClassValue.UNSPECIFIED : burnClassWords.fromWord(tokenClass),
      numerator: num,
    })),
  };
}

export function toAllotmentAsk({ path, mode, units, ppm }: gen.Allotment): AllotmentAsk {
  return {
    path,
    mode: allotmentModeWords.toWord("mode", mode),
    units,
    ppm: ppm === undefined ? undefined : BigInt(ppm),
  };
}

export function fromPackageReport(
  report: PackageReport,
): MessageInitShape<typeof gen.TokenPackageSchema> {
  const { package: each, used, left, held, releasedNano, prepaidNano } = report;
  const { sku, plan } = each;
  return {
    packageId: each.id,
    tenantId: each.tenant,
    skuId: sku.id,
    skuVersion: sku.version,
    unit: packageUnitWords.fromWord(sku.kind),
    startsUs: each.startsUs,
    expiresUs: each.expiresUs,
    ...{ quantity: sku.quantity, used, left, held },
    refunded: each.refundedUnits,
    expired: each.expiredUnits,
    ...{ priceNano: sku.priceNano, releasedNano, prepaidNano },
    ...{ refundedNano: each.refundedNano, breakageNano: each.breakageNano },
    allotments: plan.map(({ path, mode, units }) => {
      return { path, mode: allotmentModeWords.fromWord(mode), units };
    }),
    overage: overageWords.fromWord(sku.overage),
  };
}

export function fromWalletReport(report: WalletReport): MessageInitShape<typeof gen.WalletSchema> {
  const { package: each, path, mode, units, held, used } = report;
  return {
    packageId: each.id,
    tenantId: each.tenant,
    unit: packageUnitWords.fromWord(each.sku.kind),
    ...{ path, units, held, used },
    ...(mode && { mode: allotmentModeWords.fromWord(mode) }),
  };
}

export function toAskedTokens(message: gen.AcquireSliceRequest): Tokens {
  return {
    uncachedInput: message.uncachedInputTokens,
    cacheRead: message.cacheReadTokens,
    cacheWrite: message.cacheWriteTokens,
    response: message.responseTokens,
    reasoning: message.reasoningTokens,
  };
}

export function fromAskedTokens(
  tokens: Tokens,
): MessageInitShape<typeof gen.AcquireSliceRequestSchema> {
  return {
    uncachedInputTokens: tokens.uncachedInput,
    cacheReadTokens: tokens.cacheRead,
    cacheWriteTokens: tokens.cacheWrite,
    responseTokens: tokens.response,
    reasoningTokens: tokens.reasoning,
  };
}

/** Unspecified stands for all that have no rate of their own. */
function toBurnClass(value: TokenClassValue): BurnRate["tokenClass"] {
  return value === TokenClassValue.UNSPECIFIED ? "*" : burnClassWords.toWord("token_class", value);
}
