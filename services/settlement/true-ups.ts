import {
  signed,
  payableAccount,
  receivableAccount,
  type LedgerEntry,
} from "../core/settlement/ledger.ts";
import type { PairTerms } from "../core/settlement/pair-terms.ts";
import { nameOfPeriod, type Period } from "../core/settlement/period.ts";
import type { LineOf } from "../core/settlement/posting.ts";
import { isBill } from "../core/settlement/statement-entries.ts";
import { fromStatementText } from "../core/settlement/statement-text.ts";
import { trueUps, trueUpText, type ClosingKey } from "../core/settlement/true-up.ts";
import type { InstantUs, Nano, PairId, TenantId } from "../core/units.ts";
import type { LedgerStore } from "../io/ledger-store.ts";
import { sha256 } from "../io/signing.ts";
import type { ClosedPeriods } from "./closed-periods.ts";
import type { StatementSources } from "./statements.ts";

interface Parts {
  readonly store: Pick<LedgerStore, "cumulatives" | "document">;
  readonly closed: ClosedPeriods;
  /** Finds a line by `<book>:<version>:<line>`. */
  readonly lineOf: LineOf;
  readonly termsOf: (pair: PairId) => Pick<PairTerms, "minimumNano" | "discountPpm">;
  readonly nowUs: () => InstantUs;
}

/**
 * What the keys of a pair owe at the close of a rating period beyond their records, and what corrections have changed of
 * it in periods that were closed before.
 */
export function trueUpsFrom(parts: Parts): StatementSources["trueUps"] {
  return async (pair, period) => {
    const keys = await keysOf(parts, pair, period);
    const terms = parts.termsOf(pair);
    const isOwed =
      terms.minimumNano !== undefined ||
      terms.discountPpm !== 0n ||
      keys.some(({ line }) => line.volumeTiers !== undefined);
    if (!isOwed) return { trueUps: [], entries: [] };
    const booked = await bookedBefore(parts, pair);
    const names = new Set([nameOfPeriod(period), ...keys.map(({ key }) => key.period)]);
    const all = [...names].flatMap((name) =>
      trueUps(
        { pair, period: name, terms, keys: keys.filter(({ key }) => key.period === name) },
        booked,
      ),
    );
    const atUs = parts.nowUs();
    return {
      trueUps: all.map(({ key, amountNano }) => {
        return { line: key.line, scope: key.scope, period: key.period, amountNano };
      }),
      entries: all.map(({ key, amountNano }): LedgerEntry => {
        const txn = `true-up:${pair}:${nameOfPeriod(period)}`;
        return {
          ...{ id: `${txn}:${key.period}:${key.line}:${key.scope}`, txn, kind: "true-up" },
          ...{ phase: "posted", cause: txn, atUs, unit: "CNY:nano", corrects: "" },
          ...signed(amountNano, accountsOf(pair, key.scope)),
        };
      }),
    };
  };
}

/** Keys of the period and of those before, with lines that are priced in money. */
async function keysOf(
  { store, lineOf }: Parts,
  pair: PairId,
  period: Period,
): Promise<ClosingKey[]> {
  const last = nameOfPeriod(period);
  const keys: ClosingKey[] = [];
  for (const { key, total } of await store.cumulatives()) {
    if (key.pair !== pair || key.period.length !== last.length || key.period > last) continue;
    const line = lineOf(key.line);
    if (line !== undefined) keys.push({ key, total, line });
  }
  return keys;
}

/** What closed statements have entered, by key. */
async function bookedBefore(
  { store, closed }: Parts,
  pair: PairId,
): Promise<ReadonlyMap<string, Nano>> {
  const booked = new Map<string, Nano>();
  for (const { statement, isPayable, totals } of closed.of(pair)) {
    if (!isPayable || totals.trueUpNano === 0n) continue;
    const found = await store.document("statement", statement);
    const entered = found === undefined ? [] : fromStatementText(found.body, sha256).trueUps;
    for (const { amountNano, ...key } of entered) {
      const at = trueUpText({ pair, ...key });
      booked.set(at, (booked.get(at) ?? 0n) + amountNano);
    }
  }
  return booked;
}

function accountsOf(pair: PairId, scope: string): readonly [debit: string, credit: string] {
  if (isBill(pair)) {
    return [receivableAccount(pair.slice("tenant:".length) as TenantId), "rev:platform"];
  }
  const isModel = pair.startsWith("model:");
  const cost = scope === "*" ? "exp:cogs:contract" : `exp:cogs:pool:${scope}`;
  return [isModel ? "exp:model_fee" : cost, payableAccount(pair, "accrued")];
}
