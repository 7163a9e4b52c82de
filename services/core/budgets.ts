import { dualAfter, levelOf, startingDual, type DualPrice } from "./dual-price.ts";
import type { Grant } from "./grants.ts";
import type { AttemptOutcome } from "./lease.ts";
import {
  amountIn,
  noPrices,
  roomIn,
  type Budget,
  type BudgetAmounts,
  type BudgetPrices,
  type BudgetStanding,
  type BudgetUnit,
} from "./placement/budget.ts";
import type { PlacementRequest } from "./placement/request.ts";
import { expectedAmounts, realisedAmounts } from "./realised.ts";
import { RollingSum, type Bucket } from "./rolling-sum.ts";
import type { Instant, LeaseId, PoolId, TenantId } from "./units.ts";

/**
 * Accounts of all tenants. Beyond it those that have nothing in their window go; if that makes no room, tenants that come
 * new share one account of each budget, which is never more than the limit.
 */
const ACCOUNTS_MAX = 100_000;
const everybodyElse = "*" as TenantId;
/** Below this part of the limit, a standing says when room returns. */
const RETURNS_BELOW = 1 / 8;

/** One tenant's account of one budget. */
interface Account {
  readonly key: string;
  readonly tenant: TenantId;
  budget: Budget;
  readonly window: RollingSum;
  held: number;
  /** That hold something of it. */
  leases: number;
  dual: DualPrice;
}

/** What a lease holds, until it ends. */
interface Hold {
  readonly accounts: readonly Account[];
  readonly amounts: BudgetAmounts;
}

/** An account as an operator sees it. */
export interface BudgetReport extends BudgetStanding {
  readonly tenant: TenantId;
}

/** The whole state, as values. */
export interface BudgetsImage {
  readonly accounts: readonly AccountImage[];
  readonly holds: readonly {
    readonly lease: LeaseId;
    readonly accounts: readonly string[];
    readonly amounts: BudgetAmounts;
  }[];
  readonly shares: readonly (readonly [PoolId, number])[];
}

export interface AccountImage {
  readonly budget: string;
  readonly tenant: TenantId;
  readonly unit: BudgetUnit;
  readonly windowMs: number;
  readonly buckets: readonly Bucket[];
  readonly held: number;
  readonly leases: number;
  readonly dual: DualPrice;
}

/**
 * The rolling budgets of one replica. A grant reserves what it is expected to spend, and its end settles that by what was
 * realised: an attempt is counted once, whoever asks again. Where nobody says what it came to, the expectation stays
 * counted, as unknown is not 0: so it is when a lease expires or is cut. Where nothing was dispatched nothing is counted.
 *
 * A hard budget is never exceeded by expectations. What was realised may exceed it, by no more than what was under way
 * came to above its own expectations.
 *
 * Several replicas do not talk about budgets: each has the part of every limit that it has of the pools, which is the
 * mean of its shares over the pools. As the shares of a pool add up to at most 1, so do the parts.
 *
 * The price of all budgets of a unit that apply to a request is the sum of theirs, as that of several constraints is.
 */
export class Budgets {
  #byId: ReadonlyMap<string, Budget> = new Map();
  #general: readonly Budget[] = [];
  #byTenant: ReadonlyMap<TenantId, readonly Budget[]> = new Map();
  readonly #accounts = new Map<string, Account>();
  readonly #holds = new Map<LeaseId, Hold>();
  readonly #shares = new Map<PoolId, number>();
  #part = 0;

  /** An account goes on as long as its budget has the same id, unit and window; a new limit counts at once. */
  set(budgets: readonly Budget[] = []): void {
    this.#byId = new Map(budgets.map((each) => [each.id, each]));
    this.#general = budgets.filter(({ when }) => when.tenants === undefined);
    this.#byTenant = byTenant(budgets);
    for (const account of this.#accounts.values()) {
      const { id, unit, windowMs } = account.budget;
      const next = this.#byId.get(id);
      if (next?.unit === unit && next.windowMs === windowMs) account.budget = next;
      else this.#close(account);
    }
  }

