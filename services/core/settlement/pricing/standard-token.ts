import { entries } from "../../table.ts";
import type { InstantUs, ModelId } from "../../units.ts";
import type { Dated } from "../terms/effective.ts";
import { Mistakes, firstOf, type Mistake } from "../terms/mistake.ts";
import { roundedQuotient, type Ratio } from "../ratio.ts";
import { tokenClasses, tokenClassNames, type TokenClass, type Tokens } from "../counting/usage.ts";

/** What makes tokens of unlike models comparable. */
export const standardBases = ["relative-price", "relative-compute", "agreed"] as const;
export type StandardBasis = (typeof standardBases)[number];

/** Standard tokens that one token of a class of a model counts for. */
export interface StandardRow extends Ratio {
  readonly model: ModelId;
  readonly tokenClass: TokenClass;
}

/** One version of the table. Published, never edited: what was counted by it stays countable. */
export interface StandardTable extends Dated {
  readonly id: string;
  readonly version: bigint;
  readonly effectiveFromUs: InstantUs;
  readonly basis: StandardBasis;
  /** The formula in words, and where its numbers were read. */
  readonly source: string;
  readonly rows: readonly StandardRow[];
}

/** The ledger's unit of packages that are sold in standard tokens. */
export const standardUnit = "TOK-standard:1";

export function checkStandardTable(table: StandardTable): Mistake[] {
  const found = new Mistakes();
  const seen = new Map<string, number>();
  for (const [index, { model, tokenClass, num, den }] of table.rows.entries()) {
    const key = `${model} ${tokenClass}`;
    const first = seen.get(key);
    const place = `rows[${index}]`;
    found.add(place, first !== undefined, `overlap: ${key} is also rows[${first}]`);
    found.add(`${place}.den`, den <= 0n, `expected more than 0, found ${den}`);
    found.add(`${place}.num`, num < 0n, `expected 0 or more, found ${num}`);
    if (first === undefined) seen.set(key, index);
  }
  for (const model of new Set(table.rows.map((row) => row.model))) {
    for (const [tokenClass, name] of entries(tokenClassNames)) {
      const isGap = !seen.has(`${model} ${tokenClass}`);
      found.add("rows", isGap, `gap: ${model} ${name} has no row`);
    }
  }
  return firstOf(found.all);
}

/** Undefined: the table does not know the model. */
export function standardRatioOf(
  { rows }: StandardTable,
  model: ModelId,
  tokenClass: TokenClass,
): Ratio | undefined {
  return rows.find((row) => row.model === model && row.tokenClass === tokenClass);
}

/** Exact, not rounded. Undefined: the table does not know the model. */
export function exactStandard(
  table: StandardTable,
  model: ModelId,
  tokens: Tokens,
): Ratio | undefined {
  let sum: Ratio = { num: 0n, den: 1n };
  for (const tokenClass of tokenClasses) {
    const ratio = standardRatioOf(table, model, tokenClass);
    if (ratio === undefined) return undefined;
    sum = plus(sum, { num: ratio.num * tokens[tokenClass], den: ratio.den });
  }
  return sum;
}

/**
 * Whole standard tokens of what is added to a total: the difference of two rounded totals. So the counts of the parts add
 * up to that of the whole, in any order.
 */
export function standardTokens(added: Ratio, before: Ratio): bigint {
  const after = plus(before, added);
  return rounded(after) - rounded(before);
}

export function plus(a: Ratio, b: Ratio): Ratio {
  if (a.den === b.den) return { num: a.num + b.num, den: a.den };
  const den = a.den * b.den;
  const num = a.num * b.den + b.num * a.den;
  const shared = gcd(num, den);
  return { num: num / shared, den: den / shared };
}

export function rounded({ num, den }: Ratio): bigint {
  return roundedQuotient(num, den);
}

/**
 * The table as burn rates of a package in standard tokens, with one denominator for all: exact, since it is the least
 * that all of them divide.
 */
export function standardBurn({ rows }: StandardTable): {
  readonly den: bigint;
  readonly rates: readonly {
    readonly model: ModelId;
    readonly tokenClass: TokenClass;
    readonly num: bigint;
  }[];
} {
  const den = rows.reduce((all, row) => (all / gcd(all, row.den)) * row.den, 1n);
  const rates = rows.map((row) => ({
    model: row.model,
    tokenClass: row.tokenClass,
    num: row.num * (den / row.den),
  }));
  return { den, rates };
}

function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a < 0n ? -a : a, b];
  while (y !== 0n) [x, y] = [y, x % y];
  return x === 0n ? 1n : x;
}
