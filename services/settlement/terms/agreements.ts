import type { Contract } from "../../core/settlement/terms/contract.ts";
import { defaultContract } from "../../core/settlement/terms/contract.ts";
import { inForceAt, type Dated } from "../../core/settlement/terms/effective.ts";
import {
  isWithTenant,
  isWithVendor,
  listedContract,
  type AnyContract,
  type PartnerContract,
  type TenantContract,
} from "../../core/settlement/terms/other-contracts.ts";
import { bookingOf } from "../../core/settlement/statements/period.ts";
import type { LineOf } from "../../core/settlement/ledger/posting.ts";
import {
  linesIn,
  type Agreement,
  type BookingOf,
  type Selling,
  type Terms,
} from "../../core/settlement/ledger/prepare.ts";
import {
  everyTenant,
  pairOf,
  sideOf,
  type PriceBook,
} from "../../core/settlement/pricing/price-book.ts";
import { defaultSplitRule, type SplitRule } from "../../core/settlement/packages/split.ts";
import { bookText } from "../../core/settlement/terms/terms-text.ts";
import type { TokenPackage } from "../../core/settlement/packages/token-package.ts";
import type { UsageRecord } from "../../core/settlement/counting/usage.ts";
import type { BookId, InstantUs, ModelId, PairId, TenantId } from "../../core/units.ts";
import { sha256 } from "../../io/signing.ts";
import type { TermsSource } from "./terms-source.ts";

/** Where buy books come from: gateways name them before they are documents. */
export interface BuyBooks {
  known(book: BookId, version: bigint): PriceBook | undefined;
  find(book: BookId, version: bigint): Promise<PriceBook | undefined>;
}

/** Split rules of an operator that names none are under this name. */
export const operatorSplitRule = "operator";

/** Everything that was agreed with anybody: versions of contracts, books and split rules, and what is in force when. */
export class Agreements implements TermsSource {
  readonly #buyBooks: BuyBooks;
  readonly #firstOpenOf: (pair: PairId) => string | undefined;
  readonly #packages: (tenant: TenantId, openedUs: InstantUs) => readonly TokenPackage[];
  readonly #contracts = new Map<PairId, AnyContract[]>();
  readonly #books = new Map<BookId, PriceBook[]>();
  readonly #rules = new Map<string, SplitRule[]>();
  /** Contracts with the owners of models, by model. */
  readonly #owners = new Map<ModelId, PairId>();
  /** Of books for every tenant, in the order in which they were agreed. */
  readonly #lists = new Set<BookId>();
  /** By which tenants are sold to that have no contract, by list and pair. */
  readonly #listed = new Map<string, TenantContract>();
  /** From when on anything was sold to any tenant. */
  #soldFromUs: InstantUs | undefined;
  readonly #withCalendar: (book: PriceBook) => PriceBook;
  readonly #hashes = new WeakMap<PriceBook, string>();

  constructor(options: {
    readonly buyBooks: BuyBooks;
    /** First day of a pair that can still be booked into; undefined if none was closed. */
    readonly firstOpenOf?: (pair: PairId) => string | undefined;
    /** A book with the newest version of its calendar. */
    readonly withCalendar?: (book: PriceBook) => PriceBook;
    readonly packagesOf?: (tenant: TenantId, openedUs: InstantUs) => readonly TokenPackage[];
  }) {
    this.#buyBooks = options.buyBooks;
    this.#firstOpenOf = options.firstOpenOf ?? (() => undefined);
    this.#withCalendar = options.withCalendar ?? ((book) => book);
    this.#packages = options.packagesOf ?? (() => []);
  }

  /** A version of a contract with anybody. */
  addContract(contract: AnyContract): void {
    const { pair } = contract;
    this.#contracts.set(pair, [...(this.#contracts.get(pair) ?? []), contract]);
    if (isWithTenant(contract)) this.#sellFrom(contract);
    if (isWithVendor(contract) || isWithTenant(contract)) return;
    for (const model of contract.models) this.#owners.set(model, pair);
  }

  /** A version of a book of any side that is not in the registry. */
  addBook(book: PriceBook): void {
    this.#books.set(book.id, [...(this.#books.get(book.id) ?? []), book]);
    if (sideOf(book) !== "sell") return;
    this.#sellFrom(book);
    if (pairOf(book) === everyTenant) this.#lists.add(book.id);
  }

  addSplitRule(rule: SplitRule): void {
    const key = ruleKey(rule.id, rule.model);
    this.#rules.set(key, [...(this.#rules.get(key) ?? []), rule]);
  }

  async learn(records: readonly UsageRecord[]): Promise<void> {
    const asked = new Set<string>();
    for (const { priceBook, priceVersion } of records) {
      const key = `${priceBook}@${priceVersion}`;
      if (asked.has(key)) continue;
      asked.add(key);
      if (this.bookOf(priceBook, priceVersion) === undefined) {
        await this.#buyBooks.find(priceBook, priceVersion);
      }
    }
  }

