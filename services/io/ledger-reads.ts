import {
  balanceText,
  type AccountKey,
  type Balance,
  type Unit,
} from "../core/settlement/ledger/ledger.ts";
import type { PairId, VendorId } from "../core/units.ts";
import {
  fromConsumptionKey,
  toBalance,
  toClaim,
  toConsumption,
  toDocument,
  toEntry,
  toHold,
  toLeaf,
  toLog,
  toProducer,
  toSale,
  toTile,
} from "./ledger-batch.ts";
import { counts, documentQuery, reads, usageQuery } from "./ledger-queries.ts";
import {
  fromHourKey,
  fromRatingKey,
  toCharged,
  toCumulative,
  toHour,
  toPosted,
  toStored,
  toWaiting,
} from "./ledger-rows.ts";
import type { LedgerStore, RowCount, UsagePlace } from "./ledger-store.ts";
import { int, text, type Row, type SqlDriver, type Statement, type Value } from "./sql-driver.ts";

/** The reading half of a ledger. */
export type LedgerReads = Omit<LedgerStore, "commit" | "saveStatement" | "close">;

type RecordReads = Pick<
  LedgerReads,
  | "recordsOf"
  | "waiting"
  | "waitingCount"
  | "usages"
  | "vendors"
  | "recordsAfter"
  | "recordsIn"
  | "chargesIn"
  | "producers"
  | "claims"
  | "claimsOf"
>;
type LogReads = Pick<
  LedgerReads,
  "logs" | "leaves" | "leafHashes" | "leafOf" | "leavesOf" | "tile" | "document" | "documents"
>;
type SaleReads = Pick<
  LedgerReads,
  | "salesOf"
  | "salesOfRequests"
  | "salesWaiting"
  | "salesWaitingCount"
  | "salesBooked"
  | "consumptionOf"
  | "consumption"
  | "hold"
  | "holdsEnding"
  | "holdsOpen"
>;
type BookReads = Omit<LedgerReads, keyof RecordReads | keyof LogReads | keyof SaleReads>;

export function ledgerReads(driver: SqlDriver): LedgerReads {
  const asking = new Asking(driver);
  return {
    ...recordReads(asking),
    ...bookReads(asking),
    ...saleReads(asking),
    ...logReads(asking),
  };
}

/** The three forms in which most questions come. */
class Asking {
  readonly #driver: SqlDriver;

  constructor(driver: SqlDriver) {
    this.#driver = driver;
  }

  async together(...statements: readonly Statement[]): Promise<Row[][]> {
    return this.#driver.ask(...statements);
  }

  async all(query: string, ...values: Value[]): Promise<Row[]> {
    const [rows = []] = await this.#driver.ask({ text: query, values });
    return rows;
  }

  async one<Found>(
    to: (row: Row) => Found,
    query: string,
    ...values: Value[]
  ): Promise<Found | undefined> {
    const [row] = await this.all(query, ...values);
    return row === undefined ? undefined : to(row);
  }

  async among(query: string, keys: readonly Value[][]): Promise<Row[]> {
    const [rows = []] = await this.#driver.ask({ text: query, keys });
    return rows;
  }
}

