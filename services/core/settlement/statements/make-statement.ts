import { assert } from "../../assert.ts";
import type { Nano, PairId } from "../../units.ts";
import type { Sha256 } from "../canonical.ts";
import { nameOfPeriod, type Period } from "./period.ts";
import { toStatementText } from "./statement-text.ts";
import {
  nanoPerMinorUnit,
  type Account,
  type Statement,
  type StatementKind,
  type StatementLine,
  type StatementTotals,
} from "./statement.ts";
import { noTokens, tokenClasses, type TokenClass, type Tokens } from "../counting/usage.ts";

/** The statement of a period. Depends on its arguments alone: the same books give the same bytes. */
export function makeStatement(account: Account, sha256: Sha256): Statement {
  const { pair, kind, period, isPayable, fees, trueUps, days, frozen, prevDigest } = account;
  const lines = account.lines.filter(isUsed).toSorted(inOrder);
  const facts = {
    id: statementId(pair, kind, period),
    pair,
    kind,
    period,
    rev: 0,
    currency: "CNY",
    isPayable,
    lines,
    fees: fees.toSorted((a, b) => compare(a.part, b.part) || compare(a.party, b.party)),
    trueUps: trueUps.toSorted((a, b) => compare(trueUpPlace(a), trueUpPlace(b))),
    days,
    versions: versionsIn(lines, account.hashByVersion),
    frozen,
    log: frozen.log,
    totals: totalsOf(account, lines),
    prevDigest,
  } as const;
  const text = toStatementText(facts);
  return { ...facts, text, digest: sha256(text) };
}

export function statementId(pair: PairId, kind: StatementKind, period: Period): string {
  return `${pair}:${kind}:${nameOfPeriod(period)}:0`;
}

function totalsOf(account: Account, lines: readonly StatementLine[]): StatementTotals {
  const { fees, trueUps, creditsNano, attempts, frozen, isPayable, rounded } = account;
  const { disputedNano, quarantined } = frozen;
  const ownNano = sum(lines.filter(({ usagePeriod }) => usagePeriod === undefined));
  const adjustmentsNano = sum(lines) - ownNano;
  const grossNano = ownNano + sum(fees);
  const trueUpNano = sum(trueUps);
  const netNano = grossNano + creditsNano + adjustmentsNano + trueUpNano;
  const minorUnits = rounded?.minorUnits ?? (isPayable ? toMinorUnits(netNano) : undefined);
  const roundingNano = minorUnits === undefined ? 0n : minorUnits * nanoPerMinorUnit - netNano;
  assert(
    rounded === undefined || rounded.roundingNano === roundingNano,
    "rounded days add up to what they ask for",
  );
  return {
    ...{ attempts, tokens: tokensOf(lines), grossNano, creditsNano, adjustmentsNano, trueUpNano },
    ...{ disputedNano, netNano, minorUnits, roundingNano, quarantined },
  };
}

/** Half up: the one rounding of an invoice. */
export function toMinorUnits(nano: Nano): bigint {
  const shifted = nano + nanoPerMinorUnit / 2n;
  const isBelow = shifted < 0n && shifted % nanoPerMinorUnit !== 0n;
  return shifted / nanoPerMinorUnit - (isBelow ? 1n : 0n);
}

/** Corrected to nothing, a line is gone. */
function isUsed({ attempts, tokens, pico, amountNano }: StatementLine): boolean {
  return attempts !== 0n || tokens !== 0n || pico !== 0n || amountNano !== 0n;
}

function inOrder(a: StatementLine, b: StatementLine): number {
  return (
    compare(a.book, b.book) ||
    Number(a.version - b.version) ||
    compare(a.line, b.line) ||
    compare(a.pool, b.pool) ||
    compare(a.region, b.region) ||
    compare(a.usagePeriod ?? "", b.usagePeriod ?? "")
  );
}

/** By code units, which are the same on every machine. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function tokensOf(lines: readonly StatementLine[]): Tokens {
  const tokensByClass: Record<TokenClass, bigint> = { ...noTokens };
  for (const each of tokenClasses) {
    const own = lines.filter(({ tokenClass }) => tokenClass === each);
    tokensByClass[each] = own.reduce((total, { tokens }) => total + tokens, 0n);
  }
  return tokensByClass;
}

function versionsIn(
  lines: readonly StatementLine[],
  hashByVersion: ReadonlyMap<string, string>,
): Statement["versions"] {
  const versions = new Map<string, Statement["versions"][number]>();
  for (const { book, version } of lines) {
    const key = `${book}@${version}`;
    versions.set(key, { book, version, hash: hashByVersion.get(key) });
  }
  return [...versions.values()];
}

function sum(all: readonly { readonly amountNano: Nano }[]): Nano {
  return all.reduce((total, { amountNano }) => total + amountNano, 0n);
}

function trueUpPlace({ period, line, scope }: Account["trueUps"][number]): string {
  return `${period}\n${line}\n${scope}`;
}
