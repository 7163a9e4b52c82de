import type { InstantUs, ModelId, Nano, PackageId, TenantId } from "../../units.ts";
import type { Allotment } from "./departments.ts";
import type { Unit } from "../ledger/ledger.ts";
import { atLeastOne } from "./coverage.ts";
import { tokenClasses, type TokenClass, type Tokens } from "../counting/usage.ts";

/** Units that one token burns: `num` in the grain of the unit over the book's denominator. */
export interface BurnRate {
  /** `*` is every model without a rate of its own. */
  readonly model: ModelId | "*";
  /** `*` is every class without a rate of its own. */
  readonly tokenClass: TokenClass | "*";
  readonly num: bigint;
}

/**
 * What tokens of a model burn of a package. Micro-points per token have the denominator 1,000, since the ledger's grain is a
 * thousandth of a point; weights of classes in a package of tokens have their own.
 */
export interface BurnBook {
  readonly den: bigint;
  readonly rates: readonly BurnRate[];
}

/** What may be bought. A change is a new version; what was sold keeps its own. */
export interface Sku {
  readonly id: string;
  readonly version: bigint;
  readonly title: string;
  /** Who sells it so, for presets. */
  readonly operator: string;
  readonly kind: "tokens" | "points";
  /** In the grain of the unit: tokens, or thousandths of a point. */
  readonly quantity: bigint;
  readonly priceNano: Nano;
  /** From the purchase on. */
  readonly validityUs: bigint;
  readonly burn: BurnBook;
  /** When it is used up: `payg` goes on at the sell book, `stop` refuses, in the middle of an answer too. */
  readonly overage: "payg" | "stop";
  /** Lower is used first. */
  readonly priority: number;
  /** What a refund gives back of the unreleased value of unused units, in millionths. 0: it cannot be refunded. */
  readonly refundPpm: bigint;
  readonly effectiveFromUs: InstantUs;
  /** Where it was read, and what sources do not agree on. */
  readonly source: string;
}

/** The same id again is the same purchase. */
export interface Purchase {
  readonly id: PackageId;
  readonly tenant: TenantId;
  readonly sku: string;
  readonly skuVersion: bigint;
  readonly atUs: InstantUs;
  readonly expiresUs: InstantUs;
}

/** A plan of who may use how much of a package. It replaces the one before. */
export interface Allocation {
  /** `<package>:<n>`. */
  readonly id: string;
  readonly package: PackageId;
  readonly atUs: InstantUs;
  readonly allotments: readonly Allotment[];
}

export interface Refund {
  readonly id: string;
  readonly package: PackageId;
  readonly atUs: InstantUs;
  readonly units: bigint;
  readonly refundNano: Nano;
  /** Of the value of the units, kept by the rule of the sku. */
  readonly keptNano: Nano;
}

/** Units of a package whose time was over. */
export interface Expiry {
  /** `<package>:<n>`. */
  readonly id: string;
  readonly package: PackageId;
  readonly atUs: InstantUs;
  readonly units: bigint;
  readonly valueNano: Nano;
}

/** A package that a tenant bought, with the plan in force. Its units are in the ledger's balances. */
export interface TokenPackage {
  readonly id: PackageId;
  readonly tenant: TenantId;
  readonly sku: Sku;
  readonly unit: Unit;
  readonly startsUs: InstantUs;
  readonly expiresUs: InstantUs;
  readonly plan: readonly Allotment[];
  /** Everybody who ever had a wallet: units may be left in it. The shared one is ``. */
  readonly paths: readonly string[];
  readonly refundedUnits: bigint;
  readonly refundedNano: Nano;
  readonly expiredUnits: bigint;
  /** Of the price: what was paid for units that expired, and what refunds kept. */
  readonly breakageNano: Nano;
  /** How often it was allocated, and how often some of it expired. */
  readonly allocations: bigint;
  readonly expiries: bigint;
}

/** Of the sku's unit; a package of tokens is a unit of its own, since a token of one is no token of another. */
export function unitOf({ id, kind }: Pick<Sku, "id" | "kind">): Unit {
  return kind === "points" ? "POINT:milli" : `TOK-${id}:1`;
}

/**
 * Units that a record needs, from its tokens alone: exact over its classes, then rounded once, to 0 only where
 * they burn nothing. Undefined: the package does not know the model.
 */
export function needOf(burn: BurnBook, model: ModelId, tokens: Tokens): bigint | undefined {
  let num = 0n;
  for (const tokenClass of tokenClasses) {
    const rate = burnRateOf(burn, model, tokenClass);
    if (rate === undefined) return undefined;
    num += rate.num * tokens[tokenClass];
  }
  return atLeastOne(num, burn.den);
}

/** The one that says most: of the model before that of all, of the class before that of all. */
function burnRateOf(
  { rates }: BurnBook,
  model: ModelId,
  tokenClass: TokenClass,
): BurnRate | undefined {
  const find = (ofModel: string, ofClass: string): BurnRate | undefined =>
    rates.find((rate) => rate.model === ofModel && rate.tokenClass === ofClass);
  return find(model, tokenClass) ?? find(model, "*") ?? find("*", tokenClass) ?? find("*", "*");
}

/** Tokens of which one unit would be enough, at most: a package in coarser units covers nobody's use rightly. */
const burnDenMax = 1_000_000_000n;

