import type { Nano } from "../../units.ts";
import { localTime } from "../pricing/calendar.ts";
import { million, type Counted, type Tolerance } from "./counted.ts";
import { offsetMinutesByZone, type TimeZone } from "../statements/period.ts";
import { buckets, type Bucket } from "./recon-judge.ts";
import type { ReconCounts } from "../statements/statement.ts";
import { tokenClasses, type TokenClass, type Tokens } from "../counting/usage.ts";

/** What one party has of something. */
export interface SideTotal {
  readonly items: bigint;
  readonly tokens: Tokens;
  /** Of those that are priced. */
  readonly amountNano: bigint;
  readonly unpriced: bigint;
}

export interface BucketTotal {
  readonly ours: SideTotal;
  readonly theirs: SideTotal;
}

export type BucketTotals = Readonly<Record<Bucket, BucketTotal>>;

/** Where money is compared: tokens of one price. */
export interface LineTotal extends BucketTotal {
  readonly pool: string;
  readonly model: string;
  readonly slot: string;
  readonly priceHash: string;
}

/** Differences that each may pass, and together may not. */
export interface Breach {
  readonly pool: string;
  readonly model: string;
  /** Local date. */
  readonly day: string;
  readonly ours: bigint;
  readonly theirs: bigint;
  /** Of the larger sum. */
  readonly gapPpm: bigint;
}

/** Sums of one party; bigints, since a month of one vendor has more than 2^53 nano. */
export class SideSum {
  #items = 0n;
  #amountNano = 0n;
  #unpriced = 0n;
  readonly #tokens: Record<TokenClass, bigint> = {
    uncachedInput: 0n,
    cacheRead: 0n,
    cacheWrite: 0n,
    response: 0n,
    reasoning: 0n,
  };

  add({ tokens, amountNano }: Counted): void {
    this.#items += 1n;
    const sum = this.#tokens;
    sum.uncachedInput += tokens.uncachedInput;
    sum.cacheRead += tokens.cacheRead;
    sum.cacheWrite += tokens.cacheWrite;
    sum.response += tokens.response;
    sum.reasoning += tokens.reasoning;
    if (amountNano === undefined) this.#unpriced += 1n;
    else this.#amountNano += amountNano;
  }

  get total(): SideTotal {
    const { ...tokens } = this.#tokens;
    return { items: this.#items, tokens, amountNano: this.#amountNano, unpriced: this.#unpriced };
  }
}

export interface PairSum {
  readonly ours: SideSum;
  readonly theirs: SideSum;
}

/** Sums by bucket, by line, and by pool, model and day. As many as there are of these, however many records. */
export class ReconTotals {
  readonly #byBucket = new Map<Bucket, PairSum>(buckets.map((each) => [each, pairSum()]));
  readonly #byLine = new Map<string, PairSum>();
  readonly #byDay = new Map<string, PairSum>();
  readonly #timeZone: TimeZone;

  constructor(timeZone: TimeZone) {
    this.#timeZone = timeZone;
  }

  add(bucket: Bucket, side: keyof PairSum, item: Counted): void {
    this.#byBucket.get(bucket)?.[side].add(item);
    if (bucket === "outside" || bucket === "duplicate") return;
    sumAt(this.#byLine, lineText(item))[side].add(item);
  }

  /** Of pairs that pass one by one. The earlier instant says which day it is: the same for both parties. */
  addPassed(ours: Counted, theirs: Counted): void {
    const earlier = ours.openedUs <= theirs.openedUs ? ours : theirs;
    const sum = sumAt(this.#byDay, this.#dayText(earlier));
    sum.ours.add(ours);
    sum.theirs.add(theirs);
  }

  get buckets(): BucketTotals {
    const totals = [...this.#byBucket].map(([bucket, sum]) => [bucket, totalOf(sum)]);
    return Object.fromEntries(totals) as BucketTotals;
  }

  get lines(): LineTotal[] {
    return [...this.#byLine].toSorted(byKey).map(([key, sum]) => {
      const [pool = "", model = "", slot = "", priceHash = ""] = key.split("\n");
      return { pool, model, slot, priceHash, ...totalOf(sum) };
    });
  }

  breaches({ aggregatePpm, tokens: slack }: Tolerance): Breach[] {
    return [...this.#byDay].toSorted(byKey).flatMap(([key, sum]) => {
      const [ours, theirs] = [allOf(sum.ours.total), allOf(sum.theirs.total)];
      const gap = ours < theirs ? theirs - ours : ours - theirs;
      const larger = ours < theirs ? theirs : ours;
      // Of a handful of records a token or two are more than the part that may differ.
      if (gap <= slack || gap * million <= larger * aggregatePpm) return [];
      const [pool = "", model = "", day = ""] = key.split("\n");
      return { pool, model, day, ours, theirs, gapPpm: (gap * million) / larger };
    });
  }

  #dayText({ pool, model, openedUs }: Counted): string {
    return `${pool}\n${model}\n${localTime(openedUs, offsetMinutesByZone[this.#timeZone]).date}`;
  }
}

/** For a statement. What came late is right and moved, as is what the other party has in another period. */
export function reconCounts(totals: BucketTotals): ReconCounts {
  const count = (bucket: Bucket): bigint => {
    const { ours, theirs } = totals[bucket];
    return ours.items > theirs.items ? ours.items : theirs.items;
  };
  return {
    matched: count("matched"),
    in_tolerance: count("in-tolerance"),
    quantity: count("quantity"),
    missing_vendor: count("missing-vendor"),
    missing_operator: count("missing-operator"),
    duplicate: totals.duplicate.ours.items + totals.duplicate.theirs.items,
    price: count("price"),
    period: count("period") + count("late"),
  };
}

/** What claims come to beyond our records; 0 if they do not. Neither duplicates nor what is of other periods count. */
export function beyondNano(totals: BucketTotals): Nano {
  const compared = buckets.filter((each) => each !== "duplicate" && each !== "outside");
  const gaps = compared.map(
    (each) => totals[each].theirs.amountNano - totals[each].ours.amountNano,
  );
  const beyond = gaps.reduce((sum, each) => sum + each, 0n);
  return beyond > 0n ? beyond : 0n;
}

export function allOf({ tokens }: SideTotal): bigint {
  return tokenClasses.reduce((sum, each) => sum + tokens[each], 0n);
}

function pairSum(): PairSum {
  return { ours: new SideSum(), theirs: new SideSum() };
}

function sumAt(sums: Map<string, PairSum>, key: string): PairSum {
  const known = sums.get(key);
  if (known !== undefined) return known;
  const made = pairSum();
  sums.set(key, made);
  return made;
}

function totalOf({ ours, theirs }: PairSum): BucketTotal {
  return { ours: ours.total, theirs: theirs.total };
}

function lineText({ pool, model, slot, priceHash }: Counted): string {
  return `${pool}\n${model}\n${slot}\n${priceHash}`;
}

function byKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
