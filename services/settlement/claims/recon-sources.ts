import { partsOfLineId } from "../../core/settlement/pricing/charge.ts";
import { valueOf } from "../../core/settlement/claims/claim-price.ts";
import type { Closing } from "../../core/settlement/statements/closing.ts";
import type { CountBasis } from "../../core/settlement/counting/count-rule.ts";
import { isNothing, type Counted } from "../../core/settlement/claims/counted.ts";
import { periodNameAt, type TimeZone } from "../../core/settlement/statements/period.ts";
import type { PostedRecord } from "../../core/settlement/ledger/posting.ts";
import type { PriceBook } from "../../core/settlement/pricing/price-book.ts";
import type { Span } from "../../core/settlement/claims/recon-judge.ts";
import type { BookId, InstantUs, PairId, RegionId, VendorId } from "../../core/units.ts";
import type { ClaimRow, LedgerStore } from "../../io/ledger-store.ts";
import type { Seen } from "./vendor-watch.ts";

/** Rows that are read at once, if nobody says otherwise. */
export const pageRowsDefault = 2_000;

/** Witnesses of the stream that the vendor has too: its count is to be equal, not near. */
const exactBases: ReadonlySet<CountBasis> = new Set([
  "engine-final",
  "engine-query",
  "token-ids",
  "nothing-seen",
  "not-owed",
]);

/** What both sides of one vendor are valued and dated by. */
export interface Valuation {
  /** Versions that the vendor's usage was charged by. */
  readonly bookByHash: ReadonlyMap<string, PriceBook>;
  /** SHA-256 of `<book>@<version>`. */
  readonly hashByVersion: ReadonlyMap<string, string>;
  readonly regionByPool: ReadonlyMap<string, RegionId>;
  readonly timeZone: TimeZone;
  /** Daily closings of the pair, in order. */
  readonly closings: readonly Closing[];
  receivedUs(batch: string): InstantUs | undefined;
}

/** What is known of the vendor's prices and places in a period. */
export async function valuationOf(
  store: LedgerStore,
  asked: { readonly pair: PairId; readonly span: Span; readonly timeZone: TimeZone },
  known: {
    bookOf(book: BookId, version: bigint): PriceBook | undefined;
    readonly closings: readonly Closing[];
    receivedUs(batch: string): InstantUs | undefined;
  },
): Promise<Valuation & { readonly attempts: bigint }> {
  const { hashByVersion, hours, attempts } = await store.account(asked.pair, asked.span);
  const bookByHash = new Map<string, PriceBook>();
  for (const [name, hash] of hashByVersion) {
    const at = name.lastIndexOf("@");
    const book = known.bookOf(name.slice(0, at) as BookId, BigInt(name.slice(at + 1)));
    if (book !== undefined) bookByHash.set(hash, book);
  }
  return {
    bookByHash,
    hashByVersion,
    regionByPool: new Map(hours.map(({ key }) => [key.pool, key.region])),
    timeZone: asked.timeZone,
    closings: known.closings.filter(({ kind }) => kind === "daily"),
    receivedUs: (batch) => known.receivedUs(batch),
    attempts,
  };
}

/** Records in force, a page at a time, by attempt. `onRecord` is told of each before it is handed on. */
export async function* ourPages(
  store: LedgerStore,
  asked: { readonly vendor: VendorId; readonly span: Span },
  options: {
    readonly valuation: Valuation;
    readonly pageRows: number;
    readonly onRecord?: (counted: Counted, record: PostedRecord) => void;
  },
): AsyncGenerator<Counted[]> {
  const { valuation, pageRows, onRecord } = options;
  let after: PostedRecord | undefined;
  /** The newest revision seen of the attempt at the end of the page: a newer one may follow. */
  let held: PostedRecord | undefined;
  for (;;) {
    const rows = await store.recordsIn(asked.vendor, asked.span, after, pageRows);
    const page: Counted[] = [];
    const hand = (record: PostedRecord): void => {
      const counted = ofRecord(record, valuation);
      onRecord?.(counted, record);
      page.push(counted);
    };
    for (const row of rows) {
      if (held !== undefined && held.attempt !== row.attempt) hand(held);
      held = row;
    }
    after = rows.at(-1);
    if (after === undefined && held !== undefined) hand(held);
    if (page.length > 0) yield page;
    if (after === undefined) return;
  }
}

