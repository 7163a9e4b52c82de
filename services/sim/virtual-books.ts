import { createHash } from "node:crypto";
import { assert } from "../core/assert.ts";
import type { HourKey, RatingKey } from "../core/settlement/pricing/charge.ts";
import { defaultContract } from "../core/settlement/terms/contract.ts";
import { OpenHolds } from "../core/settlement/packages/hold.ts";
import { makeStatement } from "../core/settlement/statements/make-statement.ts";
import { dayOf, periodNameAt, type Period } from "../core/settlement/statements/period.ts";
import { Posting, type PostingTools } from "../core/settlement/ledger/post.ts";
import {
  consumptionText,
  hourText,
  ratingText,
  type At,
  type Changes,
  type Consumption,
  type ConsumptionKey,
  type HourTotal,
} from "../core/settlement/ledger/posting.ts";
import { linesIn, prepare, type Prepared } from "../core/settlement/ledger/prepare.ts";
import type { PriceBook } from "../core/settlement/pricing/price-book.ts";
import type { Cumulative } from "../core/settlement/pricing/rate.ts";
import { linesOfHours } from "../core/settlement/statements/statement-lines.ts";
import type { Account, Statement } from "../core/settlement/statements/statement.ts";
import { bookText, contractText } from "../core/settlement/terms/terms-text.ts";
import type { Tokens, UsageRecord } from "../core/settlement/counting/usage.ts";
import { Wallets } from "../core/settlement/packages/wallet.ts";
import type { AttemptId, InstantUs, Nano, PairId, VendorId } from "../core/units.ts";

/** What the books made of a record. */
export type Booked =
  | { readonly kind: "posted"; readonly tokens: Tokens; readonly amountNano: Nano }
  | { readonly kind: "quarantined"; readonly reason: string };

/** Settlement in memory: the same rules as over the ledger's store, a record at a time. */
export class VirtualBooks {
  readonly #books = new Map<string, PriceBook>();
  readonly #cumulatives = new Map<string, At<RatingKey, Cumulative> | undefined>();
  readonly #hours = new Map<string, At<HourKey, HourTotal> | undefined>();
  readonly #consumption = new Map<string, At<ConsumptionKey, Consumption> | undefined>();
  readonly #tools: PostingTools = {
    lineOf: linesIn((id, version) => this.#books.get(`${id}@${version}`)),
    bookingOf,
    priceHashOf: (book) => this.#hashOf(book),
    secrets: { sha256, saltOf: (record) => record },
    // Nobody is sold anything: the vendors' side is what the simulation asks about.
    tills: { wallets: new Wallets(new Map(), new OpenHolds()), packagesOf: () => [] },
  };
  readonly #hashes = new Map<PriceBook, string>();
  readonly #attempts = new Set<AttemptId>();
  /** Posted and quarantined records, by vendor and day. */
  readonly #counts = new Map<string, Counts>();
  readonly #hash = createHash("sha256");
  #chargedNano: Nano = 0n;
  #enteredNano: Nano = 0n;

  publish(book: PriceBook): void {
    this.#books.set(`${book.id}@${book.version}`, book);
  }

