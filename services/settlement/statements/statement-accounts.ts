import { originOf } from "../../core/settlement/proof/checkpoint.ts";
import { futureUsMax } from "../../core/settlement/counting/bounds.ts";
import type { Closing } from "../../core/settlement/statements/closing.ts";
import {
  balanceText,
  payableAccount,
  type LedgerEntry,
} from "../../core/settlement/ledger/ledger.ts";
import {
  nameOfPeriod,
  periodNamed,
  usPerHour,
  type Period,
} from "../../core/settlement/statements/period.ts";
import { isBill } from "../../core/settlement/statements/statement-entries.ts";
import { fromStatementText } from "../../core/settlement/statements/statement-text.ts";
import { addedLines } from "../../core/settlement/statements/statement-lines.ts";
import type {
  Account,
  Frozen,
  Statement,
  StatementFee,
  StatementKind,
  StatementLine,
  StatementProducer,
} from "../../core/settlement/statements/statement.ts";
import type { InstantUs, PairId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { sha256 } from "../../io/signing.ts";
import type { ClosedPeriods } from "./closed-periods.ts";
import { dayBooks, type DayBooks, type LeafRange } from "./statement-books.ts";
import type { StatementSources } from "./statements.ts";
import type { NewLeaf } from "../ingest/writer.ts";

interface Asked {
  readonly pair: PairId;
  readonly kind: StatementKind;
  readonly period: Period;
}

interface Means {
  readonly store: LedgerStore;
  readonly closed: ClosedPeriods;
  readonly domain: string;
  readonly sources: StatementSources;
  /** Of the pair's log now. */
  readonly size: bigint;
  readonly root: string;
  readonly nowUs: InstantUs;
}

/** What a statement is made of, and entries that belong to it. */
export interface StatementAccount {
  readonly account: Account;
  readonly entries: readonly LedgerEntry[];
  readonly leaves: readonly NewLeaf[];
}

/** What was booked into a day. */
export async function accountOfDay(asked: Asked, means: Means): Promise<StatementAccount> {
  const { pair, kind, period } = asked;
  const { store, closed, sources, size, nowUs } = means;
  const booking = nameOfPeriod(period);
  const range = { firstIndex: firstIndexOf(closed.of(pair), period), endIndex: size };
  const books = await dayBooks(store, { pair, day: period, booking }, { range, nowUs });
  const isPayable = sources.termsOf(pair, period.toUs - 1n).period === "daily";
  const late = lateDays(books.lines);
  const more = isPayable ? await sources.trueUps(pair, period, late) : nothingMore;
  const { trueUps, entries, leaves = [] } = more;
  const { lines, fees, creditsNano, attempts, hashByVersion } = books;
  return {
    ...{ entries, leaves },
    account: {
      ...{ pair, kind, period, isPayable, lines, fees, trueUps, creditsNano, attempts },
      ...{ days: [], rounded: undefined, hashByVersion },
      frozen: await frozenOf(asked, { lines, hashByVersion, range, ...means }, books.quarantined),
      prevDigest: closed.lastOf(pair, "daily")?.digest ?? "",
    },
  };
}

/** Days of earlier periods that something was booked for. */
function lateDays(lines: readonly StatementLine[]): string[] {
  return [...new Set(lines.flatMap(({ usagePeriod }) => usagePeriod ?? []))];
}

const nothingMore = { trueUps: [], entries: [], leaves: [] } as const;

/** The closed days of a month, added up; in an interim one the open days as they stand. */
export async function accountOfMonth(asked: Asked, means: Means): Promise<StatementAccount> {
  const { pair, kind, period } = asked;
  const { store, closed, sources, size } = means;
  const closings = closed.of(pair).filter((each) => isDayOf(each, period));
  const days = await Promise.all(closings.map(async ({ statement }) => read(store, statement)));
  const open = kind === "interim" ? await openDays(asked, means) : [];
  const isPayable = sources.termsOf(pair, period.toUs - 1n).period === "monthly";
  const lines = addedLines([...days, ...open], period);
  const late = lateDays(lines);
  const more = isPayable ? await sources.trueUps(pair, period, late) : nothingMore;
  const { trueUps, entries, leaves = [] } = more;
  const hashByVersion = new Map([
    ...days.flatMap(hashesOf),
    ...open.flatMap((day) => [...day.hashByVersion]),
  ]);
  const range = {
    firstIndex: closings[0]?.firstIndex ?? firstIndexOf(closed.of(pair), period),
    endIndex: kind === "interim" ? size : (closings.at(-1)?.endIndex ?? size),
  };
  const all = [...days.map(partsOf), ...open];
  const quarantined = all.reduce((sum, day) => sum + day.quarantined, 0n);
  const frozen = await frozenOf(asked, { lines, hashByVersion, range, ...means }, quarantined);
  return {
    ...{ entries, leaves },
    account: {
      ...{ pair, kind, period, isPayable, lines, hashByVersion },
      fees: addedFees(all.flatMap(({ fees }) => fees)),
      trueUps: isPayable ? trueUps : days.flatMap((day) => day.trueUps),
      creditsNano: all.reduce((sum, day) => sum + day.creditsNano, 0n),
      attempts: addedAttempts(all),
      days: days.map(({ id, digest }) => ({ id, digest })),
      rounded: kind === "interim" || isPayable ? undefined : roundedOf(days),
      frozen: days.length === 0 ? frozen : monthFrozen(frozen, days),
      prevDigest: closed.lastOf(pair, "monthly")?.digest ?? "",
    },
  };
}

/** Leaves of a day come after what was closed before it began: none is of more than so far in the future. */
function firstIndexOf(closings: readonly Closing[], { fromUs }: Period): bigint {
  const before = closings.findLast(({ atUs }) => atUs + futureUsMax <= fromUs);
  return before?.endIndex ?? 0n;
}

function isDayOf({ kind, fromUs, toUs }: Closing, month: Period): boolean {
  return kind === "daily" && fromUs >= month.fromUs && toUs <= month.toUs;
}

async function read(store: LedgerStore, id: string): Promise<Statement> {
  const found = await store.document("statement", id);
  if (found === undefined) throw new Error(`expected statement ${id}, which is closed, found none`);
  return fromStatementText(found.body, sha256);
}

/** What stands in the days of a month that are not closed, up to today. */
async function openDays({ pair, period }: Asked, means: Means): Promise<DayBooks[]> {
  const { store, closed, size, nowUs } = means;
  const last = periodNamed(closed.lastOf(pair, "daily")?.name ?? "", period.timeZone);
  const fromUs = last === undefined || last.toUs < period.fromUs ? period.fromUs : last.toUs;
  const dayUs = 24n * usPerHour;
  const books: DayBooks[] = [];
  for (let at = fromUs; at < period.toUs && at <= nowUs; at += dayUs) {
    const day = { ...period, fromUs: at, toUs: at + dayUs };
    const range: LeafRange = { firstIndex: firstIndexOf(closed.of(pair), day), endIndex: size };
    const booking = nameOfPeriod(day);
    books.push(await dayBooks(store, { pair, day, booking }, { range, nowUs }));
  }
  return books;
}

async function frozenOf(
  { pair, kind, period }: Asked,
  means: Means & {
    readonly lines: readonly StatementLine[];
    readonly hashByVersion: Account["hashByVersion"];
    readonly range: LeafRange;
  },
  quarantined: bigint,
): Promise<Frozen> {
  const { store, sources, closed, domain, size, root, range } = means;
  const states = await store.producers();
  const lastId = closed.lastOf(pair, kind === "monthly" ? "monthly" : "daily")?.statement;
  const before = lastId === undefined ? undefined : await read(store, lastId);
  return {
    log: { origin: originOf(domain, pair), size, root, ...range },
    contractHash: sources.termsOf(pair, period.toUs - 1n).hash,
    calendars: sources.calendars(versionsOf(means.lines, means.hashByVersion)),
    producers: pair.startsWith("vendor:") ? states.map((each) => producerOf(each, before)) : [],
    gaps: states
      .filter(({ lost }) => lost > 0n)
      .map(({ gateway, epoch, lost }) => ({ gateway, epoch, lost })),
    recon: kind === "interim" ? undefined : await sources.recon(pair, period),
    seal: undefined,
    disputedNano: await disputedNano(store, pair),
    quarantined,
  };
}

/** A month ends where its last day ended. */
function monthFrozen(frozen: Frozen, days: readonly Statement[]): Frozen {
  const last = days.at(-1)?.log;
  if (last === undefined || frozen.log.endIndex !== last.endIndex) return frozen;
  return { ...frozen, log: { ...frozen.log, size: last.size, root: last.root } };
}

function producerOf(
  { gateway, epoch, nextSeq }: Awaited<ReturnType<LedgerStore["producers"]>>[number],
  before: Statement | undefined,
): StatementProducer {
  const known = before?.frozen.producers.find((each) => {
    return each.gateway === gateway && each.epoch === epoch;
  });
  return { gateway, epoch, firstSeq: known?.endSeq ?? 1n, endSeq: nextSeq };
}

async function disputedNano(store: LedgerStore, pair: PairId): Promise<bigint> {
  if (isBill(pair)) return 0n;
  const key = { unit: "CNY:nano", account: payableAccount(pair, "disputed") } as const;
  const balance = (await store.balancesOf([key])).get(balanceText(key));
  return balance === undefined ? 0n : balance.credit - balance.debit;
}

function versionsOf(
  lines: readonly StatementLine[],
  hashByVersion: Account["hashByVersion"],
): Statement["versions"] {
  const versions = new Map(
    lines.map(({ book, version }) => {
      const key = `${book}@${version}`;
      return [key, { book, version, hash: hashByVersion.get(key) }] as const;
    }),
  );
  return [...versions.values()];
}

function hashesOf({ versions }: Statement): [string, string][] {
  return versions.flatMap(({ book, version, hash }) => {
    return hash === undefined ? [] : [[`${book}@${version}`, hash] as [string, string]];
  });
}

type DayParts = Pick<DayBooks, "fees" | "creditsNano" | "attempts" | "quarantined">;

function partsOf({ fees, totals }: Statement): DayParts {
  const { creditsNano, attempts, quarantined } = totals;
  return { fees, creditsNano, attempts, quarantined };
}

function addedAttempts(days: readonly DayParts[]): bigint | undefined {
  if (days.some(({ attempts }) => attempts === undefined)) return undefined;
  return days.reduce((sum, { attempts = 0n }) => sum + attempts, 0n);
}

function addedFees(fees: readonly StatementFee[]): StatementFee[] {
  const byPart = new Map<string, StatementFee>();
  for (const fee of fees) {
    const key = `${fee.part}\n${fee.party}`;
    const amountNano = (byPart.get(key)?.amountNano ?? 0n) + fee.amountNano;
    byPart.set(key, { ...fee, amountNano });
  }
  return [...byPart.values()];
}

/** Days that are paid by themselves were rounded by themselves. */
function roundedOf(days: readonly Statement[]): NonNullable<Account["rounded"]> {
  return {
    minorUnits: days.reduce((sum, { totals }) => sum + (totals.minorUnits ?? 0n), 0n),
    roundingNano: days.reduce((sum, { totals }) => sum + totals.roundingNano, 0n),
  };
}