  termsOf(record: UsageRecord): Terms {
    const { priceBook, priceVersion, openedUs } = record;
    const contract = this.contractWith(`vendor:${record.vendor}` as PairId, openedUs);
    const licence = this.#licenceOf(record);
    return {
      contract,
      book: this.bookOf(priceBook, priceVersion),
      newestBook: newestBegun(this.#books.get(priceBook) ?? [], openedUs),
      ...(contract.loserBook !== undefined && {
        forLosers: { book: this.bookInForce(contract.loserBook, openedUs) },
      }),
      licence,
      sell: this.#sellingOf(record, contract),
    };
  }

  readonly bookingOf: BookingOf = (pair, openedUs) => {
    const { timeZone } = this.contractOf(pair, openedUs) ?? defaultContract;
    return bookingOf(openedUs, this.#firstOpenOf(pair), timeZone);
  };

  readonly lineOf: LineOf = linesIn((id, version) => this.bookOf(id as BookId, version));

  readonly priceHashOf = (book: PriceBook): string => {
    const known = this.#hashes.get(book) ?? sha256(bookText(book));
    this.#hashes.set(book, known);
    return known;
  };

  /** A version of a split rule by `<id>:<version>`: its own for a model, or that for all. */
  readonly ruleOf = (name: string, model: ModelId): SplitRule | undefined => {
    const [id = "", version = ""] = name.split(":");
    const own = this.#rules.get(ruleKey(id, model)) ?? [];
    const all = [...own, ...(this.#rules.get(ruleKey(id, "*")) ?? []), defaultSplitRule];
    return all.find((rule) => rule.id === id && String(rule.version) === version);
  };

  bookOf(id: BookId, version: bigint): PriceBook | undefined {
    const own = this.#books.get(id)?.find((book) => book.version === version);
    return own === undefined ? this.#buyBooks.known(id, version) : this.#withCalendar(own);
  }

  bookInForce(id: BookId, us: InstantUs): PriceBook | undefined {
    const found = inForceAt(this.#books.get(id) ?? [], us);
    return found && this.#withCalendar(found);
  }

  /** In force at an instant, with anybody. A tenant without one has the house's, by the list for every tenant, if there is one. */
  contractOf(pair: PairId, us: InstantUs): AnyContract | undefined {
    const own = inForceAt(this.#contracts.get(pair) ?? [], us);
    return own === undefined && pair.startsWith("tenant:") ? this.#listedWith(pair, us) : own;
  }

  /** With a vendor: what nobody agreed otherwise is as the house has it. */
  contractWith(vendor: PairId, us: InstantUs): Contract {
    const found = this.contractOf(vendor, us);
    return found !== undefined && isWithVendor(found) ? found : defaultContract;
  }

  packagesOf(tenant: TenantId, openedUs: InstantUs): readonly TokenPackage[] {
    return this.#packages(tenant, openedUs);
  }

  #licenceOf({ model, openedUs }: UsageRecord): Agreement | undefined {
    const pair = this.#owners.get(model);
    const contract = pair && this.#partner(pair, openedUs);
    if (contract?.licenceBook === undefined) return undefined;
    const book = this.bookInForce(contract.licenceBook, openedUs);
    return { pair: contract.pair, contract, book };
  }

  /** Undefined: nobody has said what any tenant pays, so that only the vendor's side is kept. */
  #sellingOf({ tenant, model, vendor, openedUs }: UsageRecord, buy: Contract): Selling | undefined {
    const pair = `tenant:${tenant}` as PairId;
    const found = this.contractOf(pair, openedUs);
    const isUncovered = found === undefined || !isWithTenant(found);
    if (isUncovered && (this.#soldFromUs === undefined || openedUs < this.#soldFromUs)) {
      return undefined;
    }
    const contract = isUncovered ? listedContract(pair, "" as BookId) : found;
    return {
      ...{ pair, contract, isUncovered },
      book: this.bookInForce(contract.sellBook, openedUs),
      rule: this.#ruleOf(contract, buy, { model, openedUs }),
      parties: {
        computing: `vendor:${vendor}` as PairId,
        model: this.#owners.get(model),
        channel: contract.channel,
      },
    };
  }

  /** Of several lists the one that was agreed first: another that is agreed later changes nothing for whoever has one. */
  #listedWith(pair: PairId, us: InstantUs): TenantContract | undefined {
    const list = [...this.#lists].find((id) => inForceAt(this.#books.get(id) ?? [], us));
    if (list === undefined) return undefined;
    const key = `${list}\n${pair}`;
    const known = this.#listed.get(key) ?? listedContract(pair, list);
    this.#listed.set(key, known);
    return known;
  }

  #sellFrom({ effectiveFromUs: from }: Dated): void {
    if (this.#soldFromUs === undefined || from < this.#soldFromUs) this.#soldFromUs = from;
  }

  /** Of the tenant's contract, or else of the vendor's. Who names none has the operator's, which may be the house's. */
  #ruleOf(
    { splitRule }: TenantContract,
    buy: Contract,
    { model, openedUs }: Pick<UsageRecord, "model" | "openedUs">,
  ): SplitRule | undefined {
    const named = splitRule ?? buy.splitRule;
    const id = named ?? operatorSplitRule;
    const of = (key: string): SplitRule | undefined =>
      inForceAt<SplitRule & Dated>(this.#rules.get(key) ?? [], openedUs);
    const found = of(ruleKey(id, model)) ?? of(ruleKey(id, "*"));
    return found ?? (named === undefined ? defaultSplitRule : undefined);
  }

  #partner(pair: PairId, us: InstantUs): PartnerContract | undefined {
    const found = this.contractOf(pair, us);
    return found === undefined || isWithVendor(found) || isWithTenant(found) ? undefined : found;
  }
}

function ruleKey(id: string, model: string): string {
  return `${id}\n${model}`;
}

/** Over or not: one before it does not come into force again. */
function newestBegun(versions: readonly PriceBook[], us: InstantUs): PriceBook | undefined {
  let newest: PriceBook | undefined;
  for (const each of versions) {
    if (each.effectiveFromUs > us) continue;
    if (newest === undefined || each.version > newest.version) newest = each;
  }
  return newest;
}