  post(record: UsageRecord): Booked {
    assert(!this.#attempts.has(record.attempt), "an attempt has one record");
    this.#attempts.add(record.attempt);
    const prepared = prepare(record, {
      rev: 0n,
      terms: {
        contract: defaultContract,
        book: this.#books.get(`${record.priceBook}@${record.priceVersion}`),
        licence: undefined,
        sell: undefined,
      },
      sha256,
      bookingOf,
    });
    this.#hash.update(prepared.text);
    const { posting, outcome } = this.#posted(prepared);
    const { status, reason } = outcome;
    assert(status === "posted" || status === "quarantined", "a record is posted or quarantined");
    this.#count(record, status);
    return status === "posted" ? this.#keep(posting.changes) : { kind: status, reason };
  }

  /** Attempts with a record. */
  get records(): number {
    return this.#attempts.size;
  }

  /** What a vendor is owed for a local day. */
  statement(vendor: VendorId, dayUs: InstantUs): Statement {
    const period = dayOf(dayUs, defaultContract.timeZone);
    const { posted, quarantined } = this.#counts.get(countKey(vendor, dayUs)) ?? nothing;
    const pair = `vendor:${vendor}` as PairId;
    const hours = [...this.#hours.values()].filter((each) => each !== undefined);
    const account: Account = {
      ...{ pair, kind: "daily", period, isPayable: true, attempts: posted },
      lines: linesOfHours(
        hours.filter(({ key }) => isOf(key, pair, period)),
        period,
      ),
      ...{ fees: [], trueUps: [], creditsNano: 0n, days: [], rounded: undefined, prevDigest: "" },
      hashByVersion: new Map(
        [...this.#books].map(([version, book]) => [version, this.#hashOf(book)]),
      ),
      frozen: {
        ...{ log: noLog, contractHash: sha256(contractText(defaultContract)), calendars: [] },
        ...{ producers: [], gaps: [], recon: undefined, seal: undefined, disputedNano: 0n },
        quarantined,
      },
    };
    return makeStatement(account, sha256);
  }

  /** Over the canonical bytes of all records in the order they came. */
  get digest(): string {
    return this.#hash.copy().digest("hex");
  }

  /** What is owed is what was charged, what was entered, and what statements add up. */
  check(): void {
    let stated = 0n;
    for (const each of this.#hours.values()) stated += each?.total.amountNano ?? 0n;
    assert(this.#chargedNano === this.#enteredNano, "entries add up to the charges");
    assert(this.#chargedNano === stated, "statements add up to the charges");
  }

  #count({ vendor, openedUs }: UsageRecord, status: "posted" | "quarantined"): void {
    const key = countKey(vendor, openedUs);
    const before = this.#counts.get(key) ?? nothing;
    this.#counts.set(key, { ...before, [status]: before[status] + 1n });
  }

  /** Made again with what it found missing. */
  #posted(prepared: Prepared) {
    const [cumulatives, hours, consumption] = [this.#cumulatives, this.#hours, this.#consumption];
    for (;;) {
      const known = { records: [], sales: [], cumulatives, hours, consumption };
      const posting = new Posting(known, this.#tools);
      const outcome = posting.add(prepared);
      const { missing } = posting;
      if (Object.values(missing).every((keys) => keys.length === 0)) return { posting, outcome };
      for (const key of missing.cumulatives) cumulatives.set(ratingText(key), undefined);
      for (const key of missing.hours) hours.set(hourText(key), undefined);
      for (const key of missing.consumption) consumption.set(consumptionText(key), undefined);
    }
  }

  #hashOf(book: PriceBook): string {
    const known = this.#hashes.get(book) ?? sha256(bookText(book));
    this.#hashes.set(book, known);
    return known;
  }

  #keep(changes: Changes): Booked {
    const [posted] = changes.posted;
    assert(posted !== undefined, "what was posted is among the changes");
    for (const each of changes.cumulatives) this.#cumulatives.set(ratingText(each.key), each);
    for (const each of changes.hours) this.#hours.set(hourText(each.key), each);
    for (const each of changes.consumption) this.#consumption.set(consumptionText(each.key), each);
    for (const { amountNano } of posted.charges) this.#chargedNano += amountNano;
    for (const { amount } of changes.entries) this.#enteredNano += amount;
    return { kind: "posted", tokens: posted.tokens, amountNano: posted.amountNano };
  }
}

interface Counts {
  readonly posted: bigint;
  readonly quarantined: bigint;
}

const nothing: Counts = { posted: 0n, quarantined: 0n };

function countKey(vendor: VendorId, us: InstantUs): string {
  return `${vendor}\n${periodNameAt(us, "daily", defaultContract.timeZone)}`;
}

/** Virtual books have no log. */
const noLog = { origin: "", size: 0n, root: "", firstIndex: 0n, endIndex: 0n } as const;

function isOf(key: HourKey, pair: PairId, { fromUs, toUs }: Period): boolean {
  return key.pair === pair && key.hourUs >= fromUs && key.hourUs < toUs;
}

function bookingOf(_pair: PairId, openedUs: InstantUs): string {
  return periodNameAt(openedUs, "daily", defaultContract.timeZone);
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
