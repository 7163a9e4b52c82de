import { assert } from "./assert.ts";
import type { Pool, PriceBracket, PriceEstimate, Served } from "./pool.ts";
import { localTime, offsetAt, slotAt } from "./settlement/pricing/calendar.ts";
import { linesFor } from "./settlement/pricing/charge.ts";
import { minutesPerDay } from "./settlement/pricing/day.ts";
import type { Bracket, PriceBook, PriceLine } from "./settlement/pricing/price-book.ts";
import type { TokenClass } from "./settlement/counting/usage.ts";
import type { BookId, Instant, ModelId, RegionId, VendorId } from "./units.ts";

const MINUTE_MS = 60_000;
/** As an instant or as a count: larger than any. Infinity is lost on its way through JSON. */
const FOREVER = Number.MAX_SAFE_INTEGER;
const FOREVER_US = BigInt(FOREVER) * 1_000n;

type NewestVersion = Pick<PriceBook, "version" | "effectiveFromUs">;

export interface PricesImage {
  /** Of each book, in the order in which they came. */
  readonly versions: readonly (readonly PriceBook[])[];
  readonly newest: readonly (readonly [BookId, NewestVersion])[];
}

/** The price books of all vendors that are in force or still to come, and what of them is in force. */
export class PricesInForce {
  readonly #versionsByBook = new Map<BookId, readonly PriceBook[]>();
  /** When the newest version began, also of a book that is over: an older one does not come into force again. */
  readonly #newestByBook = new Map<BookId, NewestVersion>();