/** What is wrong with a new version of a sku; empty if nothing. */
export function skuMistakes(sku: Sku, previous: Sku | undefined): string[] {
  const mistakes: string[] = [];
  const expect = (isRight: boolean, text: string): void => {
    if (!isRight) mistakes.push(text);
  };
  const { version, quantity, priceNano, validityUs, burn, refundPpm } = sku;
  const next = (previous?.version ?? 0n) + 1n;
  expect(version === next, `version: expected ${next}, found ${version}`);
  expect(
    previous === undefined || previous.kind === sku.kind,
    `kind: expected ${previous?.kind} as in version ${previous?.version}, found ${sku.kind}`,
  );
  expect(quantity > 0n, `quantity: expected more than 0, found ${quantity}`);
  expect(priceNano >= 0n, `price_nano: expected 0 or more, found ${priceNano}`);
  expect(validityUs > 0n, `validity_us: expected more than 0, found ${validityUs}`);
  expect(
    refundPpm >= 0n && refundPpm <= 1_000_000n,
    `refund_ppm: expected 0..1000000, found ${refundPpm}`,
  );
  expect(burn.den > 0n, `burn.denominator: expected more than 0, found ${burn.den}`);
  expect(
    burn.den <= burnDenMax,
    `burn.denominator: expected up to ${burnDenMax}, found ${burn.den}`,
  );
  expect(burn.rates.length > 0, "burn.rates: expected at least one, found none");
  for (const [index, { model, tokenClass, num }] of burn.rates.entries()) {
    const where = `burn.rates[${index}]`;
    expect(num >= 0n, `${where}.numerator: expected 0 or more, found ${num}`);
    const first = burn.rates.findIndex((r) => r.model === model && r.tokenClass === tokenClass);
    expect(first === index, `${where}: ${model} ${tokenClass} is also burn.rates[${first}]`);
  }
  for (const model of new Set(burn.rates.map((rate) => rate.model))) {
    const missing = tokenClasses.find(
      (each) => burnRateOf(burn, model as ModelId, each) === undefined,
    );
    expect(missing === undefined, `burn.rates: ${model} has no rate for ${missing}`);
  }
  return mistakes;
}

/** All that is known of packages, from their documents in order. */
export class TokenPackages {
  readonly #skus = new Map<string, Sku[]>();
  readonly #packages = new Map<PackageId, TokenPackage>();
  readonly #byTenant = new Map<TenantId, PackageId[]>();

  addSku(sku: Sku): void {
    this.#skus.set(sku.id, [...(this.#skus.get(sku.id) ?? []), sku]);
  }

  addPurchase(purchase: Purchase): void {
    const { id, tenant, atUs, expiresUs } = purchase;
    const sku = this.sku(purchase.sku, purchase.skuVersion);
    if (sku === undefined || this.#packages.has(id)) return;
    const times = { startsUs: atUs, expiresUs };
    const bought = { id, tenant, sku, unit: unitOf(sku), ...times, plan: [], paths: [""] };
    const counts = { refundedUnits: 0n, refundedNano: 0n, expiredUnits: 0n, breakageNano: 0n };
    this.#packages.set(id, { ...bought, ...counts, allocations: 0n, expiries: 0n });
    this.#byTenant.set(tenant, [...(this.#byTenant.get(tenant) ?? []), id]);
  }

  addAllocation({ package: id, allotments }: Allocation): void {
    this.#change(id, ({ paths, allocations }) => ({
      plan: allotments,
      paths: [...new Set([...paths, ...allotments.map(({ path }) => path)])],
      allocations: allocations + 1n,
    }));
  }

  addRefund({ package: id, units, refundNano, keptNano }: Refund): void {
    this.#change(id, ({ refundedUnits, refundedNano, breakageNano }) => ({
      refundedUnits: refundedUnits + units,
      refundedNano: refundedNano + refundNano,
      breakageNano: breakageNano + keptNano,
    }));
  }

  addExpiry({ package: id, units, valueNano }: Expiry): void {
    this.#change(id, ({ expiredUnits, breakageNano, expiries }) => ({
      expiredUnits: expiredUnits + units,
      breakageNano: breakageNano + valueNano,
      expiries: expiries + 1n,
    }));
  }

  sku(id: string, version: bigint): Sku | undefined {
    return this.#skus.get(id)?.find((sku) => sku.version === version);
  }

  /** Newest last. */
  versions(id: string): readonly Sku[] {
    return this.#skus.get(id) ?? [];
  }

  /** The newest version of each that has begun. */
  skusAt(atUs: InstantUs): readonly Sku[] {
    const newest = [...this.#skus.values()].map((versions) =>
      versions.findLast((sku) => sku.effectiveFromUs <= atUs),
    );
    return newest.filter((sku) => sku !== undefined);
  }

  package(id: PackageId): TokenPackage | undefined {
    return this.#packages.get(id);
  }

  packages(): readonly TokenPackage[] {
    return [...this.#packages.values()];
  }

  /** In the order of their purchases. */
  ofTenant(tenant: TenantId): readonly TokenPackage[] {
    const found = (this.#byTenant.get(tenant) ?? []).map((id) => this.#packages.get(id));
    return found.filter((each) => each !== undefined);
  }

  /** Those that may cover what was opened at an instant. */
  valid(tenant: TenantId, openedUs: InstantUs): readonly TokenPackage[] {
    return this.ofTenant(tenant).filter(
      ({ startsUs, expiresUs }) => startsUs <= openedUs && openedUs < expiresUs,
    );
  }

  #change(id: PackageId, by: (before: TokenPackage) => Partial<TokenPackage>): void {
    const before = this.#packages.get(id);
    if (before !== undefined) this.#packages.set(id, { ...before, ...by(before) });
  }
}
