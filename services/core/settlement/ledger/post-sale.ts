import type { AttemptId, InstantUs, PairId, RequestId, TenantId } from "../../units.ts";
import { consumptionKey, ofSale, type Cube } from "./cube.ts";
import type { Hold } from "../packages/hold.ts";
import { saleLeaf, shareLeaf, type RecordLeaf } from "./leaf.ts";
import type { LedgerEntry } from "./ledger.ts";
import type { Charge, SaleRow, StoredRecord } from "./posting.ts";
import { isComputingShared, isSold, type BookingOf, type Owing, type Prepared } from "./prepare.ts";
import type { PriceBook } from "../pricing/price-book.ts";
import { fromRecordText } from "../counting/record-text.ts";
import { reverseSaleEntries, saleEntries } from "../packages/sale-entries.ts";
import { fromSaleText, toSaleText, type BilledSale } from "./sale-text.ts";
import { settleSale, type Sale } from "../packages/sale.ts";
import {
  defaultSplitRule,
  type SplitAmount,
  type SplitParties,
  type SplitRule,
} from "../packages/split.ts";
import type { Place } from "./tally-keys.ts";
import type { Tally } from "./tally.ts";
import type { TokenPackage } from "../packages/token-package.ts";
import { noTokens, tokenClasses, type UsageRecord } from "../counting/usage.ts";
import type { Wallets } from "../packages/wallet.ts";

/** What may pay for a record beside money. */
export interface Tills {
  readonly wallets: Wallets;
  /** Those of a tenant that may cover what was opened at an instant. */
  packagesOf(tenant: TenantId, openedUs: InstantUs): readonly TokenPackage[];
}

export interface SaleTools {
  readonly tally: Tally;
  readonly cube: Cube;
  readonly tills: Tills;
  readonly bookingOf: BookingOf;
  readonly priceHashOf: (book: PriceBook) => string;
  /** Of the attempt's revisions that were posted. */
  readonly recordOf: (attempt: AttemptId, rev: bigint) => StoredRecord | undefined;
}

/** What a sale is settled by. */
interface Terms {
  readonly place: Place;
  readonly slot: string;
  readonly lines: Owing["buy"]["lines"];
  readonly book: PriceBook | undefined;
  readonly rule: SplitRule;
  readonly parties: SplitParties;
  readonly rateParts: readonly SplitAmount[];
  readonly tokens: Sale["tokens"];
}

/** A sale that is taken back, and what it left on its keys. */
interface Taken extends BilledSale {
  readonly carried: readonly Charge[];
}

/** What tenants owe for a batch. A sale that cannot be priced waits; the vendor's side does not. */
export class SalePosting {
  readonly #tools: SaleTools;
  /** In force: at most one that was billed, and one that waits. */
  readonly #rowsByAttempt = new Map<AttemptId, SaleRow[]>();
  /** Which attempt of a request was billed. */
  readonly #winners = new Map<RequestId, AttemptId>();
  readonly #changed = new Map<string, SaleRow>();
  readonly #holds = new Map<string, Hold>();
  readonly entries: LedgerEntry[] = [];
  readonly leaves: RecordLeaf[] = [];

  constructor(known: readonly SaleRow[], tools: SaleTools) {
    this.#tools = tools;
    for (const row of known) {
      this.#keep(row, row.state === "billed" && isSold(fromSaleText(row.text).sale.tokens));
    }
  }

