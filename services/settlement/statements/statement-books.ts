import { balanceText, noBalance, payableAccount } from "../../core/settlement/ledger/ledger.ts";
import { bookingOf, dayAfter, type Period } from "../../core/settlement/statements/period.ts";
import { bookedByLeaf, BookingSum } from "../../core/settlement/statements/statement-leaves.ts";
import { linesOfHours } from "../../core/settlement/statements/statement-lines.ts";
import type {
  Account,
  StatementFee,
  StatementLine,
} from "../../core/settlement/statements/statement.ts";
import type { InstantUs, Nano, PairId, VendorId } from "../../core/units.ts";
import { readCharges } from "../../io/ledger-rows.ts";
import type { ChargedRow, LedgerStore } from "../../io/ledger-store.ts";

/** Leaves that book something. */
const bookingKinds: ReadonlySet<string> = new Set(["usage", "sale", "purchase"]);

/** Leaves that are read at once. */
const pageLeaves = 2_000;
/** Records that are read at once. */
const pageRecords = 10_000;

/** What was booked of a pair into a day. */
export interface DayBooks {
  readonly lines: readonly StatementLine[];
  readonly fees: readonly StatementFee[];
  readonly creditsNano: Nano;
  readonly attempts: bigint | undefined;
  readonly hashByVersion: Account["hashByVersion"];
  readonly quarantined: bigint;
}

/** Where leaves of a day may stand in the log of its pair. */
export interface LeafRange {
  readonly firstIndex: bigint;
  readonly endIndex: bigint;
}

/**
 * Reads a day from the ledger: lines from the hour totals. What hours do not say, shares of sales and what packages
 * paid, is read from the leaves, and only where there is any.
 */
export async function dayBooks(
  store: LedgerStore,
  asked: { readonly pair: PairId; readonly day: Period; readonly booking: string },
  also: { readonly range: LeafRange; readonly nowUs: InstantUs },
): Promise<DayBooks> {
  const { pair, day, booking } = asked;
  const lines = linesOfHours(await store.booked(pair, booking), day);
  const { hashByVersion, quarantined } = await store.account(pair, day);
  const isByHour = await isExplainedByHours(store, asked, also.nowUs);
  const sum = isByHour ? undefined : await sumLeaves(store, asked, also.range);
  return {
    lines,
    fees: sum?.fees ?? [],
    creditsNano: -(sum?.coveredNano ?? 0n),
    attempts: hasAttempts(pair) ? await store.bookedAttempts(pair, booking) : undefined,
    hashByVersion,
    quarantined,
  };
}

/** Adds up the leaves of a range that were booked into a day. */
export async function sumLeaves(
  store: Pick<LedgerStore, "leaves">,
  { pair, day, booking }: Parameters<typeof dayBooks>[1],
  { firstIndex, endIndex, onItems }: LeafRange & { onItems?: (leaves: number) => void },
): Promise<BookingSum> {
  const sum = new BookingSum(pair, day, [booking]);
  for (let index = firstIndex; index < endIndex;) {
    const left = endIndex - index;
    const limit = left < BigInt(pageLeaves) ? Number(left) : pageLeaves;
    const page = await store.leaves(pair, index, limit);
    if (page.length === 0) throw new Error(`log ${pair}: expected leaf ${index}, found none`);
    for (const { kind, text } of page) {
      const booked = bookingKinds.has(kind) ? bookedByLeaf(text) : undefined;
      if (booked !== undefined) sum.add(booked);
    }
    index += BigInt(page.length);
    onItems?.(page.length);
  }
  return sum;
}

/** Adds up the posted records of a vendor that were booked into a day, from their typed columns. */
export async function sumRecords(
  store: Pick<LedgerStore, "chargesIn">,
  asked: { readonly pair: PairId; readonly day: Period; readonly booking: string },
  options: {
    /** Of the earliest usage that was booked into the day. */
    readonly fromUs: InstantUs;
    readonly onItems?: (records: number) => void;
  },
): Promise<BookingSum> {
  const { pair, day, booking } = asked;
  const sum = new BookingSum(pair, day, [booking]);
  const vendor = pair.slice("vendor:".length) as VendorId;
  const period = { fromUs: options.fromUs, toUs: day.toUs };
  const read = async (last: ChargedRow | undefined) => {
    const after = last && { attempt: last[0], rev: last[1] };
    return store.chargesIn(vendor, period, after, pageRecords);
  };
  /** The revision of the same attempt that counted before. */
  let before: ChargedRow | undefined;
  let page = await read(undefined);
  while (page.length > 0) {
    // The next page is read while this one is added up.
    const next = read(page.at(-1));
    for (const row of page) before = addRecord(sum, row, before);
    options.onItems?.(page.length);
    page = await next;
  }
  return sum;
}

function addRecord(
  sum: BookingSum,
  row: ChargedRow,
  before: ChargedRow | undefined,
): ChargedRow | undefined {
  const [attempt, , openedUs, pool, region, booking, period, charges] = row;
  const earlier = before?.[0] === attempt ? before : undefined;
  // One that came behind a later one never counted, and took nothing back.
  if (period === "" && earlier !== undefined) return before;
  sum.add({
    ...plainBooked,
    ...{ booking, openedUs, pool, region, charges: readCharges(charges) },
    takenBack: earlier === undefined ? [] : readCharges(earlier[7]),
  });
  return row;
}

const plainBooked = { coveredNano: 0n, department: "", draws: [], fee: undefined } as const;

/**
 * Whether all that is accrued comes from lines: then there are no shares to look for. A tenant's bill needs its leaves
 * always, since packages pay a part of it.
 */
async function isExplainedByHours(
  store: LedgerStore,
  { pair, day, booking }: Parameters<typeof dayBooks>[1],
  nowUs: InstantUs,
): Promise<boolean> {
  const [kind] = pair.split(":");
  if (kind === "tenant" || kind === "channel") return false;
  const key = { unit: "CNY:nano", account: payableAccount(pair, "accrued") } as const;
  const balances = await store.balancesOf([key]);
  const { debit, credit } = balances.get(balanceText(key)) ?? noBalance;
  let bookedNano = 0n;
  // A gateway's clock may be ahead of ours.
  const last = dayAfter(bookingOf(nowUs, booking, day.timeZone), day.timeZone);
  for (let each = booking; each <= last; each = dayAfter(each, day.timeZone)) {
    for (const { total } of await store.booked(pair, each)) bookedNano += total.amountNano;
  }
  return credit - debit === bookedNano;
}

function hasAttempts(pair: PairId): boolean {
  return pair.startsWith("vendor:") || pair.startsWith("tenant:");
}

/** The first day of a pair that anything was booked into, as far as its first leaves say. */
export async function firstBooking(
  store: Pick<LedgerStore, "leaves">,
  pair: PairId,
): Promise<string | undefined> {
  const page = await store.leaves(pair, 0n, pageLeaves);
  const bookings = page
    .filter(({ kind }) => bookingKinds.has(kind))
    .map(({ text }) => bookedByLeaf(text)?.booking)
    .filter((booking) => booking !== undefined);
  return bookings.toSorted()[0];
}