  /** A version that is known already changes nothing: books are never edited. */
  publish(book: PriceBook, now: Instant): void {
    const known = this.#versionsByBook.get(book.id) ?? [];
    if (known.some(({ version }) => version === book.version)) return;
    const { version, effectiveFromUs } = book;
    if (version > (this.#newestByBook.get(book.id)?.version ?? 0n)) {
      this.#newestByBook.set(book.id, { version, effectiveFromUs });
    }
    const versions = [...known, book].toSorted((a, b) => Number(a.version - b.version));
    this.#versionsByBook.set(book.id, versions);
    this.#forgetEndedOf(book.id, now);
  }

  /** What is over has no say any more, and would make every look at what is not slower. */
  forgetEnded(now: Instant): void {
    for (const book of this.#versionsByBook.keys()) this.#forgetEndedOf(book, now);
  }

  image(): PricesImage {
    return {
      versions: [...this.#versionsByBook.values()],
      newest: [...this.#newestByBook],
    };
  }

  restore({ versions, newest }: PricesImage): void {
    for (const ofBook of versions) {
      const [first] = ofBook;
      if (first !== undefined) this.#versionsByBook.set(first.id, ofBook);
    }
    for (const [book, start] of newest) this.#newestByBook.set(book, start);
  }

  /** How many versions are kept. */
  get kept(): number {
    return this.#books().length;
  }

  /** In force or still to come. */
  fromNowOn(now: Instant): readonly PriceBook[] {
    return this.#books().filter((book) => toUs(now) < this.#endsAtUs(book));
  }

  /** The pool with what is in force for each of its models. */
  withPrices(pool: Pool, now: Instant): Pool {
    const served = new Map<ModelId, Served>();
    for (const [model, each] of pool.served) {
      served.set(model, { ...each, price: this.estimate(pool.vendor, model, now, pool.region.id) });
    }
    return { ...pool, served };
  }

  /** Undefined: the vendor has no price in force for the model. Lines for another region than this say nothing. */
  estimate(
    vendor: VendorId,
    model: ModelId,
    now: Instant,
    region?: RegionId,
  ): PriceEstimate | undefined {
    const nowUs = toUs(now);
    const inForce = this.#ofVendor(vendor)
      .filter(({ lines }) => lines.some((line) => line.model === model))
      .filter((book) => book.effectiveFromUs <= nowUs && nowUs < this.#endsAtUs(book))
      .toSorted((a, b) => Number(b.effectiveFromUs - a.effectiveFromUs))[0];
    return inForce && this.#priceOf(inForce, { model, region }, now);
  }

  /** When a book begins next, so that a model without a price may get one. */
  nextStartAfter(now: Instant): Instant {
    const starts = this.#books().map(({ effectiveFromUs }) => toInstant(effectiveFromUs));
    return Math.min(FOREVER, ...starts.filter((start) => start > now));
  }

  #forgetEndedOf(id: BookId, now: Instant): void {
    const versions = this.#versionsByBook.get(id) ?? [];
    const left = versions.filter((book) => toUs(now) < this.#endsAtUs(book));
    if (left.length > 0) this.#versionsByBook.set(id, left);
    else this.#versionsByBook.delete(id);
  }

  #books(): readonly PriceBook[] {
    return [...this.#versionsByBook.values()].flat();
  }

  #ofVendor(vendor: VendorId): readonly PriceBook[] {
    return this.#books().filter((book) => book.vendor === vendor);
  }

  /** Its own end or the start of the next version, whichever comes first. */
  #endsAtUs(book: PriceBook): bigint {
    const newest = this.#newestByBook.get(book.id);
    const starts = [...(this.#versionsByBook.get(book.id) ?? []), ...(newest ? [newest] : [])]
      .filter(({ version }) => version > book.version)
      .map(({ effectiveFromUs }) => effectiveFromUs);
    const ends = [book.effectiveToUs, ...starts].filter((end) => end !== undefined);
    return ends.reduce((least, end) => (end < least ? end : least), FOREVER_US);
  }

  /** Without variants, fees and floors: what a cache will be, or a picture, no prompt says beforehand. */
  #priceOf(
    book: PriceBook,
    { model, region }: { readonly model: ModelId; readonly region: RegionId | undefined },
    now: Instant,
  ): PriceEstimate | undefined {
    const slot = slotAt(book, toUs(now));
    const lines = linesFor(book, model, region).filter(
      (line) =>
        line.tokenClass !== "request" &&
        line.variant === undefined &&
        (line.slot === slot || line.slot === "any"),
    );
    const brackets = bracketsOf(lines);
    const [first] = brackets;
    if (first === undefined) return undefined;
    const { uncachedInputPicoPerToken, cacheReadPicoPerToken } = first;
    const { cacheWritePicoPerToken, outputPicoPerToken } = first;
    return {
      book: book.id,
      version: Number(book.version),
      slot,
      uncachedInputPicoPerToken,
      cacheReadPicoPerToken,
      cacheWritePicoPerToken,
      outputPicoPerToken,
      until: Math.min(slotEndsAt(book, now), toInstant(this.#endsAtUs(book))),
      brackets: brackets.length > 1 ? brackets : [],
    };
  }
}

/**
 * One for each cell of the grid that the ranges of the lines draw, in order of their lengths.
 * Estimates take the first tier: which one a token is in, only the bill of the period can say.
 */
function bracketsOf(lines: readonly PriceLine[]): PriceBracket[] {
  const inputs = rangesOf(lines.map(({ input }) => input));
  const outputs = rangesOf(lines.map(({ output }) => output));
  return inputs.flatMap((input) =>
    outputs.map((output) => ({
      inputTokensFrom: Number(input.from),
      inputTokensTo: toTokens(input.to),
      outputTokensFrom: Number(output.from),
      outputTokensTo: toTokens(output.to),
      uncachedInputPicoPerToken: picoOf("uncachedInput", lines, input.from, output.from),
      cacheReadPicoPerToken: picoOf("cacheRead", lines, input.from, output.from),
      cacheWritePicoPerToken: picoOf("cacheWrite", lines, input.from, output.from),
      outputPicoPerToken: picoOf("response", lines, input.from, output.from),
    })),
  );
}

/** Cut wherever any of them begins. */
function rangesOf(brackets: readonly Bracket[]): Bracket[] {
  const starts = [...new Set(brackets.map(({ from }) => from))].toSorted((a, b) => Number(a - b));
  return starts.map((from, index) => {
    const next = starts[index + 1];
    return { from, to: next === undefined ? undefined : next - 1n };
  });
}

function picoOf(
  tokenClass: TokenClass,
  lines: readonly PriceLine[],
  inputTokens: bigint,
  outputTokens: bigint,
): number {
  const line = lines.find(
    (each) =>
      each.tokenClass === tokenClass &&
      covers(each.input, inputTokens) &&
      covers(each.output, outputTokens),
  );
  const first = line?.tiers[0];
  assert(first !== undefined, "a checked book prices every length of every class");
  return Number(first.pricePicoPerToken);
}

function covers({ from, to }: Bracket, tokens: bigint): boolean {
  return from <= tokens && (to === undefined || tokens <= to);
}

function toTokens(end: bigint | undefined): number {
  return end === undefined ? FOREVER : Number(end);
}

/** The next boundary of any slot or the next midnight, where the kind of day may change. */
function slotEndsAt(book: PriceBook, now: Instant): Instant {
  if (book.slots.length === 0) return FOREVER;
  const { minute } = localTime(toUs(now), offsetAt(book.calendar, toUs(now)));
  const bounds = book.slots.flatMap(({ startMin, endMin }) => [startMin, endMin]);
  const next = Math.min(minutesPerDay, ...bounds.filter((bound) => bound > minute));
  return (Math.floor(now / MINUTE_MS) + next - minute) * MINUTE_MS;
}

function toUs(now: Instant): bigint {
  return BigInt(Math.floor(now * 1_000));
}

function toInstant(us: bigint): Instant {
  return Math.ceil(Number(us) / 1_000);
}
