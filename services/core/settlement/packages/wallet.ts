import type { GatewayId, InstantUs, TenantId } from "../../units.ts";
import { allotmentsOf, isBelow, shared, type Allotment, type UsageKey } from "./departments.ts";
import { gatewayOf, usedUp, type Hold, type OpenHolds } from "./hold.ts";
import {
  addBalances,
  balanceText,
  movements,
  noBalance,
  prepaidAccount,
  type AccountKey,
  type Balance,
  type LedgerEntry,
  type Unit,
} from "../ledger/ledger.ts";
import { pathWallet, usedAccount, usedByOf } from "./sale-entries.ts";
import type { PackageState, Sale, WalletState } from "./sale.ts";
import type { TokenPackage } from "./token-package.ts";

/** Whose record it is, where it came from, and when it was opened. */
export interface DrawKey extends UsageKey {
  readonly tenant: TenantId;
  /** Slices of other gateways are not for it. */
  readonly gateway: GatewayId | undefined;
  readonly openedUs: InstantUs;
}

/** Accounts whose balances the state of these packages is read from. */
export function accountsOf(packages: readonly TokenPackage[]): AccountKey[] {
  return packages.flatMap(({ id, tenant, unit, paths }) => [
    { unit: "CNY:nano" as const, account: prepaidAccount(tenant, id) },
    ...paths.flatMap((path) => [
      { unit, account: pathWallet(tenant, path, id) },
      { unit, account: usedAccount(tenant, path, id) },
    ]),
  ]);
}

/** In a wallet, held or not. */
export function unitsIn(balance: Balance): bigint {
  return balance.credit - balance.debit;
}

/** In a wallet, and held by nobody. */
export function freeIn(balance: Balance): bigint {
  return unitsIn(balance) - balance.heldDebit;
}

/**
 * Wallets within one transaction: what the ledger says, and what was entered since. Nothing is written; who posts
 * takes the entries and the holds.
 */
export class Wallets {
  readonly #balances: Map<string, Balance>;
  readonly #holds: OpenHolds;
  readonly #changed = new Map<string, Hold>();

  /** `balances`: of `accountsOf` all packages that are asked for. */
  constructor(balances: ReadonlyMap<string, Balance>, holds: OpenHolds) {
    this.#balances = new Map(balances);
    this.#holds = holds;
  }

  /** The package as it stands for a key. */
  stateOf(each: TokenPackage, key: DrawKey): PackageState {
    const { id, tenant, unit, sku, paths, expiresUs } = each;
    const inWallets = paths
      .map((path) => unitsIn(this.#balance(unit, pathWallet(tenant, path, id))))
      .reduce((sum, units) => sum + units, 0n);
    const prepaid = this.#balance("CNY:nano", prepaidAccount(tenant, id));
    return {
      ...{ id, tenant, unit, expiresUs, burn: sku.burn, priority: sku.priority },
      ...{ priceNano: sku.priceNano, quantity: sku.quantity },
      gone: sku.quantity - inWallets,
      goneNano: sku.priceNano - unitsIn(prepaid),
      wallets: this.#walletsOf(each, key),
    };
  }

  /** Free units of each wallet. */
  freeOf({ id, tenant, unit, paths }: TokenPackage): { path: string; free: bigint }[] {
    return paths.map((path) => {
      return { path, free: freeIn(this.#balance(unit, pathWallet(tenant, path, id))) };
    });
  }

  /** Entries that were made since. */
  post(entries: readonly LedgerEntry[]): void {
    for (const [key, moved] of movements(entries)) {
      this.#balances.set(key, addBalances(this.#balances.get(key) ?? noBalance, moved));
    }
  }

  /** The holds that a sale draws on, as they are after it. Its entries are posted apart. */
  drawn({ draws }: Pick<Sale, "draws">): Hold[] {
    const parts = draws.flatMap(({ held }) => held);
    return parts.map(({ hold: id, amount }) => {
      const hold = this.#changed.get(id) ?? this.#holds.hold(id);
      if (hold === undefined) throw new Error(`expected the open hold ${id}, found none`);
      const after = usedUp(hold, amount);
      this.#changed.set(id, after);
      return after;
    });
  }

  #walletsOf(each: TokenPackage, key: DrawKey): WalletState[] {
    const allotments = allotmentsOf(each.plan, key);
    const usedBy = allotments[0]?.path ?? key.department;
    const wallets: WalletState[] = [];
    let limit: bigint | undefined;
    for (const allotment of allotments) {
      if (allotment.mode !== "cap") wallets.push(this.#wallet(each, allotment.path, usedBy, key));
      else limit = lower(limit, this.#capLeft(each, allotment, key));
      if (allotment.mode === "hard") return within(wallets, limit);
    }
    return within([...wallets, this.#wallet(each, shared, usedBy, key)], limit);
  }

  #wallet(each: TokenPackage, path: string, usedBy: string, key: DrawKey): WalletState {
    const { id, tenant, unit } = each;
    const account = pathWallet(tenant, path, id);
    const held = this.#holds
      .on(account)
      .filter((hold) => key.gateway !== undefined && gatewayOf(hold) === key.gateway)
      .map((hold) => this.#changed.get(hold.id) ?? hold)
      .map(({ id: hold, credit, left }) => ({ hold, credit, left }))
      .filter(({ left }) => left > 0n);
    const free = freeIn(this.#balance(unit, account));
    const available = held.reduce((sum, { left }) => sum + left, free);
    return { department: path, usedBy, available, held };
  }

  /** Of a cap, what is not used by it or below it, nor held for its use by others than the key's gateway. */
  #capLeft(each: TokenPackage, { path, units }: Allotment, key: DrawKey): bigint {
    const { id, tenant, unit, paths } = each;
    const used = paths
      .filter((other) => isBelow(other, path))
      .map((other) => unitsIn(this.#balance(unit, usedAccount(tenant, other, id))))
      .reduce((sum, other) => sum + other, 0n);
    const held = paths
      .flatMap((other) => this.#holds.on(pathWallet(tenant, other, id)))
      .filter((hold) => key.gateway === undefined || gatewayOf(hold) !== key.gateway)
      .filter(({ credit }) => isBelow(usedByOf(credit) ?? shared, path))
      .reduce((sum, { left }) => sum + left, 0n);
    const left = units - used - held;
    return left > 0n ? left : 0n;
  }

  #balance(unit: Unit, account: string): Balance {
    return this.#balances.get(balanceText({ unit, account })) ?? noBalance;
  }
}

function lower(limit: bigint | undefined, by: bigint): bigint {
  return limit === undefined || by < limit ? by : limit;
}

/** All together at most so much, the first ones first. */
function within(wallets: readonly WalletState[], limit: bigint | undefined): WalletState[] {
  if (limit === undefined) return [...wallets];
  let left = limit;
  return wallets.map((wallet) => {
    const available = wallet.available < left ? wallet.available : left;
    left -= available;
    return { ...wallet, available };
  });
}
