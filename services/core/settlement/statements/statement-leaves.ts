import type { InstantUs, Nano, PairId, PoolId, RegionId } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import type { Period } from "./period.ts";
import type { SplitPartName } from "../packages/split.ts";
import { placeText, shownTo, usagePeriodOf } from "./statement-lines.ts";
import type { FeePart, Statement, StatementFee } from "./statement.ts";

/** What a line comes to. */
export interface LineSum {
  readonly tokens: bigint;
  readonly pico: bigint;
  readonly amountNano: Nano;
  readonly attempts: bigint;
}

/** What a leaf, or a record of the ledger, adds to a booking. */
export interface Booked {
  readonly booking: string;
  readonly openedUs: InstantUs;
  readonly pool: PoolId;
  readonly region: RegionId;
  readonly charges: readonly BookedCharge[];
  readonly takenBack: readonly BookedCharge[];
  /** Paid by packages; below 0 if more is taken back. */
  readonly coveredNano: Nano;
  /** Of the tenant; empty if none. */
  readonly department: string;
  readonly draws: readonly BookedDraw[];
  readonly fee: BookedFee | undefined;
}

/** Without a package it is a share of the pair whose log it is. */
export interface BookedFee {
  readonly part: FeePart;
  readonly package: string | undefined;
  readonly sku: string | undefined;
  readonly amountNano: Nano;
}

/** What a package gave for a record; below 0 if it was given back. */
export interface BookedDraw {
  readonly package: string;
  readonly unit: string;
  readonly amount: bigint;
  readonly releasedNano: Nano;
}

export interface BookedCharge {
  /** `<book>:<version>:<line>`. */
  readonly line: string;
  readonly tokens: bigint;
  readonly pico: bigint;
  readonly amountNano: Nano;
}

const nothing: LineSum = { tokens: 0n, pico: 0n, amountNano: 0n, attempts: 0n };

/** A sum that grows: ten million records are added to some of them. */
interface Growing {
  tokens: bigint;
  pico: bigint;
  amountNano: bigint;
  attempts: bigint;
}

/** Adds up a statement's period again, leaf by leaf or record by record. Holds lines, never records. */
export class BookingSum {
  readonly #pair: PairId;
  readonly #period: Period;
  readonly #bookings: ReadonlySet<string>;
  /** By place, then by line. */
  readonly #sums = new Map<string, Map<string, Growing>>();
  readonly #fees = new Map<string, StatementFee>();
  #coveredNano: Nano = 0n;
  #count = 0n;

  /** `bookings` are the days of the period. */
  constructor(pair: PairId, period: Period, bookings: readonly string[]) {
    this.#pair = pair;
    this.#period = period;
    this.#bookings = new Set(bookings);
  }

