import { expect } from "vitest";
import {
  planAllocation,
  type AllotmentAsk,
} from "../../../services/core/settlement/packages/departments.ts";
import {
  end,
  OpenHolds,
  reserve,
  sliceId,
  type Hold,
} from "../../../services/core/settlement/packages/hold.ts";
import {
  accountKeyOf,
  balanceText,
  movements,
  addBalances,
  noBalance,
  prepaidAccount,
  type Balance,
  type LedgerEntry,
  type Unit,
} from "../../../services/core/settlement/ledger/ledger.ts";
import {
  allocationEntries,
  expiredAccount,
  expiryEntries,
  planRefund,
  purchaseEntries,
} from "../../../services/core/settlement/packages/package-entries.ts";
import {
  usedAccount,
  pathWallet,
} from "../../../services/core/settlement/packages/sale-entries.ts";
import {
  reverseSaleEntries,
  saleEntries,
} from "../../../services/core/settlement/packages/sale-entries.ts";
import { settleSale, type Sale } from "../../../services/core/settlement/packages/sale.ts";
import { defaultSplitRule, sumOf } from "../../../services/core/settlement/packages/split.ts";
import {
  TokenPackages,
  type Sku,
  type TokenPackage,
} from "../../../services/core/settlement/packages/token-package.ts";
import { noTokens } from "../../../services/core/settlement/counting/usage.ts";
import {
  accountsOf,
  freeIn,
  unitsIn,
  Wallets,
  type DrawKey,
} from "../../../services/core/settlement/packages/wallet.ts";
import type {
  AttemptId,
  GatewayId,
  InstantUs,
  ModelId,
  PackageId,
  PairId,
  RequestId,
  TenantId,
} from "../../../services/core/units.ts";

export const acme = "acme" as TenantId;
export const model = "qwen3-32b" as ModelId;

export function sku(changes: Partial<Sku> = {}): Sku {
  return {
    ...{ id: "pro", version: 1n, title: "professional", operator: "grid", kind: "tokens" },
    ...{ quantity: 70_000_000n, priceNano: 159_900_000_000n, validityUs: 1_000n },
    burn: { den: 1n, rates: [{ model: "*", tokenClass: "*", num: 1n }] },
    ...{ overage: "payg", priority: 100, refundPpm: 1_000_000n, effectiveFromUs: 0n, source: "" },
    ...changes,
  };
}

/** A record of so many uncached tokens at a nano-CNY price for all of them. */
export interface Used {
  readonly attempt: string;
  readonly tokens: bigint;
  readonly saleNano: bigint;
  readonly key: Omit<DrawKey, "tenant">;
  readonly rateNano?: bigint;
}

/** The packages of a tenant in a ledger in memory: what is posted is checked as it comes. */
export class PackageLedger {
  readonly packages = new TokenPackages();
  readonly holds = new OpenHolds();
  readonly ended: Hold[] = [];
  readonly sales = new Map<string, Sale>();
  readonly #balances = new Map<string, Balance>();
  readonly #ids = new Set<string>();

  buy(id: string, from: Sku, atUs: InstantUs): TokenPackage {
    if (this.packages.sku(from.id, from.version) === undefined) this.packages.addSku(from);
    const expiresUs = atUs + from.validityUs;
    const sold = { sku: from.id, skuVersion: from.version };
    const purchase = { id: id as PackageId, tenant: acme, ...sold, atUs, expiresUs };
    this.packages.addPurchase(purchase);
    this.post(purchaseEntries(purchase, from));
    return this.package(id);
  }

  package(id: string): TokenPackage {
    const found = this.packages.package(id as PackageId);
    if (found === undefined) throw new Error(`expected package ${id}, found none`);
    return found;
  }

  wallets(): Wallets {
    const keys = accountsOf(this.packages.packages()).map(balanceText);
    return new Wallets(new Map(keys.map((key) => [key, this.balanceOf(key)])), this.holds);
  }

  /** Posts a record; a second one of the same attempt takes the place of the first. */
  sell({ attempt, tokens, saleNano, key, rateNano = 0n }: Used): Sale {
    const before = this.sales.get(attempt);
    const rev = before === undefined ? 0n : before.rev + 1n;
    const record = `${attempt}:${rev}`;
    const wallets = this.wallets();
    const back = before === undefined ? [] : reverseSaleEntries(before, record, key.openedUs);
    wallets.post(back);
    const drawKey = { ...key, tenant: acme };
    const valid = this.packages.valid(acme, key.openedUs);
    const sale = settleSale({
      ...{ record, attempt: attempt as AttemptId, rev, request: attempt as RequestId },
      ...{ tenant: acme, model, tokens: { ...noTokens, uncachedInput: tokens } },
      charges: [{ line: "sell:1:in", tokens, pico: saleNano * 1_000n, amountNano: saleNano }],
      packages: valid.map((each) => wallets.stateOf(each, drawKey)),
      rateParts: [
        { part: "computing", party: "vendor:v" as PairId, way: "rate", amountNano: rateNano },
      ],
      rule: defaultSplitRule,
      parties: { computing: "vendor:v" as PairId, model: undefined, channel: undefined },
    });
    const changed = wallets.drawn(sale);
    this.post([...back, ...saleEntries(sale, key.openedUs)]);
    this.#apply(changed);
    this.sales.set(attempt, sale);
    return sale;
  }

