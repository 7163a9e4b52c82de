import type { ModelId, PackageId, TenantId } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import type { AllotmentMode } from "./departments.ts";
import type {
  Allocation,
  BurnRate,
  Expiry,
  Purchase,
  Refund,
  Sku,
  TokenPackages,
} from "./token-package.ts";
import { tokenClasses, tokenClassNames } from "../counting/usage.ts";

/** Documents that packages are made of, by kind. */
export const packageKinds = ["sku", "purchase", "allocation", "refund", "expiry"] as const;
export type PackageKind = (typeof packageKinds)[number];

export function toSkuText(sku: Sku): string {
  const { id, version, title, operator, kind, quantity, priceNano, validityUs, burn } = sku;
  const { overage, priority, refundPpm, effectiveFromUs, source } = sku;
  const rates = burn.rates.map(({ model, tokenClass, num }) => {
    return { model_id: model, token_class: classText(tokenClass), num };
  });
  return canonicalJson({
    ...{ type: "sku", v: "1", sku_id: id, version, title, operator, kind, quantity },
    ...{ price_nano: priceNano, validity_us: validityUs, overage, priority: BigInt(priority) },
    ...{ refund_ppm: refundPpm, effective_from_us: effectiveFromUs, source },
    burn: { den: burn.den, rates },
  });
}

/** What was paid and when it ends stand in it: the expiry is booked with the purchase. */
export function toPurchaseText(purchase: Purchase, sku: Sku): string {
  const { id, tenant, skuVersion, atUs, expiresUs } = purchase;
  return canonicalJson({
    ...{ type: "purchase", v: "1", package_id: id, tenant_id: tenant, sku_id: purchase.sku },
    ...{ sku_version: skuVersion, at_us: atUs, expires_us: expiresUs },
    ...{ quantity: sku.quantity, price_nano: sku.priceNano },
  });
}

export function toAllocationText(allocation: Allocation): string {
  const { id, package: packageId, atUs, allotments } = allocation;
  return canonicalJson({
    ...{ type: "allocation", v: "1", allocation_id: id, package_id: packageId, at_us: atUs },
    allotments: allotments.map(({ path, mode, units }) => ({ path, mode, units })),
  });
}

export function toRefundText(refund: Refund): string {
  const { id, package: packageId, atUs, units, refundNano, keptNano } = refund;
  return canonicalJson({
    ...{ type: "refund", v: "1", refund_id: id, package_id: packageId, at_us: atUs, units },
    ...{ refund_nano: refundNano, kept_nano: keptNano },
  });
}

export function toExpiryText({ id, package: packageId, atUs, units, valueNano }: Expiry): string {
  return canonicalJson({
    ...{ type: "expiry", v: "1", expiry_id: id, package_id: packageId, at_us: atUs, units },
    value_nano: valueNano,
  });
}

/** One document of the ledger, in the order of its `seq`. Others change nothing. */
export function applyDocument(
  packages: TokenPackages,
  { kind, body }: { readonly kind: string; readonly body: string },
): void {
  if (kind === "sku") packages.addSku(readSku(body));
  if (kind === "purchase") packages.addPurchase(readPurchase(body));
  if (kind === "allocation") packages.addAllocation(readAllocation(body));
  if (kind === "refund") packages.addRefund(readRefund(body));
  if (kind === "expiry") packages.addExpiry(readExpiry(body));
}

/** What we wrote ourselves: strings, and lists and objects of them. */
interface Written {
  readonly [name: string]: string | Written | readonly Written[];
}

function readSku(body: string): Sku {
  const from = read(body);
  const burn = from["burn"] as Written;
  const rates = burn["rates"] as readonly Written[];
  return {
    id: text(from, "sku_id"),
    version: count(from, "version"),
    title: text(from, "title"),
    operator: text(from, "operator"),
    kind: text(from, "kind") as Sku["kind"],
    quantity: count(from, "quantity"),
    priceNano: count(from, "price_nano"),
    validityUs: count(from, "validity_us"),
    burn: { den: count(burn, "den"), rates: rates.map(readRate) },
    overage: text(from, "overage") as Sku["overage"],
    priority: Number(count(from, "priority")),
    refundPpm: count(from, "refund_ppm"),
    effectiveFromUs: count(from, "effective_from_us"),
    source: text(from, "source"),
  };
}

function readRate(from: Written): BurnRate {
  const name = text(from, "token_class");
  const tokenClass = tokenClasses.find((each) => tokenClassNames[each] === name) ?? "*";
  return { model: text(from, "model_id") as ModelId, tokenClass, num: count(from, "num") };
}

function readPurchase(body: string): Purchase {
  const from = read(body);
  return {
    id: text(from, "package_id") as PackageId,
    tenant: text(from, "tenant_id") as TenantId,
    sku: text(from, "sku_id"),
    skuVersion: count(from, "sku_version"),
    atUs: count(from, "at_us"),
    expiresUs: count(from, "expires_us"),
  };
}

function readAllocation(body: string): Allocation {
  const from = read(body);
  const allotments = from["allotments"] as readonly Written[];
  return {
    id: text(from, "allocation_id"),
    package: text(from, "package_id") as PackageId,
    atUs: count(from, "at_us"),
    allotments: allotments.map((each) => ({
      path: text(each, "path"),
      mode: text(each, "mode") as AllotmentMode,
      units: count(each, "units"),
    })),
  };
}

export function readRefund(body: string): Refund {
  const from = read(body);
  return {
    id: text(from, "refund_id"),
    package: text(from, "package_id") as PackageId,
    atUs: count(from, "at_us"),
    units: count(from, "units"),
    refundNano: count(from, "refund_nano"),
    keptNano: count(from, "kept_nano"),
  };
}

function readExpiry(body: string): Expiry {
  const from = read(body);
  return {
    id: text(from, "expiry_id"),
    package: text(from, "package_id") as PackageId,
    atUs: count(from, "at_us"),
    units: count(from, "units"),
    valueNano: count(from, "value_nano"),
  };
}

function read(body: string): Written {
  return JSON.parse(body) as Written;
}

function text(from: Written, name: string): string {
  const value = from[name];
  if (typeof value === "string") return value;
  throw new Error(`expected the text ${name} in a document, found ${typeof value}`);
}

function count(from: Written, name: string): bigint {
  return BigInt(text(from, name));
}

function classText(tokenClass: BurnRate["tokenClass"]): string {
  return tokenClass === "*" ? "*" : tokenClassNames[tokenClass];
}