  add(booked: Booked): void {
    if (!this.#bookings.has(booked.booking)) return;
    this.#count += 1n;
    const usagePeriod = usagePeriodOf(booked.openedUs, this.#period) ?? "";
    const at = `${booked.pool}\n${booked.region}\n${usagePeriod}`;
    const sums = this.#sums.get(at) ?? new Map<string, Growing>();
    this.#sums.set(at, sums);
    for (const charge of booked.takenBack) grow(sums, charge, -1n);
    for (const charge of booked.charges) grow(sums, charge, 1n);
    this.#coveredNano += booked.coveredNano;
    if (booked.fee !== undefined) this.#addFee(booked.fee);
  }

  /** What was added of these bookings. */
  get count(): bigint {
    return this.#count;
  }

  get coveredNano(): Nano {
    return this.#coveredNano;
  }

  get fees(): StatementFee[] {
    return [...this.#fees.values()];
  }

  /** By `placeText`, as the pair is shown places; what came to nothing is not among them. */
  get lines(): ReadonlyMap<string, LineSum> {
    const lines = new Map<string, LineSum>();
    for (const [at, sums] of this.#sums) {
      const [pool = "", region = "", usagePeriod = ""] = at.split("\n");
      const place = shownTo(this.#pair, { pool: pool as PoolId, region: region as RegionId });
      for (const [line, sum] of sums) {
        const key = placeText({ line, ...place, usagePeriod });
        const before = lines.get(key) ?? nothing;
        lines.set(key, {
          tokens: before.tokens + sum.tokens,
          pico: before.pico + sum.pico,
          amountNano: before.amountNano + sum.amountNano,
          attempts: before.attempts + sum.attempts,
        });
      }
    }
    return new Map([...lines].filter(([, each]) => !isNothing(each)));
  }

  #addFee({ part, sku, amountNano, ...fee }: BookedFee): void {
    const party = fee.package === undefined ? this.#pair : (`package:${fee.package}` as const);
    const key = feeKey({ part, party });
    const before = this.#fees.get(key)?.amountNano ?? 0n;
    this.#fees.set(key, { part, party, sku, amountNano: before + amountNano });
  }
}

function grow(sums: Map<string, Growing>, charge: BookedCharge, sign: bigint): void {
  const sum = sums.get(charge.line) ?? { ...nothing };
  sum.tokens += sign * charge.tokens;
  sum.pico += sign * charge.pico;
  sum.amountNano += sign * charge.amountNano;
  // A rest that a correction left on a line is money without an attempt.
  if (charge.tokens !== 0n) sum.attempts += sign;
  sums.set(charge.line, sum);
}

/** Lines of a statement that are not what was added up, in words; none if all are. */
export function differences(statement: Statement, sum: BookingSum): string[] {
  const found: string[] = [];
  const left = new Map(sum.lines);
  for (const { book, version, line: id, usagePeriod = "", ...line } of statement.lines) {
    const name = `${book}:${version}:${id}`;
    const key = placeText({ line: name, pool: line.pool, region: line.region, usagePeriod });
    const other = left.get(key) ?? nothing;
    left.delete(key);
    const { tokens, pico, amountNano, attempts } = line;
    if (!isSame({ tokens, pico, amountNano, attempts }, other)) {
      found.push(`line ${words(key)}: expected ${shown(other)}, found ${shown(line)}`);
    }
  }
  for (const [key, other] of left) {
    found.push(`line ${words(key)}: expected ${shown(other)}, found none`);
  }
  return [...found, ...feeDifferences(statement, sum)];
}

function feeDifferences({ fees, totals }: Statement, sum: BookingSum): string[] {
  const found: string[] = [];
  const expected = new Map(sum.fees.map((fee) => [feeKey(fee), fee.amountNano]));
  const stated = new Map(fees.map((fee) => [feeKey(fee), fee.amountNano]));
  for (const key of new Set([...expected.keys(), ...stated.keys()])) {
    const [is, other] = [stated.get(key) ?? 0n, expected.get(key) ?? 0n];
    if (is !== other) found.push(`fee ${words(key)}: expected ${other} nano, found ${is}`);
  }
  if (totals.creditsNano !== -sum.coveredNano) {
    found.push(`credits: expected ${-sum.coveredNano} nano, found ${totals.creditsNano}`);
  }
  return found;
}

function feeKey({ part, party }: Pick<StatementFee, "part" | "party">): string {
  return `${part}\n${party}`;
}

function words(key: string): string {
  return key.split("\n").filter(Boolean).join(" ");
}

function shown({ tokens, amountNano, attempts }: LineSum): string {
  return `${tokens} tokens and ${amountNano} nano of ${attempts} attempts`;
}

function isSame(a: LineSum, b: LineSum): boolean {
  return (
    a.tokens === b.tokens &&
    a.pico === b.pico &&
    a.amountNano === b.amountNano &&
    a.attempts === b.attempts
  );
}

function isNothing(sum: LineSum): boolean {
  return isSame(sum, nothing);
}

/** The leaf by which a statement stands in the log of its pair. */
export function statementLeafText({ id, digest }: Pick<Statement, "id" | "digest">): string {
  return canonicalJson({ type: "statement", v: "1", statement_id: id, hash: digest });
}

type Words<Name extends string> = Readonly<Record<Name, string>>;
type DrawMembers = Words<"package_id" | "unit" | "amount" | "released_nano">;
type ChargeMembers = Words<"line_id" | "tokens" | "pico" | "nano">;
type Charged = Words<"booking"> & {
  readonly charges: readonly ChargeMembers[];
  readonly taken_back: readonly ChargeMembers[];
};
type LeafMembers =
  | {
      readonly type: "usage";
      readonly settled: Charged;
      readonly witness: Words<"opened_us" | "pool_id" | "region_id">;
    }
  | ({ readonly type: "fee" } & Words<"opened_us"> & Charged)
  | ({ readonly type: "sale" } & Words<"opened_us" | "region_id" | "covered_nano" | "department"> &
      Charged & {
        readonly draws: readonly DrawMembers[];
        readonly taken_back_covered_nano?: string;
        readonly taken_back_draws?: readonly DrawMembers[];
      })
  | ({ readonly type: "share" } & Words<
      "opened_us" | "booking" | "part" | "amount_nano" | "taken_back_nano"
    >)
  | ({ readonly type: "purchase" | "refund" } & Words<
      "at_us" | "booking" | "package_id" | "sku_id" | "sku_version" | "amount_nano"
    >)
  | { readonly type: "other" };

/** What a leaf books, if it books anything. Only for texts of a log whose root is known to be right. */
export function bookedByLeaf(text: string): Booked | undefined {
  const leaf = JSON.parse(text) as LeafMembers;
  switch (leaf.type) {
    case "usage":
      return { ...plain(leaf.settled, leaf.witness.opened_us), ...placeOf(leaf.witness) };
    case "fee":
      return plain(leaf, leaf.opened_us);
    case "sale": {
      const takenBackNano = BigInt(leaf.taken_back_covered_nano ?? "0");
      return {
        ...plain(leaf, leaf.opened_us),
        ...placeOf({ pool_id: "*", region_id: leaf.region_id }),
        coveredNano: BigInt(leaf.covered_nano) - takenBackNano,
        department: leaf.department,
        draws: [
          ...(leaf.taken_back_draws ?? []).map((draw) => toDraw(draw, -1n)),
          ...leaf.draws.map((draw) => toDraw(draw, 1n)),
        ],
      };
    }
    case "share":
      return {
        ...plain({ booking: leaf.booking, charges: [], taken_back: [] }, leaf.opened_us),
        fee: {
          part: leaf.part as SplitPartName,
          ...{ package: undefined, sku: undefined },
          amountNano: BigInt(leaf.amount_nano) - BigInt(leaf.taken_back_nano),
        },
      };
    case "purchase":
    case "refund":
      return {
        ...plain({ booking: leaf.booking, charges: [], taken_back: [] }, leaf.at_us),
        fee: {
          ...{ part: leaf.type, package: leaf.package_id },
          sku: `${leaf.sku_id}@${leaf.sku_version}`,
          amountNano: BigInt(leaf.amount_nano),
        },
      };
    case "other":
    default:
      return undefined;
  }
}

function toDraw(
  { package_id, unit, amount, released_nano }: DrawMembers,
  sign: bigint,
): BookedDraw {
  return {
    ...{ package: package_id, unit },
    ...{ amount: sign * BigInt(amount), releasedNano: sign * BigInt(released_nano) },
  };
}

function plain({ booking, charges, taken_back }: Charged, openedUs: string): Booked {
  return {
    booking,
    openedUs: BigInt(openedUs),
    ...placeOf({ pool_id: "*", region_id: "*" }),
    charges: charges.map(toCharge),
    takenBack: taken_back.map(toCharge),
    coveredNano: 0n,
    department: "",
    draws: [],
    fee: undefined,
  };
}

function placeOf({ pool_id, region_id }: Words<"pool_id" | "region_id">) {
  return { pool: pool_id as PoolId, region: region_id as RegionId };
}

function toCharge({ line_id: line, tokens, pico, nano }: ChargeMembers): BookedCharge {
  return { line, tokens: BigInt(tokens), pico: BigInt(pico), amountNano: BigInt(nano) };
}