/** Claims a page at a time, by attempt and revision. */
export async function* theirPages(
  store: LedgerStore,
  asked: { readonly pair: PairId; readonly span: Span },
  { valuation, pageRows }: { readonly valuation: Valuation; readonly pageRows: number },
): AsyncGenerator<Counted[]> {
  let after: ClaimRow | undefined;
  for (;;) {
    const rows = await store.claims(asked.pair, asked.span, after, pageRows);
    after = rows.at(-1);
    if (after === undefined) return;
    yield rows.map((row) => ofClaim(row, valuation));
  }
}

/** What a record says beside its counts, of its canonical text; not parsed as a whole, since there are millions. */
export function seenIn({ text }: PostedRecord): Seen {
  const [out, reasoning, tool] = ["out_bytes", "reasoning_bytes", "tool_bytes"].map((name) =>
    member(text, name),
  );
  const isCounted = text.includes('"gw_source":"tokenizer"');
  return {
    bytes:
      out === undefined || reasoning === undefined || tool === undefined
        ? undefined
        : out + reasoning + tool,
    idsReturned: member(text, "ids_output"),
    idsCanonical: isCounted ? member(text, "gw_output") : undefined,
  };
}

function ofRecord(record: PostedRecord, valuation: Valuation): Counted {
  const { attempt, rev, pool, model, region, tokens, openedUs, booking, basis } = record;
  const priceHash = hashOf(record, valuation);
  const slot = priceHash === "" ? "" : record.slot;
  const book = valuation.bookByHash.get(priceHash);
  const usedOn = periodNameAt(openedUs, "daily", valuation.timeZone);
  return {
    ...{ attempt, rev, pool, model, tokens, openedUs, priceHash, slot },
    amountNano:
      book === undefined ? freeOnly(record) : valueOf(tokens, book, { model, region, slot }),
    isLate: booking > usedOn,
    isExact: exactBases.has(basis),
  };
}

function ofClaim(row: ClaimRow, valuation: Valuation): Counted {
  const { attempt, rev, pool, model, tokens, openedUs, batch, text } = row;
  const priceHash = quoted(text, "price_hash");
  const slot = quoted(text, "slot");
  const book = valuation.bookByHash.get(priceHash);
  const region = valuation.regionByPool.get(pool) ?? ("" as RegionId);
  const amountNano = isNothing(tokens)
    ? 0n
    : book && valueOf(tokens, book, { model, region, slot });
  const isLate = cameLate(openedUs, valuation.receivedUs(batch), valuation.closings);
  return {
    ...{ attempt, rev, pool, model, tokens, openedUs, priceHash, slot },
    ...{ amountNano, isLate, isExact: true },
  };
}

/** After the books of its day were closed. */
function cameLate(
  openedUs: InstantUs,
  receivedUs: InstantUs | undefined,
  closings: readonly Closing[],
): boolean {
  if (receivedUs === undefined) return false;
  const day = closings.find(({ fromUs, toUs }) => openedUs >= fromUs && openedUs < toUs);
  return day !== undefined && receivedUs > day.atUs;
}

function hashOf({ charges }: PostedRecord, { hashByVersion }: Valuation): string {
  const [first] = charges;
  if (first === undefined) return "";
  const { book, version } = partsOfLineId(first.line);
  return hashByVersion.get(`${book}@${version}`) ?? "";
}

function freeOnly({ tokens }: PostedRecord): bigint | undefined {
  return isNothing(tokens) ? 0n : undefined;
}

function member(text: string, name: string): bigint | undefined {
  const digits = quoted(text, name);
  return digits === "" ? undefined : BigInt(digits);
}

/** A text member of canonical text that has no escapes; empty if it is null or not there. */
function quoted(text: string, name: string): string {
  const start = text.indexOf(`"${name}":"`);
  if (start < 0) return "";
  const from = start + name.length + 4;
  return text.slice(from, text.indexOf('"', from));
}
