import { assert } from "../../services/core/assert.ts";
import { PricesInForce } from "../../services/core/prices-in-force.ts";
import type { PriceEstimate } from "../../services/core/pool.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { Instant, ModelId, VendorId } from "../../services/core/units.ts";
import type { WorldFault } from "../../services/sim/world-options.ts";

/** The price in force from an instant on, in ms since the first request was due. Undefined: there is none. */
export interface PriceSpan {
  readonly fromMs: number;
  readonly price: PriceEstimate | undefined;
}

/** More changes of a vendor's prices within a run mean that the run is far too long. */
const SPANS_MAX = 10_000;

/**
 * What a vendor asks for a model over the time of a run, in order: the first span holds from its start. Books that a
 * fault brings are known from then on.
 */
export function priceSpans(options: {
  readonly vendor: VendorId;
  readonly model: ModelId;
  readonly books: readonly PriceBook[];
  readonly faults: readonly WorldFault[];
  readonly startAt: Instant;
  readonly untilMs: number;
}): PriceSpan[] {
  const { vendor, model, books, startAt, untilMs } = options;
  const changes = options.faults
    .filter((fault) => fault.kind === "prices-change")
    .toSorted((a, b) => a.atMs - b.atMs);
  const prices = new PricesInForce();
  for (const book of books) prices.publish(book, startAt);
  const spans: PriceSpan[] = [];
  for (let atMs = 0; atMs <= untilMs;) {
    assert(spans.length < SPANS_MAX, "prices change a bounded number of times in a run");
    while (changes[0] !== undefined && changes[0].atMs <= atMs) {
      const change = changes.shift();
      if (change !== undefined) prices.publish(change.book, startAt + atMs);
    }
    const price = prices.estimate(vendor, model, startAt + atMs);
    spans.push({ fromMs: atMs, price });
    const until = price?.until ?? prices.nextStartAfter(startAt + atMs);
    const next = Math.min(until - startAt, changes[0]?.atMs ?? Infinity);
    if (next <= atMs) break;
    atMs = next;
  }
  return spans;
}

/** In force at a time, and those that come into force up to a later one. */
export function spansWithin(
  spans: readonly PriceSpan[],
  fromMs: number,
  toMs: number,
): readonly PriceSpan[] {
  const first = Math.max(
    0,
    spans.findLastIndex((span) => span.fromMs <= fromMs),
  );
  return spans.filter((span, index) => index >= first && (index === first || span.fromMs <= toMs));
}