  get rows(): SaleRow[] {
    return [...this.#changed.values()];
  }

  /** Their new states. */
  get holds(): Hold[] {
    return [...this.#holds.values()];
  }

  waiting(attempt: AttemptId, rev: bigint): SaleRow | undefined {
    const rows = this.#rowsByAttempt.get(attempt) ?? [];
    return rows.find((row) => row.rev === rev && row.state === "waiting");
  }

  /** Of the revision that is in force now. Says what the tenant owes for it; undefined if it waits or there is no sale. */
  settle(prepared: Prepared, owing: Owing, posted: StoredRecord): Sale | undefined {
    const { record } = prepared;
    const { sale: finding } = owing;
    const rows = this.#rowsByAttempt.get(record.attempt) ?? [];
    const billed = rows.find(({ state }) => state === "billed");
    for (const row of rows) {
      if (row.state === "waiting" && row.rev !== prepared.rev) this.#drop(row);
    }
    const objection = this.#objection(owing, posted);
    if (objection !== undefined) {
      // What an earlier revision was billed stays until this one can be.
      this.#set({ ...rowOf(prepared), reason: objection }, false);
      return undefined;
    }
    if (finding.kind !== "priced" && billed === undefined) return undefined;
    const place = placeOf(owing, billed, prepared);
    const taken = billed && this.#takeBack(billed, prepared, place);
    const terms = finding.kind === "priced" ? termsOf(finding, owing, posted) : nothingSold(place);
    return this.#bill(prepared, terms, taken);
  }

  #objection({ sale, usage }: Owing, posted: StoredRecord): string | undefined {
    if (sale.kind === "none") return undefined;
    if (sale.kind === "waiting") return `${sale.reason}: ${sale.detail}`;
    const moved = tokenClasses.find((each) => usage.sold[each] !== posted.sold[each]);
    if (moved !== undefined) {
      const [was, is] = [posted.sold[moved], usage.sold[moved]];
      return `count-changed: expected ${was} ${moved} as when ${posted.record} was posted, found ${is}`;
    }
    const winner = this.#winners.get(posted.request);
    if (winner !== undefined && winner !== posted.attempt) {
      return `second-winner: request ${posted.request} was billed for attempt ${winner}`;
    }
    if (isComputingShared(sale.rule) && posted.charges.length > 0) {
      return `split-rule-unknown: the vendor was paid by its book when ${posted.record} was posted`;
    }
    return undefined;
  }

  #takeBack(row: SaleRow, by: Prepared, place: Place): Taken {
    const billed = fromSaleText(row.text);
    const { sale, period } = billed;
    const carried = this.#tools.tally.takeBack({ ...place, period }, sale.charges);
    this.#enter(reverseSaleEntries(sale, by.record.id, by.record.openedUs), sale);
    const old = this.#tools.recordOf(row.attempt, row.rev);
    const oldRecord = old === undefined ? by.record : fromRecordText(old.text);
    this.#tools.cube.takeBack(consumptionKey(oldRecord), ofSale(sale));
    this.#set({ ...row, state: "replaced" }, false);
    return { ...billed, carried };
  }

