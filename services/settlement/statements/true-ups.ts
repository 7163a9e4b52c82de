import {
  signed,
  payableAccount,
  receivableAccount,
  type LedgerEntry,
} from "../../core/settlement/ledger/ledger.ts";
import type { PairTerms } from "../../core/settlement/terms/pair-terms.ts";
import { nameOfPeriod, periodNamed, type Period } from "../../core/settlement/statements/period.ts";
import type { LineOf } from "../../core/settlement/ledger/posting.ts";
import type { BookingOf } from "../../core/settlement/ledger/prepare.ts";
import type { RuleOf } from "../../core/settlement/packages/split-true-up.ts";
import { isBill } from "../../core/settlement/statements/statement-entries.ts";
import { fromStatementText } from "../../core/settlement/statements/statement-text.ts";
import {
  trueUps,
  trueUpText,
  type ClosingKey,
  type TrueUp,
} from "../../core/settlement/pricing/true-up.ts";
import type { InstantUs, Nano, PairId, TenantId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { sha256 } from "../../io/signing.ts";
import type { ClosedPeriods } from "./closed-periods.ts";
import { splitTrueUpsOf } from "./split-true-ups.ts";
import type { StatementSources } from "./statements.ts";

interface Parts {
  readonly store: Pick<LedgerStore, "cumulativesOf" | "document" | "salesBooked">;
  readonly closed: ClosedPeriods;
  /** Finds a line by `<book>:<version>:<line>`. */
  readonly lineOf: LineOf;
  readonly termsOf: (pair: PairId, us: InstantUs) => Pick<PairTerms, "minimumNano" | "discountPpm">;
  readonly nowUs: () => InstantUs;
  /** By `<id>:<version>`, for a model. */
  readonly ruleOf: RuleOf;
  readonly bookingOf: BookingOf;
}

/**
 * What the keys of a pair owe at the close of a rating period beyond their records, and what corrections have changed of
 * it in periods that were closed before: those of the days that something late was booked for.
 */
export function trueUpsFrom(parts: Parts): StatementSources["trueUps"] {
  return async (pair, period, lateDays) => {
    const own = nameOfPeriod(period);
    const late = new Set(lateDays.map((day) => day.slice(0, own.length)));
    late.delete(own);
    const [first, ...others] = [...late].toSorted();
    const booked = first === undefined ? nothing : await bookedBefore(parts, pair, first);
    const all: TrueUp[] = [];
    for (const name of first === undefined ? [own] : [own, first, ...others]) {
      all.push(...(await trueUpsOf(parts, pair, { name, period }, booked)));
    }
    const atUs = parts.nowUs();
    const txn = `true-up:${pair}:${own}`;
    const shares = isBill(pair)
      ? await splitTrueUpsOf(pair, period, { ...parts, atUs })
      : { entries: [], leaves: [] };
    const entries = all.map(({ key, amountNano }): LedgerEntry => {
      return {
        ...{ id: `${txn}:${key.period}:${key.line}:${key.scope}`, txn, kind: "true-up" },
        ...{ phase: "posted", cause: txn, atUs, unit: "CNY:nano", corrects: "" },
        ...signed(amountNano, accountsOf(pair, key.scope)),
      };
    });
    return {
      entries: [...entries, ...shares.entries],
      leaves: shares.leaves,
      trueUps: all.map(({ key: { line, scope, period: of }, amountNano }) => {
        return { line, scope, period: of, amountNano };
      }),
    };
  };
}

const nothing: ReadonlyMap<string, Nano> = new Map();

async function trueUpsOf(
  { store, lineOf, termsOf }: Parts,
  pair: PairId,
  { name, period }: { readonly name: string; readonly period: Period },
  booked: ReadonlyMap<string, Nano>,
): Promise<TrueUp[]> {
  const { toUs } = periodNamed(name, period.timeZone) ?? period;
  const keys: ClosingKey[] = [];
  for (const { key, total } of await store.cumulativesOf(pair, name)) {
    const line = lineOf(key.line);
    if (line === undefined) throw new Error(`expected the price line ${key.line}, found none`);
    keys.push({ key, total, line });
  }
  return trueUps({ pair, period: name, terms: termsOf(pair, toUs - 1n), keys }, booked);
}

/** What statements that were closed from a period on have entered, by key. */
async function bookedBefore(
  { store, closed }: Parts,
  pair: PairId,
  since: string,
): Promise<ReadonlyMap<string, Nano>> {
  const booked = new Map<string, Nano>();
  for (const { statement, isPayable, name } of closed.of(pair)) {
    if (!isPayable || name.length !== since.length || name < since) continue;
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