  /** The part of a pool that this replica may grant. */
  share(pool: PoolId, share: number): void {
    if (this.#shares.get(pool) === share) return;
    this.#shares.set(pool, share);
    this.#part = meanOf(this.#shares);
  }

  /** The request with the budgets that apply to it, if there are any. Opens no account: nothing is spent yet. */
  filledIn(request: PlacementRequest, now: Instant): PlacementRequest {
    const budgets = this.#budgetsOf(request);
    if (budgets.length === 0) return request;
    const standings = budgets.map((each) =>
      this.#standingOf(this.#accountOf(each, request.tenant, now), now),
    );
    return { ...request, budgets: { standings, prices: standings.reduce(raised, noPrices) } };
  }

  /** A request that no budget applies to holds nothing. */
  reserve({ lease, decision }: Grant, now: Instant): void {
    const { request } = decision;
    const budgets = this.#budgetsOf(request);
    if (budgets.length === 0) return;
    const amounts = expectedAmounts(decision.chosen);
    const accounts = budgets.map((each) => this.#open(each, request.tenant, now));
    for (const account of accounts) {
      const amount = amountIn(account.budget.unit, amounts);
      this.#moveDual(account, amount, now);
      account.held += amount;
      account.leases += 1;
    }
    this.#holds.set(lease.id, { accounts, amounts });
  }

  /** No outcome: nothing was dispatched. A lease that holds nothing changes nothing. */
  settle(
    { lease, decision }: Grant,
    outcome: AttemptOutcome | "unknown" | undefined,
    now: Instant,
  ): void {
    const hold = this.#holds.get(lease.id);
    if (hold === undefined) return;
    this.#holds.delete(lease.id);
    const realised =
      outcome === "unknown" ? undefined : realisedAmounts(decision.chosen, decision.model, outcome);
    for (const account of hold.accounts) {
      const held = amountIn(account.budget.unit, hold.amounts);
      const spent = realised === undefined ? held : amountIn(account.budget.unit, realised);
      this.#moveDual(account, spent - held, now);
      account.leases -= 1;
      account.held = account.leases === 0 ? 0 : account.held - held;
      account.window.add(spent, now);
    }
  }

  /** All accounts, with all that will leave their windows. */
  reports(now: Instant): readonly BudgetReport[] {
    return [...this.#accounts.values()].map((account) => ({
      ...this.#standingOf(account, now),
      returns: account.window.returns(now),
      tenant: account.tenant,
    }));
  }

  image(): BudgetsImage {
    return {
      accounts: [...this.#accounts.values()].map(
        ({ budget: { id, unit, windowMs }, tenant, window, held, leases, dual }) => {
          return {
            budget: id,
            tenant,
            unit,
            windowMs,
            buckets: window.buckets,
            held,
            leases,
            dual,
          };
        },
      ),
      holds: [...this.#holds].map(([lease, { accounts, amounts }]) => {
        return { lease, accounts: accounts.map(({ key }) => key), amounts };
      }),
      shares: [...this.#shares],
    };
  }

  /** As it was, of the same budgets. */
  restore({ accounts, holds, shares }: BudgetsImage): void {
    for (const [pool, share] of shares) this.#shares.set(pool, share);
    this.#part = meanOf(this.#shares);
    for (const each of accounts) {
      const budget = this.#budgetOf(each);
      if (budget !== undefined) this.#reopen(each, budget);
    }
    for (const { lease, accounts: keys, amounts } of holds) {
      const held = keys.flatMap((key) => this.#accounts.get(key) ?? []);
      this.#holds.set(lease, { accounts: held, amounts });
    }
  }

  /**
   * Goes on from the accounts of a replica that is no more. What was held is spent, as its leases are not known here;
   * accounts of budgets that are gone or became others are left out. To an account that is open already all of it is
   * added as if it were spent now.
   */
  inherit({ accounts }: Pick<BudgetsImage, "accounts">, now: Instant): void {
    for (const each of accounts) {
      const budget = this.#budgetOf(each);
      if (budget === undefined) continue;
      const open = this.#accounts.get(keyOf(budget, each.tenant));
      const account = open ?? this.#reopen({ ...each, held: 0, leases: 0 }, budget);
      const spent = open === undefined ? 0 : sumOf(each.buckets);
      account.window.add(spent + each.held, now);
    }
  }

  #budgetOf({ budget: id, unit, windowMs }: AccountImage): Budget | undefined {
    const budget = this.#byId.get(id);
    return budget?.unit === unit && budget.windowMs === windowMs ? budget : undefined;
  }