  allocate(id: string, asks: readonly AllotmentAsk[], atUs: InstantUs): "planned" | "refused" {
    const each = this.package(id);
    const plan = planAllocation(asks, this.wallets().freeOf(each), each.sku.quantity);
    if (plan.kind === "refused") return plan.kind;
    const allocation = `${id}:${each.allocations + 1n}`;
    this.post(allocationEntries(each, plan.moves, { allocation, atUs }));
    const { allotments } = plan;
    this.packages.addAllocation({ id: allocation, package: each.id, atUs, allotments });
    return plan.kind;
  }

  refund(id: string, refund: string, ask: { units: bigint; atUs: InstantUs }): bigint | undefined {
    const each = this.package(id);
    const plan = planRefund(this.#withdrawal(each, ask.atUs), { id: refund, units: ask.units });
    if (plan.kind === "refused") return undefined;
    this.post(plan.entries);
    this.packages.addRefund(plan.refund);
    return plan.refund.refundNano;
  }

  expire(id: string, atUs: InstantUs): void {
    const each = this.package(id);
    const expiry = `${id}:${each.expiries + 1n}`;
    const { units, valueNano, entries } = expiryEntries(this.#withdrawal(each, atUs), expiry);
    this.post(entries);
    this.packages.addExpiry({ id: expiry, package: each.id, atUs, units, valueNano });
  }

  /** A slice of a wallet for a gateway; undefined if it is refused. */
  slice(
    id: string,
    ask: { path: string; gateway: GatewayId; key: string; units: bigint; atUs: InstantUs },
  ): Hold | undefined {
    const each = this.package(id);
    const debit = pathWallet(acme, ask.path, each.id);
    const free = freeIn(this.balanceOf(balanceText({ unit: each.unit, account: debit })));
    const name = { id: sliceId(ask.gateway, ask.key), unit: each.unit };
    const asked = { ...name, debit, credit: "slice:r1:acme", amount: ask.units };
    const reserved = reserve({ ...asked, expiresUs: ask.atUs + 10n }, free, ask.atUs);
    if (reserved.kind === "refused") return undefined;
    this.post(reserved.entries);
    this.#apply([reserved.hold]);
    return reserved.hold;
  }

  endSlice(hold: Hold, atUs: InstantUs): void {
    const { hold: after, entries } = end(hold, "expired", atUs);
    this.post(entries);
    this.#apply([after]);
  }

  balanceOf(key: string): Balance {
    return this.#balances.get(key) ?? noBalance;
  }

  units(unit: Unit, account: string): bigint {
    return unitsIn(this.balanceOf(balanceText({ unit, account })));
  }

  post(entries: readonly LedgerEntry[]): void {
    for (const { id } of entries) {
      expect(this.#ids.has(id), `${id} is posted once`).toBe(false);
      this.#ids.add(id);
    }
    for (const [key, moved] of movements(entries)) {
      this.#balances.set(key, addBalances(this.balanceOf(key), moved));
    }
  }

  /** What must be true after everything that happens. */
  check(): void {
    for (const [key, balance] of this.#balances) {
      const { account } = accountKeyOf(key);
      const isWallet = account.startsWith("wallet:");
      const free = isWallet ? freeIn(balance) : 0n;
      expect(free >= 0n, `${account} has ${free} free`).toBe(true);
      const left = this.holds.on(account).reduce((sum, hold) => sum + hold.left, 0n);
      expect(isWallet ? balance.heldDebit : 0n, `held on ${account}`).toBe(left);
    }
    for (const each of this.packages.packages()) this.#checkPackage(each);
    for (const sale of this.sales.values()) {
      expect(sumOf(sale.parts)).toBe(sale.earnedNano);
      expect(sale.coveredNano + sale.billedNano).toBe(sale.saleNano);
    }
  }

  #checkPackage({ id, unit, sku: sold, paths, ...each }: TokenPackage): void {
    const draws = [...this.sales.values()].flatMap((sale) => sale.draws);
    const own = draws.filter((draw) => draw.package === id);
    const drawn = own.reduce((sum, { amount }) => sum + amount, 0n);
    const released = own.reduce((sum, { releasedNano }) => sum + releasedNano, 0n);
    const usedBy = new Set([...paths, ...own.map((draw) => draw.usedBy)]);
    const used = [...usedBy].map((path) => this.units(unit, usedAccount(acme, path, id)));
    const left = paths.map((path) => this.units(unit, pathWallet(acme, path, id)));
    const leftUnits = left.reduce((sum, units) => sum + units, 0n);
    expect(used.reduce((sum, units) => sum + units, 0n)).toBe(drawn);
    expect(drawn + each.refundedUnits + each.expiredUnits + leftUnits).toBe(sold.quantity);
    expect(this.units(unit, expiredAccount(acme, id))).toBe(each.expiredUnits);
    const prepaid = this.units("CNY:nano", prepaidAccount(acme, id));
    expect(prepaid >= 0n).toBe(true);
    expect(released + each.refundedNano + each.breakageNano + prepaid).toBe(sold.priceNano);
    expect(leftUnits > 0n || prepaid === 0n, `${id} is empty and has ${prepaid}`).toBe(true);
  }

  #withdrawal(each: TokenPackage, atUs: InstantUs) {
    const wallets = this.wallets();
    const key = { tenant: acme, gateway: undefined, openedUs: atUs };
    const state = wallets.stateOf(each, { ...key, department: "", project: "", scenario: "" });
    return { each, state, wallets: wallets.freeOf(each), atUs };
  }

  #apply(holds: readonly Hold[]): void {
    this.holds.apply(holds);
    this.ended.push(...holds.filter(({ state }) => state !== "open"));
  }
}