function recordReads(asking: Asking): RecordReads {
  return {
    async recordsOf(attempts) {
      const keys = [...new Set(attempts)].map((each) => [each]);
      const [posted = [], waiting = []] = await asking.together(
        { text: reads.recordsOf, keys },
        { text: reads.waitingOf, keys },
      );
      return [
        ...posted.map((row) => toStored(row, "posted")),
        ...waiting.map((row) => toStored(row, "waiting")),
      ];
    },
    async waiting(after, limit) {
      return (await asking.all(reads.waitingAfter, ...place(after), BigInt(limit))).map(toWaiting);
    },
    async waitingCount() {
      const count = await asking.one((row) => int(row, "count"), reads.waitingCount);
      return Number(count);
    },
    async usages(filter, page) {
      const [posted = [], waiting = []] = await asking.together(
        usageQuery("usage_record", filter, page),
        usageQuery("quarantine", filter, page),
      );
      const found = [...posted.map(toPosted), ...waiting.map(toWaiting)];
      return found.toSorted(newestFirst).slice(0, page.limit);
    },
    async vendors() {
      return (await asking.all(reads.vendors)).map((row) => text(row, "vendor_id") as VendorId);
    },
    async recordsAfter(after, limit) {
      return (await asking.all(reads.recordsAfter, ...place(after), BigInt(limit))).map(toPosted);
    },
    async recordsIn(vendor, { fromUs, toUs }, after, limit) {
      const values = [vendor, ...place(after), fromUs, toUs, BigInt(limit)];
      return (await asking.all(reads.recordsIn, ...values)).map(toPosted);
    },
    async chargesIn(vendor, { fromUs, toUs }, after, limit) {
      const values = [vendor, ...place(after), fromUs, toUs, BigInt(limit)];
      return (await asking.all(reads.chargesIn, ...values)).map(toCharged);
    },
    async producers() {
      return (await asking.all(reads.producers)).map(toProducer);
    },
    async claims(pair, { fromUs, toUs }, after, limit) {
      const values = [pair, ...place(after), fromUs, toUs, BigInt(limit)];
      return (await asking.all(reads.claims, ...values)).map(toClaim);
    },
    async claimsOf(pair, attempts) {
      const keys = [...new Set(attempts)].toSorted().map((each) => [pair, each]);
      return (await asking.among(reads.claimsOf, keys)).map(toClaim);
    },
  };
}

function bookReads(asking: Asking): BookReads {
  return {
    async totalsOf(rating, hours) {
      const [cumulatives = [], found = []] = await asking.together(
        { text: reads.cumulativesOf, keys: rating.map(fromRatingKey) },
        { text: reads.hoursOf, keys: hours.map(fromHourKey) },
      );
      return { cumulatives: cumulatives.map(toCumulative), hours: found.map(toHour) };
    },
    async booked(pair, booking) {
      return (await asking.all(reads.hoursBooked, pair, booking)).map(toHour);
    },
    async bookedAttempts(pair, booking) {
      const { booked, id } = countsOf(pair);
      return (await asking.one((row) => int(row, "count"), booked, id, booking)) ?? 0n;
    },
    async account(pair, { fromUs, toUs }) {
      const { attempts, waiting, id } = countsOf(pair);
      const [hours = [], [posted = {}] = [], [waits = {}] = [], versions = []] =
        await asking.together(
          { text: reads.hoursIn, values: [pair, fromUs, toUs] },
          { text: attempts, values: [id, fromUs, toUs] },
          { text: waiting, values: [id, fromUs, toUs] },
          { text: reads.versions, values: [] },
        );
      const hashes = versions.map((row) => {
        const version = `${text(row, "book_id")}@${int(row, "version")}`;
        return [version, text(row, "hash")] as const;
      });
      return {
        hours: hours.map(toHour),
        attempts: int(posted, "count"),
        quarantined: int(waits, "count"),
        hashByVersion: new Map(hashes),
      };
    },
    async entriesAfter(count, limit) {
      return (await asking.all(reads.entriesAfter, count, BigInt(limit))).map(toEntry);
    },
    async balances() {
      return balanceMap(await asking.all(reads.balances));
    },
    async balancesOf(accounts) {
      const keys = accounts.map(({ unit, account }) => [unit, account]);
      return balanceMap(await asking.among(reads.balancesOf, keys));
    },
    async counts() {
      const queries = [reads.recordCount, reads.entryCount, reads.documentCount];
      const statements = queries.map((each) => ({ text: each, values: [] }));
      const [[records] = [], [entries] = [], [documents] = []] = await asking.together(
        ...statements,
      );
      const count = (row: Row = {}): RowCount => ({
        rows: int(row, "rows_there"),
        last: int(row, "last"),
      });
      return { records: count(records), entries: count(entries), documents: count(documents) };
    },
    async cumulatives() {
      return (await asking.all(reads.cumulatives)).map(toCumulative);
    },
    async cumulativesOf(pair, period) {
      return (await asking.all(reads.cumulativesIn, pair, period)).map(toCumulative);
    },
    async hours() {
      return (await asking.all(reads.hours)).map(toHour);
    },
  };
}