  #reopen(image: AccountImage, budget: Budget): Account {
    const { tenant, buckets, held, leases, dual } = image;
    const account = { ...newAccount(budget, tenant, dual.at), held, leases, dual };
    account.window.restore(buckets);
    this.#accounts.set(account.key, account);
    return account;
  }

  #budgetsOf(request: PlacementRequest): readonly Budget[] {
    const own = this.#byTenant.get(request.tenant);
    if (own === undefined && this.#general.length === 0) return [];
    return [...(own ?? []), ...this.#general].filter(
      ({ when }) =>
        (when.classes?.has(request.class) ?? true) && (when.models?.has(request.model) ?? true),
    );
  }

  /** As `#open` would give it, without opening it. */
  #accountOf(budget: Budget, tenant: TenantId, now: Instant): Account {
    const known = this.#accounts.get(keyOf(budget, tenant));
    if (known !== undefined) return known;
    const shared =
      this.#accounts.size < ACCOUNTS_MAX
        ? undefined
        : this.#accounts.get(keyOf(budget, everybodyElse));
    return shared ?? newAccount(budget, tenant, now);
  }

  #open(budget: Budget, tenant: TenantId, now: Instant): Account {
    const known = this.#accounts.get(keyOf(budget, tenant));
    if (known !== undefined) return known;
    if (this.#accounts.size >= ACCOUNTS_MAX) this.#forgetEmpty(now);
    const isFull = this.#accounts.size >= ACCOUNTS_MAX;
    if (isFull && tenant !== everybodyElse) return this.#open(budget, everybodyElse, now);
    const account = newAccount(budget, tenant, now);
    this.#accounts.set(account.key, account);
    return account;
  }

  /** What leases hold of it is no more: another account of the same name knows nothing of them. */
  #close(account: Account): void {
    this.#accounts.delete(account.key);
    if (account.leases === 0) return;
    for (const [lease, { accounts, amounts }] of this.#holds) {
      if (!accounts.includes(account)) continue;
      this.#holds.set(lease, { accounts: accounts.filter((each) => each !== account), amounts });
    }
  }

  #forgetEmpty(now: Instant): void {
    for (const { key, window, leases } of this.#accounts.values()) {
      if (leases === 0 && window.sum(now) === 0) this.#accounts.delete(key);
    }
  }

  #moveDual(account: Account, amount: number, now: Instant): void {
    const { budget, window, held, dual } = account;
    const limit = this.#limitOf(budget);
    const room = limit - window.sum(now) - held;
    const { windowMs } = budget;
    account.dual = dualAfter(dual, { amount, room, limit }, { now, windowMs });
  }

  #standingOf({ budget, window, held, dual }: Account, now: Instant): BudgetStanding {
    const { id, unit, isHard, windowMs, dualNanoMax } = budget;
    const limit = this.#limitOf(budget);
    const spent = window.sum(now);
    const dualNano = dualNanoMax * levelOf(dual, now, windowMs);
    const standing = { id, unit, isHard, windowMs, limit, spent, held, dualNano, returns: [] };
    if (!isHard || roomIn(standing) >= limit * RETURNS_BELOW) return standing;
    return { ...standing, returns: window.returns(now) };
  }

  #limitOf({ limit }: Budget): number {
    return Math.floor(limit * this.#part);
  }
}

function newAccount(budget: Budget, tenant: TenantId, now: Instant): Account {
  const window = new RollingSum(budget.windowMs);
  const key = keyOf(budget, tenant);
  return { key, tenant, budget, window, held: 0, leases: 0, dual: startingDual(now) };
}

/** A line break is in no id. */
function keyOf({ id }: Budget, tenant: TenantId): string {
  return `${id}\n${tenant}`;
}

function byTenant(budgets: readonly Budget[]): ReadonlyMap<TenantId, readonly Budget[]> {
  const all = new Map<TenantId, Budget[]>();
  for (const budget of budgets) {
    for (const tenant of budget.when.tenants ?? []) {
      const own = all.get(tenant);
      if (own === undefined) all.set(tenant, [budget]);
      else own.push(budget);
    }
  }
  return all;
}

/** 0 before anything was granted to the replica. */
function meanOf(shares: ReadonlyMap<PoolId, number>): number {
  let sum = 0;
  for (const share of shares.values()) sum += share;
  return shares.size === 0 ? 0 : sum / shares.size;
}

function sumOf(buckets: readonly Bucket[]): number {
  return buckets.reduce((sum, { amount }) => sum + amount, 0);
}

function raised(prices: BudgetPrices, { unit, dualNano }: BudgetStanding): BudgetPrices {
  const { nanoPerNano, nanoPerJoule, nanoPerGram } = prices;
  return {
    nanoPerNano: nanoPerNano + (unit === "cny" ? dualNano : 0),
    nanoPerJoule: nanoPerJoule + (unit === "kwh" ? dualNano : 0),
    nanoPerGram: nanoPerGram + (unit === "gco2e" ? dualNano : 0),
  };
}
