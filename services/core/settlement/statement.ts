import type { BookId, ModelId, Nano, Pico, PoolId, RegionId, VendorId } from "../units.ts";
import { canonicalJson, type Canonical, type Sha256 } from "./canonical.ts";
import { partsOfLineId, type HourKey } from "./charge.ts";
import { kindOfPeriod, nameOfPeriod, type Period, type PeriodKind } from "./period.ts";
import type { At, HourTotal } from "./posting.ts";
import { noTokens, tokenClasses, tokenClassNames, type TokenClass, type Tokens } from "./usage.ts";

/** What was used of one line at one pool in the period. */
export interface StatementLine {
  readonly line: string;
  readonly pool: PoolId;
  readonly region: RegionId;
  readonly model: ModelId;
  readonly tokenClass: TokenClass;
  readonly slot: string;
  readonly book: BookId;
  readonly version: bigint;
  readonly attempts: bigint;
  readonly tokens: bigint;
  /** Exact. */
  readonly pico: Pico;
  /** What the ledger holds. */
  readonly amountNano: Nano;
}

export interface StatementTotals {
  readonly attempts: bigint;
  readonly tokens: Tokens;
  readonly netNano: Nano;
  /** Fen, rounded half up once. */
  readonly minorUnits: bigint;
  /** What that adds: minor units less net. */
  readonly roundingNano: Nano;
  /** Records that wait in quarantine and are not in the lines. */
  readonly quarantined: bigint;
}

/** What we owe a vendor for a period. */
export interface Statement {
  /** `<vendor>:<kind>:<period>:<rev>`. */
  readonly id: string;
  readonly vendor: VendorId;
  readonly kind: PeriodKind;
  readonly period: Period;
  readonly rev: number;
  readonly currency: "CNY";
  readonly lines: readonly StatementLine[];
  readonly totals: StatementTotals;
  /** Canonical: the bytes that are hashed and signed. */
  readonly text: string;
  /** SHA-256 of the text, lower-case hex. */
  readonly digest: string;
  /** Of the revision before; empty for the first. */
  readonly prevDigest: string;
}

/** What the books say of a vendor and a period. */
export interface Account {
  readonly vendor: VendorId;
  readonly period: Period;
  readonly hours: readonly At<HourKey, HourTotal>[];
  readonly attempts: bigint;
  readonly quarantined: bigint;
  /** SHA-256 of the contract's canonical text. */
  readonly contractHash: string;
  /** SHA-256 of `bookText` of the versions that were charged, by `<book>@<version>`. */
  readonly hashByVersion: ReadonlyMap<string, string>;
}

/** 1 fen. */
export const nanoPerMinorUnit = 10_000_000n;

/**
 * The statement of a period. The same books give the same bytes, and the revision that is there already; what
 * came in since makes the next revision, which names the one before.
 */
export function closeStatement(
  account: Account,
  latest: Statement | undefined,
  sha256: Sha256,
): Statement {
  const again = draft(account, latest?.rev ?? 0, latest?.prevDigest ?? "", sha256);
  if (latest === undefined) return again;
  if (again.text === latest.text) return latest;
  return draft(account, latest.rev + 1, latest.digest, sha256);
}

function draft(account: Account, rev: number, prevDigest: string, sha256: Sha256): Statement {
  const { vendor, period, attempts, quarantined } = account;
  const kind = kindOfPeriod(period);
  const lines = linesOf(account);
  const netNano = lines.reduce((sum, { amountNano }) => sum + amountNano, 0n);
  const minorUnits = toMinorUnits(netNano);
  const totals: StatementTotals = {
    attempts,
    tokens: tokensOf(lines),
    netNano,
    minorUnits,
    roundingNano: minorUnits * nanoPerMinorUnit - netNano,
    quarantined,
  };
  const id = `${vendor}:${kind}:${nameOfPeriod(period)}:${rev}`;
  const facts = {
    id,
    vendor,
    kind,
    period,
    rev,
    currency: "CNY",
    lines,
    totals,
    prevDigest,
  } as const;
  const text = textOf(facts, account);
  return { ...facts, text, digest: sha256(text) };
}

/** Half up: the one rounding of an invoice. */
function toMinorUnits(nano: Nano): bigint {
  const shifted = nano + nanoPerMinorUnit / 2n;
  const isBelow = shifted < 0n && shifted % nanoPerMinorUnit !== 0n;
  return shifted / nanoPerMinorUnit - (isBelow ? 1n : 0n);
}

function linesOf({ hours }: Account): StatementLine[] {
  const lines = new Map<string, StatementLine>();
  for (const { key, total } of hours) {
    const at = `${key.line}\n${key.pool}\n${key.region}`;
    const before = lines.get(at) ?? emptyLine(key, total);
    lines.set(at, {
      ...before,
      attempts: before.attempts + total.attempts,
      tokens: before.tokens + total.tokens,
      pico: before.pico + total.pico,
      amountNano: before.amountNano + total.amountNano,
    });
  }
  return [...lines.values()].filter(isUsed).toSorted(inOrder);
}

function emptyLine(
  { line: id, pool, region }: HourKey,
  { model, tokenClass, slot }: HourTotal,
): StatementLine {
  const { book, version, line } = partsOfLineId(id);
  const attributes = { line, pool, region, model, tokenClass, slot, book, version };
  return { ...attributes, attempts: 0n, tokens: 0n, pico: 0n, amountNano: 0n };
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
    compare(a.region, b.region)
  );
}

/** By code units, which are the same on every machine. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function tokensOf(lines: readonly StatementLine[]): Tokens {
  const sum: Record<TokenClass, bigint> = { ...noTokens };
  for (const { tokenClass, tokens } of lines) sum[tokenClass] += tokens;
  return sum;
}

function textOf(facts: Omit<Statement, "text" | "digest">, account: Account): string {
  const { period, totals, lines } = facts;
  return canonicalJson({
    type: "statement",
    v: "1",
    statement_id: facts.id,
    pair_id: facts.vendor,
    kind: facts.kind,
    period: { from_us: period.fromUs, to_us: period.toUs, tz: period.timeZone },
    rev: String(facts.rev),
    prev_statement_hash: facts.prevDigest === "" ? null : facts.prevDigest,
    contract_hash: account.contractHash,
    price_versions: versionsIn(lines).map(([book_id, version]) => ({
      book_id,
      version,
      hash: account.hashByVersion.get(`${book_id}@${version}`) ?? null,
    })),
    lines: lines.map(lineMembers),
    currency: facts.currency,
    totals: {
      attempts: totals.attempts,
      tokens_by_class: Object.fromEntries(
        tokenClasses.map((each) => [tokenClassNames[each], totals.tokens[each]]),
      ),
      net_nano: totals.netNano,
      minor_units: totals.minorUnits,
      rounding_nano: totals.roundingNano,
      quarantined: totals.quarantined,
    },
    zero_usage: lines.length === 0,
  });
}

function versionsIn(lines: readonly StatementLine[]): [BookId, bigint][] {
  const versions = new Map<string, [BookId, bigint]>();
  for (const { book, version } of lines) versions.set(`${book}@${version}`, [book, version]);
  return [...versions.values()];
}

function lineMembers(line: StatementLine): Canonical {
  return {
    book_id: line.book,
    version: line.version,
    line_id: line.line,
    scope: line.pool,
    region_id: line.region,
    model_id: line.model,
    token_class: tokenClassNames[line.tokenClass],
    variant: "",
    slot: line.slot,
    attempts: line.attempts,
    tokens: line.tokens,
    pico: line.pico,
    nano: line.amountNano,
  };
}