  #bill(prepared: Prepared, terms: Terms, taken: Taken | undefined): Sale {
    const { record, rev } = prepared;
    const { tally, cube, tills, priceHashOf } = this.#tools;
    const { place, slot, rule, parties, rateParts, tokens } = terms;
    const { attempt, request, tenant, model, openedUs } = record;
    const charges = tally.charge(place, terms.lines, taken?.carried ?? []);
    const packages = tills
      .packagesOf(tenant, openedUs)
      .map((each) => tills.wallets.stateOf(each, drawKey(record)));
    const of = { record: record.id, attempt, rev, request, tenant, model };
    const sale = settleSale({ ...of, tokens, charges, packages, rateParts, rule, parties });
    this.#enter(saleEntries(sale, openedUs), sale);
    for (const hold of tills.wallets.drawn(sale)) this.#holds.set(hold.id, hold);
    cube.add(consumptionKey(record), ofSale(sale));
    const text = toSaleText({ sale, period: place.period, slot, hash: prepared.hash });
    const { billedNano } = sale;
    const row = rowOf(prepared);
    const billed = { ...row, booking: place.booking, state: "billed", billedNano, text } as const;
    this.#set(billed, isSold(tokens));
    const priceHash = terms.book && priceHashOf(terms.book);
    const takenBack = taken && {
      ...{ hash: taken.hash, charges: taken.sale.charges },
      ...{ coveredNano: taken.sale.coveredNano, draws: taken.sale.draws },
    };
    this.leaves.push(saleLeaf(prepared, { sale, side: { place, slot }, priceHash, takenBack }));
    this.#share(prepared, { sale, old: taken?.sale });
    return sale;
  }

  /** Shares are owed by no book and rated on no key: their leaves are what says them to those who have them. */
  #share(
    { record }: Prepared,
    { sale, old }: { readonly sale: Sale; readonly old: Sale | undefined },
  ): void {
    const shares = new Map(
      sharesOf(sale).map((share) => [nameOf(share), { share, takenBackNano: 0n }]),
    );
    for (const before of old === undefined ? [] : sharesOf(old)) {
      const share = shares.get(nameOf(before))?.share ?? { ...before, amountNano: 0n };
      shares.set(nameOf(before), { share, takenBackNano: before.amountNano });
    }
    for (const { share, takenBackNano } of shares.values()) {
      const { party } = share;
      if (party === "internal") continue;
      const booking = this.#tools.bookingOf(party, record.openedUs);
      const by = { rule: sale.splitRule, booking, takenBackNano };
      this.leaves.push(shareLeaf(record, { ...share, party }, by));
    }
  }

  /** Never billed, and never will be. It leaves who was billed for the request alone. */
  #drop(row: SaleRow): void {
    const others = (this.#rowsByAttempt.get(row.attempt) ?? []).filter((each) => each !== row);
    this.#rowsByAttempt.set(row.attempt, others);
    this.#changed.set(`${row.attempt}\n${row.rev}`, { ...row, state: "replaced" });
  }

  #enter(entries: readonly LedgerEntry[], { draws }: Sale): void {
    this.entries.push(...entries);
    if (draws.length > 0) this.#tools.tills.wallets.post(entries);
  }

  #set(row: SaleRow, isWinner: boolean): void {
    this.#changed.set(`${row.attempt}\n${row.rev}`, row);
    this.#keep(row, isWinner);
  }

  /** One that was taken back to nothing leaves the request to another. */
  #keep(row: SaleRow, isWinner: boolean): void {
    const { attempt, rev, request, state } = row;
    const others = (this.#rowsByAttempt.get(attempt) ?? []).filter((each) => each.rev !== rev);
    this.#rowsByAttempt.set(attempt, state === "replaced" ? others : [...others, row]);
    if (isWinner) this.#winners.set(request, attempt);
    else if (state !== "waiting" && this.#winners.get(request) === attempt) {
      this.#winners.delete(request);
    }
  }
}

function placeOf({ sale, buy }: Owing, billed: SaleRow | undefined, { record }: Prepared): Place {
  if (sale.kind === "priced") return sale.side.place;
  if (sale.kind === "none" && sale.place !== undefined) return sale.place;
  const booking = billed?.booking ?? buy.place.booking;
  return { ...buy.place, pair: `tenant:${record.tenant}` as PairId, booking };
}

function termsOf(
  { side, rule, parties }: Extract<Owing["sale"], { kind: "priced" }>,
  { usage }: Owing,
  { vendor, amountNano, fees }: StoredRecord,
): Terms {
  const rateParts: SplitAmount[] = fees.map((fee) => {
    return { part: "model", party: fee.pair, way: "rate", amountNano: fee.amountNano };
  });
  if (!isComputingShared(rule)) {
    const party = `vendor:${vendor}` as PairId;
    rateParts.unshift({ part: "computing", party, way: "rate", amountNano });
  }
  return { ...side, rule, parties, rateParts, tokens: usage.sold };
}

/** What stays of a sale that is taken back: what rounding left on its keys, for the platform. */
function nothingSold(place: Place): Terms {
  const parties = { computing: "vendor:" as PairId, model: undefined, channel: undefined };
  return {
    ...{ place, slot: "any", lines: [], book: undefined, rateParts: [], tokens: noTokens },
    ...{ rule: defaultSplitRule, parties },
  };
}

function rowOf({ record, rev, text }: Prepared): SaleRow {
  const { attempt, request, tenant, openedUs } = record;
  return {
    ...{ attempt, rev, request, tenant, openedUs },
    ...{ booking: "", state: "waiting", reason: "", billedNano: 0n, text },
  };
}

function drawKey(record: UsageRecord) {
  const { tenant, department, project, scenario, gateway, openedUs } = record;
  return { tenant, department, project, scenario, gateway, openedUs };
}

function sharesOf({ parts }: Sale): SplitAmount[] {
  return parts.filter(({ way }) => way === "share");
}

function nameOf({ part, party }: SplitAmount): string {
  return `${part}\n${party}`;
}
