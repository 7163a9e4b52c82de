import { assert } from "../assert.ts";
import type {
  BookId,
  GatewayId,
  InstantUs,
  ModelId,
  Nano,
  PairId,
  Pico,
  PoolId,
  RegionId,
} from "../units.ts";
import type { Sha256 } from "./canonical.ts";
import { partsOfLineId, type HourKey } from "./charge.ts";
import { nameOfPeriod, periodNameAt, type Period } from "./period.ts";
import type { At, HourTotal } from "./posting.ts";
import type { SplitPartName } from "./split.ts";
import { toStatementText } from "./statement-text.ts";
import { noTokens, tokenClasses, type TokenClass, type Tokens } from "./usage.ts";

/**
 * - `daily` and `monthly` are closed: kept for ever, chained, signed.
 * - `interim` is of a period that is not closed: it may change, is not kept and binds nobody.
 */
export type StatementKind = "daily" | "monthly" | "interim";

/** What was booked of one line at one pool. */
export interface StatementLine {
  readonly line: string;
  readonly pool: PoolId;
  readonly region: RegionId;
  readonly model: ModelId;
  /** A token class, or `request`, which counts requests. */
  readonly tokenClass: HourTotal["tokenClass"];
  readonly slot: string;
  readonly book: BookId;
  readonly version: bigint;
  /** The day on which it was used, where that is outside the period: it came, or was corrected, too late for its own. */
  readonly usagePeriod: string | undefined;
  readonly attempts: bigint;
  readonly tokens: bigint;
  /** Exact. */
  readonly pico: Pico;
  /** What the ledger holds. */
  readonly amountNano: Nano;
}

/** A share of what was sold, for a party that has no price book. */
export interface StatementFee {
  readonly part: SplitPartName;
  readonly party: PairId;
  readonly amountNano: Nano;
}

/** What a rating key owes beyond its records when its period ends: a minimum, a volume tier, a split. */
export interface TrueUp {
  /** `<book>:<version>:<line>`, or the split rule. */
  readonly line: string;
  readonly scope: string;
  readonly amountNano: Nano;
}

/** Where in the pair's log the leaves of the period stand; those of other bookings are among them. */
export interface StatementLog {
  readonly origin: string;
  readonly size: bigint;
  /** Of the tree of that size, lower-case hex. */
  readonly root: string;
  readonly firstIndex: bigint;
  /** Excluded. */
  readonly endIndex: bigint;
}

export interface StatementProducer {
  readonly gateway: GatewayId;
  readonly epoch: bigint;
  readonly firstSeq: bigint;
  /** Excluded. */
  readonly endSeq: bigint;
}

/** Numbers of a gateway that never came. */
export interface StatementGap {
  readonly gateway: GatewayId;
  readonly epoch: bigint;
  readonly lost: bigint;
}

export const reconKinds = [
  "matched",
  "in_tolerance",
  "quantity",
  "missing_vendor",
  "missing_operator",
  "duplicate",
  "price",
  "period",
] as const;

/** How the vendor's claims compared, in attempts. */
export type ReconCounts = Readonly<Record<(typeof reconKinds)[number], bigint>>;

/** What is true at the moment of closing and cannot be worked out again later. */
export interface Frozen {
  readonly log: StatementLog;
  /** SHA-256 of the contract's canonical text. */
  readonly contractHash: string;
  readonly calendars: readonly {
    readonly id: string;
    readonly version: bigint;
    readonly hash: string;
  }[];
  readonly producers: readonly StatementProducer[];
  readonly gaps: readonly StatementGap[];
  /** Undefined: no claims were compared. */
  readonly recon: ReconCounts | undefined;
  /** Merkle root over the pair's accounts; undefined in an interim statement. */
  readonly seal: string | undefined;
  /** What stood in dispute. */
  readonly disputedNano: Nano;
  /** Records that wait and are not in the lines. */
  readonly quarantined: bigint;
}

export interface StatementTotals {
  /** Undefined: the pair has shares alone, and no attempts of its own. */
  readonly attempts: bigint | undefined;
  readonly tokens: Tokens;
  /** Lines of the period and fees. */
  readonly grossNano: Nano;
  /** Paid otherwise, such as by packages: 0 or less. */
  readonly creditsNano: Nano;
  /** Lines of earlier periods. */
  readonly adjustmentsNano: Nano;
  readonly trueUpNano: Nano;
  /** Stood in dispute at closing; not part of the net. */
  readonly disputedNano: Nano;
  /** Gross, credits, adjustments and true-up. */
  readonly netNano: Nano;
  /** Fen, rounded half up once. Undefined: it is paid with another statement, which rounds. */
  readonly minorUnits: bigint | undefined;
  /** What that adds. */
  readonly roundingNano: Nano;
  readonly quarantined: bigint;
}

