import type { AccountId } from "../ledger/ledger.ts";
import { usageRevenueAccount } from "../packages/sale-entries.ts";
import { isBill } from "../statements/statement-entries.ts";
import type { Statement } from "../statements/statement.ts";
import { leakages } from "../terms/contract.ts";

/** Accounts that a statement may have moved money on: a dispute of it gives back to no other. */
export function accountsOfStatement({
  pair,
  lines,
  fees,
  trueUps,
}: Pick<Statement, "pair" | "lines" | "fees" | "trueUps">): Set<AccountId> {
  const platform = trueUps.length > 0 || fees.length > 0 ? ["rev:platform"] : [];
  if (isBill(pair)) {
    return new Set([...platform, ...lines.map(({ model }) => usageRevenueAccount(model))]);
  }
  const wasted =
    lines.length === 0 ? [] : ["exp:audit", ...leakages.map((each) => `exp:leakage:${each}`)];
  if (!pair.startsWith("vendor:")) return new Set([...platform, ...wasted, "exp:model_fee"]);
  const pools = [
    ...lines.map(({ pool }) => pool as string),
    ...trueUps.map(({ scope }) => scope).filter((scope) => scope !== "*"),
  ];
  const contract = trueUps.length > 0 ? ["exp:cogs:contract"] : [];
  return new Set([...contract, ...wasted, ...pools.map((pool) => `exp:cogs:pool:${pool}`)]);
}
