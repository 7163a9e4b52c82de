import type { Nano, TenantId } from "../../units.ts";
import { shared, type AllotmentMode } from "./departments.ts";
import { balanceText, noBalance, prepaidAccount, type Balance } from "../ledger/ledger.ts";
import { pathWallet, usedAccount } from "./sale-entries.ts";
import type { TokenPackage } from "./token-package.ts";
import { unitsIn } from "./wallet.ts";

/** A package and what became of it: units and money each add up to what was bought. */
export interface PackageReport {
  readonly package: TokenPackage;
  readonly used: bigint;
  readonly left: bigint;
  /** Of what is left. */
  readonly held: bigint;
  readonly releasedNano: Nano;
  readonly prepaidNano: Nano;
}

export interface WalletReport {
  readonly package: TokenPackage;
  readonly tenant: TenantId;
  /** Empty is the shared one. */
  readonly path: string;
  readonly mode: AllotmentMode | undefined;
  readonly units: bigint;
  readonly held: bigint;
  readonly used: bigint;
}

type Balances = ReadonlyMap<string, Balance>;

export function packageReport(each: TokenPackage, balances: Balances): PackageReport {
  const { id, tenant, sku, refundedUnits, expiredUnits, refundedNano, breakageNano } = each;
  const wallets = walletReports(each, balances);
  const left = wallets.reduce((sum, { units }) => sum + units, 0n);
  const prepaid = { unit: "CNY:nano", account: prepaidAccount(tenant, id) } as const;
  const prepaidNano = unitsIn(balances.get(balanceText(prepaid)) ?? noBalance);
  return {
    package: each,
    used: sku.quantity - left - refundedUnits - expiredUnits,
    left,
    held: wallets.reduce((sum, { held }) => sum + held, 0n),
    releasedNano: sku.priceNano - prepaidNano - refundedNano - breakageNano,
    prepaidNano,
  };
}

/** By path, the shared one first. */
export function walletReports(each: TokenPackage, balances: Balances): WalletReport[] {
  const { id, tenant, unit, plan, paths } = each;
  const balanceOf = (account: string): Balance =>
    balances.get(balanceText({ unit, account })) ?? noBalance;
  return paths.toSorted().map((path) => {
    const wallet = balanceOf(pathWallet(tenant, path, id));
    const mode = plan.find((allotment) => allotment.path === path)?.mode;
    const used = unitsIn(balanceOf(usedAccount(tenant, path, id)));
    return {
      ...{ package: each, tenant, path, used, units: unitsIn(wallet), held: wallet.heldDebit },
      mode: path === shared ? undefined : mode,
    };
  });
}
