import { hourOf } from "../statements/period.ts";
import {
  consumptionText,
  type At,
  type Consumption,
  type ConsumptionKey,
  type Sheets,
  type StoredRecord,
} from "./posting.ts";
import { isSold } from "./prepare.ts";
import { releasedNanoOf, type Sale } from "../packages/sale.ts";
import { Sheet } from "./sheet.ts";
import {
  noTokens,
  tokenClasses,
  type TokenClass,
  type Tokens,
  type UsageRecord,
} from "../counting/usage.ts";

/** What tenants used, by hour and by all that they ask for. A correction moves it by the difference. */
export class Cube {
  readonly #cells: Sheet<ConsumptionKey, Consumption>;

  constructor(known: Sheets<ConsumptionKey, Consumption>) {
    this.#cells = new Sheet(known);
  }

  get changes(): At<ConsumptionKey, Consumption>[] {
    return this.#cells.changes;
  }

  get missing(): ConsumptionKey[] {
    return this.#cells.missing;
  }

  add(key: ConsumptionKey, by: Consumption): void {
    const text = consumptionText(key);
    if (!this.#cells.has(text, key)) return;
    const before = this.#cells.get(text);
    this.#cells.set(text, key, before === undefined ? by : sumOf(before, by));
  }

  takeBack(key: ConsumptionKey, by: Consumption): void {
    this.add(key, negated(by));
  }
}

export const nothingConsumed: Consumption = {
  requests: 0n,
  tokens: noTokens,
  saleNano: 0n,
  coveredNano: 0n,
  billedNano: 0n,
  releasedNano: 0n,
  costNano: 0n,
};

export function consumptionKey(record: UsageRecord): ConsumptionKey {
  const { tenant, department, project, scenario, openedUs, model, pool, region } = record;
  return { tenant, department, project, scenario, hourUs: hourOf(openedUs), model, pool, region };
}

/** Of a record in force, whether it has been billed or not. */
export function ofRecord({
  sold,
  amountNano,
}: Pick<StoredRecord, "sold" | "amountNano">): Consumption {
  const requests = isSold(sold) ? 1n : 0n;
  return { ...nothingConsumed, requests, tokens: sold, costNano: amountNano };
}

export function ofSale(sale: Sale): Consumption {
  const { saleNano, coveredNano, billedNano } = sale;
  const releasedNano = releasedNanoOf(sale);
  return { ...nothingConsumed, saleNano, coveredNano, billedNano, releasedNano };
}

function sumOf(a: Consumption, b: Consumption): Consumption {
  return {
    requests: a.requests + b.requests,
    tokens: mapped((each) => a.tokens[each] + b.tokens[each]),
    saleNano: a.saleNano + b.saleNano,
    coveredNano: a.coveredNano + b.coveredNano,
    billedNano: a.billedNano + b.billedNano,
    releasedNano: a.releasedNano + b.releasedNano,
    costNano: a.costNano + b.costNano,
  };
}

function negated(by: Consumption): Consumption {
  return {
    requests: -by.requests,
    tokens: mapped((each) => -by.tokens[each]),
    saleNano: -by.saleNano,
    coveredNano: -by.coveredNano,
    billedNano: -by.billedNano,
    releasedNano: -by.releasedNano,
    costNano: -by.costNano,
  };
}

function mapped(of: (tokenClass: TokenClass) => bigint): Tokens {
  const tokens = { ...noTokens } as Record<TokenClass, bigint>;
  for (const each of tokenClasses) tokens[each] = of(each);
  return tokens;
}