function saleReads(asking: Asking): SaleReads {
  return {
    async salesOf(attempts) {
      const keys = [...new Set(attempts)].toSorted().map((each) => [each]);
      return (await asking.among(reads.salesOf, keys)).map(toSale);
    },
    async salesOfRequests(requests) {
      const keys = [...new Set(requests)].map((each) => [each]);
      return (await asking.among(reads.salesOfRequests, keys)).map(toSale);
    },
    async salesWaiting(after, limit) {
      return (await asking.all(reads.salesWaiting, after ?? "", BigInt(limit))).map(toSale);
    },
    async salesBooked(tenant, booking, after, limit) {
      const values = [tenant, booking, after ?? "", BigInt(limit)];
      return (await asking.all(reads.salesBooked, ...values)).map(toSale);
    },
    async salesWaitingCount() {
      const count = await asking.one((row) => int(row, "count"), reads.salesWaitingCount);
      return Number(count);
    },
    async consumptionOf(keys) {
      const rows = await asking.among(reads.consumptionOf, keys.map(fromConsumptionKey));
      return rows.map(toConsumption);
    },
    async consumption(tenant, fromUs, toUs) {
      const rows =
        tenant === undefined
          ? await asking.all(reads.consumption, fromUs, toUs)
          : await asking.all(reads.consumptionOfTenant, tenant, fromUs, toUs);
      return rows.map(toConsumption);
    },
    async hold(id) {
      return asking.one(toHold, reads.hold, id);
    },
    async holdsEnding(byUs, limit) {
      return (await asking.all(reads.holdsEnding, byUs, BigInt(limit))).map(toHold);
    },
    async holdsOpen(after, limit) {
      return (await asking.all(reads.holdsOpen, after ?? "", BigInt(limit))).map(toHold);
    },
  };
}

function logReads(asking: Asking): LogReads {
  return {
    async logs() {
      const rows = await asking.all(reads.logs);
      return new Map(rows.map((row) => [toLog(row, "log"), int(row, "size")]));
    },
    async leaves(log, fromIndex, limit) {
      return (await asking.all(reads.leaves, log, fromIndex, BigInt(limit))).map(toLeaf);
    },
    async leafHashes(log, fromIndex, limit) {
      const rows = await asking.all(reads.leafHashes, log, fromIndex, BigInt(limit));
      return rows.map((row) => text(row, "hash"));
    },
    async leavesOf(refs) {
      const keys = refs.map(({ log, kind, ref }) => [log, kind, ref]);
      return (await asking.among(reads.leavesOf, keys)).map(toLeaf);
    },
    async leafOf(log, kind, ref) {
      return asking.one(toLeaf, reads.leafOf, log, kind, ref);
    },
    async tile(log, level, index) {
      return asking.one(toTile, reads.tile, log, BigInt(level), index);
    },
    async document(kind, id) {
      return asking.one(toDocument, reads.document, kind, id);
    },
    async documents(filter, page) {
      const query = documentQuery(filter, page);
      return (await asking.all(query.text, ...query.values)).map(toDocument);
    },
  };
}

/** Attempts of a pair are those of its vendor or tenant; owners of models and channels have none. */
function countsOf(pair: PairId) {
  const [kind = "", ...id] = pair.split(":");
  return kind === "tenant"
    ? { ...counts.tenant, id: id.join(":") }
    : { ...counts.vendor, id: kind === "vendor" ? id.join(":") : "" };
}

function place(after: { readonly attempt: string; readonly rev: bigint } | undefined): Value[] {
  return after === undefined ? ["", 0n] : [after.attempt, after.rev];
}

function balanceMap(rows: readonly Row[]): ReadonlyMap<string, Balance> {
  const keyOf = (row: Row): AccountKey => ({
    unit: text(row, "unit") as Unit,
    account: text(row, "account"),
  });
  return new Map(rows.map((row) => [balanceText(keyOf(row)), toBalance(row)]));
}

function newestFirst(a: UsagePlace, b: UsagePlace): number {
  if (a.openedUs !== b.openedUs) return a.openedUs < b.openedUs ? 1 : -1;
  if (a.attempt !== b.attempt) return a.attempt < b.attempt ? 1 : -1;
  return Number(b.rev - a.rev);
}
