import type { HubId, PoolId, RegionId, VendorId } from "../../units.ts";
import { localTime } from "../pricing/calendar.ts";
import { offsetMinutesByZone, periodNameAt, type TimeZone } from "./period.ts";
import type { Consumption, ConsumptionKey } from "../ledger/posting.ts";
import { noTokens, tokenClasses, type TokenClass, type Tokens } from "../counting/usage.ts";

/** What is known of places beside the books. */
export interface Places {
  vendorOf(pool: PoolId): VendorId | undefined;
  hubOf(region: RegionId): HubId | undefined;
}

interface Means {
  readonly places: Places;
  readonly timeZone: TimeZone;
}

/** What usage can be added up by; the text is the key of a row. */
export const usageDimensions = {
  tenant: (key) => key.tenant,
  department: (key) => key.department,
  project: (key) => key.project,
  scenario: (key) => key.scenario,
  model: (key) => key.model,
  pool: (key) => key.pool,
  region: (key) => key.region,
  hub: (key, { places }) => places.hubOf(key.region) ?? "",
  vendor: (key, { places }) => places.vendorOf(key.pool) ?? "",
  hour: ({ hourUs }, { timeZone }) => {
    const { date, minute } = localTime(hourUs, offsetMinutesByZone[timeZone]);
    return `${date}T${String(Math.floor(minute / 60)).padStart(2, "0")}`;
  },
  day: ({ hourUs }, { timeZone }) => periodNameAt(hourUs, "daily", timeZone),
  month: ({ hourUs }, { timeZone }) => periodNameAt(hourUs, "monthly", timeZone),
} as const satisfies Record<string, (key: ConsumptionKey, means: Means) => string>;

export type UsageDimension = keyof typeof usageDimensions;

/** What one side of the business may not see of the other. */
export const hiddenFrom: Readonly<Record<"tenant" | "vendor", readonly UsageDimension[]>> = {
  tenant: ["pool", "vendor"],
  vendor: ["tenant", "department", "project", "scenario"],
};

export interface UsageSum extends Consumption {
  readonly keys: readonly string[];
}

/** Rows that an answer may have; more is asked for in parts. */
export const usageRowsMax = 100_000;

/** Adds up what was used, by dimensions. */
export class UsageSums {
  readonly #dimensions: readonly UsageDimension[];
  readonly #means: Means;
  readonly #sums = new Map<string, UsageSum>();

  constructor(dimensions: readonly UsageDimension[], means: Means) {
    this.#dimensions = dimensions;
    this.#means = means;
  }

  /** False: there would be more rows than an answer may have. */
  add(key: ConsumptionKey, used: Consumption): boolean {
    const keys = this.#dimensions.map((name) => usageDimensions[name](key, this.#means));
    const at = keys.join("\n");
    const before = this.#sums.get(at);
    if (before === undefined && this.#sums.size >= usageRowsMax) return false;
    this.#sums.set(at, { keys, ...(before === undefined ? used : added(before, used)) });
    return true;
  }

  /** In the order of their keys. */
  get rows(): UsageSum[] {
    return [...this.#sums].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum);
  }
}

/** What there is left of what was earned. */
export function marginNano({ billedNano, releasedNano, costNano }: Consumption): bigint {
  return billedNano + releasedNano - costNano;
}

function added(a: Consumption, b: Consumption): Consumption {
  return {
    requests: a.requests + b.requests,
    tokens: addedTokens(a.tokens, b.tokens),
    saleNano: a.saleNano + b.saleNano,
    coveredNano: a.coveredNano + b.coveredNano,
    billedNano: a.billedNano + b.billedNano,
    releasedNano: a.releasedNano + b.releasedNano,
    costNano: a.costNano + b.costNano,
  };
}

function addedTokens(a: Tokens, b: Tokens): Tokens {
  const sum: Record<TokenClass, bigint> = { ...noTokens };
  for (const each of tokenClasses) sum[each] = a[each] + b[each];
  return sum;
}
