import type { InstantUs, PairId } from "../../units.ts";
import { checkCalendar } from "../pricing/calendar.ts";
import { contractShape } from "./contract-shape.ts";
import { checkContract } from "./contract-check.ts";
import { bookShape } from "../pricing/book-shape.ts";
import { Mistakes, firstOf, type Mistake } from "./mistake.ts";
import type { AnyContract } from "./other-contracts.ts";
import {
  calendarShape,
  repriceShape,
  splitRuleShape,
  standardTableShape,
  type Reprice,
} from "./other-shapes.ts";
import { successionMistakes } from "./effective.ts";
import { everyTenant, pairOf, type Calendar, type PriceBook } from "../pricing/price-book.ts";
import { checkPriceBook } from "../pricing/price-check.ts";
import type { Shape } from "./shape.ts";
import { splitRuleMistakes, type SplitRule } from "../packages/split.ts";
import { checkStandardTable, type StandardTable } from "../pricing/standard-token.ts";

/** Who signs: the operator, or a counterparty. */
export type Party = PairId | "internal";

/** What parties agree on, by the name of its documents. */
export interface TermsByKind {
  readonly contract: AnyContract;
  readonly "price-version": PriceBook;
  readonly calendar: Calendar;
  readonly "split-rule": SplitRule;
  readonly "standard-tokens": StandardTable;
  readonly reprice: Reprice;
}

export type TermsKind = keyof TermsByKind;

/** How a kind is written, checked and signed. */
export interface KindRules<Value> {
  shape(calendarOf: (id: string) => Calendar | undefined): Shape<Value>;
  /** Versions of one series follow each other: `northgrid-list`, or `standard/qwen3-32b`. */
  series(value: Value): string;
  version(value: Value): bigint;
  /** Whom it concerns: in whose log its leaf is. */
  pair(value: Value): Party;
  /** Who has to sign before it can be used. */
  signers(value: Value): readonly Party[];
  check(value: Value, previous: Value | undefined, publishedUs: InstantUs | undefined): Mistake[];
}

const both = (pair: Party): readonly Party[] =>
  pair === everyTenant || pair === "internal" ? ["internal"] : ["internal", pair];

export const termsKinds: { readonly [Kind in TermsKind]: KindRules<TermsByKind[Kind]> } = {
  contract: {
    shape: () => contractShape,
    series: ({ id }) => id,
    version: ({ version }) => version,
    pair: ({ pair }) => pair,
    signers: ({ pair }) => both(pair),
    check: checkContract,
  },
  "price-version": {
    shape: bookShape,
    series: ({ id }) => id,
    version: ({ version }) => version,
    // A list for every tenant is the operator's alone: a tenant agrees to it by the contract that names it, or by buying without one.
    pair: (book) => (pairOf(book) === everyTenant ? "internal" : pairOf(book)),
    signers: (book) => both(pairOf(book)),
    check: checkPriceBook,
  },
  calendar: {
    shape: () => calendarShape,
    series: ({ id }) => id,
    version: ({ version = 1n }) => version,
    pair: () => "internal",
    // Whoever's prices go by it countersigns it, and its leaf is in his log too; it is not held up by one of them.
    signers: () => ["internal"],
    check: checkCalendar,
  },
  "split-rule": {
    shape: () => splitRuleShape,
    series: ({ id, model }) => `${id}/${model}`,
    version: ({ version }) => version,
    pair: () => "internal",
    // `*` is whoever took part: his contract names the rule.
    signers: ({ parts }) => [
      ...new Set<Party>([
        "internal",
        ...parts.flatMap(({ party }) => (party === "*" || party === "internal" ? [] : [party])),
      ]),
    ],
    check: checkSplitRule,
  },
  "standard-tokens": {
    shape: () => standardTableShape,
    series: ({ id }) => id,
    version: ({ version }) => version,
    pair: () => "internal",
    signers: () => ["internal"],
    check: (table, previous, publishedUs) =>
      firstOf([...successionMistakes(table, previous, publishedUs), ...checkStandardTable(table)]),
  },
  reprice: {
    shape: () => repriceShape,
    series: ({ id }) => id,
    version: () => 1n,
    pair: ({ pair }) => pair,
    signers: ({ pair }) => both(pair),
    check: checkReprice,
  },
};

export function checkSplitRule(
  rule: SplitRule,
  previous?: SplitRule,
  publishedUs?: InstantUs,
): Mistake[] {
  const said = splitRuleMistakes(rule).map((message): Mistake => {
    const [, path = "", rest = message] = /^([\w.[\]]+): (.*)$/s.exec(message) ?? [];
    return { path, message: rest };
  });
  return firstOf([...successionMistakes(rule, previous, publishedUs), ...said]);
}

function checkReprice({ firstIndex, endIndex }: Reprice): Mistake[] {
  const found = new Mistakes();
  const message = `expected after first_index ${firstIndex}, found ${endIndex}`;
  found.add("end_index", endIndex <= firstIndex, message);
  return found.all;
}

/** Of a version: `northgrid-list@2`. */
export function termsId<Kind extends TermsKind>(kind: Kind, value: TermsByKind[Kind]): string {
  const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
  return `${rules.series(value)}@${rules.version(value)}`;
}

/** Under which it is kept: what different pairs propose by one name is not one document. */
export function termsDocumentId<Kind extends TermsKind>(
  kind: Kind,
  value: TermsByKind[Kind],
): string {
  const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
  const pair = rules.pair(value);
  return pair === "internal" ? termsId(kind, value) : `${pair}/${termsId(kind, value)}`;
}

export function isTermsKind(kind: string): kind is TermsKind {
  return Object.hasOwn(termsKinds, kind);
}