/** What is owed between the operator and a counterparty for a period. */
export interface Statement {
  /** `<pair>:<kind>:<period>:<rev>`. */
  readonly id: string;
  readonly pair: PairId;
  readonly kind: StatementKind;
  readonly period: Period;
  /** A closed period has one statement: 0. */
  readonly rev: number;
  readonly currency: "CNY";
  /** It is what is approved and paid; otherwise a monthly one is, or were the daily ones. */
  readonly isPayable: boolean;
  readonly lines: readonly StatementLine[];
  readonly fees: readonly StatementFee[];
  readonly trueUps: readonly TrueUp[];
  /** The daily statements that a monthly one adds up. */
  readonly days: readonly { readonly id: string; readonly digest: string }[];
  readonly versions: readonly {
    readonly book: BookId;
    readonly version: bigint;
    readonly hash: string | undefined;
  }[];
  readonly frozen: Frozen;
  readonly log: StatementLog;
  readonly totals: StatementTotals;
  /** Canonical: the bytes that are hashed and signed. */
  readonly text: string;
  /** SHA-256 of the text, lower-case hex. */
  readonly digest: string;
  /** Of the statement of the same kind before; empty for the first. */
  readonly prevDigest: string;
}

/** What the books say of a pair and a period. */
export interface Account {
  readonly pair: PairId;
  readonly kind: StatementKind;
  readonly period: Period;
  readonly isPayable: boolean;
  readonly lines: readonly StatementLine[];
  readonly fees: readonly StatementFee[];
  readonly trueUps: readonly TrueUp[];
  readonly creditsNano: Nano;
  readonly attempts: bigint | undefined;
  readonly days: Statement["days"];
  /** Of days that were rounded by themselves; undefined: this statement rounds, if it is payable. */
  readonly rounded: { readonly minorUnits: bigint; readonly roundingNano: Nano } | undefined;
  /** SHA-256 of `bookText` of the versions that were charged, by `<book>@<version>`. */
  readonly hashByVersion: ReadonlyMap<string, string>;
  readonly frozen: Frozen;
  readonly prevDigest: string;
}

/** 1 fen. */
export const nanoPerMinorUnit = 10_000_000n;

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
    trueUps: trueUps.toSorted((a, b) => compare(a.line, b.line) || compare(a.scope, b.scope)),
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

/** Stands for what a counterparty is not shown. */
const hidden = "*";

/** A tenant is not shown pools, the owner of a model neither pools nor regions: they are others' business. */
export function shownTo<Place extends Pick<HourKey, "pool" | "region">>(
  pair: PairId,
  place: Place,
): Pick<HourKey, "pool" | "region"> {
  const [kind] = pair.split(":");
  if (kind === "vendor") return { pool: place.pool, region: place.region };
  const pool = hidden as PoolId;
  return { pool, region: kind === "tenant" ? place.region : (hidden as RegionId) };
}

/** The day of use, where it is outside a statement's period. */
export function usagePeriodOf(us: InstantUs, { fromUs, toUs, timeZone }: Period) {
  return us >= fromUs && us < toUs ? undefined : periodNameAt(us, "daily", timeZone);
}

/** What was booked by hours, by lines. `period` is that of the statement. */
export function linesOfHours(
  hours: readonly At<HourKey, HourTotal>[],
  period: Period,
): StatementLine[] {
  const lines = new Lines();
  for (const { key, total } of hours) {
    const usagePeriod = usagePeriodOf(key.hourUs, period);
    const { model, tokenClass, slot, attempts, tokens, pico, amountNano } = total;
    lines.add({
      ...partsOfLineId(key.line),
      ...shownTo(key.pair, key),
      ...{ model, tokenClass, slot, usagePeriod },
      ...{ attempts, tokens, pico, amountNano },
    });
  }
  return lines.all;
}

/** Lines of the days of a month. What came late within the month is not late to it. */
export function addedLines(
  days: readonly Pick<Statement, "lines">[],
  month: Period,
): StatementLine[] {
  const lines = new Lines();
  const from = periodNameAt(month.fromUs, "daily", month.timeZone);
  for (const line of days.flatMap((day) => day.lines)) {
    const isBefore = line.usagePeriod !== undefined && line.usagePeriod < from;
    lines.add({ ...line, usagePeriod: isBefore ? line.usagePeriod : undefined });
  }
  return lines.all;
}

/** Adds up what is of the same line, pool and time. */
class Lines {
  readonly #lines = new Map<string, StatementLine>();

  add(line: StatementLine): void {
    const { book, version, line: id, pool, region, usagePeriod = "" } = line;
    const at = placeText({ line: `${book}:${version}:${id}`, pool, region, usagePeriod });
    const before = this.#lines.get(at);
    this.#lines.set(at, before === undefined ? line : added(before, line));
  }

  get all(): StatementLine[] {
    return [...this.#lines.values()];
  }
}

/** Key of a line; `line` is `<book>:<version>:<line>`. */
export function placeText(
  place: Pick<StatementLine, "pool" | "region"> & {
    readonly line: string;
    readonly usagePeriod: string;
  },
): string {
  return `${place.line}\n${place.pool}\n${place.region}\n${place.usagePeriod}`;
}

function added(a: StatementLine, b: StatementLine): StatementLine {
  return {
    ...a,
    attempts: a.attempts + b.attempts,
    tokens: a.tokens + b.tokens,
    pico: a.pico + b.pico,
    amountNano: a.amountNano + b.amountNano,
  };
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

/** What is paid with a statement, whole fen; 0 if another one is paid instead. */
export function payableNano({ isPayable, totals }: Pick<Statement, "isPayable" | "totals">): Nano {
  return isPayable ? (totals.minorUnits ?? 0n) * nanoPerMinorUnit : 0n;
}
