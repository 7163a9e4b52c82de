import type { FocusDraw, FocusHour } from "../../core/settlement/statements/focus.ts";
import {
  dayOf,
  hourOf,
  nameOfPeriod,
  type Period,
} from "../../core/settlement/statements/period.ts";
import type { HourTotal } from "../../core/settlement/ledger/posting.ts";
import { shownTo } from "../../core/settlement/statements/statement-lines.ts";
import { bookedByLeaf, type Booked } from "../../core/settlement/statements/statement-leaves.ts";
import type { Statement } from "../../core/settlement/statements/statement.ts";
import type { Nano, PairId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import type { LeafRange } from "./statement-books.ts";

/** Leaves that are read at once. */
const pageLeaves = 2_000;

type Attributes = Pick<HourTotal, "model" | "tokenClass" | "slot">;

/**
 * What was booked of a pair into a day, by hour of use and line, as the pair is shown it. Departments, and what
 * packages paid, stand in a tenant's leaves alone.
 */
async function hoursOfDay(
  store: Pick<LedgerStore, "booked" | "leaves">,
  { pair, day }: { readonly pair: PairId; readonly day: Period },
  range: LeafRange,
): Promise<FocusHour[]> {
  const booking = nameOfPeriod(day);
  const hours = await store.booked(pair, booking);
  const sums = new Hours(pair);
  if (!pair.startsWith("tenant:")) {
    for (const { key, total } of hours) sums.add({ ...key, ...total, ...nothingPaid });
    return sums.all;
  }
  const attributes = new Map<string, Attributes>(hours.map(({ key, total }) => [key.line, total]));
  for (let index = range.firstIndex; index < range.endIndex;) {
    const left = range.endIndex - index;
    const page = await store.leaves(pair, index, Math.min(Number(left), pageLeaves));
    for (const { kind, text } of page) {
      const booked = kind === "sale" ? bookedByLeaf(text) : undefined;
      if (booked?.booking === booking) sums.addSale(booked, attributes);
    }
    if (page.length === 0) throw new Error(`log ${pair}: expected leaf ${index}, found none`);
    index += BigInt(page.length);
  }
  return sums.all;
}

/** Hours of a statement's days, some at a time. */
export async function* bookedHours(
  store: Pick<LedgerStore, "booked" | "leaves">,
  { pair, period, log }: Statement,
  atOnce: number,
): AsyncGenerator<FocusHour[]> {
  for (let day = dayOf(period.fromUs, period.timeZone); day.fromUs < period.toUs;) {
    const hours = await hoursOfDay(store, { pair, day }, log);
    for (let from = 0; from < hours.length; from += atOnce) yield hours.slice(from, from + atOnce);
    day = dayOf(day.toUs, period.timeZone);
  }
}

const nothingPaid = { department: "", coveredNano: 0n, releasedNano: 0n, draws: [] } as const;

/** Adds up what is of the same hour, line, place and department. */
class Hours {
  readonly #pair: PairId;
  readonly #hours = new Map<string, FocusHour>();

  constructor(pair: PairId) {
    this.#pair = pair;
  }

  add(hour: FocusHour): void {
    const { pool, region } = shownTo(this.#pair, hour);
    const key = [hour.hourUs, hour.line, pool, region, hour.department].join("\n");
    const before = this.#hours.get(key);
    const next = { ...hour, pool, region };
    this.#hours.set(key, before === undefined ? next : added(before, next));
  }

  /** What packages paid for a record is divided among its charges by what they cost, the rest to the last. */
  addSale(booked: Booked, attributes: ReadonlyMap<string, Attributes>): void {
    const { pool, region, department, draws } = booked;
    const hourUs = hourOf(booked.openedUs);
    const releasedNano = draws.reduce((sum, draw) => sum + draw.releasedNano, 0n);
    const charges = [
      ...booked.takenBack.map((charge) => ({ charge, sign: -1n })),
      ...booked.charges.map((charge) => ({ charge, sign: 1n })),
    ];
    const covered = divided(booked.coveredNano, charges.map(weightOf));
    const released = divided(releasedNano, charges.map(weightOf));
    for (const [place, { charge, sign }] of charges.entries()) {
      const attribute = attributes.get(charge.line);
      if (attribute === undefined) continue;
      const { model, tokenClass, slot } = attribute;
      this.add({
        ...{ hourUs, line: charge.line, pool, region, department, model, tokenClass, slot },
        tokens: sign * charge.tokens,
        pico: sign * charge.pico,
        amountNano: sign * charge.amountNano,
        attempts: charge.tokens === 0n ? 0n : sign,
        coveredNano: covered[place] ?? 0n,
        releasedNano: released[place] ?? 0n,
        draws: place === charges.length - 1 ? addedDraws([], draws) : [],
      });
    }
  }

  get all(): FocusHour[] {
    return [...this.#hours.values()].toSorted(inOrder);
  }
}

function weightOf({ charge, sign }: { charge: { amountNano: Nano }; sign: bigint }): bigint {
  return sign > 0n ? charge.amountNano : 0n;
}

/** In proportion, rounded towards 0, the rest to the last. */
function divided(whole: bigint, weights: readonly bigint[]): bigint[] {
  const sum = weights.reduce((total, weight) => total + weight, 0n);
  const parts = weights.map((weight) => (sum === 0n ? 0n : (whole * weight) / sum));
  const rest = whole - parts.reduce((total, part) => total + part, 0n);
  return parts.map((part, place) => (place === parts.length - 1 ? part + rest : part));
}

function added(a: FocusHour, b: FocusHour): FocusHour {
  return {
    ...a,
    tokens: a.tokens + b.tokens,
    pico: a.pico + b.pico,
    amountNano: a.amountNano + b.amountNano,
    attempts: a.attempts + b.attempts,
    coveredNano: a.coveredNano + b.coveredNano,
    releasedNano: a.releasedNano + b.releasedNano,
    draws: addedDraws(a.draws, b.draws),
  };
}

function addedDraws(a: readonly FocusDraw[], b: readonly FocusDraw[]): FocusDraw[] {
  const byPackage = new Map(a.map((draw) => [draw.package, draw]));
  for (const draw of b) {
    const before = byPackage.get(draw.package);
    byPackage.set(draw.package, {
      ...draw,
      amount: (before?.amount ?? 0n) + draw.amount,
      releasedNano: (before?.releasedNano ?? 0n) + draw.releasedNano,
    });
  }
  return [...byPackage.values()].filter(
    ({ amount, releasedNano }) => amount !== 0n || releasedNano !== 0n,
  );
}

function inOrder(a: FocusHour, b: FocusHour): number {
  const [one, other] = [a, b].map(({ line, pool, region, department }) =>
    [line, pool, region, department].join("\n"),
  );
  if (a.hourUs !== b.hourUs) return a.hourUs < b.hourUs ? -1 : 1;
  return (one ?? "") < (other ?? "") ? -1 : 1;
}
