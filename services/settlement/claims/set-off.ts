import { movements, noBalance, accountKeyOf } from "../../core/settlement/ledger/ledger.ts";
import type { LedgerEntry } from "../../core/settlement/ledger/ledger.ts";
import type { Nano } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { toConnectError } from "../../wire/errors.ts";

const payable = /^liab:payable:.*:(stated|disputed|approved)$/;
const receivable = /^asset:receivable:/;

/**
 * The last line of defence: what documents say may be paid is there. A payable that falls may not fall below 0, nor a
 * receivable, whatever else was added up wrongly.
 */
export async function refuseOverdrawn(
  store: LedgerStore,
  entries: readonly LedgerEntry[],
): Promise<void> {
  const moved = [...movements(entries)].map(([text, { debit, credit }]) => {
    const { account } = accountKeyOf(text);
    const change = payable.test(account) ? credit - debit : debit - credit;
    return { text, account, change };
  });
  const falling = moved.filter(
    ({ account, change }) => change < 0n && (payable.test(account) || receivable.test(account)),
  );
  if (falling.length === 0) return;
  const balances = await store.balancesOf(falling.map(({ text }) => accountKeyOf(text)));
  for (const { text, account, change } of falling) {
    const { debit, credit } = balances.get(text) ?? noBalance;
    const leftNano = payable.test(account) ? credit - debit : debit - credit;
    if (leftNano + change >= 0n) continue;
    const message = `amount_nano: expected at most ${leftNano} on ${account}, found ${-change}`;
    throw toConnectError("UNSATISFIABLE", message);
  }
}

/** What was set off, of a document that says so. */
export function nettedNanoOf(body: string): Nano {
  const { amount_nano: amount } = JSON.parse(body) as { readonly amount_nano: string };
  return BigInt(amount);
}
